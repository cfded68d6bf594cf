-- SPDX-License-Identifier: MIT
-- A bounded table that strangers fill, shared fairly (requirement G29): nobody can keep others out of it. This file counts; the caller keeps
-- the entries. All have one limit together, and each account (bare JID) may have one. A domain may hold as much as it leaves free. One
-- domain alone gets half of the table, two get a third each. A new domain finds a place until about a dozen have filled the table.
--
-- The owner of a domain can make any number of subdomains. Domains that end in the same two labels are a family here. When more than three
-- domains of a family hold something, they count as one domain together. They may be strangers to each other, as in co.uk.

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;

-- so many domains of a family may each hold as much as other domains
local max_independent = 3;

local shares = {};
local shares_mt = { __index = shares };

-- family_of(jid) -> the domain whose subdomains count as one. An address has no subdomains, but one network has many addresses. All IPv6
-- addresses are one family; IPv4 addresses are one if they begin with the same two numbers.
function shares.family_of(jid)
	local host = jid_host(jid);
	-- with an anchor at the beginning this takes linear time
	return host:match("^%[") or host:match("^(%d+%.%d+)%.%d+%.%d+$") or host:match("^.*%.([^.]+%.[^.]+)$") or host;
end

-- A request is counted in several tables, when it comes and when it goes: its JID is split only once.
local last_jid, last_host, last_family, last_bare;
local function parts_of(jid)
	if jid ~= last_jid then last_jid, last_host, last_family, last_bare = jid, jid_host(jid), shares.family_of(jid), jid_bare(jid); end
	return last_host, last_family, last_bare;
end

-- new(total, [account]) -> shares, all of them free
--   total: limit for all together, in any unit (entries, bytes); account: limit for one bare JID, nil for no such limit
function shares.new(total, account)
	return setmetatable({ total = total; account = account or total; used = 0; by_family = {}; members = {}; by_domain = {}; by_account = {} },
		shares_mt);
end

-- The domains of a family that hold something: self.members has the domain itself if there is one, and else { count, domains = a set }
local function count_members(self, family)
	local members = self.members[family];
	return type(members) == "table" and members.count or members and 1 or 0;
end

local function join_family(self, family, host)
	local members = self.members[family];
	if not members then
		self.members[family] = host;
	elseif type(members) == "string" then
		self.members[family] = { count = 2; domains = { [members] = true; [host] = true } };
	else
		members.count, members.domains[host] = members.count + 1, true;
	end
end

local function leave_family(self, family, host)
	local members = self.members[family];
	if members == host then
		self.members[family] = nil;
	else
		members.count, members.domains[host] = members.count - 1, nil;
		if members.count == 1 then self.members[family] = next(members.domains); end
	end
end

-- refusal(jid, [amount = 1]) -> nil when that much more is free for the JID; else what is used up: "account", "domain", "family" or "total"
function shares:refusal(jid, amount)
	amount = amount or 1;
	if self.used + amount > self.total then return "total"; end
	local host, family, bare = parts_of(jid);
	local left, held = self.total - self.used, self.by_domain[host];
	if held and held + amount > left then return "domain"; end
	if count_members(self, family) > max_independent - (held and 0 or 1) and self.by_family[family] + amount > left then return "family"; end
	if (self.by_account[bare] or 0) + amount > self.account then return "account"; end
end

local function add(counts, key, amount)
	local count = (counts[key] or 0) + amount;
	counts[key] = count > 0 and count or nil;
end

-- hold(jid, [amount = 1]): the JID holds that much more from now on, even if it is not free; a negative amount gives it back
function shares:hold(jid, amount)
	amount = amount or 1;
	self.used = self.used + amount;
	if self.used == 0 then
		-- an empty Lua table keeps its memory, so new ones
		self.by_family, self.members, self.by_domain, self.by_account = {}, {}, {}, {};
		return;
	end
	local host, family, bare = parts_of(jid);
	local was_member = self.by_domain[host] ~= nil;
	add(self.by_family, family, amount);
	add(self.by_domain, host, amount);
	local is_member = self.by_domain[host] ~= nil;
	if is_member ~= was_member then (is_member and join_family or leave_family)(self, family, host); end
	add(self.by_account, bare, amount);
end

-- take(jid, [amount = 1]) -> true, and it counts; or nil and the refusal
function shares:take(jid, amount)
	local refusal = self:refusal(jid, amount);
	if refusal then return nil, refusal; end
	self:hold(jid, amount);
	return true;
end

-- give(jid, [amount = 1]): an amount that hold or take counted is free again
function shares:give(jid, amount)
	self:hold(jid, -(amount or 1));
end

-- Of the keys of one table, the one that has the highest count in the other
local function key_of_most(keys, counts)
	local found, most = nil, 0;
	for key in pairs(keys) do
		if counts[key] > most then found, most = key, counts[key]; end
	end
	return found;
end

-- largest([jid]) -> the domain that holds most in the family of that JID; without one, in the largest family; nil when the table is empty.
-- Linear in the number of families, or in that of the domains of the family.
function shares:largest(jid)
	local family = jid and shares.family_of(jid) or key_of_most(self.by_family, self.by_family);
	local members = self.members[family];
	return type(members) == "table" and key_of_most(members.domains, self.by_domain) or members;
end

-- held_by(jid) -> how much the account of that JID holds
function shares:held_by(jid)
	return self.by_account[jid_bare(jid)] or 0;
end

return shares;
