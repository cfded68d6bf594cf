-- SPDX-License-Identifier: MIT
-- The rooms of a mirror. A mirrored room is a room of mod_muc whose other occupants are the master's; its presences are the copies the
-- master sent, re-addressed (M7, M10). It exists while it has local users or may get one (M2).
--
-- room.fmuc outlives the room object, which mod_muc may put aside and restore. This file writes
--   links, authority   [JID of the other room] = link; the link whose word counts
--   copies     occupant JID -> its state, as local users see it: the last available presence without what belongs to an event
--   hidden     set of the occupant JIDs of local users whose presence only they themselves see
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

-- open(room_jid, master) -> room, made when there is none; nil when mod_muc has no place for it
function mirrored.open(room_jid, master)
	local room = muc.get_room_from_jid(room_jid) or administration.create(room_jid, { hidden = true });
	if not room then return nil; end
	if not room.fmuc then
		local authority = links.open(room_jid, master, "up");
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

-- handle_destroyed(event): mod_muc has ended the room
function mirrored.handle_destroyed(event)
	local state = states[event.room.jid];
	states[event.room.jid] = nil;
	if not state then return; end
	visits.forget(state);
	state.authority:close();
end

-- forget_if_unused(room_jid): when nobody here is in the room or waits for it
function mirrored.forget_if_unused(room_jid)
	local room = mirrored.get(room_jid);
	if not room or room.fmuc.recipients:count() > 0 or next(room.fmuc.waiting) ~= nil then return; end
	module:fire_event("fmuc-room-unused", { room = room });
	destroy(room);
end

-- each() -> iterator of room JID, state (room.fmuc of that room)
function mirrored.each()
	return pairs(states);
end

-- state(room_jid) -> room.fmuc of that room, which may have been put aside; or nil
function mirrored.state(room_jid)
	return states[room_jid];
end

-- send(room_jid, stanza): to the master of that room
function mirrored.send(room_jid, stanza)
	local state = states[room_jid];
	if state then state.authority:send(stanza); else module:send(stanza); end
end

-- The presence as its own subject sees it: with status 110, and the codes that only the subject gets
local function self_presence(presence, self_x)
	local copy = st.clone(presence);
	local x = copy:get_child("x", xmlns_muc_user);
	for status in (self_x or st.stanza("x")):childtags("status") do
		if status.attr.code ~= "110" then x:add_child(status); end
	end
	x:tag("status", { code = "110" }):up();
	return copy;
end

-- To one session of the subject, which may know its own real JID and is told to which of its presences this belongs, as by mod_muc
local function route_to_self(room, own, jid, id)
	local item = own:get_child("x", xmlns_muc_user):get_child("item");
	if item then item.attr.jid = jid; end
	own.attr.to, own.attr.id = jid, id;
	room:route_stanza(own);
end

-- show_to_self(room, presence, sessions, [id]): to the occupant's own sessions (list of JIDs) with status 110, and with that id of the
-- session's presence
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

-- show(room, occupant_jid, presence, sessions, [id]): to all local users, if the room shows that occupant's presence; and to its own sessions
function mirrored.show(room, occupant_jid, presence, sessions, id)
	if not room.fmuc.hidden[occupant_jid] then delivery.to_all(room, presence, occupant_jid); end
	mirrored.show_to_self(room, presence, sessions, id);
end

-- add_occupant_id(stanza, room, occupant_jid): what the master calls that occupant, if the stanza does not say so
function mirrored.add_occupant_id(stanza, room, occupant_jid)
	local copy = room.fmuc.copies[occupant_jid];
	local occupant_id = copy and copy:get_child("occupant-id", xmlns_occupant_id);
	if occupant_id and not stanza:get_child("occupant-id", xmlns_occupant_id) then stanza:add_direct_child(occupant_id); end
end

-- admits(room, occupant_jid, presence, counter) -> the presence of that occupant of the master as it may be kept (limits.trimmed), or nil
-- when it has no place in the mirrored room. Local users have one. counter: what has the copies of the room, or of a resync
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

-- keep(room, occupant_jid, presence, [is_hidden]): what newcomers will see of the occupant (G28): what holds on of that presence. is_hidden: the
-- room shows that user's presence to nobody else (M8, G27)
function mirrored.keep(room, occupant_jid, presence, is_hidden)
	room.fmuc.copies[occupant_jid] = fanout.view(hygiene.lasting_part(presence));
	room.fmuc.hidden[occupant_jid] = is_hidden or nil;
end

-- forget(room, occupant_jid): there is no such occupant
function mirrored.forget(room, occupant_jid)
	room.fmuc.copies[occupant_jid], room.fmuc.hidden[occupant_jid] = nil, nil;
end

-- hide_real_jids(copies): in presences (occupant JID -> stanza) that are kept
function mirrored.hide_real_jids(copies)
	for _, copy in pairs(copies) do
		local item = copy:find("{" .. xmlns_muc_user .. "}x/item");
		if item then item.attr.jid = nil; end
	end
end

-- set_whois(room, whois): who may know real JIDs, as mod_muc has it. It holds for newcomers, too (G21, G28).
function mirrored.set_whois(room, whois)
	room:set_whois(whois);
	if whois ~= "anyone" then mirrored.hide_real_jids(room.fmuc.copies); end
end

-- The end of an occupant on this side, when the master did not word it
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

