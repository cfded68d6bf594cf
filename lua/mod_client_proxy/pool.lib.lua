-- SPDX-License-Identifier: MIT
-- The resources of the targets. An index by full JID has all of them. Arrays have the resources that can be asked. When one leaves,
-- the last one of the array takes its place: the arrays have no holes, and a pick takes constant time (P5a). This file needs nothing of
-- Prosody.
--
-- A resource can be asked unless it is barred (not admitted, see admission.lib) or ejected (see health.lib). Each of these is a reason, a
-- text. A resource that hibernates (case C6) is asked only when no other can be: one array has the awake ones, another the asleep ones.

-- A target's server names its resources, and may name any number.
local most = 1000;

local pool = {};
local pool_mt = { __index = pool };

local function leave(member)
	local list, position = member.list, member.position;
	local last = list[#list];
	list[position], last.position = last, position;
	list[#list], member.list, member.position = nil, nil, nil;
end

local function enter(member, list)
	member.list, member.position = list, #list + 1;
	list[member.position] = member;
end

-- Puts a member into the array where it belongs; is_gone: into none
local function settle(self, member, is_gone)
	local list = member.is_hibernating and self.asleep or self.awake;
	if is_gone or member.barred or member.ejected then list = nil; end
	if list == member.list then return; end
	local count, awake = self:count(), #self.awake;
	if member.list then leave(member); end
	if list then enter(member, list); end
	if awake > 0 and #self.awake == 0 and self.rescue then self.rescue(); end
	if (count == 0) ~= (self:count() == 0) and self.on_turn then self.on_turn(); end
end

-- new(strategy, [saved]) -> pool; strategy: of strategies.lib; saved: result of :save() of an earlier instance
local function new(strategy, saved)
	local self = setmetatable({ strategy = strategy; awake = {}; asleep = {}; index = {}; size = 0 }, pool_mt);
	-- whether the resource of a key is there, though perhaps not wanted now
	self.is_there = function (jid) return self:is_usable(jid); end;
	for _, member in ipairs(saved or {}) do
		member.list, member.position = nil, nil;
		self.index[member.jid], self.size = member, self.size + 1;
		settle(self, member);
	end
	return self;
end

-- watch(callback): calls back when the last resource that could be asked has gone, and when there is one again
function pool:watch(callback)
	self.on_turn = callback;
end

-- set_rescue(callback): calls back first when the last awake resource leaves or falls asleep; the callback readmits ejected ones
function pool:set_rescue(callback)
	self.rescue = callback;
end

-- is_full() -> whether there is no place for a resource that is not known yet
function pool:is_full()
	return self.size >= most;
end

-- update(jid, account, priority, show, caps, barred, is_hibernating) -> true when the full JID was not known before
--   account: its bare JID; priority: number; show: "away", "chat", "dnd", "xa" or nil; caps: of features.lib, or nil;
--   barred: why it is not admitted, or nil
function pool:update(jid, account, priority, show, caps, barred, is_hibernating)
	local member = self.index[jid];
	local is_new = not member;
	if is_new then
		member = { jid = jid; account = account; load = 0 };
		self.index[jid], self.size = member, self.size + 1;
	end
	member.priority, member.show, member.caps, member.barred = priority, show, caps, barred;
	member.is_hibernating = is_hibernating or nil;
	settle(self, member);
	return is_new;
end

-- Sets one field of a resource; ignored when it has gone
local function change(self, jid, name, value)
	local member = self.index[jid];
	if not member then return; end
	member[name] = value;
	settle(self, member);
end

-- bar(jid, [reason]): a later verdict on the admission of a resource
function pool:bar(jid, reason)
	change(self, jid, "barred", reason);
end

-- eject(jid, [reason]): takes a resource out; without a reason, puts it back
function pool:eject(jid, reason)
	change(self, jid, "ejected", reason);
end

-- hibernate(jid, is_hibernating): the client of a resource has lost its connection, or is back
function pool:hibernate(jid, is_hibernating)
	change(self, jid, "is_hibernating", is_hibernating or nil);
end

-- remove(jid) -> true when the full JID was known
function pool:remove(jid)
	local member = self.index[jid];
	if not member then return false; end
	self.index[jid], self.size = nil, self.size - 1;
	settle(self, member, true);
	return true;
end

-- has(jid) -> is the full JID one of the targets' resources, whether it can be asked or not?
function pool:has(jid)
	return self.index[jid] ~= nil;
end

-- is_usable(jid) -> can that resource be asked, awake or not?
function pool:is_usable(jid)
	local member = self.index[jid];
	return member ~= nil and member.list ~= nil;
end

-- is_preferred(jid) -> can it be asked, and is it awake, or is no resource awake?
function pool:is_preferred(jid)
	local member = self.index[jid];
	return member ~= nil and member.list ~= nil and (member.list == self.awake or #self.awake == 0);
end

-- get(jid) -> what is known of a resource, or nil; not to be changed. Fields: jid, account, priority, show, caps, barred, ejected,
--   is_hibernating; load: its requests in flight
function pool:get(jid)
	return self.index[jid];
end

-- of(account) -> array of the full JIDs of a bare JID
function pool:of(account)
	local jids = {};
	for jid, member in pairs(self.index) do
		if member.account == account then jids[#jids + 1] = jid; end
	end
	return jids;
end

-- add_load(jid, number): counts requests in flight; ignored when the resource has gone
function pool:add_load(jid, number)
	local member = self.index[jid];
	-- it may have left and joined again in the meantime
	if member then member.load = math.max(0, member.load + number); end
end

local function wanted(members, tried, limit)
	if not (tried or limit) then return members; end
	local list = {};
	for _, member in ipairs(members) do
		if not (tried and tried[member.jid]) and not (limit and member.load >= limit) then list[#list + 1] = member; end
	end
	return list;
end

-- pick([key], [owner], [tried], [limit]) -> full JID of a resource that can be asked; nil when there is none
--   key: text; owner: JID of the user whose key it is; for a strategy that sends requests with the same key to the same resource;
--   tried: table whose keys are full JIDs that are not wanted; limit: only resources with fewer requests in flight
function pool:pick(key, owner, tried, limit)
	local members = wanted(self.awake, tried, limit);
	if #members == 0 then members = wanted(self.asleep, tried, limit); end
	if #members == 0 then return nil; end
	return self.strategy:choose(members, key, owner, self.is_there).jid;
end

-- count() -> number of resources that can be asked; count_awake() -> without those that hibernate
function pool:count()
	return #self.awake + #self.asleep;
end

function pool:count_awake()
	return #self.awake;
end

-- each() -> iterator of full JID, what get() gives; over all resources
function pool:each()
	return pairs(self.index);
end

-- save() -> plain table for module.save()
function pool:save()
	local saved = {};
	for _, member in pairs(self.index) do saved[#saved + 1] = member; end
	return saved;
end

return { new = new };
