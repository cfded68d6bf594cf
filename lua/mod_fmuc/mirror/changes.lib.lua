-- SPDX-License-Identifier: MIT
-- Changes of local users that the master must know: their presences (M16), and that they have left (M12). The mirror sends them at once, or after
-- an outage. Local users who carry on alone see them at once (G1).
--
-- A nick with several sessions has the presence of the first session, as in any room of mod_muc. The master knows the user by that session. When it
-- leaves, the next session takes its place at the mirror and at the master.
--
-- link:own("changes"):
--   presences  occupant JID -> presence of the user's first session, as sent to the master
--   others     JID of a further session of a local user -> its presence, as it would be sent to the master
--   known_as   occupant JID -> JID of the session that the master knows the user by
--   passwords  occupant JID -> the password that the master accepted
--   changed    set of the occupant JIDs whose new presence the master does not have yet
--   unconfirmed   occupant JID -> number of presences that were sent and have not come back
--   parted     set of the nicks that left, which the master does not know yet

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

local generation1 = lib "dialect/generation1";
local bandwidth = lib "link/bandwidth";
local limits = lib "link/limits";
local hygiene = lib "link/hygiene";
local ids = lib "mirror/ids";
local mirrored = lib "mirror/room";
local policy = lib "mirror/policy";
local room_info = lib "mirror/room_info";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local changes = {};

local tables = { "presences", "others", "known_as", "passwords", "changed", "unconfirmed", "parted" };

local function of(room)
	local own = room.fmuc.authority:own("changes");
	if not own.presences then
		for _, name in ipairs(tables) do own[name] = {}; end
	end
	return own;
end

-- A local user's presence as the room shows it
local function in_room(room, occupant_jid, presence)
	local copy = st.clone(presence);
	copy:add_child(room.fmuc.copies[occupant_jid]:get_child("x", xmlns_muc_user));
	mirrored.add_occupant_id(copy, room, occupant_jid);
	copy.attr.from, copy.attr.to = occupant_jid, nil;
	return copy;
end

local function show(room, occupant_jid, copy)
	local sessions = room.fmuc.recipients:by_nick(occupant_jid);
	mirrored.keep(room, occupant_jid, copy, room.fmuc.hidden[occupant_jid]);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions);
end

-- show_payload(room, stanza, occupant_jid): shows local users only the new status of a local user
function changes.show_payload(room, stanza, occupant_jid)
	local known = room.fmuc.copies[occupant_jid];
	if not known then return; end
	local copy = bandwidth.with_payload_of(stanza, bandwidth.stripped_presence(known));
	copy.attr.to = nil;
	show(room, occupant_jid, copy);
	return true;
end

-- send(room, occupant_jid, presence): sends a local user's new presence to the master, now or after the outage
function changes.send(room, occupant_jid, presence)
	local own = of(room);
	if room.fmuc.authority:is_out() then
		own.changed[occupant_jid] = true;
		if room.fmuc.authority.alone then show(room, occupant_jid, in_room(room, occupant_jid, presence)); end
		return;
	end
	own.unconfirmed[occupant_jid] = (own.unconfirmed[occupant_jid] or 0) + 1;
	room.fmuc.authority:send(presence);
end

-- for_master(room, occupant_jid, stanza) -> the local user's presence as sent to the master, or nil when it is too long
function changes.for_master(room, occupant_jid, stanza)
	local presence = hygiene.copy("presence to the master", stanza);
	presence.attr.from, presence.attr.to = room.jid, room.fmuc.authority.peer .. "/" .. jid_resource(occupant_jid);
	return limits.trimmed(presence);
end

-- announce(room, stanza) -> the local user's presence as sent to the master. From now on the nick has this presence
function changes.announce(room, stanza)
	local copy = changes.for_master(room, stanza.attr.to, stanza);
	if not copy then
		copy = limits.bare_presence(stanza);
		copy.attr.from, copy.attr.to = room.jid, room.fmuc.authority.peer .. "/" .. jid_resource(stanza.attr.to);
	end
	of(room).presences[stanza.attr.to] = st.clone(copy);
	return copy;