-- In place of mod_muc's: what the master said about the occupant goes out
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
			-- one of several sessions leaves, which nobody else needs to know
			route_to_self(room, self_presence(unavailable_presence(room, occupant, base_x)), jid, presence.attr.id);
			module:fire_event("fmuc-session-left", { room = room; occupant = occupant; jid = jid });
			return;
		end
		route_to_self(room, own, jid, presence.attr.type == own.attr.type and presence.attr.id or nil);
	end
	if not state.hidden[occupant.nick] then delivery.to_all(room, copy, occupant.nick); end
end

function methods.send_occupant_list(room, to, filter)
	local state = room.fmuc;
	for occupant_jid, copy in pairs(state.copies) do
		if not state.hidden[occupant_jid] and (not filter or filter(occupant_jid, room:get_occupant_by_nick(occupant_jid))) then
			local view = fanout.view(copy);
			view.attr.to = to;
			room:route_stanza(view);
		end
	end
end

-- set_role(event): the role is the master's word, also for the local user who enters
function mirrored.set_role(event)
	local state = event.room.fmuc;
	local copy = state and state.copies[event.occupant.nick];
	if copy then event.occupant.role = copy:find("{" .. xmlns_muc_user .. "}x/item@role"); end
end

-- set_occupant(room, occupant_jid, presence, sessions): the occupant as the master shows it. sessions: its local sessions, empty for
-- an occupant of the master
function mirrored.set_occupant(room, occupant_jid, presence, sessions)
	local session = room.fmuc.authority.peer .. "/" .. jid_resource(occupant_jid);
	local occupant = room:get_occupant_by_nick(occupant_jid) or room:new_occupant(session, occupant_jid);
	occupant.role = presence:find("{" .. xmlns_muc_user .. "}x/item@role") or occupant.role;
	for _, jid in ipairs(#sessions > 0 and sessions or { session }) do occupant:set_session(jid, presence); end
	room:save_occupant(occupant);
end

-- make_way(room, occupant_jid): for a local user whom the master gives a nick that another session of the user has at the master
function mirrored.make_way(room, occupant_jid)
	local occupant = room:get_occupant_by_nick(occupant_jid);
	if not occupant or mirrored.is_local(room, occupant_jid) then return; end
	occupant.role = nil;
	room:save_occupant(occupant);
end

-- remove_occupant(room, occupant_jid, [presence]): as the master says; presence is the last that is seen of the occupant
function mirrored.remove_occupant(room, occupant_jid, presence)
	local state = room.fmuc;
	local sessions = state.recipients:by_nick(occupant_jid);
	local occupant = room:get_occupant_by_nick(occupant_jid);
	if presence then mirrored.add_occupant_id(presence, room, occupant_jid); end -- not every presence is worded by the master
	state.copies[occupant_jid] = nil;
	if not occupant then return; end
	occupant.role = nil;
	room:save_occupant(occupant);
	if presence then mirrored.show(room, occupant_jid, presence, sessions); end
	state.hidden[occupant_jid] = nil;
	if #sessions == 0 then return; end -- other modules have not been told that somebody of the master came, either
	module:fire_event("muc-occupant-left", { room = room; nick = occupant_jid; occupant = occupant; is_known_to_master = true });
end

-- evict(room, occupant_jid, [code], [reason]): takes a local user out, with that status code, or that element
function mirrored.evict(room, occupant_jid, code, reason)
	local x = st.stanza("x", { xmlns = xmlns_muc_user })
		:tag("item", { affiliation = code == "301" and "outcast" or "none"; role = "none" }):up();
	if code then x:tag("status", { code = code }):up(); end
	if reason then x:add_child(reason); end
	mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid }):add_child(x));
end

-- evict_all(room, [code], [reason]): takes all local users out, as evict()
function mirrored.evict_all(room, code, reason)
	local occupant_jids = {}; -- handlers of other modules may wait, and others come and go
	for occupant_jid in room:each_occupant() do occupant_jids[#occupant_jids + 1] = occupant_jid; end
	for _, occupant_jid in ipairs(occupant_jids) do
		if room.fmuc and mirrored.is_local(room, occupant_jid) then mirrored.evict(room, occupant_jid, code, reason); end
	end
end

-- count_visitor(event): a local user is in the room
function mirrored.count_visitor(event)
	if event.room.fmuc then visits.enter(event.room.fmuc, event.nick, event.occupant.bare_jid); end
end

-- check_session(event): a further session of a local user enters without the master (G23). While a handler of another module waited, the
-- nick may have been lost: then the session has to ask the master.
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

-- keep_while_joining(event): the room stays while somebody waits for it
function mirrored.keep_while_joining(event)
	local state = event.room.fmuc;
	if state and next(state.waiting) ~= nil then return true; end
end

-- handle_restored(event): mod_muc has brought the room back into memory
function mirrored.handle_restored(event)
	local room = event.room;
	if states[room.jid] then
		attach(room, states[room.jid]);
	else -- left over from a server that did not end in order; nobody in it is there any more
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

-- restore(saved): of save() of an earlier instance, or nil; when the links are here
function mirrored.restore(saved)
	for room_jid, state in pairs(saved or {}) do
		local authority = links.open(room_jid, state.master, "up");
		state.authority, state.links, state.master = authority, { [state.master] = authority }, nil;
		states[room_jid] = state;
	end
	own_rooms.clear(muc, states);
	-- those not in memory, as after a reload of mod_muc, are attached when they are restored
	for room in muc.live_rooms() do
		if states[room.jid] then attach(room, states[room.jid]); end
	end
	for _, state in pairs(states) do visits.restore(state); end
end

for name, method in pairs(administration.methods) do methods[name] = method; end

return mirrored;
