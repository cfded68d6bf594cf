-- SPDX-License-Identifier: MIT
-- When a managing entity is there (B3, B5, B12, R5, R7). Entities on this server are watched on their own host, whether that is active
-- already or later: external components by their connection, internal ones by their host, accounts by their resources. An entity on
-- another server is taken to be there; when it is not, its server's error answers the request.

local compat = require "prosody_relay.compat";

local function watch_external_component(entity, host)
	local events = module:context(host);
	-- mod_component keeps the stream of the connected component in its environment
	local session = prosody.hosts[host].modules.component.session;
	events:hook("component-authenticated", function (event)
		session = event.session;
		entity:up(entity.jid, session);
	end);
	events:hook("component-disconnected", function (event)
		-- also fired for a second connection that was refused
		if event.session ~= session then return; end
		session = nil;
		entity:down("the component is not connected");
	end);
	if session then
		entity:up(entity.jid, session);
	else
		entity:down("the component is not connected");
	end
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

local function watch_account(entity, host)
	local events = module:context(host);
	local function take_over()
		local session = not entity.address and managing_session(entity);
		if session then entity:up(session.full_jid, session); end
	end
	local absence = entity.resource and "this resource is not connected" or "no resource of the account is connected";
	events:hook("resource-bind", function (event)
		if event.session.username == entity.node then
			-- the advert must not overtake the answer to the bind request
			module:add_timer(0, take_over);
		end
	end);
	events:hook("resource-unbind", function (event)
		if event.session.full_jid == entity.address then
			entity:down(absence);
			take_over();
		end
	end);
	entity.absence = absence;
	take_over();
end

local function attach(entity)
	local host = prosody.hosts[entity.host];
	if host.modules.component then
		watch_external_component(entity, entity.host);
	elseif entity.node and host.type == "local" then
		watch_account(entity, entity.host);
	else
		entity:up(entity.jid);
	end
end

-- start(entities): watches all of them until the module unloads
local function start(entities)
	for _, entity in pairs(entities) do
		if prosody.hosts[entity.host] then attach(entity); end
	end
	local function each_on(host, callback)
		for _, entity in pairs(entities) do
			if entity.host == host then callback(entity); end
		end
	end
	-- behind the module manager (0), which loads mod_component there
	module:hook_global("host-activated", function (host)
		each_on(host, function (entity)
			entity:down("its host has been activated");
			entity.remote = nil;
			attach(entity);
		end);
	end, -1);
	module:hook_global("host-deactivated", function (host)
		each_on(host, function (entity) entity:down("its host is not active"); end);
	end);
	compat.on_started(module, function ()
		for _, entity in pairs(entities) do
			if not prosody.hosts[entity.host] then
				entity.remote = true;
				entity:up(entity.jid);
			end
		end
	end);
end

return { start = start };
