-- SPDX-License-Identifier: MIT
-- What rooms of other servers send to the rooms of this service as nodes (generation 2): which part of this role handles it.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local jid_prep = require "util.jid".prep;
local whose_error = require "prosody_relay.origin";

local arrivals = lib "node/arrivals";
local config = lib "node/config";
local foreign = lib "node/foreign";
local generation2 = lib "dialect/generation2";
local handshake = lib "node/handshake";
local links = lib "node/links";
local messages = lib "node/messages";
local outage = lib "node/outage";
local private = lib "node/private";
local queue = lib "node/queue";
local replica = lib "node/replica";
local remembered = lib "node/remembered";
local rollcall = lib "node/rollcall";
local muc = module:depends "muc";

local nodes = {};

-- What the room itself says: it names another user in the item, as some nodes do (section 3 of the requirements)
local function handle_word_of_room(room, link, stanza, said)
	local subject_of = jid_prep(said.item_jid);
	if not subject_of then return; end
	if stanza.attr.type == "unavailable" then return arrivals.remove(room, link, subject_of, said); end
	arrivals.adjust(room, link, subject_of, said);
end

-- Whether a node that this one has joined, or is joining, wants to join this one. The presences of Openfire's users may look like that, too, but they
-- are for the bare room.
local function is_crossing(link, stanza, said)
	if not said.is_join or link.direction ~= "up" then return false; end
	return said.mark ~= nil or link.state ~= "live" and jid_resource(stanza.attr.to) ~= nil;
end

local function handle_presence(room, link, stanza, said)
	if said.is_reject then return handshake.refused(room, link, said.text); end
	if said.is_left then return handshake.left(room, link); end
	if said.is_complete then return handshake.completed(room, link, said); end
	local nick = jid_resource(stanza.attr.from);
	if not nick then return handle_word_of_room(room, link, stanza, said); end
	if is_crossing(link, stanza, said) then return handshake.cross(stanza, said); end
	if said.is_join and link.direction == "down" then
		if said.mark then return handshake.accept(stanza, said); end
		if rollcall.hold(link, stanza) then return; end
	end
	if stanza.attr.type == nil then
		arrivals.available(room, link, nick, stanza, said);
	elseif stanza.attr.type == "unavailable" then
		local victim, author = jid_prep(said.item_jid), jid_prep(said.real_jid);
		if victim and author and jid_resource(victim) and jid_bare(victim) ~= jid_bare(author) and jid_bare(victim) ~= link.peer then
			arrivals.remove(room, link, victim, said); -- by this user
		elseif links.brought(link)[nick] then
			arrivals.unavailable(room, link, nick, stanza, said);
		else
			arrivals.kicked(room, link, nick, said);
		end
		handshake.end_if_unused(room);
	end
end

local function handle_message(room, link, stanza, said)
	local nick = jid_resource(stanza.attr.from);
	if link.state == "joining" then
		if stanza:get_child("subject") and not stanza:get_child("body") then
			messages.dumped_subject(room, link, nick, stanza);
			return handshake.synced(room, link, said);
		end
		if nick then handshake.old_message(room, link, nick, stanza, said); end
		return;
	end
	if not nick then return; end
	if stanza.attr.type == "groupchat" then
		messages.message(room, link, nick, stanza, said);
	elseif jid_resource(stanza.attr.to) then
		private.receive(room, link, nick, stanza, said);
	end
end

-- An error in the name of an occupant is about a private message. It is of no matter for the link, unless nothing reaches the other node.
local function handle_error(room, link, event)
	local is_private = event.stanza.name == "message" and jid_resource(event.stanza.attr.from);
	if is_private then
		private.return_error(room, link, event);
	elseif event.stanza.name == "message" and not whose_error.is_undeliverable(event) then
		replica.refused(room, link, event.stanza);
	end
	if not is_private or whose_error.is_undeliverable(event) then outage.failed(link, event); end
end

-- Whether the other node does not know yet that this one has lost it, or refuses it. A node of this module says all of that again when it is known
-- here again. What would be shown and counted until then would not fit to that.
local function is_idle_talk(link, stanza, said)
	if link.state ~= "lost" or said.is_from_room then return false; end
	if links.mark(link) then return not (said.is_join and said.mark and link.direction == "down"); end
	return handshake.is_refused(link) and not is_crossing(link, stanza, said);
end

-- A foreign node that was lost speaks. Where it had joined, it goes on as if nothing had happened, and so does this one (O18).
local function hear_lost(room, link)
	if link.direction == "up" then return outage.hasten(link); end
	rollcall.ask(link);
	if link:fire("synced") then foreign.handle_reached { room = room; link = link }; end
end

-- No node says that. An ordinary room does, to its new occupant.
local function handle_foreign_word(room, link, stanza)
	local nick = jid_resource(stanza.attr.to);
	if link.state == "joining" and stanza.name == "presence" and stanza.attr.type == nil and nick and links.told(link)[nick] then
		handshake.left_alone(room, link, nick);
	end
end

local function handle_from_node(event, room_jid, peer)
	local stanza = event.stanza;
	local room = muc.get_room_from_jid(room_jid);
	local link = links.get(room, peer);
	if not link then return; end
	if stanza.attr.type == "error" then return handle_error(room, link, event); end
	local said = generation2.read(stanza);
	if not said then return handle_foreign_word(room, link, stanza); end
	link:hear();
	link:count_received();
	if is_idle_talk(link, stanza, said) then return; end
	if link.state == "lost" and jid_resource(stanza.attr.from) and not links.mark(link) then hear_lost(room, link); end
	if stanza.name == "presence" then handle_presence(room, link, stanza, said); else handle_message(room, link, stanza, said); end
end

-- Whether a foreign node may go on that had joined before this server crashed
local function may_resume(room, peer, stanza, said)
	if not room or room._data.destroyed or said.is_join or not jid_resource(stanza.attr.from) or stanza.attr.type == "unavailable" then return false; end
	return config.accepts(room, peer) and arrivals.may_bring({ room_jid = room.jid; peer = peer }, jid_prep(said.real_jid));
end

-- The stanza of a foreign node without a link. A former one has ended, or was lost in a crash.
local function handle_stray(event, room, room_jid, peer)
	local said, direction = generation2.read(event.stanza), remembered.direction(room_jid, peer);
	if said and direction == "up" and said.is_left then
		remembered.close(room_jid, peer);
		return true;
	end
	if not said or direction ~= "down" or not may_resume(room, peer, event.stanza, said) then return false; end
	queue.take(room_jid, peer, event.stanza, function ()
		if not links.get(room, peer) then foreign.resume(room, peer); end
		handle_from_node(event, room_jid, peer);
	end);
	return true;
end

-- handle(event): handles a presence or message to a room, if a node sends it
function nodes.handle(event)
	local stanza = event.stanza;
	local peer, room_jid = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	local room = muc.get_room_from_jid(room_jid);
	local link = links.get(room, peer);
	if link then
		local has_turn = queue.take(room_jid, peer, stanza, function () handle_from_node(event, room_jid, peer); end);
		if not has_turn then outage.begin(link, "more stanzas wait than this server keeps", true); end
		return true;
	end
	if remembered.direction(room_jid, peer) and handle_stray(event, room, room_jid, peer) then return true; end
	local said = room and not room._data.destroyed and generation2.read(stanza);
	if not said or not said.is_join or not jid_resource(stanza.attr.from) or not config.accepts(room, peer) then return; end
	queue.take(room_jid, peer, stanza, function () handshake.accept(stanza, said); end);
	return true;
end

return nodes;
