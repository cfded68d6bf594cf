-- SPDX-License-Identifier: MIT
-- Private messages (G12) and IQ (G13) between single occupants, at the master. A mirrored user is an occupant like any other. The user gets
-- them as R/Nick at the mirror, if the mirror announces that it accepts them. This module never asks at a real JID that a mirror named.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;
local heap_size = require "prosody_relay.stanza".heap_size;
local now = require "util.time".now;
local shares = require "prosody_relay.shares";
local whose_error = require "prosody_relay.origin";
local st = require "util.stanza";

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local occupant_requests = lib "link/occupant_requests";
local hygiene = lib "link/hygiene";
local linked = lib "room/linked";
local muc = module:depends "muc";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

local answer_timeout, features_timeout = 60, 20;
local max_age, max_age_failure = 3600, 60;
-- Bytes of heap for stanzas that wait for the features of a mirror: for all users, and for each
local max_waiting, max_waiting_of_user = 16 * 1024 * 1024, 1024 * 1024;

local links, requests, liveness = lib "master/links", lib "link/requests", lib "master/liveness";

local private = {};

local memory = shares.new(max_waiting, max_waiting_of_user);

local peers = cache.new(256); -- host of a mirror -> { time, takes_private }

local function send_error(reply, reply_to)
	reply.attr.to = reply_to;
	module:send(reply);
	return true;
end

local function refuse(stanza, reply_to, name)
	return send_error(errors.reply(stanza, name), reply_to);
end

-- Sends a request to one occupant behind a link. from: the sender's occupant JID; reply_to: where the sender gets the answer
local function send_request(link, stanza, real_jid, from, reply_to)
	local copy = hygiene.copy("from anybody", stanza);
	local record = { asker = reply_to; user = real_jid; asked = stanza.attr.to; id = stanza.attr.id };
	copy.attr.from, copy.attr.to = from, link.peer .. "/" .. jid_resource(stanza.attr.to);
	if not requests.send("private-iq", copy, record, answer_timeout) then
		refuse(stanza, reply_to, "too-many-questions");
	end
end

-- An origin for mod_muc. Its answers go back to the sender behind a link, in the name of the occupant that was asked
local function origin_for(origin, occupant_jid, reply_to)
	local function send(reply)
		reply.attr.from, reply.attr.to = occupant_jid, reply_to;
		module:send(reply);
		return true;
	end
	return setmetatable({ send = send }, { __index = origin });
end

-- The link of the occupant's first session, or nil; mod_muc would ask that session
local function link_of(room, occupant)
	return occupant and linked.link_of(room, occupant.jid, "generation1");
end

-- deliver(room, stanza, real_jid, reply_to, origin): sends the stanza from the occupant with session real_jid to the occupant in `to`
local function deliver(room, stanza, real_jid, reply_to, origin)
	local from, to = room:get_occupant_jid(real_jid), stanza.attr.to;
	local link = link_of(room, room:get_occupant_by_nick(to));
	if not from then
		return refuse(stanza, reply_to, "not-in-room");
	elseif stanza.name == "iq" and link then
		send_request(link, stanza, real_jid, from, reply_to);
		return true;
	end
	stanza.attr.from = real_jid;
	origin = origin_for(origin, to, reply_to);
	if stanza.name == "iq" then return room:handle_iq_to_occupant(origin, stanza); end
	return room:handle_message_to_occupant(origin, stanza);
end

local function peer_takes_private(host)
	local peer = peers:get(host);
	if not peer or now() - peer.time > (peer.takes_private ~= nil and max_age or max_age_failure) then return nil; end
	return peer.takes_private or false;
end

-- Called when the features of the mirror are known; failure: error of this server, which could not ask
local function deliver_or_refuse(room, link, waiting, failure)
	local stanza = waiting.stanza;
	if failure then
		return send_error(st.error_reply(stanza, failure:get_error()), waiting.reply_to);
	elseif not peer_takes_private(jid_host(link.peer)) then
		return refuse(stanza, waiting.reply_to, "private-does-not-arrive");
	end
	deliver(room, stanza, waiting.real_jid, waiting.reply_to, {});
end

local function ask_peer(room, link, waiting)
	local host = jid_host(link.peer);
	waiting.bytes = heap_size(waiting.stanza);
	if not memory:take(waiting.real_jid, waiting.bytes) then return nil; end
	local record = requests.find("peer-features", host);
	if record then
		table.insert(record.waiting, waiting);
		return true;
	end
	local iq = requests.get(room.jid, host):tag("query", { xmlns = xmlns_disco_info }):up();
	if requests.send("peer-features", iq, { waiting = { waiting } }, features_timeout) then return true; end
	memory:give(waiting.real_jid, waiting.bytes);
	return nil;
