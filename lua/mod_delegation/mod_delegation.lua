-- SPDX-License-Identifier: MIT
-- XEP-0355 (Namespace Delegation), admin mode: the server hands the IQ requests of whole namespaces to a managing entity (a component, an
-- account of this server, or a remote service) and passes its answers on, unnoticed by the users.
--
-- One table of requests per entity (entity.lib.lua); hooks are added once, none per request. What an answer must look like is in
-- wrapper.lib.lua, when an entity is there in watch.lib.lua, what it is told in introduction.lib.lua, what service discovery shows in
-- nesting.lib.lua and bare_disco.lib.lua.

-- Delegations belong to virtual hosts. A component that has the module enabled, or inherits the global option, has none (R4, B6).
if module:get_host_type() ~= "local" then return; end

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;

local options = require "prosody_relay.options";

local config = module:require "config";
local entity = module:require "entity";

local saved_entities = module.saved_state and module.saved_state.entities or {};

local function dismiss_saved_entities()
	for jid, saved in pairs(saved_entities) do
		entity.dismiss_saved(saved);
		saved_entities[jid] = nil;
	end
end

local function read_options()
	local timeout = options.number(module, "delegation_timeout", 30, 1);
	local max_pending = options.integer(module, "delegation_max_pending", 10000, 1);
	local configured = module:get_option("delegations", {});
	if type(configured) ~= "table" then options.refuse("delegations", "a table of namespaces", configured); end
	local delegations, problems = config.parse(configured, module.host, timeout);
	return delegations, problems, max_pending;
end

local readable, delegations, problems, max_pending = pcall(read_options);
if not readable then
	-- the module does not come back from this reload: nobody else would answer the users
	dismiss_saved_entities();
	error(delegations, 0);
end
for _, problem in ipairs(problems) do
	module:log("error", "%s", problem);
end

-- namespace -> delegation
local by_namespace = {};
-- JID as configured -> managing entity
local entities = {};

-- From here on things are hooked that an error would leave behind.
local written_to = module:require "written_to";
local blocking = module:require "blocking";
local commands = module:require "commands";
local privilege = module:require "privilege";
local nesting = module:require "nesting".new(delegations);

for _, delegation in ipairs(delegations) do
	local jid = delegation.jid;
	if not entities[jid] then
		entities[jid] = entity.new(jid, max_pending, nesting.changed, saved_entities[jid]);
		saved_entities[jid] = nil;
	end
	entities[jid]:manage(delegation);
	by_namespace[delegation.namespace] = delegation;
end
-- what is left in it belongs to entities that the new configuration does not know
dismiss_saved_entities();

-- The delegation that a request falls under; nil if the server treats it itself, because the namespace is not delegated, a filtering
-- attribute is missing (D15), or the managing entity sends it (D16), be it in the name of a user (D17).
local function delegation_for(stanza, namespace)
	local delegation, from = by_namespace[namespace], stanza.attr.from;
	if not delegation or not from then return nil; end
	local payload = stanza.tags[1];
	for _, name in ipairs(delegation.filtering) do
		if payload.attr[name] == nil then return nil; end
	end
	if delegation.entity:is_sender(privilege.sender_of(stanza)) then return nil; end
	return delegation;
end

local function forward(event, delegation)
	local wait, done;
	if delegation.blocking then wait, done = blocking.waiter(event.origin, entities); end
	local sent = delegation.entity:forward(event.origin, event.stanza, delegation, written_to.of(event), done);
	if wait and sent then wait(); end
	return true;
end

local function handle_iq(event)
	local stanza = event.stanza;
	local type, payload = stanza.attr.type, stanza.tags[1];
	if (type ~= "get" and type ~= "set") or not payload or not stanza.attr.id then return; end
	local delegation = delegation_for(stanza, payload.attr.xmlns);
	if delegation then return forward(event, delegation); end
end

local function handle_answer(event)
	local stanza = event.stanza;
	local type, from = stanza.attr.type, stanza.attr.from;
	if (type ~= "result" and type ~= "error") or not from then return; end
	local asked = entities[from];
	if asked and asked:answer(stanza) then return true; end
	-- an account and one of its resources can both be configured
	local account = entities[jid_bare(from)];
	return account and account ~= asked and account:answer(stanza) or nil;
end

-- Ahead of mod_iq (0), which fires the events that the server's own handlers hook; behind what filters stanzas (mod_blocklist: 100).
-- iq/bare comes before iq/self and is fired for requests without 'to' as well; iq/full is left alone (D5).
module:hook("iq/bare", handle_iq, 90);
module:hook("iq/host", handle_iq, 90);
module:hook("iq/host", handle_answer, 90);

-- D18: asking for the namespace of delegation itself is forbidden. Other requests of client mode are unknown here.
local function handle_request_for_delegation(event)
	for delegate in event.stanza.tags[1]:childtags("delegate") do
		if config.is_protected(delegate.attr.namespace) then
			event.origin.send(st.error_reply(event.stanza, "auth", "forbidden"));
			return true;
		end
	end
end

for _, version in ipairs(config.versions(delegations)) do
	module:add_feature(version); -- D19
	module:hook("iq/host/"..version..":query", handle_request_for_delegation);
end

module:require "bare_disco".start(delegation_for, forward);
module:require "watch".start(entities);
commands.start(entities, problems);

function module.save()
	local saved = {};
	for jid, managing in pairs(entities) do
		saved[jid] = managing:save();
	end
	return { entities = saved };
end

function module.unload()
	written_to.stop();
	commands.stop();
	if module.reloading then return; end
	for _, managing in pairs(entities) do
		managing:dismiss();
	end
end
