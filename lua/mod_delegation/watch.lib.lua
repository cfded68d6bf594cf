-- SPDX-License-Identifier: MIT
-- When a managing entity is there (B3, B5, B12, R5, R7). Entities on this server are watched on their own host, whether that is active
-- already or later: external components by their connection, internal ones by their host, accounts by their resources. An entity on
-- another server is taken to be there; when it is not, its server's error answers the request.
--
-- A host is hooked once, however many entities are on it and come and go while the module runs (client mode).

local compat = require "prosody_relay.compat";

local watch = {};
local watch_mt = { __index = watch };

-- Calls back for each entity on the host; the callback may add and remove entities
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
		-- also fired for a second connection that was refused
		if event.session ~= self.streams[host] then return; end
		self.streams[host] = nil;
		self:each_on(host, function (entity) entity:down("the component is not connected"); end);
	end);
end

-- The resource that manages for an account: the configured one, else the one that managed before a reload, else the first connected
local function managing_session(entity)
	local account = prosody.bare_sessions[entity.node.."@"..entity.host];
	local sessions = account and account.sessions or {};
	if entity.resource then return sessions[entity.resource]; end
	local first = prosody.full_sessions[entity.preferred_address];
	if first then return first; end
	for _, session in pairs(sessions) do
		if not first or (session.conntime or 0) < (first.conntime or 0) then first = session; end
	end
	return first;
end

local function take_over(entity)
	local session = not entity.address and managing_session(entity);
	if session then entity:up(session.full_jid, session); end
end

local function absence_of(entity)
	return entity.resource and "this resource is not connected" or "no resource of the account is connected";
end

local function watch_accounts(self, host)
	local events = module:context(host);
	-- an account and one of its resources can both be managing
	local function each_of(session, callback)
		for _, jid in ipairs { session.username.."@"..host, session.full_jid } do
			if self.entities[jid] then callback(self.entities[jid]); end
		end
	end
	events:hook("resource-bind", function (event)
		local session = event.session;
		each_of(session, function ()
			-- the advert must not overtake the answer to the bind request
			module:add_timer(0, function () each_of(session, take_over); end);
		end);
	end);
	-- ahead of what ends grants with this session (0): who is gone is not told of that
	events:hook("resource-unbind", function (event)
		each_of(event.session, function (entity)
			if event.session.full_jid ~= entity.address then return; end
			entity:down(absence_of(entity));
			take_over(entity);
		end);
	end, 10);
end

local function attach(self, entity)
	local name = entity.host;
	local host = prosody.hosts[name];
	local is_component = host.modules.component ~= nil;
	if not is_component and not (entity.node and host.type == "local") then
		entity:up(entity.jid);
		return;
	end
	if not self.watched[name] then
		self.watched[name] = true;
		(is_component and watch_component or watch_accounts)(self, name);
	end
	if not is_component then
		entity.absence = absence_of(entity);
		take_over(entity);
	elseif self.streams[name] then
		entity:up(entity.jid, self.streams[name]);
	else
		entity:down("the component is not connected");
	end
end

-- add(entity): watches one that was not there at the start; it must be in the table already
function watch:add(entity)
	if prosody.hosts[entity.host] then
		attach(self, entity);
	elseif self.started then
		entity.remote = true;
		entity:up(entity.jid);
	end
end

-- start(entities) -> watch: watches all of them until the module unloads, or as long as they are in the table (JID -> entity)
local function start(entities)
	local self = setmetatable({ entities = entities; watched = {}; streams = {} }, watch_mt);
	local at_start = {};
	for _, entity in pairs(entities) do at_start[#at_start + 1] = entity; end
	for _, entity in ipairs(at_start) do self:add(entity); end
	-- behind the module manager (0), which loads mod_component there
	module:hook_global("host-activated", function (host)
		self:each_on(host, function (entity)
			entity:down("its host has been activated");
			entity.remote = nil;
			attach(self, entity);
		end);
	end, -1);
	module:hook_global("host-deactivated", function (host)
		self.watched[host], self.streams[host] = nil, nil;
		self:each_on(host, function (entity) entity:down("its host is not active"); end);
	end);
	compat.on_started(module, function ()
		self.started = true;
		for _, entity in pairs(entities) do
			if not prosody.hosts[entity.host] then self:add(entity); end
		end
	end);
	return self;
end

return { start = start };
