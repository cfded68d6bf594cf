-- SPDX-License-Identifier: MIT
-- The table of requests that wait for an answer (requirements P13, P21, D13, B1). The whole table has one timer: entries are in buckets
-- of one second, and a tick expires the buckets that are due. Add, get and remove cost O(1). An entry costs two hash slots and its own
-- record. When the table is empty, no timer runs.

local now = require "util.time".monotonic;

local pending = {};
local pending_mt = { __index = pending };

local function tick(self)
	local current, expired = now(), {};
	for second, keys in pairs(self.buckets) do
		if second <= current then
			for key in pairs(keys) do expired[#expired + 1] = key; end
		end
	end
	for _, key in ipairs(expired) do
		-- an earlier callback may have removed the key, or used it for a new entry
		if self.due[key] and self.due[key] <= current then
			-- an error would end the timer, and all other requests would never expire
			local ok, err = pcall(self.on_expire, key, self:remove(key));
			if not ok then self.module:log("error", "On expiry of a pending request: %s", tostring(err)); end
		end
	end
	self.ticking = self.size > 0;
	return self.ticking and 1 or nil;
end

local function insert(self, key, record, second)
	local bucket = self.buckets[second];
	if not bucket then
		bucket = {};
		self.buckets[second] = bucket;
	end
	bucket[key] = true;
	self.records[key], self.due[key] = record, second;
	self.size = self.size + 1;
	if not self.ticking then
		self.ticking = true;
		self.module:add_timer(1, function () return tick(self); end);
	end
end

-- new(module, on_expire, [saved]) -> pending table
--   module: the Prosody module whose timers are used (they end when it unloads)
--   on_expire(key, record): called once for each entry whose deadline has passed, after it was removed
--   saved: result of :save() of an earlier instance, across a module reload
local function new(module, on_expire, saved)
	local self = setmetatable({
		module = module; on_expire = on_expire;
		records = {}; due = {}; buckets = {}; size = 0; ticking = false;
	}, pending_mt);
	if saved then
		for key, record in pairs(saved.records) do
			-- the same second as before: counting again would round up again, one second for each reload
			insert(self, key, record, saved.due[key]);
		end
	end
	return self;
end

-- add(key, record, timeout): key any value not in the table, record not nil, timeout in seconds (>= 0; entries expire up to two seconds late)
function pending:add(key, record, timeout)
	assert(self.records[key] == nil, "key is already pending");
	insert(self, key, record, math.ceil(now() + timeout));
end

-- get(key) -> record or nil
function pending:get(key)
	return self.records[key];
end

-- remove(key) -> its record, or nil when it is not (or no longer) in the table
function pending:remove(key)
	local record = self.records[key];
	if record == nil then return nil; end
	local second = self.due[key];
	local bucket = self.buckets[second];
	bucket[key] = nil;
	if next(bucket) == nil then self.buckets[second] = nil; end
	self.records[key], self.due[key] = nil, nil;
	self.size = self.size - 1;
	if self.size == 0 then
		-- an empty Lua table keeps its memory, so new ones
		self.records, self.due, self.buckets = {}, {}, {};
	end
	return record;
end

-- count() -> number of entries
function pending:count()
	return self.size;
end

-- each() -> iterator of key, record; entries may be removed while iterating, not added
function pending:each()
	return pairs(self.records);
end

-- save() -> plain table for module.save()
function pending:save()
	return { records = self.records; due = self.due };
end

return { new = new };