end

-- join_presence(room, occupant_jid, history) -> join presence for a user who is in the room (M4); history: attributes of <history/>
function changes.join_presence(room, occupant_jid, history)
	local own, authority = of(room), room.fmuc.authority;
	local session, password = room:get_occupant_by_nick(occupant_jid).jid, own.passwords[occupant_jid];
	local presence = st.clone(own.presences[occupant_jid] or st.presence());
	own.changed[occupant_jid], own.known_as[occupant_jid] = nil, session;
	presence.attr.from, presence.attr.to = room.jid, authority.peer .. "/" .. jid_resource(occupant_jid);
	presence.attr.id = generation1.new_join_id();
	local ids_wanted = history.since and policy.is_nomirror(authority.peer) and ids.prefix(room) or nil; -- the master may have forgotten the prefix
	generation1.add_join(presence, { real_jid = session; again = true; ids = ids_wanted; history = history; password = password });
	return presence;
end

-- The occupant has a new first session that the master does not know yet
local function promote(room, occupant)
	local occupant_jid, user, own = occupant.nick, occupant.jid, of(room);
	local presence = own.others[user];
	if not presence then return; end
	own.others[user] = nil;
	own.presences[occupant_jid] = presence;
	if policy.bandwidth ~= "full" then changes.show_payload(room, presence, occupant_jid); end
	if room.fmuc.authority:is_out() or not room_info.has(room, generation1.xmlns_private) then
		own.known_as[occupant_jid] = user;
		changes.send(room, occupant_jid, st.clone(presence));
	else -- a master of this module accepts a repeated join, and learns the new JID from it
		room.fmuc.authority:send(changes.join_presence(room, occupant_jid, { maxstanzas = "0" }));
	end
end

-- is_of_first_session(room, stanza) -> whether the new presence is the nick's. If not, it is kept until its session is the first
function changes.is_of_first_session(room, stanza)
	local user = stanza.attr.from;
	local occupant = room:get_occupant_by_real_jid(user);
	if not occupant or occupant.jid == user then return true; end
	local presence = changes.for_master(room, occupant.nick, stanza);
	if not presence then return false; end
	of(room).others[user] = presence;
	mirrored.show_to_self(room, in_room(room, occupant.nick, presence), { user }, stanza.attr.id);
	return false;
end

-- update(room, stanza): a session in the room sends a new presence
function changes.update(room, stanza)
	if changes.is_of_first_session(room, stanza) then changes.send(room, stanza.attr.to, changes.announce(room, stanza)); end
end

-- knows(room, occupant_jid, user): the master knows the occupant by this session (JID)
function changes.knows(room, occupant_jid, user)
	local own = of(room);
	own.known_as[occupant_jid], own.parted[jid_resource(occupant_jid)] = user, nil;
end

-- accepted(room, occupant_jid, password): the master has accepted the user's join with this password, or without one (G22)
function changes.accepted(room, occupant_jid, password)
	of(room).passwords[occupant_jid] = password;
end

-- refused(room, occupant_jid): the user's join has failed
function changes.refused(room, occupant_jid)
	of(room).presences[occupant_jid] = nil;
end

-- joined(room, occupant_jid, join): a session has entered the room with this join presence
function changes.joined(room, occupant_jid, join)
	local own = of(room);
	if own.known_as[occupant_jid] == join.attr.from then return; end
	own.others[join.attr.from] = changes.for_master(room, occupant_jid, join);
end

-- settle(room, occupant_jid): a user has entered. The session whose join went to the master may have left before
function changes.settle(room, occupant_jid)
	promote(room, room:get_occupant_by_nick(occupant_jid));
end

