-- SPDX-License-Identifier: MIT
-- Sends a request to a resource, or to another one when that one is not there. Sends one answer back (P5, P6, P9 to P13).
--
-- A request is repeated only when that does no harm. prosody_relay.origin tells who reports a failure. `record.tried` has the reason why
-- a resource is not asked again:
-- - "bounced": this server could not deliver the request. Nothing was done; a `get` or `set` is repeated.
-- - feature-not-implemented, service-unavailable: the client says that it has not done it, or its server that the client is not there.
--   A `get` or `set` is repeated. If another resource then answers, this one gets a strike (health.lib).
-- - "left": the client has left, over a stream that works. Nobody knows what it has done; a `get` is repeated.
-- - "broken": the stream broke (recipient-unavailable of mod_smacks, unavailable presence), or the client hibernates. Perhaps
--   this very request broke the stream: a `get` is repeated once (breaks.lib).

local copies = module:require "copies";
local errors = module:require "errors";
local is_undeliverable = require "prosody_relay.origin".is_undeliverable;
local is_throttled = require "prosody_relay.sessions".is_throttled;
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;
local readdress = module:require "addresses".readdress;
local st = require "util.stanza";

local max_attempts = 4;
local hint_interval = 600; -- seconds

local refusals = { ["feature-not-implemented"] = true; ["service-unavailable"] = true };

local limit_errors = {
	account = "too-many-requests-of-user"; domain = "too-many-requests-of-server"; family = "too-many-requests-of-servers";
	total = "too-many-requests"; bytes = "too-long-requests";
};

local relay = {};
local relay_mt = { __index = relay };

-- new(settings, pool, health, dialogues, metrics) -> relay; the parts are those of the libs of these names
local function new(settings, pool, health, dialogues, metrics)
	return setmetatable({
		settings = settings; pool = pool; health = health; dialogues = dialogues; metrics = metrics;
		breaks = module:require "breaks".new(); trials = module:require "trials".new(pool, health); hinted = -hint_interval;
	}, relay_mt);
end

-- attach(requests, targets): the parts that call this one
function relay:attach(requests, targets)
	self.requests, self.targets = requests, targets;
end

local function timeout_for(self, namespace)
	return self.settings.timeouts[namespace] or self.settings.timeout;
end

-- name: of errors.lib
local function fail(self, record, name)
	local request = st.iq({ type = "get"; from = record.user; to = record.asked; id = record.id });
	self.metrics:failed(errors.error(name).condition);
	errors.refuse(request, name);
end

local function refuse(self, event, name)
	self.metrics:failed(errors.error(name).condition);
	return errors.answer(event, name);
end

-- The strategy may send requests with the same key to the same resource
local function key_for(self, user, iq)
	local sticky_by = self.settings.sticky_by;
	if sticky_by == "full" then return user; end
	local key = sticky_by ~= "bare" and iq:find(sticky_by);
	return type(key) == "string" and key or jid_bare(user);
end

-- -> full JID of the resource to ask, or nil; tried: as in a record
local function choose(self, user, iq, tried)
	local limit = self.settings.max_pending_per_resource;
	local resource = self.dialogues:resource(user, iq.tags[1]);
	if resource and self.pool:is_usable(resource) and not (tried and tried[resource]) then
		-- no other resource knows the session
		return not (limit and self.pool:get(resource).load >= limit) and resource or nil;
	end
	resource = self.pool:pick(key_for(self, user, iq), user, tried, limit);
	if resource then self.dialogues:bind(user, iq.tags[1], resource); end
	return resource;
end

-- request(event): a well-formed get or set; handled in any case
function relay:request(event)
	local stanza, requests = event.stanza, self.requests;
	local user = stanza.attr.from;
	self.metrics:requested();
	local refusal = requests:refusal(stanza);
	if refusal then return refuse(self, event, limit_errors[refusal]); end
	local resource = choose(self, user, stanza);
	if not resource and self.pool:count() > 0 then
		return refuse(self, event, "too-many-requests-for-each");
	elseif not resource then
		self.targets:search();
		return refuse(self, event, "no-client-online");
	end
	local address, id = requests:add(requests:new_record(stanza), resource, timeout_for(self, stanza.tags[1].attr.xmlns));
	module:send(readdress(stanza, address, resource, id, event.origin));
	return true;
end