end

local function handle_features(record, answer, is_undeliverable)
	local query = answer and answer.attr.type == "result" and answer:get_child("query", xmlns_disco_info);
	local takes_private;
	if query then
		takes_private = false;
		for feature in query:childtags("feature") do
			if feature.attr.var == generation1.xmlns_private then takes_private = true; end
		end
	end
	peers:set(record.peer, { time = now(); takes_private = takes_private });
	for _, waiting in ipairs(record.waiting) do
		memory:give(waiting.real_jid, waiting.bytes);
		local room = muc.get_room_from_jid(jid_bare(waiting.stanza.attr.to));
		local link = room and links.get(room, waiting.link_jid);
		if link then
			deliver_or_refuse(room, link, waiting, is_undeliverable and answer);
		else
			refuse(waiting.stanza, waiting.reply_to, "recipient-not-in-room");
		end
	end
end

-- Handles a stanza of any occupant to an occupant behind a link
local function to_link(room, link, stanza, real_jid, reply_to)
	if stanza.name == "iq" and not occupant_requests.may_cross(stanza) then
		return refuse(stanza, reply_to, "request-does-not-cross");
	end
	local waiting = { stanza = st.clone(stanza); real_jid = real_jid; reply_to = reply_to; link_jid = link.peer };
	if peer_takes_private(jid_host(link.peer)) ~= nil then
		deliver_or_refuse(room, link, waiting);
	elseif not ask_peer(room, link, waiting) then
		refuse(stanza, reply_to, "too-many-questions");
	end
	return true;
end

-- Returns an error of a mirrored user, or of the way there, to the sender of the private message
local function return_error(room, link, stanza)
	local from = room.jid .. "/" .. jid_resource(stanza.attr.from);
	local occupant = room:get_occupant_by_nick(stanza.attr.to);
	if not occupant or not link.nicks[jid_resource(stanza.attr.from)] then return; end
	local copy = st.clone(stanza);
	copy.attr.from = from;
	room:route_to_occupant(occupant, copy);
end

-- Handles a stanza of a mirror, which one of its users sends
local function from_link(room, link, event)
	local stanza, reply_to = event.stanza, event.stanza.attr.from;
	local type, nick = stanza.attr.type, jid_resource(reply_to);
	local real_jid = nick and link.nicks[nick];
	if type == "error" and stanza.name == "message" then
		if nick then return_error(room, link, whose_error.explained(event)); end
		-- a copy for the whole mirror has failed, or nothing reaches the mirror (G2)
		if not nick or whose_error.is_undeliverable(event) then liveness.failed(room, link, event); end
		return true;
	elseif type == "error" or type == "result" then
		return true; -- nobody has sent that request, or it has ended
	elseif not real_jid then
		return refuse(stanza, reply_to, "not-in-room");
	elseif stanza.name == "iq" and not occupant_requests.may_cross(stanza) then
		return refuse(stanza, reply_to, "request-does-not-cross");
	end
	stanza = hygiene.cleaned("from anybody", stanza);
	local target = link_of(room, room:get_occupant_by_nick(stanza.attr.to));
	if target and type ~= "groupchat" then return to_link(room, target, stanza, real_jid, reply_to); end
	return deliver(room, stanza, real_jid, reply_to, event.origin);
end

-- handle(event): handles a message or IQ to an occupant
function private.handle(event)
	local stanza = event.stanza;
	local from, type = stanza.attr.from, stanza.attr.type;
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	local link = links.get(room, jid_bare(from));
	if link then return from_link(room, link, event); end
	if stanza.name == "message" then -- G21
		stanza = hygiene.cleaned("from anybody", stanza);
		event.stanza = stanza;
	end
	if not room or not room.fmuc then return; end
	if occupant_requests.is_stray_error(room, stanza) then return true; end
	local target = link_of(room, room:get_occupant_by_nick(stanza.attr.to));
	if not target or type == "error" or type == "result" or type == "groupchat" then return; end
	if not room:get_occupant_jid(from) then return; end -- mod_muc refuses it
	return to_link(room, target, stanza, from, from);
end

requests.on("private-iq", function (record, answer) module:send(occupant_requests.answer(record, answer)); end);
requests.on("peer-features", handle_features);
for _, record in requests.each() do
	for _, waiting in ipairs(record.waiting or {}) do memory:hold(waiting.real_jid, waiting.bytes); end
end

return private;
