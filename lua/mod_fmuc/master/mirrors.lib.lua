-- SPDX-License-Identifier: MIT
-- What mirrors, and others in their name, send to the rooms of a master (M4 to M26). A mirrored user is an occupant like any other, under
-- the real JID that the mirror names. Joins: master/joins. What mirrors get: master/links.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local answers = lib "master/answers";
local delivery = lib "room/delivery";
local joins = lib "master/joins";
local stanza_ids = lib "master/ids";
local limits = lib "link/limits";
local hygiene = lib "link/hygiene";
local links = lib "master/links";
local turns = lib "room/turns";
local liveness = lib "master/liveness";
local muc = module:depends "muc";

local xmlns_muc = "http://jabber.org/protocol/muc";

local mirrors = {};

-- The presence to keep. If it is too long, it loses what its author added, or everything in it.
local function trimmed(presence)
	return limits.trimmed(presence) or limits.bare_presence(presence);
end

-- hear(room, link, event) -> whether a stanza from the mirror's address is no error; notes what it says about the link
local function hear(room, link, event)
	if event.stanza.attr.type == "error" then
		liveness.failed(room, link, event);
		return false;
	end
	liveness.heard(link);
	link:count_received();
	return true;
end

-- Handles a presence of a mirrored session when it is the session's turn
local function update(origin, stanza, room_jid, link_jid)
	local room, nick = muc.get_room_from_jid(room_jid), jid_resource(stanza.attr.to);
	local link = links.get(room, link_jid);
	local real_jid = link and link.nicks[nick];
	if not real_jid then return; end -- the user left during an earlier stanza of the same session
	stanza.attr.from = real_jid;
	room:handle_presence_to_occupant(answers.origin(origin, room_jid, link_jid .. "/" .. nick), stanza);
	if stanza.attr.type == "unavailable" and links.get(room, link_jid) == link then links.remove_user(room, link, nick); end
end

local function handle_update(event, room, link)
	local origin, stanza = event.origin, event.stanza;
	local nick = jid_resource(stanza.attr.to);
	local real_jid = link.nicks[nick];
	if not hear(room, link, event) then return true; end
	if link.state == "lost" and stanza.attr.type ~= "unavailable" then
		link:count_received(-1); -- nobody gets it; the mirror learns that from the count
		liveness.nudge(room.jid, link.peer);
	elseif not real_jid then
		if stanza.attr.type ~= "unavailable" then
			return answers.refuse(origin, stanza, link.peer .. "/" .. nick, "not-in-room-any-more");
		end
	else
		stanza = trimmed(hygiene.cleaned("from anybody", stanza));
		local has_turn = turns.take(room.jid, real_jid, function () update(origin, stanza, room.jid, link.peer); end,
			stanza.attr.type == "unavailable");
		if not has_turn then
			return answers.refuse(origin, stanza, link.peer .. "/" .. nick, "earlier-presences");
		end
	end
	return true;
end

-- One session cannot be in the room twice: the room would not know where to send its stanzas
local function handle_direct(event)
	local origin, stanza = event.origin, event.stanza;
	if stanza.attr.type ~= nil or not stanza:get_child("x", xmlns_muc) then return; end
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	local link = room and room.fmuc and room.fmuc.link_of[stanza.attr.from];
	if not link then return; end
	origin.send(errors.reply(stanza, link.dialect == "generation1" and "in-room-through-mirror" or "in-room-through-node", link.peer));
	return true;
end

-- handle_presence(event): handles a presence to an occupant
function mirrors.handle_presence(event)
	local stanza = event.stanza;
	local from = stanza.attr.from;
	if jid_resource(from) then
		event.stanza = hygiene.cleaned("from anybody", stanza);
		return handle_direct(event);
	end
	local wanted = generation1.read_join(stanza);
	if wanted then return joins.handle(event, wanted); end
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	local link = links.get(room, from);
	if link then return handle_update(event, room, link); end
	event.stanza = hygiene.cleaned("from anybody", stanza);
end

-- clean(event): removes elements of FMUC that others than mirrors send. Recipients would take them for this service's word (G21).
function mirrors.clean(event)
	event.stanza = hygiene.cleaned("from anybody", event.stanza);
end

-- handle_message(event): handles a message to the room, perhaps of a mirrored user (M17)
function mirrors.handle_message(event)
	local origin, stanza = event.origin, event.stanza;
	local from = stanza.attr.from;
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, jid_bare(from));
	if not link then return mirrors.clean(event); end
	if not hear(room, link, event) then return true; end
	local nick = jid_resource(from);
	local real_jid = nick and link.nicks[nick];
	if not real_jid or link.state == "lost" then
		return answers.refuse(origin, stanza, from, "not-in-room");
	end
	local except_link = generation1.is_nomirror(stanza) and link.peer; -- M22
	local stanza_id = stanza_ids.read(room, stanza, link);
	stanza = hygiene.cleaned("message from a mirror", stanza, { by = { [link.peer] = true } });
	stanza.attr.from = real_jid;
	if except_link then
		local way = delivery.on_its_way(room, stanza);
		way.except_link, way.stanza_id = except_link, stanza_id;
	end
	room:handle_message_to_room(answers.origin(origin, room.jid, from), stanza);
	return true;
end

-- handle_left(event): the room has lost an occupant, for any reason
function mirrors.handle_left(event)
	local room, nick = event.room, jid_resource(event.nick);
	if not room.fmuc then return; end
	local left = {}; -- a user may have come through several mirrors
	for _, link in pairs(room.fmuc.links) do
		if link.nicks[nick] then left[#left + 1] = link; end
	end
	for _, link in ipairs(left) do links.remove_user(room, link, nick); end
end

return mirrors;