-- Asks another resource, if there is one and enough time is left -> true, and the record is in flight again
--   reason: why the resource that was asked is not asked again, see above
local function retry(self, record, reason)
	local tried, attempts = record.tried or {}, 1;
	for _ in pairs(tried) do attempts = attempts + 1; end
	local remaining = record.copy and record.sent + timeout_for(self, copies.namespace(record.copy)) - now() or 0;
	if attempts >= max_attempts or remaining <= 0 then return false; end
	tried[record.resource], record.tried = reason, tried;
	local iq = copies.stanza(record.copy, { type = record.type });
	local resource = iq and choose(self, record.user, iq, tried);
	if not resource then return false; end
	self.metrics:retried();
	iq.attr.to = resource;
	iq.attr.from, iq.attr.id = self.requests:add(record, resource, remaining);
	module:send(iq);
	return true;
end

local function retry_broken(self, record)
	return record.type == "get" and self.breaks:allows(record) and retry(self, record, "broken");
end

-- An error of this server, not of the resource
local function answer_bounce(self, record, stanza)
	local _, condition, text = stanza:get_error();
	if condition == "recipient-unavailable" then
		self.requests:expect_late(stanza);
		if not retry_broken(self, record) then fail(self, record, "client-gone"); end
		return;
	end
	local account = jid_bare(record.resource);
	if prosody.hosts[jid_host(account)] then
		self.targets:doubt(record.resource);
	else
		self.targets:unreachable(account, condition or "undefined-condition", text);
	end
	if not retry(self, record, "bounced") then fail(self, record, "no-client-reachable"); end
end

-- An error of the resource, or of its server -> true when another resource was asked
local function answer_refusal(self, record, stanza, condition)
	if condition ~= "feature-not-implemented" then self.targets:doubt(record.resource); end
	if condition ~= "recipient-unavailable" then return retry(self, record, condition); end
	self.requests:expect_late(stanza);
	return retry_broken(self, record);
end

-- The resource has answered, with a result or an error; the resources tried before it failed
local function credit(self, record, is_result)
	local namespace = record.copy and copies.namespace(record.copy);
	self.health:answered(record.resource, is_result and namespace);
	for resource, reason in pairs(record.tried or {}) do
		if refusals[reason] then self.health:outdone(resource, reason, namespace); end
	end
end

-- answer(event) -> true when the result or error with an id was the reply to a request: the user got it, or another resource was asked
function relay:answer(event)
	local stanza = event.stanza;
	local record = self.requests:take(stanza);
	if not record then return false; end
	if is_undeliverable(event) then
		answer_bounce(self, record, stanza);
		return true;
	elseif stanza.attr.type == "error" then
		local _, condition = stanza:get_error();
		if refusals[condition] or condition == "recipient-unavailable" then
			if answer_refusal(self, record, stanza, condition) then return true; end
		else
			credit(self, record);
		end
		self.metrics:failed(condition or "undefined-condition");
	else
		credit(self, record, true);
		self.dialogues:bind(record.user, stanza.tags[1], record.resource);
		self.metrics:answered(now() - record.sent);
	end
	module:send(readdress(stanza, record.asked, record.user, record.id, event.origin));
	return true;
end

-- Tells the admin the cause, which nothing else shows (case C8)
local function hint_at_limits(self, resource)
	if now() - self.hinted < hint_interval or not is_throttled(resource) then return; end
	self.hinted = now();
	module:log("warn", "%s answers late because mod_limits slows its stream down; put its account into the option unlimited_jids of %s",
		resource, jid_host(resource));
end

-- expire(record): the deadline has passed without an answer
function relay:expire(record)
	local resource = record.resource;
	self.metrics:timed_out();
	fail(self, record, "client-silent");
	hint_at_limits(self, resource);
	if self.health:silent(resource) then
		self.trials:start(record, timeout_for(self, record.copy and copies.namespace(record.copy)));
	end
end

-- fall_asleep(resource): its client has lost the connection, and may come back too late. Asks other resources where that does no harm.
function relay:fall_asleep(resource)
	if self.pool:count_awake() == 0 then return; end
	local records = self.requests:give_up(function (record)
		return record.resource == resource and record.type == "get" and record.copy and self.breaks:allows(record);
	end);
	for _, record in ipairs(records) do
		if not retry(self, record, "broken") then
			fail(self, record, "client-disconnected");
		end
	end
end

-- lose(is_gone, [has_left]): resources for whose full JID is_gone is true will not answer any more
--   has_left: they left on their own wish, over a stream that works
function relay:lose(is_gone, has_left)
	-- all leave the table before the first one is repeated, which may bring a new request at once
	for _, record in ipairs(self.requests:give_up(function (record) return is_gone(record.resource); end)) do
		local is_repeated;
		if has_left then is_repeated = record.type == "get" and retry(self, record, "left"); else is_repeated = retry_broken(self, record); end
		if not is_repeated then fail(self, record, "client-gone"); end
	end
end

-- shut_down(): answers everything in flight
function relay:shut_down()
	for _, record in ipairs(self.requests:give_up()) do
		fail(self, record, "shutting-down");
	end
end

return { new = new };
