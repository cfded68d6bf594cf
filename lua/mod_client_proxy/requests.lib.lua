-- SPDX-License-Identifier: MIT
-- Requests on their way: each goes to one resource and is answered once, by that resource or by an error of ours (P6, P9 to P13).
--
-- A request in flight is known by (resource asked, address the resource sees, id): exactly what a reply to it carries as from, to
-- and id. Whatever else comes back was forged, is late, or comes a second time.

local new_pending = require "prosody_relay.pending".new;
local new_id = require "util.id".short;
local readdress = module:require "addresses".readdress;
local st = require "util.stanza";

local requests = {};
local requests_mt = { __index = requests };

-- NUL occurs in no XML, hence in none of the three
local function key_of(resource, address, id)
	return resource .. "\0" .. address .. "\0" .. id;
end

local function fail(record, ...)
	local request = st.iq({ type = "get"; from = record.user; to = record.asked; id = record.id });
	module:send(st.error_reply(request, ...));
end

-- new(timeout, encode, health, [saved]) -> requests
--   timeout: seconds until a request is answered by remote-server-timeout; encode: of addresses.lib;
--   health: of health.lib, told how resources do; saved: result of :save() of an earlier instance
local function new(timeout, encode, health, saved)
	local self = setmetatable({ timeout = timeout; encode = encode; health = health; in_flight = {} }, requests_mt);
	self.pending = new_pending(module, function (key, record)
		self:forget(key, record);
		health:silent(record.resource);
		fail(record, "wait", "remote-server-timeout", "The implementing client did not answer");
	end, saved);
	for key, record in self.pending:each() do
		self:remember(key, record);
	end
	return self;
end

-- in_flight: resource -> set of the keys of its requests
function requests:remember(key, record)
	local keys = self.in_flight[record.resource];
	if not keys then
		keys = {};
		self.in_flight[record.resource] = keys;
	end
	keys[key] = true;
end

function requests:forget(key, record)
	local keys = self.in_flight[record.resource];
	keys[key] = nil;
	if next(keys) == nil then self.in_flight[record.resource] = nil; end
end

-- forward(stanza, resource): sends a copy of a well-formed get or set to the full JID `resource`
function requests:forward(stanza, resource)
	local user, id = stanza.attr.from, stanza.attr.id;
	local address = self.encode(user);
	local key = key_of(resource, address, id);
	while self.pending:get(key) do
		-- the user has the same id in flight; a fresh one tells the replies apart
		id = new_id();
		key = key_of(resource, address, id);
	end
	local record = {
		user = user; asked = stanza.attr.to; id = stanza.attr.id; resource = resource; namespace = stanza.tags[1].attr.xmlns;
	};
	self.pending:add(key, record, self.timeout);
	self:remember(key, record);
	module:send(readdress(stanza, address, resource, id));
end

-- answer(stanza) -> true when the result or error with an id was the reply to a request, and was sent on to the user
function requests:answer(stanza)
	local attr = stanza.attr;
	local key = key_of(attr.from, attr.to, attr.id);
	local record = self.pending:remove(key);
	if not record then return false; end
	self:forget(key, record);
	local _, condition;
	if attr.type == "error" then _, condition = stanza:get_error(); end
	self.health:answered(record.resource, record.namespace, condition);
	module:send(readdress(stanza, record.asked, record.user, record.id));
	return true;
end

-- fail_resource(resource, error type, condition, text): answers what the resource did not
function requests:fail_resource(resource, ...)
	local records = {};
	for key in pairs(self.in_flight[resource] or {}) do
		records[#records + 1] = self.pending:remove(key);
	end
	self.in_flight[resource] = nil;
	-- all are out of the tables before the first error is sent: it may bring a new request at once
	for _, record in ipairs(records) do
		fail(record, ...);
	end
end

-- fail_all(error type, condition, text): answers everything in flight
function requests:fail_all(...)
	local resources = {};
	for resource in pairs(self.in_flight) do resources[#resources + 1] = resource; end
	for _, resource in ipairs(resources) do
		self:fail_resource(resource, ...);
	end
end

-- count() -> number of requests in flight
function requests:count()
	return self.pending:count();
end

-- save() -> plain table for module.save()
function requests:save()
	return self.pending:save();
end

return { new = new };
