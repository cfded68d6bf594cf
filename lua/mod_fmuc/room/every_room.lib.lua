-- SPDX-License-Identifier: MIT
-- Every room of a MUC service, with or without links: a stanza for many is serialised once. mod_muc hands one stanza object to all recipients of a
-- message or presence, one after the other. That object keeps its bytes from now on (prosody_relay.fanout). Events and filters stay as they are.
--
-- A newcomer gets the presence of each occupant. mod_muc makes these presences anew for each newcomer; here they are kept until the occupant changes.

local fanout = require "prosody_relay.fanout";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local muc = module:depends "muc";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local every_room = {};

local room_mt = muc.room_mt;
local class, stock = room_mt.__index, {};

local methods = {};

-- As mod_muc's. The stanza is the same for all.
function methods.route_to_occupant(room, occupant, stanza)
	fanout.share(stanza);
	return stock.route_to_occupant(room, occupant, stanza);
end

-- Occupants as mod_muc keeps them: it puts another object in place of one that changes. each_occupant() would copy them all.
local function occupants(room)
	return next, room._occupants, nil;
end

function methods.broadcast(room, stanza, condition)
	for nick, occupant in occupants(room) do
		if not condition or condition(nick, occupant) then room:route_to_occupant(occupant, stanza); end
	end
end

-- What to start from for the presence of an occupant: that of the main session, or one for a user who leaves without a word
local function base_presence(occupant, is_gone)
	local presence = occupant:get_presence();
	if presence and not is_gone and (occupant.role ~= nil or presence.attr.type == "unavailable") then return st.clone(presence); end
	return st.presence({ from = occupant.nick; type = "unavailable" });
end

local function sees_real_jids(room, occupant)
	local whois = room:get_whois();
	return whois == "anyone" or whois == "moderators" and occupant.role == "moderator";
end

-- The event of that presence, after the handlers of other modules have had their say
local function announce(room, occupant, x, nick, actor, reason, is_gone, recipient)
	local event = { room = room; stanza = base_presence(occupant, is_gone); x = x.base or x; occupant = occupant; nick = nick; actor = actor;
		reason = reason };
	module:fire_event("muc-build-occupant-presence", event);
	if not recipient then module:fire_event("muc-broadcast-presence", event); end
	return event;
end

-- The versions of that presence, made when somebody needs one: version(kind) -> presence, its <x/>; kind: "full", "anon" or "self"
local function new_versions(room, x, event)
	local occupant, actor = event.occupant, event.actor;
	local actor_nick = actor and jid_resource(room:get_occupant_jid(actor));
	local presences, parts = {}, {};
	return function (kind)
		if not presences[kind] then
			parts[kind] = st.clone(x[kind] or x.base or x);
			room:build_item_list(occupant, parts[kind], kind == "anon", event.nick, actor_nick, kind == "full" and actor or nil, event.reason);
			presences[kind] = st.clone(event.stanza):add_child(parts[kind]);
		end
		return presences[kind], parts[kind];
	end
end

-- kind_for(room, occupant, viewer) -> the version of the occupant's presence that the viewer may see
local function kind_for(room, occupant, viewer)
	if sees_real_jids(room, viewer) then return "full"; end
	return viewer.bare_jid == occupant.bare_jid and "self" or "anon"; -- everybody may see the own JIDs, but not the actor's
end

local function tell_others(room, occupant, version, prev_role, is_gone)
	local roles = room:get_presence_broadcast();
	local is_shown = roles[occupant.role or "none"] or is_gone;
	if not is_shown and not (prev_role and roles[prev_role]) then return; end
	for nick, viewer in occupants(room) do
		if nick ~= occupant.nick then
			local presence = version(kind_for(room, occupant, viewer));
			if not is_shown then presence.attr.type = "unavailable"; end
			room:route_to_occupant(viewer, presence);
		end
	end
end

