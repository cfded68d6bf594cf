-- SPDX-License-Identifier: MIT
-- New presences of local users on their way to the master (M16): sent; put off while it cannot be reached; shown here at once when users
-- carry on alone (G1).
--
-- The state of a nick with several sessions is that of the first, as in any room of mod_muc. The master knows a user by that session. When
-- it leaves, the next one takes its place here and there.

local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local bounds = lib "link/limits";
local crossing = lib "link/private";
local hygiene = lib "link/hygiene";
local policy = lib "mirror/policy";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local parts; -- bandwidth, ids, mirrored, outage, resync, room_info

local changes = {};

-- A local user's presence as the room shows it
local function in_room(room, occupant_jid, presence)
	local copy = st.clone(presence);
	copy:add_child(room.fmuc.copies[occupant_jid]:get_child("x", xmlns_muc_user));
	parts.ids.add_occupant_id(copy, room, occupant_jid);
	copy.attr.from, copy.attr.to = occupant_jid, nil;
	return copy;
end

-- A local user's new presence, which the master cannot confirm now
local function show_change(room, occupant_jid, presence)
	if not parts.outage.is_autonomous(room) then return; end
	local copy = in_room(room, occupant_jid, presence);
	local sessions = room.fmuc.recipients:by_nick(occupant_jid);
	room.fmuc.copies[occupant_jid] = fanout.view(copy);
	parts.mirrored.set_occupant(room, occupant_jid, copy, sessions);
	parts.mirrored.show(room, occupant_jid, copy, sessions);
end

-- send(room, occupant_jid, presence): a local user's new presence, now or when the master is there again
function changes.send(room, occupant_jid, presence)
	local line = room.fmuc.line;
	if parts.outage.is_out(room) then
		line.changed[occupant_jid] = true;
		return show_change(room, occupant_jid, presence);
	end
	line.unconfirmed[occupant_jid] = (line.unconfirmed[occupant_jid] or 0) + 1;
	parts.mirrored.send(room.jid, presence);
end

-- The first session of that occupant is another now than the master knows
local function promote(room, occupant)
	local occupant_jid, user, line = occupant.nick, occupant.jid, room.fmuc.line;
	local presence = line.others[user];
	if not presence then return; end
	line.others[user] = nil;
	line.presences[occupant_jid] = presence;
	if policy.bandwidth ~= "full" then parts.bandwidth.show_update(room, presence, occupant_jid); end
	if parts.outage.is_out(room) or not parts.room_info.has(room, crossing.xmlns) then
		line.known_as[occupant_jid] = user;
		changes.send(room, occupant_jid, st.clone(presence));
	else -- a master that takes a repeated join for what it is learns the new JID, too
		parts.mirrored.send(room.jid, parts.resync.rejoin_presence(room, occupant_jid, { maxstanzas = "0" }));
	end
end

local function to_master(room, occupant_jid, stanza)
	local presence = hygiene.copy("presence to the master", stanza);
	presence.attr.from, presence.attr.to = room.jid, room.fmuc.master .. "/" .. occupant_jid:match("/(.*)$");
	return bounds.trimmed(presence);
end

-- is_of_first_session(room, stanza) -> whether that new presence of a session is the nick's; if not, it is kept until it is
function changes.is_of_first_session(room, stanza)
	local user = stanza.attr.from;
	local occupant = room:get_occupant_by_real_jid(user);
	if not occupant or occupant.jid == user then return true; end
	local presence = to_master(room, occupant.nick, stanza);
	if not presence then return false; end
	room.fmuc.line.others[user] = presence;
	parts.mirrored.show_to_self(room, in_room(room, occupant.nick, presence), { user }, stanza.attr.id);
	return false;
end

-- joined(room, occupant_jid, join): a session has entered the room with that presence
function changes.joined(room, occupant_jid, join)
	local line = room.fmuc.line;
	if line.known_as[occupant_jid] == join.attr.from then return; end
	line.others[join.attr.from] = to_master(room, occupant_jid, join);
end

-- handle_session(event): a further session of a local user has entered
function changes.handle_session(event)
	local room = event.room;
	if not room.fmuc or event.origin.fmuc_record or not parts.mirrored.is_local(room, event.nick) then return; end
	changes.joined(room, event.nick, event.stanza);
end

-- left(room, occupant, user): one of several sessions of that occupant has left
function changes.left(room, occupant, user)
	room.fmuc.line.others[user] = nil;
	promote(room, occupant);
end

-- settle(room, occupant_jid): a user has been let in; the session that asked may have gone before
function changes.settle(room, occupant_jid)
	promote(room, room:get_occupant_by_nick(occupant_jid));
end

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return changes;
end;
