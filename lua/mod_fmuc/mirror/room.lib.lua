-- SPDX-License-Identifier: MIT
-- The rooms of a mirror. A mirrored room is a room of mod_muc that also shows the occupants of the master. Its presences are the copies that the
-- master has sent, re-addressed (M7, M10). It exists while it has local users or may get one (M2).
--
-- room.fmuc outlives the room object, which mod_muc may unload and restore. This file writes
--   links, authority   [JID of the other room] = link; the link that decides
--   copies     occupant JID -> its last available presence as local users see it, without what belongs to one event only
--   hidden     set of the occupant JIDs of local users whose presence no other user sees
-- and others
--   waiting, reflects_ids   mirror/joins
--   info       mirror/room_info
--   logged     mirror/presences
--   visitors   mirror/visits
--   avatar, vcard   mirror/avatar
--   history_bytes   mirror/messages

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local limits = lib "link/limits";
local links = lib "link/link";
local once = lib "link/log".once;
local archive = lib "room/archive";
local delivery = lib "room/delivery";
local own_rooms = lib "mirror/own_rooms";
local hygiene = lib "link/hygiene";
local visits = lib "mirror/visits";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local administration = lib "mirror/administration";

local muc = module:depends "muc";

local xmlns_occupant_id = "urn:xmpp:occupant-id:0";

local states = {};

local mirrored = { visits = visits };
local methods = {};

local function attach(room, state)
	function state.group_of(jid)
		if jid_bare(jid) == state.authority.peer then return false; end -- the master's own occupants
	end
	delivery.attach(room, state, methods);
	for occupant_jid, occupant in room:each_occupant() do
		if mirrored.is_local(room, occupant_jid) then visits.enter(state, occupant_jid, occupant.bare_jid); end
	end
end

-- open(room_jid, master) -> room, created when there is none; nil when mod_muc cannot create it
function mirrored.open(room_jid, master)
	local room = muc.get_room_from_jid(room_jid) or administration.create(room_jid, { hidden = true });
	if not room then return nil; end
	if not room.fmuc then
		local authority = links.open(room_jid, master, "up", "generation1");
		states[room_jid] = { authority = authority; links = { [master] = authority }; copies = {}; hidden = {}; waiting = {} };
		attach(room, states[room_jid]);
		archive.begin(room);
	end
	return room;
end

-- get(room_jid) -> mirrored room, or nil
function mirrored.get(room_jid)
	return states[room_jid] and muc.get_room_from_jid(room_jid);
end

-- is_local(room, occupant_jid) -> whether that occupant is a user of this mirror
mirrored.is_local = delivery.is_local;

local function destroy(room)
	room._occupants, room._jid_nick = {}, {};
	module:fire_event("muc-room-destroyed", { room = room });
end

-- handle_destroyed(event): mod_muc has destroyed the room
function mirrored.handle_destroyed(event)
	local state = states[event.room.jid];
	states[event.room.jid] = nil;
	if not state then return; end
	visits.forget(state);
	state.authority:close();
end

-- forget_if_unused(room_jid): destroys the room if no local user is in it or waits to join
function mirrored.forget_if_unused(room_jid)
	local room = mirrored.get(room_jid);
	if not room or room.fmuc.recipients:count() > 0 or next(room.fmuc.waiting) ~= nil then return; end
	destroy(room);
end

-- each() -> iterator of room JID, state (room.fmuc of that room)
function mirrored.each()
	return pairs(states);
end

-- state(room_jid) -> room.fmuc of the room, which mod_muc may have unloaded; or nil
function mirrored.state(room_jid)
	return states[room_jid];
end

-- send(room_jid, stanza): sends it to the master of the room
function mirrored.send(room_jid, stanza)
	local state = states[room_jid];
	if state then state.authority:send(stanza); else module:send(stanza); end
end

-- The presence as its own user sees it: with status 110 and the codes for that user alone
local function self_presence(presence, self_x)
	local copy = st.clone(presence);
	local x = copy:get_child("x", xmlns_muc_user);
	for status in (self_x or st.stanza("x")):childtags("status") do
		if status.attr.code ~= "110" then x:add_child(status); end
	end
	x:tag("status", { code = "110" }):up();
	return copy;
end

-- Sends the presence to one of its own user's sessions. As from mod_muc, it has the real JID and the id of the session's presence
local function route_to_self(room, own, jid, id)
	local item = own:get_child("x", xmlns_muc_user):get_child("item");
	if item then item.attr.jid = jid; end
	own.attr.to, own.attr.id = jid, id;
	room:route_stanza(own);
