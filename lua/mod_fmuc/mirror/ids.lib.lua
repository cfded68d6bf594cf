-- SPDX-License-Identifier: MIT
-- Identifiers in a mirrored room: stanza-id (XEP-0359, G9) and occupant-id (XEP-0421, G10) are the master's. So replies, reactions, retractions and
-- moderation mean the same message and the same user on both sides.
--
-- link/hygiene removes identifiers that a client has set. It also removes those of a master that does not announce support for them.
--
-- link:own("ids"):
--   used       the stanza-ids that the room has assigned (room/used_ids)
--   prefix, count   the master adopts ids of this mirror that begin with this prefix; they are numbered (master/ids)
--   is_asked   a join that asks for a prefix was sent

local new_id = require "util.id".medium;
local st = require "util.stanza";

local delivery = lib "room/delivery";
local hygiene = lib "link/hygiene";
local policy = lib "mirror/policy";
local used_ids = lib "room/used_ids";

local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local xmlns_sid = "urn:xmpp:sid:0";

-- Each id goes into every store and every answer, so longer ids are ignored
local max_id_bytes = 256;
-- At least this many latest messages have different ids. If an archive in one file holds more messages, all of them do
local min_compared = 1000;

local archive = lib "room/archive";
local room_info = lib "mirror/room_info";

local ids = {};

local function of(room)
	return room.fmuc.authority:own("ids");
end

-- from_client(room) -> context of link/hygiene for stanzas of local users, who must not set identifiers
function ids.from_client(room)
	return { by = { [room.jid] = true; [room.fmuc.authority.peer] = true } };
end

-- from_master(room) -> context of link/hygiene for stanzas of the master
function ids.from_master(room)
	return { by = { [room.jid] = true; [room.fmuc.authority.peer] = not room_info.has(room, xmlns_sid) }; room_jid = room.jid;
		has_occupant_ids = room_info.has(room, xmlns_occupant_id) };
end

local function masters_id(stanza, room)
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		local id = child.attr.id;
		if child.attr.by == room.fmuc.authority.peer and id and id ~= "" and #id <= max_id_bytes then return id; end
	end
end

local function add_stanza_id(stanza, by, id)
	stanza:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid; by = by; id = id }));
end

-- set_prefix(room, prefix): the master adopts ids with this prefix. The count goes on if the prefix is the same as before
function ids.set_prefix(room, prefix)
	local own = of(room);
	if own.prefix ~= prefix then own.prefix, own.count = prefix, 0; end
end

-- prefix(room) -> the prefix that the master has given, or ""
function ids.prefix(room)
	return of(room).prefix or "";
end

-- ask(room) -> "" when the join has to ask for a prefix, or nil
function ids.ask(room)
	local own = of(room);
	if own.prefix or own.is_asked or not policy.is_nomirror(room.fmuc.authority.peer) then return nil; end
	own.is_asked = true;
	return "";
end

-- join_refused(room): another join has to ask for the prefix
function ids.join_refused(room)
	of(room).is_asked = nil;
end

-- new_stanza_id(stanza, room) -> id for a message that the master does not send back (M21), or nil
function ids.new_stanza_id(stanza, room)
	if not room_info.has(room, xmlns_sid) or not module:fire_event("muc-message-is-historic", { room = room; stanza = stanza }) then
		return nil;
	end
	local own = of(room);
	if not own.prefix then return new_id(); end
	own.count = own.count + 1;
	return ("%s-%d"):format(own.prefix, own.count);
end

-- The id of a message in the mirrored room is the master's. A master may repeat an id, because it lies or lost its count in a restart. Then the
-- second message gets a new id here.
local function own_id(stanza, room, id)
	local own = of(room);
	id = id or masters_id(stanza, room);
	if not id then return nil; end
	if used_ids.has(own.used, id) or archive.has(room, id) then
		hygiene.filter("message with the id of another", stanza, { room_jid = room.fmuc.authority.peer });
		id = new_id();
	end
	own.used = used_ids.add(own.used, id, math.max(min_compared, archive.max_messages()));
	return id;
end

-- Called once for each message of the room, live or old
local function identify(stanza, room, id, when)
	id = own_id(stanza, room, id);
	if not id then return; end
	if archive.is_on() then archive.keep(room, stanza, id, when); end
	add_stanza_id(stanza, room.jid, id);
end

-- mark_history(stanza, room, when): an old message that is new to this mirror
function ids.mark_history(stanza, room, when)
	identify(stanza, room, nil, when);
end

-- handle_broadcast(event): once for each message that local users get
function ids.handle_broadcast(event)
	local room, stanza = event.room, event.stanza;
	if room.fmuc then identify(stanza, room, delivery.way_of(room, stanza).stanza_id); end
end

return ids;
