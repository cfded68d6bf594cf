-- SPDX-License-Identifier: MIT
-- The delegations of a host, and the way of a request to its managing entity and back.

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;

local compat = require "prosody_relay.compat";

local xmlns_commands = "http://jabber.org/protocol/commands";

local config = module:require "config";
local settings = module:require "settings";

for _, problem in ipairs(settings.problems) do
	module:log("error", "%s", problem);
end

local entity = module:require "entity";

local saved = module.saved_state or {};
-- what is left of the instance before a reload: JID as configured -> managing entity as saved
local saved_entities = saved.entities or {};
-- JID as configured -> managing entity
local entities = {};
local stop = {};

-- Defined this early because Prosody also calls it when the module fails to load
function module.unload()
	for _, each in ipairs(stop) do each(); end
	if module.reloading then return; end
	for _, managing in pairs(entities) do managing:dismiss(); end
	for _, saved_entity in pairs(saved_entities) do entity.dismiss_saved(saved_entity); end
end

local blocking = module:require "blocking";
local commands = module:require "commands";
local errors = module:require "errors";
local ids = module:require "ids";
local pep = module:require "pep";
local privilege = module:require "privilege";
local shares = module:require "client/shares";
local written_to = module:require "written_to";
stop = { written_to.stop, commands.stop };

-- namespace -> delegation
local by_namespace = {};

local client, watch;
local nesting = module:require "disco/nesting".new(settings.delegations, function (user) return client and client:delegations(user) or {}; end);

local function entity_of(jid, is_guest)
	if not entities[jid] then
		entities[jid] = entity.new(jid, settings.max_pending, nesting.changed, saved_entities[jid], is_guest);
		privilege.add(entities[jid].owner, is_guest);
		saved_entities[jid] = nil;
	end
	return entities[jid];
end

for _, delegation in ipairs(settings.delegations) do
	entity_of(delegation.jid):manage(delegation);
	by_namespace[delegation.namespace] = delegation;
end

-- Entities that users choose come and go
local guests = {};

function guests.get(jid)
	if entities[jid] then return entities[jid]; end
	local guest = entity_of(jid, true);
	if watch then watch:add(guest); end
	return guest;
end

function guests.drop(jid)
	local guest = entities[jid];
	if not guest.is_guest then return; end
	guest:down("users chose it, and have revoked that", true);
	privilege.remove(guest.owner);
	entities[jid] = nil;
end

if settings.client.enabled then
	settings.client.taken, settings.client.entities, settings.client.saved = by_namespace, guests, saved.client;
	client = module:require "client/mode".start(settings.client);
end
-- the entities that are left: the new configuration does not name them, and no user chooses them any more
for _, saved_entity in pairs(saved_entities) do entity.dismiss_saved(saved_entity); end
saved_entities = {};

