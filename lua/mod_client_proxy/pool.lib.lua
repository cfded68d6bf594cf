-- SPDX-License-Identifier: MIT
-- The resources that can be asked: an array without holes (the last member takes the place of one that leaves), so that one is
-- picked at random in constant time whoever came and went before (P5a), and an index by full JID. Nothing of Prosody is needed here.

local random = math.random;

local pool = {};
local pool_mt = { __index = pool };

-- new([saved]) -> pool; saved: result of :save() of an earlier instance
local function new(saved)
	local self = setmetatable({ members = saved or {}; index = {} }, pool_mt);
	for _, member in ipairs(self.members) do
		self.index[member.jid] = member;
	end
	return self;
end

-- update(jid, account, priority, show) -> true when the full JID was not in the pool before
--   account: its bare JID; priority: number; show: "away", "chat", "dnd", "xa" or nil
function pool:update(jid, account, priority, show)
	local member = self.index[jid];
	if member then
		member.priority, member.show = priority, show;
		return false;
	end
	local position = #self.members + 1;
	member = { jid = jid; account = account; priority = priority; show = show; position = position };
	self.members[position], self.index[jid] = member, member;
	return true;
end

-- remove(jid) -> true when the full JID was in the pool
function pool:remove(jid)
	local member = self.index[jid];
	if not member then return false; end
	local members = self.members;
	local last = members[#members];
	members[member.position], last.position = last, member.position;
	members[#members], self.index[jid] = nil, nil;
	return true;
end

-- has(jid) -> is the full JID in the pool?
function pool:has(jid)
	return self.index[jid] ~= nil;
end

-- of(account) -> array of the full JIDs of a bare JID
function pool:of(account)
	local jids = {};
	for _, member in ipairs(self.members) do
		if member.account == account then jids[#jids + 1] = member.jid; end
	end
	return jids;
end

-- pick() -> full JID of a member, each with the same probability (P5, P5b); nil when there is none
function pool:pick()
	local size = #self.members;
	return size > 0 and self.members[random(size)].jid or nil;
end

-- count() -> number of members
function pool:count()
	return #self.members;
end

-- accounts() -> set of the bare JIDs that have members
function pool:accounts()
	local accounts = {};
	for _, member in ipairs(self.members) do accounts[member.account] = true; end
	return accounts;
end

-- save() -> plain table for module.save()
function pool:save()
	return self.members;
end

return { new = new };
