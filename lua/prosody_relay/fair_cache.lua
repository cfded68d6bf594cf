-- SPDX-License-Identifier: MIT
-- A cache that strangers fill, shared fairly by domain (requirement G29): who fills it loses its own oldest entries, not those of others. As
-- prosody_relay.shares, a domain may have as many entries as it leaves free.

local new_cache = require "util.cache".new;
local jid_host = require "util.jid".host;
local shares = require "prosody_relay.shares";

local fair_cache = {};
local fair_cache_mt = { __index = fair_cache };

-- new(total) -> cache of so many entries
function fair_cache.new(total)
	return setmetatable({ total = total; shares = shares.new(total); domains = {}; domain_of = {} }, fair_cache_mt);
end

-- get(key) -> value or nil
function fair_cache:get(key)
	local domain = self.domain_of[key];
	return domain and self.domains[domain]:get(key);
end

local function remove(self, key)
	local domain = self.domain_of[key];
	if not domain then return; end
	local entries = self.domains[domain];
	entries:set(key, nil);
	if entries:count() == 0 then self.domains[domain] = nil; end
	self.domain_of[key] = nil;
	self.shares:give(domain);
end

local function largest(self)
	local domain, most = nil, 0;
	for name, entries in pairs(self.domains) do
		if entries:count() > most then domain, most = name, entries:count(); end
	end
	return domain;
end

-- set(key, jid, value): key is a string; jid: whose entry it is; value nil removes the entry. Linear in the number of domains when the
-- cache is full.
function fair_cache:set(key, jid, value)
	if value == nil then return remove(self, key); end
	local domain = jid_host(jid);
	if self.domain_of[key] and self.domain_of[key] ~= domain then remove(self, key); end
	if not self.domain_of[key] then
		local refusal = self.shares:refusal(domain);
		while refusal do
			local loser = refusal == "total" and largest(self) or domain;
			remove(self, (self.domains[loser]:tail()));
			refusal = self.shares:refusal(domain);
		end
		self.shares:hold(domain);
		self.domains[domain] = self.domains[domain] or new_cache(self.total);
		self.domain_of[key] = domain;
	end
	self.domains[domain]:set(key, value);
end

return fair_cache;
