-- SPDX-License-Identifier: MIT
-- Who granted what to whom (client mode, XEP-0355 section 5), and for how long (section 10, rules 1 and 2: C7, C19, C20, C21).
--
-- A grant is { entity, resource (of the user; the grant ends with its session), time, wish (she wants to keep it), kept (it is kept, and
-- stored) }. A managing entity is made for its first grant, and dropped with its last.

local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;

local stores = require "prosody_relay.stores";

local shares = module:require "client/shares";

local grants = {};
local grants_mt = { __index = grants };

-- new(entities, timeout, [store]) -> grants, with no grant yet
--   entities: { get(jid) -> managing entity, made and watched if there is none yet; drop(jid): no user grants it anything any more }
--   timeout: seconds for each request; store: keyval store for grants that are kept, nil if none is
local function new(entities, timeout, store)
	-- users: name -> namespace -> grant; views: grant -> the delegation in force; managing: JID -> entity with grants
	return setmetatable({ entities = entities; timeout = timeout; store = store; users = {}; views = {}; managing = {} }, grants_mt);
end

function grants:entity(jid)
	local managing = self.managing[jid];
	if not managing then
		managing = self.entities.get(jid);
		managing:set_shares(shares.new(managing, self.timeout, function () self:end_all_of(jid); end));
		self.managing[jid] = managing;
	end
	return managing;
end

function grants:drop_if_idle(jid)
	local managing = self.managing[jid];
	if not managing or not managing.shares:is_empty() then return; end
	self.managing[jid] = nil;
	managing:set_shares(nil);
	self.entities.drop(jid);
end

function grants:put(user, namespace, grant)
	self.users[user] = self.users[user] or {};
	self.users[user][namespace] = grant;
	self.views[grant] = self:entity(grant.entity).shares:add(user, namespace);
end

function grants:take(user, namespace)
	local of_user = self.users[user];
	local grant = of_user and of_user[namespace];
	if not grant then return nil; end
	of_user[namespace] = nil;
	if next(of_user) == nil then self.users[user] = nil; end
	self.views[grant] = nil;
	self.managing[grant.entity].shares:remove(user, namespace);
	return grant;
end

function grants:write(user)
	if not self.store then return; end
	local kept;
	for namespace, grant in pairs(self.users[user] or {}) do
		if grant.kept then
			kept = kept or {};
			kept[namespace] = { entity = grant.entity; resource = grant.resource; time = grant.time };
		end
	end
	local ok, err = self.store:set(user, kept);
	if not ok then module:log("error", "Delegations of %s cannot be stored: %s", user, err or "unknown error"); end
end

-- change(user, changes): namespace -> new grant, or false to end the present one. Each entity whose grants change is told once, with all
-- grants that are left (C14). That includes an entity that loses a namespace to another (C7).
function grants:change(user, changes)
	local concerned, stored = {}, false;
	for namespace, grant in pairs(changes) do
		local old = self:take(user, namespace);
		if old then
			concerned[old.entity] = true;
			stored = stored or old.kept;
		end
		if grant then
			concerned[grant.entity] = true;
			self:put(user, namespace, grant);
			stored = stored or grant.kept;
		end
	end
	if stored then self:write(user); end
	for jid in pairs(concerned) do
		self.managing[jid].shares:announce(user);
		self:drop_if_idle(jid);
	end
end

-- delegation(user, namespace) -> the delegation in force, or nil
function grants:delegation(user, namespace)
	local grant = self.users[user] and self.users[user][namespace];
	return grant and self.views[grant];
end

-- of(user) -> namespace -> grant, not to be changed; nil if there is none
function grants:of(user)
	return self.users[user];
end

