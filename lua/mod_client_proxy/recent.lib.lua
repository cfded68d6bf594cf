-- SPDX-License-Identifier: MIT
-- What is remembered of the last who wrote, by key, with a bound and a fair share for each domain (requirement G29): who is new takes the
-- place of the longest silent of their own domain. An account at its limit gets no more places until it is silent for a while.

local jid_host = require "util.jid".host;
local new_shares = require "prosody_relay.shares".new;
local now = require "util.time".monotonic;

local account_part = 10; -- one account may hold so small a part of all
local sweep_interval = 60; -- seconds

local recent = {};
local recent_mt = { __index = recent };

-- new(total, [ttl]) -> recent, empty
--   total: how much all may hold, in the unit of set(); ttl: seconds without set() after which an entry is forgotten
local function new(total, ttl)
	return setmetatable({
		-- domain -> its entries, each with the one before and after it in time
		ttl = ttl or math.huge; entries = {}; size = 0; domains = {}; swept = now();
		shares = new_shares(total, math.max(1, total // account_part));
	}, recent_mt);
end

local function link(self, entry)
	local host = jid_host(entry.owner);
	local list = self.domains[host];
	if list then
		list.newest.after, entry.before, list.newest = entry, list.newest, entry;
	else
		self.domains[host] = { oldest = entry; newest = entry };
	end
end

local function unlink(self, entry)
	local host = jid_host(entry.owner);
	local list, before, after = self.domains[host], entry.before, entry.after;
	if before then before.after = after; else list.oldest = after; end
	if after then after.before = before; else list.newest = before; end
	if not list.oldest then self.domains[host] = nil; end
end

local function put(self, entry)
	link(self, entry);
	self.entries[entry.key] = entry;
	self.size = self.size + 1;
	self.shares:hold(entry.owner, entry.amount);
end

-- remove(key): forgets it
function recent:remove(key)
	local entry = self.entries[key];
	if not entry then return; end
	unlink(self, entry);
	self.entries[key] = nil;
	self.size = self.size - 1;
	-- a Lua table keeps the room of its largest time
	if self.size == 0 then self.entries, self.domains = {}, {}; end
	self.shares:give(entry.owner, entry.amount);
end

local function is_expired(self, entry)
	return entry.at + self.ttl <= now();
end

-- oldest_of(host) -> the entry of a domain that has been silent for longest, or nil
local function oldest_of(self, host)
	local list = self.domains[host];
	return list and list.oldest;
end

local function expire(self, host)
	local entry = oldest_of(self, host);
	while entry and is_expired(self, entry) do
		self:remove(entry.key);
		entry = oldest_of(self, host);
	end
end

-- An expired entry of a domain that is silent keeps others from its place. Linear, so that it is done now and then.
local function sweep(self)
	if now() - self.swept < sweep_interval then return; end
	self.swept = now();
	local hosts = {};
	for host in pairs(self.domains) do hosts[#hosts + 1] = host; end
	for _, host in ipairs(hosts) do expire(self, host); end
end

-- set(owner, key, value, [amount = 1]) -> true, or nil when the owner may not hold that
--   owner: a JID, whose domain and account count; key: a string; amount: how much the entry takes
function recent:set(owner, key, value, amount)
	amount = amount or 1;
	self:remove(key);
	local host = jid_host(owner);
	expire(self, host);
	local refusal = self.shares:refusal(owner, amount);
	if refusal then
		sweep(self);
		refusal = self.shares:refusal(owner, amount);
	end
	while refusal do
		local oldest = refusal ~= "account" and oldest_of(self, host);
		if not oldest then return nil; end
		self:remove(oldest.key);
		refusal = self.shares:refusal(owner, amount);
	end
	put(self, { key = key; owner = owner; value = value; amount = amount; at = now() });
	return true;
end

-- get(key) -> value, or nil
function recent:get(key)
	local entry = self.entries[key];
	return entry and not is_expired(self, entry) and entry.value or nil;
end

-- count() -> number of entries, some of which may have expired
function recent:count()
	return self.size;
end

-- save() -> plain table for restore(); restore([saved]) -> the same recent, with what an earlier one saved
function recent:save()
	local saved = {};
	for _, entry in pairs(self.entries) do saved[#saved + 1] = entry; end
	table.sort(saved, function (a, b) return a.at < b.at; end);
	return saved;
end

function recent:restore(saved)
	for _, entry in ipairs(saved or {}) do
		entry.before, entry.after = nil, nil;
		put(self, entry);
	end
	return self;
end

return { new = new };