-- handle_session(event): a further session of a local user has entered
function changes.handle_session(event)
	local room = event.room;
	if not room.fmuc or event.origin.fmuc_record or not mirrored.is_local(room, event.nick) then return; end
	changes.joined(room, event.nick, event.stanza);
end

-- handle_session_left(event): one of several sessions of an occupant has left
function changes.handle_session_left(event)
	of(event.room).others[event.jid] = nil;
	promote(event.room, event.occupant);
end

-- confirm(room, occupant_jid): the master has answered a new presence of a local user
function changes.confirm(room, occupant_jid)
	local unconfirmed = of(room).unconfirmed;
	if unconfirmed[occupant_jid] then unconfirmed[occupant_jid] = unconfirmed[occupant_jid] > 1 and unconfirmed[occupant_jid] - 1 or nil; end
end

-- doubt_all(room): the presences that were sent, or the answers to them, may be lost
function changes.doubt_all(room)
	local own = of(room);
	for occupant_jid in pairs(own.unconfirmed) do own.changed[occupant_jid] = true; end
	own.unconfirmed = {};
end

-- is_changed(room, occupant_jid) -> whether the master does not have the user's new presence yet
function changes.is_changed(room, occupant_jid)
	return of(room).changed[occupant_jid] == true;
end

-- send_changed(room): sends the presences that had to wait
function changes.send_changed(room)
	local own = of(room);
	local changed = own.changed;
	own.changed = {};
	for occupant_jid in pairs(changed) do
		if mirrored.is_local(room, occupant_jid) then changes.send(room, occupant_jid, st.clone(own.presences[occupant_jid])); end
	end
end

local function send_part(room_jid, nick, status)
	mirrored.send(room_jid, generation1.part(room_jid, relay_jid.unmirror(room_jid) .. "/" .. nick, status));
end

-- may_be_there(room, nick): a local user has left, and the master will be told later
function changes.may_be_there(room, nick)
	local own = of(room);
	if own.parted[nick] or limits.has_place(own, own.parted) then
		own.parted[nick] = true;
	else
		room.fmuc.authority:miss(); -- the resync shows which users of this mirror the master has
	end
end

-- part(room_jid, nick, [status]): tells the master that a user has left (M12), now or after the outage. status: <status/> of the user's last
-- presence
function changes.part(room_jid, nick, status)
	local room = mirrored.get(room_jid);
	if room and room.fmuc.authority:is_out() then return changes.may_be_there(room, nick); end
	send_part(room_jid, nick, status);
end

-- is_gone(room, nick): the master knows that the user has left, or another user has the nick
function changes.is_gone(room, nick)
	of(room).parted[nick] = nil;
end

-- has_parted(room, nick) -> whether the master does not know yet that this user has left
function changes.has_parted(room, nick)
	return of(room).parted[nick] == true;
end

-- forget_parted(room, is_there): forgets the nicks that the master does not have anyway. is_there: set of occupant JIDs
function changes.forget_parted(room, is_there)
	local parted = of(room).parted;
	for nick in pairs(parted) do
		if not is_there[room.jid .. "/" .. nick] then parted[nick] = nil; end
	end
end

-- take_parted(room) -> set of the nicks that left. The caller tells the master
function changes.take_parted(room)
	local own = of(room);
	local parted = own.parted;
	own.parted = {};
	return parted;
end

-- handle_left(event): a local user has left the room
function changes.handle_left(event)
	local room = event.room;
	if not room.fmuc or jid_bare(event.occupant.bare_jid) == room.fmuc.authority.peer then return; end
	local own = of(room);
	for _, name in ipairs { "presences", "changed", "unconfirmed", "known_as", "passwords" } do own[name][event.nick] = nil; end
	for jid in event.occupant:each_session() do own.others[jid] = nil; end
	if not event.is_known_to_master then changes.part(room.jid, jid_resource(event.nick), mirrored.last_words(event.occupant)); end
end

return changes;
