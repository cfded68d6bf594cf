-- SPDX-License-Identifier: MIT
-- A cache that strangers fill, shared fairly (requirement G29): a domain that fills it loses its own oldest entries, not those of others.
-- As in prosody_relay.shares, a domain may have as much as it leaves free. So may a family of more than three domains. When several domains
-- fill the cache, the largest one loses entries. An account at its limit gets no more places until its entries expire.

local new_cache = require "util.cache".new;
local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;
local new_shares = require "prosody_relay.shares".new;

local fair_cache = {};
local fair_cache_mt = { __index = fair_cache };

-- new(total, [account], [ttl]) -> cache, empty
--   total: the most entries, or the most that they take, in the unit of set(); account: the most for one bare JID, nil for no such limit;
--   ttl: seconds without set() after which an entry is forgotten
function fair_cache.new(total, account, ttl)
	return setmetatable({
		-- both caches keep the order of time
		entries = new_cache(total); keys = {}; -- domain -> the keys of its entries
		total = total; ttl = ttl or math.huge; shares = new_shares(total, account);
	}, fair_cache_mt);
end

local function is_expired(self, entry)
	return entry.at + self.ttl <= now();
end

-- get(key) -> value or nil
function fair_cache:get(key)
	local entry = self.entries:get(key);
	return entry and not is_expired(self, entry) and entry.value or nil;
end

local function remove(self, key)
	local entry = self.entries:get(key);
	if not entry then return; end
	local domain = jid_host(entry.jid);
	local keys = self.keys[domain];
	keys:set(key, nil);
	if keys:count() == 0 then self.keys[domain] = nil; end
	self.entries:set(key, nil);
	self.shares:give(entry.jid, entry.amount);
	-- an empty Lua table keeps its memory, so new ones
	if self.entries:count() == 0 then self.entries, self.keys = new_cache(self.total), {}; end
end

local function put(self, key, entry)
	local domain = jid_host(entry.jid);
	self.shares:hold(entry.jid, entry.amount);
	self.keys[domain] = self.keys[domain] or new_cache(self.total);
	self.keys[domain]:set(key, true);
	self.entries:set(key, entry);
end

local function expire(self)
	local key, entry = self.entries:tail();
	while key and is_expired(self, entry) do
		remove(self, key);
		key, entry = self.entries:tail();
	end
end

-- Puts an entry into the cache; true, or nil when its account has no place for it. Linear in the number of domains when the cache is full.
local function admit(self, key, entry)
	local shares, jid, amount = self.shares, entry.jid, entry.amount;
	if shares:held_by(jid) + amount > shares.account then return nil; end
	local refusal = shares:refusal(jid, amount);
	while refusal do
		local host = jid_host(jid);
		local loser = refusal == "total" and shares:largest() or self.keys[host] and host or shares:largest(jid);
		remove(self, (self.keys[loser]:tail()));
		refusal = shares:refusal(jid, amount);
	end
	put(self, key, entry);
	return true;
end

-- set(key, jid, value, [amount = 1]) -> true; or nil when the account has no place for it, or the entry is removed
--   key: a string; jid: owner of the entry; value: nil removes the entry; amount: how much it takes
function fair_cache:set(key, jid, value, amount)
	remove(self, key);
	expire(self);
	if value == nil then return nil; end
	return admit(self, key, { jid = jid; value = value; amount = amount or 1; at = now() });
end

-- count() -> number of entries, some of which may have expired
function fair_cache:count()
	return self.entries:count();
end

-- save() -> plain table for restore(), the oldest first; restore([saved]) -> the same cache, with those entries that it has place for
function fair_cache:save()
	local saved, place = {}, self.entries:count();
	for key, entry in self.entries:items() do
		saved[place] = { key = key; owner = entry.jid; value = entry.value; amount = entry.amount; at = entry.at };
		place = place - 1;
	end
	return saved;
end

function fair_cache:restore(saved)
	for _, entry in ipairs(saved or {}) do
		admit(self, entry.key, { jid = entry.owner; value = entry.value; amount = entry.amount; at = entry.at });
	end
	return self;
end

return fair_cache;
