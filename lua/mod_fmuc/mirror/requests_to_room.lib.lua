-- SPDX-License-Identifier: MIT
-- Requests of local users to the room by message: for voice, which the master's moderators grant (G15), and invitations. Users of this mirror are
-- invited into the mirrored room, other users into the master's. If a room is not open to everybody, only its master knows the password, and
-- who may invite. So the master invites. Generation 1 has no form for these requests, so they cross only to a master that takes them.

local dataforms = require "util.dataforms";
local explained = require "prosody_relay.origin".explained;
local jid_bare = require "util.jid".bare;
local jid_prep = require "util.jid".prep;
local relay_jid = require "prosody_relay.jid";

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local hygiene = lib "link/hygiene";
local policy = lib "mirror/policy";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_request = "http://jabber.org/protocol/muc#request";

-- Prefix of the ids of messages that cross
local id_prefix = "fmuc-ask-";

local joins = lib "mirror/joins";
local mirrored = lib "mirror/room";
local outbox = lib "mirror/outbox";
local room_info = lib "mirror/room_info";

local requests_to_room = {};

local function asks_for_voice(stanza)
	local form = stanza:get_child("x", "jabber:x:data");
	return form ~= nil and dataforms.get_type(form) == xmlns_request;
end

-- Whom the message invites, as JID; nil if nobody
local function invitee_of(stanza)
	local invitee = stanza:find("{" .. xmlns_muc_user .. "}x/invite@to");
	return invitee and jid_prep(invitee) or nil;
end

local function is_open(room)
	return not room_info.has(room, "muc_membersonly") and not room_info.has(room, "muc_passwordprotected");
end

local function cross(room, stanza, occupant_jid)
	if room.fmuc.authority:is_out() then
		errors.refuse(stanza, "server-unreachable");
		return;
	end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from, copy.attr.to = occupant_jid, room.fmuc.authority.peer;
	copy.attr.id = id_prefix .. (stanza.attr.id or "");
	mirrored.send(room.jid, copy);
end

-- handle_error(event): of the master, or of this server; the error can have no other source
function requests_to_room.handle_error(event)
	local stanza = event.stanza;
	local type, room_jid, id = stanza.attr.type, jid_bare(stanza.attr.to), stanza.attr.id;
	if type ~= "error" or stanza.attr.from ~= relay_jid.unmirror(room_jid) or not id or id:sub(1, #id_prefix) ~= id_prefix then return; end
	if outbox.has_sent(stanza.attr.to, id) then return; end -- an author may choose any id
	local room = mirrored.get(room_jid);
	if not room or not mirrored.is_local(room, stanza.attr.to) then return true; end
	local copy = hygiene.copy("from anybody", explained(event));
	copy.attr.from, copy.attr.id = room_jid, id:sub(#id_prefix + 1);
	room:route_to_occupant(room:get_occupant_by_nick(stanza.attr.to), copy);
	return true;
end

-- handle(event): a message of a local user to the room
function requests_to_room.handle(event)
	local stanza = event.stanza;
	local type = stanza.attr.type;
	local room = (type == nil or type == "normal") and mirrored.get(stanza.attr.to);
	local occupant_jid = room and room:get_occupant_jid(stanza.attr.from);
	if not occupant_jid then return; end
	local invitee = invitee_of(stanza);
	local is_for_master = asks_for_voice(stanza) or invitee ~= nil and not is_open(room);
	if not is_for_master and (not invitee or policy.may_use(invitee)) then return; end
	if room_info.has(room, generation1.xmlns_private) then
		cross(room, stanza, occupant_jid);
	elseif is_for_master then
		errors.refuse(stanza, "administered-elsewhere", room.fmuc.authority.peer);
	else
		return;
	end
	return true;
end

-- handle_reply(event): a message of the master to one user, for example that an invitation was declined
function requests_to_room.handle_reply(event)
	local stanza = event.stanza;
	local type, room_jid = stanza.attr.type, jid_bare(stanza.attr.to);
	if (type ~= nil and type ~= "normal") or stanza.attr.from ~= relay_jid.unmirror(room_jid) then return; end
	local room = mirrored.get(room_jid);
	if not room then return true; end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from = room_jid;
	joins.tell(room, stanza.attr.to, copy);
	return true;
end

return requests_to_room;