end

-- show_to_self(room, presence, sessions, [id]): sends it to the occupant's own sessions (list of JIDs), with status 110. id: of the session's
-- presence
function mirrored.show_to_self(room, presence, sessions, id)
	if #sessions == 0 then return; end
	local own = self_presence(presence);
	for _, jid in ipairs(sessions) do route_to_self(room, own, jid, id); end
end

-- last_words(occupant) -> the <status/> with which a user has left, or nil
function mirrored.last_words(occupant)
	local last = occupant:get_presence();
	return last and last.attr.type == "unavailable" and last:get_child("status") or nil;
end

-- show(room, occupant_jid, presence, sessions, [id]): sends it to the occupant's own sessions, and to all local users if the room shows the
-- occupant
function mirrored.show(room, occupant_jid, presence, sessions, id)
	if not room.fmuc.hidden[occupant_jid] then delivery.to_all(room, presence, occupant_jid); end
	mirrored.show_to_self(room, presence, sessions, id);
end

-- add_occupant_id(stanza, room, occupant_jid): adds the occupant-id that the master gave, if the stanza has none
function mirrored.add_occupant_id(stanza, room, occupant_jid)
	local copy = room.fmuc.copies[occupant_jid];
	local occupant_id = copy and copy:get_child("occupant-id", xmlns_occupant_id);
	if occupant_id and not stanza:get_child("occupant-id", xmlns_occupant_id) then stanza:add_direct_child(occupant_id); end
end

-- admits(room, occupant_jid, presence, counter) -> the presence as it may be kept (limits.trimmed), or nil when the room has no place for the
-- occupant. Local users always have a place. counter: the table with the copies, of the room or of a resync
function mirrored.admits(room, occupant_jid, presence, counter)
	local state = room.fmuc;
	local master = state.authority.peer;
	presence = limits.trimmed(presence);
	if not presence then
		once("large\0" .. master, "warn", "%s sends presences that are too long to be kept", master);
		return nil;
	end
	if mirrored.is_local(room, occupant_jid) or state.waiting[occupant_jid] then return presence; end
	if not limits.has_memory_for(master, limits.presence_size(presence)) then return nil; end
	if counter.copies[occupant_jid] or limits.has_place(counter, counter.copies) then return presence; end
	once("full\0" .. master, "warn", "%s has more than %d occupants; the others are not shown (fmuc_max_occupants)", master, limits.max_occupants);
	return nil;
end

-- keep(room, occupant_jid, presence, [is_hidden]): keeps the lasting part of the presence for users who join later (G28). is_hidden: the room shows
-- the presence to no other user (M8, G27)
function mirrored.keep(room, occupant_jid, presence, is_hidden)
	room.fmuc.copies[occupant_jid] = fanout.view(hygiene.lasting_part(presence));
	room.fmuc.hidden[occupant_jid] = is_hidden or nil;
end

-- forget(room, occupant_jid): there is no such occupant
function mirrored.forget(room, occupant_jid)
	room.fmuc.copies[occupant_jid], room.fmuc.hidden[occupant_jid] = nil, nil;
end

-- What newcomers get of a kept presence: forms[stanza] = form, see prosody_relay.fanout
local forms = setmetatable({}, { __mode = "k" });

-- hide_real_jids(copies): removes real JIDs from kept presences (occupant JID -> stanza)
function mirrored.hide_real_jids(copies)
	for _, copy in pairs(copies) do
		forms[copy] = nil;
		local item = copy:find("{" .. xmlns_muc_user .. "}x/item");
		if item then item.attr.jid = nil; end
	end
end

-- set_whois(room, whois): sets who may see real JIDs, in mod_muc's terms. This applies to users who join later, too (G21, G28).
function mirrored.set_whois(room, whois)
	if room:get_whois() == whois then return; end
	room:set_whois(whois);
	if whois ~= "anyone" then mirrored.hide_real_jids(room.fmuc.copies); end
end

-- The unavailable presence of an occupant, when the master sent none
local function unavailable_presence(room, occupant, base_x)
	local state = room.fmuc;
	local presence = st.presence({ type = "unavailable"; from = occupant.nick });
	local status = mirrored.last_words(occupant);
	if status then presence:add_child(status); end
	local copy = state.copies[occupant.nick];
	local affiliation = copy and copy:find("{" .. xmlns_muc_user .. "}x/item@affiliation");
	local x = st.clone(base_x);
	x:tag("item", { affiliation = affiliation or "none"; role = "none" }):up();
	mirrored.add_occupant_id(presence, room, occupant.nick);
	return presence:add_child(x);
