-- SPDX-License-Identifier: MIT
-- fmuc_bandwidth at a mirror (G25): stanzas of local users that the master does not need stay here. Local users still see statuses and typing
-- notifications of each other, which remote users may miss. A reaction is part of the conversation. So the mirror refuses it instead of showing it
-- to half of the room.

local relay_jid = require "prosody_relay.jid";
local jid_bare = require "util.jid".bare;

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local bandwidth = lib "link/bandwidth";
local hygiene = lib "link/hygiene";

local xmlns_muc = "http://jabber.org/protocol/muc";

local changes = lib "mirror/changes";
local ids = lib "mirror/ids";
local joins = lib "mirror/joins";
local mirrored = lib "mirror/room";
local level = lib "mirror/policy".bandwidth;

local bandwidth_mirror = {};

local function is_from_master(stanza)
	return jid_bare(stanza.attr.from) == relay_jid.unmirror(jid_bare(stanza.attr.to));
end

-- The master sends a local user's presence back without the status. Adds the status for local users
local function complete(room, stanza)
	local occupant_jid = room.jid .. "/" .. (stanza.attr.from:match("/(.*)$") or "");
	local record = room.fmuc.waiting[occupant_jid];
	local presence;
	if record and (record.accepted or stanza.attr.id == record.id) then
		presence = select(2, joins.first_session(record));
	elseif mirrored.is_local(room, occupant_jid) then
		presence = room.fmuc.copies[occupant_jid];
	end
	if not presence then return stanza; end
	return bandwidth.with_payload_of(presence, bandwidth.stripped_presence(stanza));
end

-- handle_presence(event): to the room or an occupant
function bandwidth_mirror.handle_presence(event)
	local stanza = event.stanza;
	local room = mirrored.get(jid_bare(stanza.attr.to));
	if not room or stanza.attr.type ~= nil then return; end
	if is_from_master(stanza) then
		event.stanza = complete(room, stanza);
		return;
	end
	local occupant_jid = room:get_occupant_jid(stanza.attr.from);
	if not occupant_jid or stanza.attr.to ~= occupant_jid and stanza.attr.to ~= room.jid or stanza:get_child("x", xmlns_muc) then return; end
	return not changes.is_of_first_session(room, stanza) or changes.show_payload(room, stanza, occupant_jid);
end

local function strip(event)
	event.stanza = bandwidth.stripped_message(event.stanza);
end

-- handle_groupchat(event): a message to the room, at level "messages"
function bandwidth_mirror.handle_groupchat(event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if not room or stanza.attr.type ~= "groupchat" or is_from_master(stanza) then return; end
	local occupant_jid = room:get_occupant_jid(stanza.attr.from);
	if not occupant_jid then return; end
	local verdict = bandwidth.judge(stanza);
	if verdict == "essential" then return strip(event); end
	if verdict == "other" then return errors.refuse(stanza, "link-too-narrow"); end
	stanza = hygiene.copy("from a client", stanza, ids.from_client(room));
	mirrored.add_occupant_id(stanza, room, occupant_jid);
	room:handle_message_to_room(event.origin, stanza);
	return true;
end

-- handle_private(event): from a local user to an occupant of the master, at level "messages"
function bandwidth_mirror.handle_private(event)
	local stanza = event.stanza;
	local type = stanza.attr.type;
	local room = mirrored.get(jid_bare(stanza.attr.to));
	if not room or type == "error" or type == "result" or is_from_master(stanza) or mirrored.is_local(room, stanza.attr.to) then return; end
	if stanza.name == "iq" then return errors.refuse(stanza, "link-too-narrow"); end
	local verdict = bandwidth.judge(stanza);
	if verdict == "essential" then return strip(event); end
	return verdict == "transient" or errors.refuse(stanza, "link-too-narrow");
end

-- handle_outbound(event): changes a presence to the master in place; this module has made the stanza
function bandwidth_mirror.handle_outbound(event)
	local stanza = event.stanza;
	if stanza.name ~= "presence" or stanza.attr.to:match("^[^/]*") ~= relay_jid.unmirror(jid_bare(stanza.attr.from)) then return; end
	if stanza.attr.type ~= nil and stanza.attr.type ~= "unavailable" then return; end
	bandwidth.strip_presence(stanza);
	generation1.add_bandwidth(stanza, level);
end

return bandwidth_mirror;
