-- SPDX-License-Identifier: MIT
-- Watches when a managing entity is available (B3, B5, B12, R5, R7). An entity on this server is watched on its host, as soon as that is active:
-- external components by their connection, internal components by their host, accounts by their resources. An entity on another server is
-- in an unknown state until it answers, or this server cannot reach it (E3).
--
-- A host is hooked once, for any number of entities; in client mode, entities come and go while the module runs.

local jid_bare = require "util.jid".bare;
local user_exists = require "core.usermanager".user_exists;

local compat = require "prosody_relay.compat";
local is_hibernating = require "prosody_relay.sessions".is_hibernating;
local watch_hibernation = require "prosody_relay.sessions".watch;

local watch = {};
local watch_mt = { __index = watch };

-- Calls the function for each entity on the host; it may add and remove entities
function watch:each_on(host, callback)
	local found = {};
	for _, entity in pairs(self.entities) do
		if entity.host == host then found[#found + 1] = entity; end
	end
	for _, entity in ipairs(found) do callback(entity); end
end

local function watch_component(self, host)
	local events = module:context(host);
	-- mod_component keeps the stream of the connected component in its environment
	self.streams[host] = prosody.hosts[host].modules.component.session;
	events:hook("component-authenticated", function (event)
		self.streams[host] = event.session;
		self:each_on(host, function (entity) entity:up(entity.jid, event.session); end);
	end);
	events:hook("component-disconnected", function (event)
		-- also fired for a second connection that Prosody refused
		if event.session ~= self.streams[host] then return; end
		self.streams[host] = nil;
		self:each_on(host, function (entity) entity:down("the component is not connected"); end);
	end);
end

-- Whether `session` manages for the account rather than `other`. A session that hibernates comes last (case C6), and replaces no other one.
-- Otherwise the session that connected first manages.
local function comes_first(current, session, other)
	local sleeps = is_hibernating(session.full_jid);
	if sleeps ~= is_hibernating(other.full_jid) then return not sleeps; end
	if sleeps and (session == current or other == current) then return session == current; end
	return (session.conntime or 0) < (other.conntime or 0);
end

local function managing_session(entity)
	local account = prosody.bare_sessions[entity.owner];
	local sessions = account and account.sessions or {};
	if entity.resource then return sessions[entity.resource]; end
	local current = prosody.full_sessions[entity.address or entity.preferred_address];
	-- the session that managed before a module reload continues to manage
	if current and not entity.address and not is_hibernating(current.full_jid) then return current; end
	local first = current;
	for _, session in pairs(sessions) do
		if not first or comes_first(current, session, first) then first = session; end
	end
	return first;
end

-- Makes the right resource manage from now on
local function review(entity)
	local session = managing_session(entity);
	if not session or session.full_jid == entity.address then return; end
	entity:set_doubt(nil);
	entity:up(session.full_jid, session);
end

-- A new resource is online. Nothing changes while the managing resource is able to manage.
local function take_over(entity)
	if not entity.address or is_hibernating(entity.address) then review(entity); end
end

local function absence_of(entity)
	return entity.resource and "this resource is not connected" or "no resource of the account is connected";
end

local function watch_accounts(self, host)
	local events = module:context(host);
	-- an account and one of its resources can both be managing entities
	local function each_of(full_jid, callback)
		for _, jid in ipairs { jid_bare(full_jid), full_jid } do
			if self.entities[jid] then callback(self.entities[jid]); end
		end
	end
	events:hook("resource-bind", function (event)
		local full_jid = event.session.full_jid;
		each_of(full_jid, function ()
			-- the advert must not overtake the answer to the bind request
			module:add_timer(0, function () each_of(full_jid, take_over); end);
		end);
	end);
	-- before the hook that ends grants with this session (0): an entity that is gone is not told of that
	events:hook("resource-unbind", function (event)
		local full_jid = event.session.full_jid;
		each_of(full_jid, function (entity)
			if full_jid ~= entity.address then return entity:left(full_jid); end
			entity:down(absence_of(entity));
			review(entity);
		end);
	end, 10);
	-- the stream continues when the host is activated again
	if self.hibernation_watched[host] then return; end
	self.hibernation_watched[host] = true;
	watch_hibernation(module, host, function (full_jid)
		each_of(full_jid, function () module:add_timer(0, function () each_of(full_jid, review); end); end);
	end);
end

-- A service inside the server, such as a pool of clients. A client of it that comes online sends presence to the service. The client may have
-- missed what the service was told while it had no client (E10).
local function watch_service(self, host)
	module:context(host):hook("presence/host", function (event)
		if event.stanza.attr.type ~= nil then return; end
		-- when the service has handled the presence
		module:add_timer(0, function () self:each_on(host, function (entity) entity:seen(); end); end);
	end, 10); -- before the service (1)
end

local function attach(self, entity)
	local name = entity.host;
	local host = prosody.hosts[name];
	local is_component = host.modules.component ~= nil;
	local is_account = not is_component and entity.node and host.type == "local";
	if not self.watched[name] then
		self.watched[name] = true;
		(is_component and watch_component or host.type == "local" and watch_accounts or watch_service)(self, name);
	end
	if is_account then
		entity:down(absence_of(entity));
		review(entity);
	elseif not is_component then
		entity:set_place("inside");
		entity:up(entity.jid);
	elseif self.streams[name] then
		entity:up(entity.jid, self.streams[name]);
	else
		entity:down("the component is not connected");
	end
end

-- A host of this server whose domain contains this name, or nil
local function parent_of(name)
	repeat
		name = name:match("%.(.*)$");
	until not name or prosody.hosts[name];
	return name;
end

-- What looks like a mistake in the address of an entity that the administrator chose, or nil (E3)
local function doubt_about(entity)
	local host = prosody.hosts[entity.host];
	if not host then
		local parent = parent_of(entity.host);
		return parent and ("there is no host %s here, though there is %s; is it mistyped?"):format(entity.host, parent);
	end
	if host.type ~= "local" or not entity.node then return nil; end
	-- an authentication module may raise an error
	local done, exists = pcall(user_exists, entity.node, entity.host);
	return done and not exists and ("there is no account %s; is it mistyped?"):format(entity.owner) or nil;
end

-- add(entity): watches an entity that did not exist at the start; it must be in the table already
function watch:add(entity)
	if self.started and not entity.is_guest then
		local doubt = doubt_about(entity);
		entity:set_doubt(doubt);
		if doubt then module:log("warn", "Managing entity %s: %s", entity.jid, doubt); end
	end
	if prosody.hosts[entity.host] then
		if not entity.address then attach(self, entity); end
	elseif self.started then
		entity:set_place("remote");
		entity:up(entity.jid);
	end
end

-- start(entities) -> watch: watches the entities of this table (JID -> entity) while they are in it, until the module unloads
local function start(entities)
	local self = setmetatable({ entities = entities; watched = {}; hibernation_watched = {}; streams = {} }, watch_mt);
	local at_start = {};
	for _, entity in pairs(entities) do at_start[#at_start + 1] = entity; end
	for _, entity in ipairs(at_start) do self:add(entity); end
	-- after the module manager (0), which loads mod_component there
	module:hook_global("host-activated", function (host)
		self:each_on(host, function (entity)
			entity:down("its host has been activated");
			entity:set_place(nil);
			entity:set_doubt(nil);
			attach(self, entity);
		end);
	end, -1);
	module:hook_global("host-deactivated", function (host)
		self.watched[host], self.streams[host] = nil, nil;
		self:each_on(host, function (entity) entity:down("its host is not active"); end);
	end);
	compat.on_started(module, function ()
		self.started = true;
		for _, entity in pairs(entities) do self:add(entity); end
	end);
	return self;
end

return { start = start };
