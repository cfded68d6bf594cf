-- SPDX-License-Identifier: MIT
-- What the master knows of local users, and has to be told: their presences (M16), and that they have left (M12). It is sent at once, or put
-- off while the master cannot be reached. Local users see it at once when they carry on alone (G1).
--
-- The state of a nick with several sessions is that of the first, as in any room of mod_muc. The master knows a user by that session. When
-- it leaves, the next one takes its place here and there.
--
-- link:own("changes"):
--   presences  occupant JID -> presence of a local user as the master gets it: that of the user's first session
--   others     JID of another session of a local user -> its presence, as the master would get it
--   known_as   occupant JID -> JID of the session that the master knows the user by
--   passwords  occupant JID -> the password that the master accepted
--   changed    set of the occupant JIDs with another presence, which the master has to be told
--   unconfirmed   occupant JID -> how many new presences of a local user were sent that have not come back
--   parted     set of the nicks that left, which the master has to be told

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

-- show_payload(room, stanza, occupant_jid): a change of status (and nothing else) of a local user, for local users
function changes.show_payload(room, stanza, occupant_jid)
	local known = room.fmuc.copies[occupant_jid];
	if not known then return; end
	local copy = bandwidth.with_payload_of(stanza, bandwidth.stripped_presence(known));
	copy.attr.to = nil;
	show(room, occupant_jid, copy);
	return true;
end

-- send(room, occupant_jid, presence): a local user's new presence, now or when the master is there again
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

-- for_master(room, occupant_jid, stanza) -> that presence of a local user as the master gets it, or nil when it is too long
function changes.for_master(room, occupant_jid, stanza)
	local presence = hygiene.copy("presence to the master", stanza);
	presence.attr.from, presence.attr.to = room.jid, room.fmuc.authority.peer .. "/" .. jid_resource(occupant_jid);
	return limits.trimmed(presence);
end

-- announce(room, stanza) -> the presence in which that presence of a local user goes to the master; it is the nick's from now on
function changes.announce(room, stanza)
	local copy = changes.for_master(room, stanza.attr.to, stanza);
	if not copy then
		copy = st.clone(stanza, true);
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
	local ids_wanted = history.since and policy.is_nomirror(authority.peer) and ids.prefix(room) or nil; -- the master may know it no more
	generation1.add_join(presence, { real_jid = session; again = true; ids = ids_wanted; history = history; password = password });
	return presence;
end

-- The first session of that occupant is another now than the master knows
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
	else -- a master that takes a repeated join for what it is learns the new JID, too
		room.fmuc.authority:send(changes.join_presence(room, occupant_jid, { maxstanzas = "0" }));
	end
end

-- is_of_first_session(room, stanza) -> whether that new presence of a session is the nick's; if not, it is kept until it is
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

-- update(room, stanza): the new presence of a session that is in the room; the first one's is that of the nick, as in any room
function changes.update(room, stanza)
	if changes.is_of_first_session(room, stanza) then changes.send(room, stanza.attr.to, changes.announce(room, stanza)); end
end

-- knows(room, occupant_jid, user): the master knows that user by this session
function changes.knows(room, occupant_jid, user)
	local own = of(room);
	own.known_as[occupant_jid], own.parted[jid_resource(occupant_jid)] = user, nil;
end

-- accepted(room, occupant_jid, password): the master has let the user in with that password, or without (G22)
function changes.accepted(room, occupant_jid, password)
	of(room).passwords[occupant_jid] = password;
end

-- refused(room, occupant_jid): the user does not come in
function changes.refused(room, occupant_jid)
	of(room).presences[occupant_jid] = nil;
end

-- joined(room, occupant_jid, join): a session has entered the room with that presence
function changes.joined(room, occupant_jid, join)
	local own = of(room);
	if own.known_as[occupant_jid] == join.attr.from then return; end
	own.others[join.attr.from] = changes.for_master(room, occupant_jid, join);
end

-- settle(room, occupant_jid): a user has been let in; the session that asked may have gone before
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

-- confirm(room, occupant_jid): one of the new presences of a local user that were sent has been answered
function changes.confirm(room, occupant_jid)
	local unconfirmed = of(room).unconfirmed;
	if unconfirmed[occupant_jid] then unconfirmed[occupant_jid] = unconfirmed[occupant_jid] > 1 and unconfirmed[occupant_jid] - 1 or nil; end
end

-- doubt_all(room): those that were sent may have been lost on the way there, or on the way back
function changes.doubt_all(room)
	local own = of(room);
	for occupant_jid in pairs(own.unconfirmed) do own.changed[occupant_jid] = true; end
	own.unconfirmed = {};
end

-- is_changed(room, occupant_jid) -> whether the master has to be told of another presence of that user
function changes.is_changed(room, occupant_jid)
	return of(room).changed[occupant_jid] == true;
end

-- send_changed(room): what was put off
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

-- may_be_there(room, nick): a local user has left, as the master is to be told later
function changes.may_be_there(room, nick)
	local own = of(room);
	if own.parted[nick] or limits.has_place(own, own.parted) then
		own.parted[nick] = true;
	else
		room.fmuc.authority:miss(); -- the master says then who of this mirror it has
	end
end

-- part(room_jid, nick, [status]): tells the master that a user has left (M12), now or when it is there again. status: the user's last words
-- (<status/>)
function changes.part(room_jid, nick, status)
	local room = mirrored.get(room_jid);
	if room and room.fmuc.authority:is_out() then return changes.may_be_there(room, nick); end
	send_part(room_jid, nick, status);
end

-- is_gone(room, nick): the master knows that, or somebody else has the nick
function changes.is_gone(room, nick)
	of(room).parted[nick] = nil;
end

-- has_parted(room, nick) -> whether the master has yet to be told that this user has left
function changes.has_parted(room, nick)
	return of(room).parted[nick] == true;
end

-- forget_parted(room, is_there): those who are not at the master anyway; is_there: set of occupant JIDs
function changes.forget_parted(room, is_there)
	local parted = of(room).parted;
	for nick in pairs(parted) do
		if not is_there[room.jid .. "/" .. nick] then parted[nick] = nil; end
	end
end

-- take_parted(room) -> set of the nicks of which the master has to be told now
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
