-- SPDX-License-Identifier: MIT
-- fmuc_bandwidth at a mirror (G25): what local users send and the master need not get stays here. Local users see it of each other, as
-- far as the room stays the same for everybody: a status, or that somebody is typing, is seen or not; a reaction is part of what was
-- said, so it is refused rather than shown to half of the room.

local fanout = require "prosody_relay.fanout";
local relay_jid = require "prosody_relay.jid";
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local bandwidth = lib "link/bandwidth";
local hygiene = lib "link/hygiene";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc = "http://jabber.org/protocol/muc";

local admission, changes, mirrored, ids, level;

local bandwidth_mirror = {};

local function is_from_master(stanza)
	return jid_bare(stanza.attr.from) == relay_jid.unmirror(jid_bare(stanza.attr.to));
end

local function add_payload(copy, presence)
	for _, child in ipairs(presence.tags) do
		if bandwidth.is_payload(child) then copy:add_direct_child(st.clone(child)); end
	end
	return copy;
end

-- show_update(room, stanza, occupant_jid): a change of status (and nothing else) of a local user, for local users
function bandwidth_mirror.show_update(room, stanza, occupant_jid)
	local known = room.fmuc.copies[occupant_jid];
	if not known then return; end
	local copy = add_payload(bandwidth.stripped_presence(known), stanza);
	copy.attr.to = nil;
	local sessions = room.fmuc.recipients:by_nick(occupant_jid);
	room.fmuc.copies[occupant_jid] = fanout.view(copy);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions);
	return true;
end

-- The master knows a local user without status; local users know more
local function complete(room, stanza)
	local occupant_jid = room.jid .. "/" .. (stanza.attr.from:match("/(.*)$") or "");
	local record = room.fmuc.waiting[occupant_jid];
	local presence;
	if record and (record.accepted or stanza.attr.id == record.id) then
		presence = select(2, admission.first_session(record));
	elseif mirrored.is_local(room, occupant_jid) then
		presence = room.fmuc.copies[occupant_jid];
	end
	if not presence then return stanza; end
	return add_payload(bandwidth.stripped_presence(stanza), presence);
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
	return not changes.is_of_first_session(room, stanza) or bandwidth_mirror.show_update(room, stanza, occupant_jid);
end

local function refuse(stanza)
	module:send(st.error_reply(stanza, "cancel", "policy-violation", "Only messages cross the narrow link between this mirror and the room"));
	return true;
end

local function strip(event)
	event.stanza = bandwidth.stripped_message(event.stanza);
end

-- handle_groupchat(event): a message to the room; of level "messages"
function bandwidth_mirror.handle_groupchat(event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if not room or stanza.attr.type ~= "groupchat" or is_from_master(stanza) then return; end
	local occupant_jid = room:get_occupant_jid(stanza.attr.from);
	if not occupant_jid then return; end
	local verdict = bandwidth.judge(stanza);
	if verdict == "essential" then return strip(event); end
	if verdict == "other" then return refuse(stanza); end
	stanza = hygiene.copy("from a client", stanza, ids.from_client(room));
	ids.add_occupant_id(stanza, room, occupant_jid);
	room:handle_message_to_room(event.origin, stanza);
	return true;
end

-- handle_private(event): between a local user and an occupant of the master; of level "messages"
function bandwidth_mirror.handle_private(event)
	local stanza = event.stanza;
	local type = stanza.attr.type;
	local room = mirrored.get(jid_bare(stanza.attr.to));
	if not room or type == "error" or type == "result" or is_from_master(stanza) or mirrored.is_local(room, stanza.attr.to) then return; end
	if stanza.name == "iq" then return refuse(stanza); end
	local verdict = bandwidth.judge(stanza);
	if verdict == "essential" then return strip(event); end
	return verdict == "transient" or refuse(stanza);
end

-- handle_outbound(event): a stanza on its way out, changed in place: it is this module's own
function bandwidth_mirror.handle_outbound(event)
	local stanza = event.stanza;
	if stanza.name ~= "presence" or stanza.attr.to:match("^[^/]*") ~= relay_jid.unmirror(jid_bare(stanza.attr.from)) then return; end
	if stanza.attr.type ~= nil and stanza.attr.type ~= "unavailable" then return; end
	bandwidth.strip_presence(stanza);
	local fmuc = stanza:get_child("fmuc", xmlns_fmuc);
	if fmuc then fmuc.attr.bandwidth = level; end
end

-- shared: admission, changes (libs of these names), mirrored (mirror/room), ids (mirror/ids), level
return function (shared)
	admission, changes, mirrored, ids, level = shared.admission, shared.changes, shared.mirrored, shared.ids, shared.level;
	return bandwidth_mirror;
end;
