-- SPDX-License-Identifier: MIT
-- The resources of the targets. Those that can be asked are an array without holes (the last one takes the place of one that
-- leaves), so that one is picked in constant time whoever came and went before (P5a); all are in an index by full JID.
-- Nothing of Prosody is needed here.
--
-- A resource can be asked unless it is barred (not admitted, see admission.lib) or ejected (see health.lib); each is a reason, a text.

local pool = {};
local pool_mt = { __index = pool };

local function leave(self, member)
	local members, position = self.members, member.position;
	local last = members[#members];
	members[position], last.position = last, position;
	members[#members], member.position = nil, nil;
	if #members > 0 then return; end
	if self.rescue then self.rescue(); end
	if #members == 0 and self.on_turn then self.on_turn(); end
end

local function settle(self, member)
	local usable = not (member.barred or member.ejected);
	if usable and not member.position then
		member.position = #self.members + 1;
		self.members[member.position] = member;
		if member.position == 1 and self.on_turn then self.on_turn(); end
	elseif member.position and not usable then
		leave(self, member);
	end
end

-- new(strategy, [saved]) -> pool; strategy: of strategies.lib; saved: result of :save() of an earlier instance
local function new(strategy, saved)
	local self = setmetatable({ strategy = strategy; members = {}; index = {} }, pool_mt);
	for _, member in ipairs(saved or {}) do
		member.position = nil;
		self.index[member.jid] = member;
		settle(self, member);
	end
	return self;
end

-- watch(callback): calls back when the last resource that could be asked has gone, and when there is one again
function pool:watch(callback)
	self.on_turn = callback;
end

-- set_rescue(callback): calls back first when the last one that could be asked goes, to put back who is ejected
function pool:set_rescue(callback)
	self.rescue = callback;
end

-- update(jid, account, priority, show, caps, barred) -> true when the full JID was not known before
--   account: its bare JID; priority: number; show: "away", "chat", "dnd", "xa" or nil; caps: of features.lib, or nil;
--   barred: why it is not admitted, or nil
function pool:update(jid, account, priority, show, caps, barred)
	local member = self.index[jid];
	local is_new = not member;
	if is_new then
		member = { jid = jid; account = account; load = 0 };
		self.index[jid] = member;
	end
	member.priority, member.show, member.caps, member.barred = priority, show, caps, barred;
	settle(self, member);
	return is_new;
end

-- bar(jid, [reason]): a later verdict on the admission of a resource; ignored when it has gone
function pool:bar(jid, reason)
	local member = self.index[jid];
	if not member then return; end
	member.barred = reason;
	settle(self, member);
end

-- eject(jid, [reason]): takes a resource out for some time, or, without a reason, puts it back
function pool:eject(jid, reason)
	local member = self.index[jid];
	if not member then return; end
	member.ejected = reason;
	settle(self, member);
end

-- remove(jid) -> true when the full JID was known
function pool:remove(jid)
	local member = self.index[jid];
	if not member then return false; end
	if member.position then leave(self, member); end
	self.index[jid] = nil;
	return true;
end

-- has(jid) -> is the full JID one of the targets' resources, whether it can be asked or not?
function pool:has(jid)
	return self.index[jid] ~= nil;
end

-- get(jid) -> what is known of a resource, or nil; not to be changed. Fields: jid, account, priority, show, caps, barred, ejected;
--   load: its requests in flight
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
	-- it may have gone and come anew in the meantime
	if member then member.load = math.max(0, member.load + number); end
end

-- pick([key], [tried], [limit]) -> full JID of a resource that can be asked; nil when there is none
--   key: text, for a strategy that sends what has the same key to the same resource; tried: set of full JIDs that are not wanted;
--   limit: only resources with fewer requests in flight
function pool:pick(key, tried, limit)
	local members = self.members;
	if tried or limit then
		members = {};
		for _, member in ipairs(self.members) do
			if not (tried and tried[member.jid]) and not (limit and member.load >= limit) then members[#members + 1] = member; end
		end
	end
	if #members == 0 then return nil; end
	return self.strategy:choose(members, key).jid;
end

-- count() -> number of resources that can be asked
function pool:count()
	return #self.members;
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
