-- SPDX-License-Identifier: MIT
-- Requests that were given up and may still be answered. A client that slept, or whose stream broke, answers when it is back. A new request
-- with the same id to the same resource would take that answer for its own (case C3).
--
-- Two generations of half an hour: Prosody waits ten minutes for a client (smacks_hibernation_time). When a generation is full, all
-- requests count as overdue until it has passed: fresh ids do no harm.

local digest = require "util.hashes".sha1;
local now = require "util.time".monotonic;

local lifetime = 1800; -- seconds of a generation
local most = 1000; -- in a generation

local overdue = {};
local overdue_mt = { __index = overdue };

local function generation()
	return { keys = {}; size = 0; since = now() };
end

-- new([saved]) -> overdue; saved: result of :save() of an earlier instance
local function new(saved)
	return setmetatable(saved or { young = generation(); old = generation() }, overdue_mt);
end

-- short, however much peers write
local function key_of(resource, address, id)
	return digest(resource .. "\0" .. address .. "\0" .. id);
end

local function age(self)
	local elapsed = now() - self.young.since;
	if elapsed < lifetime then return; end
	-- after a long silence both are out of date
	self.old = elapsed < 2 * lifetime and self.young or generation();
	self.young = generation();
end

-- add(resource, address, id): nobody waits for the answer to that request any more; from, to and id of that answer
function overdue:add(resource, address, id)
	age(self);
	local young = self.young;
	if young.size >= most then
		young.is_full = true;
		return;
	end
	young.keys[key_of(resource, address, id)], young.size = true, young.size + 1;
end

-- has(resource, address, id) -> whether such a request may still be answered
function overdue:has(resource, address, id)
	if self.young.size + self.old.size == 0 then return false; end
	age(self);
	local young, old = self.young, self.old;
	if young.is_full or old.is_full then return true; end
	local key = key_of(resource, address, id);
	return young.keys[key] or old.keys[key] or false;
end

-- settle(resource, address, id): the answer has come
function overdue:settle(resource, address, id)
	if self.young.size + self.old.size == 0 then return; end
	local key = key_of(resource, address, id);
	for _, part in ipairs { self.young, self.old } do
		if part.keys[key] then part.keys[key], part.size = nil, part.size - 1; end
	end
end

-- save() -> plain table for module.save()
function overdue:save()
	return { young = self.young; old = self.old };
end

return { new = new };