end

-- Replaces mod_muc's method: sends what the master said about the occupant
function methods.publicise_occupant_status(room, occupant, x, _, _, _, _, force_unavailable, recipient)
	local state = room.fmuc;
	local base_x = x.base or x;
	local copy = occupant.role ~= nil and not force_unavailable and state.copies[occupant.nick]
		or unavailable_presence(room, occupant, base_x);
	if recipient then return room:route_to_occupant(recipient, copy); end
	if x.self and state.logged then x.self:tag("status", { code = "170" }):up(); end
	local own = self_presence(copy, x.self);
	for jid, presence in occupant:each_session() do
		if occupant.role ~= nil and presence.attr.type == "unavailable" then
			-- one of several sessions leaves; other users do not see this
			route_to_self(room, self_presence(unavailable_presence(room, occupant, base_x)), jid, presence.attr.id);
			module:fire_event("fmuc-session-left", { room = room; occupant = occupant; jid = jid });
			return;
		end
		route_to_self(room, own, jid, presence.attr.type == own.attr.type and presence.attr.id or nil);
	end
	if not state.hidden[occupant.nick] then delivery.to_all(room, copy, occupant.nick); end
end

local function form_of(copy)
	if not forms[copy] then
		local addressed = st.clone(copy);
		addressed.attr.to = "";
		forms[copy] = fanout.form(addressed, function () return st.clone(copy); end);
	end
	return forms[copy];
end

function methods.send_occupant_list(room, to, filter)
	local state, letter = room.fmuc, nil;
	for occupant_jid, copy in pairs(state.copies) do
		if not state.hidden[occupant_jid] and (not filter or filter(occupant_jid, room:get_occupant_by_nick(occupant_jid))) then
			letter = fanout.letter(form_of(copy), to, letter);
			room:route_stanza(letter);
		end
	end
end

-- set_role(event): the master decides the role, also of a local user who enters
function mirrored.set_role(event)
	local state = event.room.fmuc;
	local copy = state and state.copies[event.occupant.nick];
	if copy then event.occupant.role = copy:find("{" .. xmlns_muc_user .. "}x/item@role"); end
end

-- set_occupant(room, occupant_jid, presence, sessions): sets the occupant as the master shows it. sessions: its local sessions, empty for an
-- occupant of the master
function mirrored.set_occupant(room, occupant_jid, presence, sessions)
	local session = room.fmuc.authority.peer .. "/" .. jid_resource(occupant_jid);
	local occupant = room:get_occupant_by_nick(occupant_jid) or room:new_occupant(session, occupant_jid);
	occupant.role = presence:find("{" .. xmlns_muc_user .. "}x/item@role") or occupant.role;
	for _, jid in ipairs(#sessions > 0 and sessions or { session }) do occupant:set_session(jid, presence); end
	room:save_occupant(occupant);
end

-- make_way(room, occupant_jid): frees the nick for a local user, if another session of the user has the nick at the master
function mirrored.make_way(room, occupant_jid)
	local occupant = room:get_occupant_by_nick(occupant_jid);
	if not occupant or mirrored.is_local(room, occupant_jid) then return; end
	occupant.role = nil;
	room:save_occupant(occupant);
end

-- remove_occupant(room, occupant_jid, [presence]): the occupant has left. presence: the unavailable presence that local users see
function mirrored.remove_occupant(room, occupant_jid, presence)
	local state = room.fmuc;
	local sessions = state.recipients:by_nick(occupant_jid);
	local occupant = room:get_occupant_by_nick(occupant_jid);
	if presence then mirrored.add_occupant_id(presence, room, occupant_jid); end -- the presence may not be the master's
	state.copies[occupant_jid] = nil;
	if not occupant then return; end
	occupant.role = nil;
	room:save_occupant(occupant);
	if presence then mirrored.show(room, occupant_jid, presence, sessions); end
	state.hidden[occupant_jid] = nil;
	if #sessions == 0 then return; end -- other modules were not told that an occupant of the master joined
	module:fire_event("muc-occupant-left", { room = room; nick = occupant_jid; occupant = occupant; is_known_to_master = true });
end

-- evict(room, occupant_jid, [code], [reason]): removes a local user, with this status code or this element
function mirrored.evict(room, occupant_jid, code, reason)
	local x = st.stanza("x", { xmlns = xmlns_muc_user })
		:tag("item", { affiliation = code == "301" and "outcast" or "none"; role = "none" }):up();
	if code then x:tag("status", { code = code }):up(); end
	if reason then x:add_child(reason); end
	mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid }):add_child(x));