local function tell_oneself(room, occupant, presence, x)
	x:tag("status", { code = "110" }):up();
	if occupant.role == nil then return room:route_to_occupant(occupant, presence); end
	for real_jid, own in occupant:each_session() do
		own = st.clone(own);
		module:fire_event("muc-build-occupant-presence", { room = room; occupant = occupant; stanza = own });
		own.attr.to = real_jid;
		room:route_stanza(own:add_child(x));
	end
end

-- As mod_muc's, which copies all occupants for each presence
function methods.publicise_occupant_status(room, occupant, x, nick, actor, reason, prev_role, is_gone, recipient)
	local version = new_versions(room, x, announce(room, occupant, x, nick, actor, reason, is_gone, recipient));
	local own_presence, own_x = version "self";
	if recipient then return room:route_to_occupant(recipient, (version(kind_for(room, occupant, recipient)))); end
	tell_others(room, occupant, version, prev_role, is_gone);
	tell_oneself(room, occupant, own_presence, own_x);
end

-- The presences of occupants for newcomers: kept[occupant][is_anonymous] = { form, affiliation }
local kept = setmetatable({}, { __mode = "k" });

-- Whether nobody but mod_muc itself has a say in the presences of occupants
local checked, is_plain;
local function has_stock_presences()
	local handlers = prosody.hosts[module.host].events.get_handlers("muc-build-occupant-presence");
	if handlers == checked and handlers then return is_plain; end
	checked, is_plain = handlers, true;
	for _, handler in ipairs(handlers or {}) do
		if not debug.getinfo(handler, "S").source:find("/muc/hats%.lib%.lua$") then is_plain = false; end
	end
	return is_plain;
end

local function build(room, occupant, is_anonymous, to)
	local x = st.stanza("x", { xmlns = xmlns_muc_user });
	room:build_item_list(occupant, x, is_anonymous);
	local presence = st.clone(occupant:get_presence());
	presence.attr.to = to;
	presence:add_child(x);
	module:fire_event("muc-build-occupant-presence", { room = room, occupant = occupant, stanza = presence });
	return presence;
end

-- The presence of an occupant for a newcomer. letter: one that has been routed, or nil
local function presence_for(room, occupant, is_anonymous, to, letter)
	local data = room:get_affiliation_data(occupant.bare_jid);
	if data and data.hats or not has_stock_presences() then return build(room, occupant, is_anonymous, to), letter; end
	local forms, affiliation = kept[occupant], room:get_affiliation(occupant.bare_jid);
	if not forms then
		forms = {};
		kept[occupant] = forms;
	end
	local entry = forms[is_anonymous];
	if not entry or entry.affiliation ~= affiliation then
		local function make() return build(room, occupant, is_anonymous, to); end
		entry = { form = fanout.form(make(), make); affiliation = affiliation };
		forms[is_anonymous] = entry;
	end
	letter = fanout.letter(entry.form, to, letter);
	return letter, letter;
end

function methods.send_occupant_list(room, to, filter)
	local roles = room:get_presence_broadcast();
	if roles.none then return stock.send_occupant_list(room, to, filter); end -- it lists those who are not here, too
	local to_bare, is_anonymous = jid_bare(to), room:is_anonymous_for(to);
	local presence, letter;
	for occupant_jid, occupant in occupants(room) do
		local is_own = to_bare == occupant.bare_jid;
		if (not filter or filter(occupant_jid, occupant)) and (is_own or roles[occupant.role or "none"]) then
			presence, letter = presence_for(room, occupant, is_anonymous and not is_own, to, letter); -- everybody may see the own JIDs
			room:route_stanza(presence);
		end
	end
end

-- Newcomers get the same messages
function methods.send_history(room, stanza)
	for _, entry in ipairs(room._history or {}) do fanout.share(entry.stanza); end
	return stock.send_history(room, stanza);
end

-- start(), stop(): mod_muc's class of rooms has these methods, or its own ones
function every_room.start()
	for name, method in pairs(methods) do stock[name], class[name] = class[name], method; end
end

function every_room.stop()
	for name in pairs(methods) do class[name] = stock[name] or class[name]; end
end

return every_room;
