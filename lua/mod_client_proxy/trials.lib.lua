-- SPDX-License-Identifier: MIT
-- The proof that a resource is silent where another one is not (case C1). After a `get` without an answer, this file asks another resource
-- the same and drops its answer. A `set` must not be done twice: both resources get a ping. So no user can eject a resource with
-- requests that no resource answers. A request that stops a client stops at most one more for each row of failures.

local copies = module:require "copies";
local new_id = require "util.id".short;
local st = require "util.stanza";

local patience = 10; -- seconds for a ping

-- errors that do not show that the client has seen the request
local no_answers = {
	["feature-not-implemented"] = true; ["recipient-unavailable"] = true; ["remote-server-not-found"] = true; ["remote-server-timeout"] = true;
	["resource-constraint"] = true; ["service-unavailable"] = true;
};

local trials = {};
local trials_mt = { __index = trials };

-- new(pool, health) -> trials
local function new(pool, health)
	return setmetatable({ pool = pool; health = health; open = {} }, trials_mt);
end

-- answered(): a result, or an error that is an answer; otherwise(): anything else, or nothing in time
local function ask(iq, timeout, answered, otherwise)
	module:send_iq(iq, nil, timeout):next(answered, function (err)
		if no_answers[err.condition] then otherwise(err.condition); else answered(); end
	end);
end

local function ping(resource)
	return st.iq({ type = "get"; from = module.host; to = resource; id = new_id() }):tag("ping", { xmlns = "urn:xmpp:ping" });
end

-- start(record, timeout): the resource has not answered this request, and has not answered many before
--   record: of requests.lib; timeout: seconds for the same request
function trials:start(record, timeout)
	local suspect = record.resource;
	local witness = not self.open[suspect] and self.pool:pick(nil, nil, { [suspect] = true });
	if not witness then return; end
	self.open[suspect] = true;
	local function finish(is_proven)
		self.open[suspect] = nil;
		if is_proven then self.health:proven(suspect); end
	end
	local function clear() finish(false); end
	local iq = record.type == "get" and record.copy
		and copies.stanza(record.copy, { type = "get"; from = record.address; to = witness; id = new_id() });
	if iq then
		ask(iq, timeout, function () finish(true); end, clear);
		return;
	end
	ask(ping(witness), patience, function ()
		-- any error but a timeout shows that the suspect is alive
		ask(ping(suspect), patience, clear, function (condition) finish(condition == "remote-server-timeout"); end);
	end, clear);
end

return { new = new };
