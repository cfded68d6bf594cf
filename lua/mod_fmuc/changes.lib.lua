-- SPDX-License-Identifier: MIT
-- New presences of local users on their way to the master (M16): sent; put off while it cannot be reached; shown here at once when users
-- carry on alone (G1).

local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local parts; -- mirrored, ids, outage

local changes = {};

-- A local user's new presence, which the master cannot confirm now
local function show_change(room, occupant_jid, presence)
	if not parts.outage.is_autonomous(room) then return; end
	local copy = st.clone(presence);
	copy:add_child(room.fmuc.copies[occupant_jid]:get_child("x", xmlns_muc_user));
	parts.ids.add_occupant_id(copy, room, occupant_jid);
	copy.attr.from, copy.attr.to = occupant_jid, nil;
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

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return changes;
end;
