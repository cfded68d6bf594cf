-- SPDX-License-Identifier: MIT
-- The way of a request: to a resource, to another one when that one is not there, and of one answer back (P5, P6, P9 to P13).
--
-- A request is repeated only when that does no harm: a `get` whenever its resource is gone, a `set` only when it is proven, or said by
-- the resource itself, that nothing was done. The signs:
-- - the error was made by this server, because the way to the resource's server is cut: not delivered
-- - service-unavailable: what a server says of a full JID that is not there, and a client of a namespace it does not know
-- - recipient-unavailable: the stream broke (XEP-0198) and nobody knows what had arrived
-- - unavailable presence: the same

local copies = module:require "copies";
local jid_bare = require "util.jid".bare;
local now = require "util.time".monotonic;
local readdress = module:require "addresses".readdress;
local st = require "util.stanza";

local max_attempts = 4;

local limit_texts = {
	account = "Too many requests of this user are waiting for an answer";
	domain = "Too many requests of this server's users are waiting for an answer";
	total = "Too many requests are waiting for an answer";
	bytes = "Too long requests of this user are waiting for an answer";
};

local relay = {};
local relay_mt = { __index = relay };

-- new(settings, pool, health, metrics) -> relay; the parts are those of the libs of these names
local function new(settings, pool, health, metrics)
	return setmetatable({ settings = settings; pool = pool; health = health; metrics = metrics }, relay_mt);
end

-- attach(requests, targets): the parts that call this one
function relay:attach(requests, targets)
	self.requests, self.targets = requests, targets;
end

local function namespace_of(record)
	return record.copy and copies.namespace(record.copy);
end

local function timeout_for(self, namespace)
	return self.settings.timeouts[namespace] or self.settings.timeout;
end

local function fail(self, record, type, condition, text)
	local request = st.iq({ type = "get"; from = record.user; to = record.asked; id = record.id });
	self.metrics:failed(condition);
	module:send(st.error_reply(request, type, condition, text));
end

local function refuse(self, event, type, condition, text)
	self.metrics:failed(condition);
	event.origin.send(st.error_reply(event.stanza, type, condition, text));
	return true;
end

-- What has the same key goes to the same resource, if that is the strategy
local function key_for(self, user, iq)
	local sticky_by = self.settings.sticky_by;
	if sticky_by == "full" then return user; end
	local key = sticky_by ~= "bare" and iq:find(sticky_by);
	return type(key) == "string" and key or jid_bare(user);
end

-- request(event): a well-formed get or set; handled in any case
function relay:request(event)
	local stanza, requests = event.stanza, self.requests;
	local user = stanza.attr.from;
	self.metrics:requested();
	local refusal = requests:refusal(stanza);
	if refusal then return refuse(self, event, "wait", "resource-constraint", limit_texts[refusal]); end
	local resource = self.pool:pick(key_for(self, user, stanza), user, nil, self.settings.max_pending_per_resource);
	if not resource and self.pool:count() > 0 then
		return refuse(self, event, "wait", "resource-constraint", "Too many requests are waiting for each implementing client");
	elseif not resource then
		self.targets:search();
		return refuse(self, event, "cancel", "service-unavailable", "No implementing client is online");
	end
	local record = requests:new_record(stanza);
	local address, id = requests:add(record, resource, timeout_for(self, stanza.tags[1].attr.xmlns));
	module:send(readdress(stanza, address, resource, id, event.origin));
	return true;
end

-- Asks another resource, if there is one and time for it.
local function retry(self, record)
	local tried = record.tried or {};
	tried[record.resource] = true;
	local attempts = 0;
	for _ in pairs(tried) do attempts = attempts + 1; end
	local remaining = record.sent + timeout_for(self, namespace_of(record)) - now();
	if attempts >= max_attempts or remaining <= 0 then return false; end
	local iq = record.copy and copies.stanza(record.copy, { type = record.type });
	local resource = iq and self.pool:pick(key_for(self, record.user, iq), record.user, tried, self.settings.max_pending_per_resource);
	if not resource then return false; end
	record.tried = tried;
	self.metrics:retried();
	iq.attr.to = resource;
	iq.attr.from, iq.attr.id = self.requests:add(record, resource, remaining);
	module:send(iq);
	return true;
end

-- answer(event) -> true when the result or error with an id was the reply to a request, and the user was told or another resource asked
function relay:answer(event)
	local stanza = event.stanza;
	local record = self.requests:take(stanza);
	if not record then return false; end
	if stanza.attr.type == "error" then
		local _, condition, text = stanza:get_error();
		condition = condition or "undefined-condition";
		-- Prosody returns what it cannot send to another server in the name of a session that does not exist
		local is_undeliverable = event.origin.dummy;
		if is_undeliverable then
			self.targets:unreachable(jid_bare(record.resource), condition, text);
		else
			self.health:answered(record.resource, namespace_of(record), condition);
			if condition == "service-unavailable" or condition == "recipient-unavailable" then
				self.targets:doubt(record.resource);
			end
		end
		local not_done = is_undeliverable or condition == "service-unavailable";
		if (not_done or condition == "recipient-unavailable" and record.type == "get") and retry(self, record) then
			return true;
		elseif is_undeliverable then
			fail(self, record, "cancel", "service-unavailable", "No implementing client can be reached");
			return true;
		end
		self.metrics:failed(condition);
	else
		self.health:answered(record.resource, namespace_of(record));
		self.metrics:answered(now() - record.sent);
	end
	module:send(readdress(stanza, record.asked, record.user, record.id, event.origin));
	return true;
end

-- expire(record): nobody has answered until the deadline
function relay:expire(record)
	self.health:silent(record.resource);
	self.metrics:timed_out();
	fail(self, record, "wait", "remote-server-timeout", "The implementing client did not answer");
end

-- lose(is_gone): resources for whose full JID is_gone is true will not answer any more
function relay:lose(is_gone)
	-- all are out of the table before the first is sent on: that may bring a new request at once
	for _, record in ipairs(self.requests:give_up(function (record) return is_gone(record.resource); end)) do
		if record.type ~= "get" or not retry(self, record) then
			fail(self, record, "cancel", "service-unavailable", "The implementing client has gone");
		end
	end
end

-- shut_down(): answers everything in flight
function relay:shut_down()
	for _, record in ipairs(self.requests:give_up()) do
		fail(self, record, "cancel", "service-unavailable", "The service is shutting down");
	end
end

return { new = new };