-- Users can always manage their delegations, even if these namespaces are delegated (C23)
local function is_exempt(payload)
	local xmlns, node = payload.attr.xmlns, payload.attr.node;
	return xmlns == xmlns_commands and node == "urn:xmpp:delegation:2#configure"
		or xmlns ~= nil and xmlns:sub(1, #"urn:xmpp:delegation:") == "urn:xmpp:delegation:";
end

-- The delegation for a request; nil if the server answers the request itself. That is so if the namespace is not delegated, or a filtering
-- attribute is missing (D15). It is also so if the managing entity sends the request (D16), also in the name of a user (D17).
local function delegation_for(stanza, namespace)
	local delegation, from = by_namespace[namespace], stanza.attr.from;
	if not delegation and client then delegation = client:delegation_for(stanza, namespace); end
	if not delegation or not from then return nil; end
	local payload = stanza.tags[1];
	if is_exempt(payload) then return nil; end
	for _, name in ipairs(delegation.filtering) do
		if payload.attr[name] == nil then return nil; end
	end
	local managing = delegation.entity;
	if managing:is_sender(from) or privilege.is_from(managing.owner, stanza) then return nil; end
	return delegation;
end

local function forward(event, delegation)
	local wait, done;
	if delegation.blocking then wait, done = blocking.waiter(event.origin, entities, delegation.timeout); end
	local sent = delegation.entity:forward(event.origin, event.stanza, delegation, written_to.of(event), done);
	if wait and sent then wait(); end
	return true;
end

local function handle_iq(event)
	local stanza = event.stanza;
	local type, payload = stanza.attr.type, stanza.tags[1];
	if (type ~= "get" and type ~= "set") or not payload or not stanza.attr.id then return; end
	-- the host with a resource: Prosody's router has no event of its own for it
	if jid_resource(stanza.attr.to) then return; end
	local delegation = delegation_for(stanza, payload.attr.xmlns);
	if delegation then return forward(event, delegation); end
end

-- The entities that may have sent a stanza: by its full address, by its account, and by its domain
local function senders_of(stanza)
	local from = stanza.attr.from;
	local found, seen = {}, {};
	for _, jid in ipairs { from, jid_bare(from), jid_host(from) } do
		if entities[jid] and not seen[jid] then
			seen[jid], found[#found + 1] = true, entities[jid];
		end
	end
	return found;
end

local function handle_answer(event)
	local stanza = event.stanza;
	local type, from = stanza.attr.type, stanza.attr.from;
	if (type ~= "result" and type ~= "error") or not from then return; end
	local asked = entities[from];
	if asked and asked:answer(event) then return true; end
	-- the configuration can name both an account and one of its resources
	local account = entities[jid_bare(from)];
	return account and account ~= asked and account:answer(event) or nil;
end

-- A message that told an entity something comes back with an error
local function handle_bounce(event)
	local stanza = event.stanza;
	if stanza.attr.type ~= "error" or not ids.is_new(stanza.attr.id or "") then return; end
	for _, managing in ipairs(senders_of(stanza)) do
		if managing.address == stanza.attr.from then managing:bounced(event); end
	end
	return true;
end

-- The presence of an account on another server says that it is available (E10)
local function handle_presence(event)
	if event.stanza.attr.type ~= nil or not event.stanza.attr.from then return; end
	for _, managing in ipairs(senders_of(event.stanza)) do managing:seen(); end
end

-- Before mod_iq (0), which fires the events of the server's own handlers, and after modules that filter stanzas (mod_blocklist: 100).
-- Prosody fires iq/bare before iq/self, also for requests without 'to'. This module does not hook iq/full (D5, E9).
module:hook("iq/bare", handle_iq, 90);
module:hook("iq/host", handle_iq, 90);
module:hook("iq/host", handle_answer, 90);
-- before modules that take all messages to the host
module:hook("message/host", handle_bounce, 10);
module:hook("presence/host", handle_presence, 10);
module:hook_global("stats-update", module:require "metrics".update);
privilege.start(function (from, to, namespace)
	local delegation = by_namespace[namespace] or client and client:delegation_for({ attr = { from = from; to = to } }, namespace);
	return delegation and delegation.entity;
end);

-- Nobody may ask for the namespace of delegation itself (D18). Client mode answers other requests of the current version. Without client mode
-- they are unknown here.
local function handle_request_for_delegation(event)
	for delegate in event.stanza.tags[1]:childtags("delegate") do
		if config.is_protected(delegate.attr.namespace) then
			event.origin.send(errors.reply(event.stanza, "namespace-protected"));
			return true;
		end
	end
end

for _, version in ipairs(config.versions(settings.delegations)) do
	module:add_feature(version); -- D19
	module:hook("iq/host/"..version..":query", handle_request_for_delegation, -1); -- after client mode (0)
end

module:require "disco/bare".start(delegation_for, forward);
watch = module:require "watch".start(entities);
for _, managing in pairs(entities) do
	shares.adopt_requests(managing);
end
commands.start(entities, settings.problems);
compat.on_started(module, privilege.check);
if by_namespace[pep.xmlns] then
	pep.watch(function (namespace) return by_namespace[namespace] ~= nil; end, "you delegate");
elseif settings.client.enabled and settings.client.allowed[pep.xmlns] then
	pep.watch(function (namespace) return settings.client.allowed[namespace] ~= nil; end, "users may delegate");
end

function module.save()
	local saved_now = {};
	for jid, managing in pairs(entities) do
		saved_now[jid] = managing:save();
	end
	return { entities = saved_now; client = client and client:save() };
end