end

-- evict_all(room, [code], [reason]): removes all local users, as evict()
function mirrored.evict_all(room, code, reason)
	local occupant_jids = {}; -- handlers of other modules may wait, and users may join and leave meanwhile
	for occupant_jid in room:each_occupant() do occupant_jids[#occupant_jids + 1] = occupant_jid; end
	for _, occupant_jid in ipairs(occupant_jids) do
		if room.fmuc and mirrored.is_local(room, occupant_jid) then mirrored.evict(room, occupant_jid, code, reason); end
	end
end

-- count_visitor(event): a local user has entered the room
function mirrored.count_visitor(event)
	if event.room.fmuc then visits.enter(event.room.fmuc, event.nick, event.occupant.bare_jid); end
end

-- check_session(event): a further session of a local user enters without asking the master (G23). While a handler of another module waited, the
-- user may have lost the nick. Then the session has to ask the master.
function mirrored.check_session(event)
	local room, occupant = event.room, event.occupant;
	if not room.fmuc or event.origin.fmuc_record then return; end
	local is_held = mirrored.get(room.jid) == room and mirrored.is_local(room, occupant.nick);
	local current = is_held and room:get_occupant_by_nick(occupant.nick);
	if not current or current.bare_jid ~= occupant.bare_jid then
		module:fire_event("presence/full", { origin = event.origin; stanza = event.stanza });
		return true;
	end
	occupant.sessions, occupant.jid, occupant.role = current.sessions, current.jid, current.role;
end

-- handle_left(event): a local user has left, by its own presence or because its client is unreachable
function mirrored.handle_left(event)
	local room = event.room;
	local state = room.fmuc;
	if not state or jid_bare(event.occupant.bare_jid) == state.authority.peer then return; end
	visits.enter(state, event.nick, nil);
	mirrored.forget(room, event.nick);
end

-- keep_while_joining(event): the room stays while a join waits for it
function mirrored.keep_while_joining(event)
	local state = event.room.fmuc;
	if state and next(state.waiting) ~= nil then return true; end
end

-- handle_restored(event): mod_muc has loaded the room again
function mirrored.handle_restored(event)
	local room = event.room;
	if states[room.jid] then
		attach(room, states[room.jid]);
	else -- left over from a server that did not stop properly; its occupants are gone
		room._occupants, room._jid_nick = {}, {};
	end
end

local saved_fields = { "copies", "hidden", "waiting", "reflects_ids", "info", "logged", "avatar" };

-- save() -> the mirrored rooms, for the next instance of the module
function mirrored.save()
	local saved = {};
	for room_jid, state in pairs(states) do
		saved[room_jid] = { master = state.authority.peer };
		for _, field in ipairs(saved_fields) do saved[room_jid][field] = state[field]; end
	end
	return saved;
end

-- release(): gives the rooms their own methods back
function mirrored.release()
	for room in muc.live_rooms() do
		if room.fmuc then delivery.detach(room, methods); end
	end
end

-- copies_size(copies) -> bytes of memory that presences take (occupant JID -> stanza)
function mirrored.copies_size(copies)
	local bytes = 0;
	for _, copy in pairs(copies) do bytes = bytes + limits.presence_size(copy); end
	return bytes;
end

limits.count_with(function (add)
	for _, state in pairs(states) do add(state.authority.peer, mirrored.copies_size(state.copies)); end
end);

-- restore(saved): what save() of an earlier instance returned, or nil. Called when the links are restored
function mirrored.restore(saved)
	for room_jid, state in pairs(saved or {}) do
		local authority = links.open(room_jid, state.master, "up", "generation1");
		state.authority, state.links, state.master = authority, { [state.master] = authority }, nil;
		states[room_jid] = state;
	end
	own_rooms.clear(muc, states);
	-- handle_restored() attaches rooms that are not in memory, as after a reload of mod_muc
	for room in muc.live_rooms() do
		if states[room.jid] then attach(room, states[room.jid]); end
	end
	for _, state in pairs(states) do visits.restore(state); end
end

for name, method in pairs(administration.methods) do methods[name] = method; end

return mirrored;