-- delegations(user) -> list of the delegations in force
function grants:delegations(user)
	local list = {};
	for _, grant in pairs(self.users[user] or {}) do list[#list + 1] = self.views[grant]; end
	return list;
end

-- announce(user, jid): tells the entity again what this user grants it
function grants:announce(user, jid)
	self.managing[jid].shares:announce(user);
end

-- revoke(user, [test(grant, namespace)]): ends the user's grants that pass the test
function grants:revoke(user, test)
	local changes = {};
	for namespace, grant in pairs(self.users[user] or {}) do
		if not test or test(grant, namespace) then changes[namespace] = false; end
	end
	if next(changes) ~= nil then self:change(user, changes); end
end

-- Ends all grants to an entity that was one resource, and is gone (C15)
function grants:end_all_of(jid)
	local users = {};
	for user in pairs(self.managing[jid].shares.users) do users[#users + 1] = user; end
	for _, user in ipairs(users) do
		self:revoke(user, function (grant) return grant.entity == jid; end);
	end
end

-- session_ended(user, resource): the grants of this session end, unless they are kept (C19)
function grants:session_ended(user, resource)
	self:revoke(user, function (grant) return grant.resource == resource and not grant.kept; end);
end

-- keep(user, resource): this session has shown that its user can revoke, so her grants there are kept if she wants that (C20)
function grants:keep(user, resource)
	local changed = false;
	for _, grant in pairs(self.users[user] or {}) do
		-- an entity that is one resource ends with that resource (C15)
		if grant.wish and not grant.kept and grant.resource == resource and self.store and not jid_resource(grant.entity) then
			grant.kept, changed = true, true;
		end
	end
	if changed then self:write(user); end
end

-- set_wish(user, jid, wish, resource): whether the user wants to keep her grants to this entity. They belong to this session then.
function grants:set_wish(user, jid, wish, resource)
	local changed = false;
	for _, grant in pairs(self.users[user] or {}) do
		if grant.entity == jid and (grant.kept or false) ~= wish then
			grant.wish, grant.resource, grant.kept, changed = wish, resource, nil, true;
		end
	end
	if not changed then return; end
	self:write(user);
	self:keep(user, resource);
end

-- List of the users who have data in the store
local function users_in(store)
	local names = {};
	-- not every storage driver can list users
	if not store.users then return names; end
	local listed, err = pcall(function ()
		local next_user, state, first = store:users();
		if not next_user then return; end -- the storage driver "none"
		for user in next_user, state, first do names[#names + 1] = user; end
	end);
	if not listed then module:log("error", "It cannot be found out who has kept delegations: %s", err); end
	return names;
end

-- Whether this is what :write() has stored for a user
local function is_written(data)
	for namespace, kept in pairs(data) do
		if type(namespace) ~= "string" or type(kept.resource) ~= "string" or type(kept.time) ~= "number"
				or kept.entity == module.host or jid_prep(kept.entity) ~= kept.entity or not kept.entity then return false; end
	end
	return true;
end

-- load(is_allowed): loads the stored grants, and deletes those that are not allowed; is_allowed(namespace) -> boolean. Call it after restore().
function grants:load(is_allowed)
	for _, user in ipairs(users_in(self.store)) do
		local rejected = false;
		for namespace, kept in pairs(stores.read(module, "delegation_grants", user, is_written) or {}) do
			if not is_allowed(namespace) then
				rejected = true;
			elseif not self:delegation(user, namespace) then
				self:put(user, namespace, { entity = kept.entity; resource = kept.resource; time = kept.time; wish = true; kept = true });
			end
		end
		if rejected then self:write(user); end
	end
end

-- forget_stored(store): deletes stored grants, as the administrator does not allow users to keep grants (C20)
local function forget_stored(store)
	for _, user in ipairs(users_in(store)) do store:set(user, nil); end
end

-- restore(saved, is_valid): after a module reload; is_valid(user, namespace, grant) -> boolean. Entities learn of changes when they are introduced
-- or dismissed.
function grants:restore(saved, is_valid)
	for user, of_user in pairs(saved) do
		for namespace, grant in pairs(of_user) do
			if is_valid(user, namespace, grant) then self:put(user, namespace, grant); end
		end
	end
end

return { new = new; forget_stored = forget_stored };
