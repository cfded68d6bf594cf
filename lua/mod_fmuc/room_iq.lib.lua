-- SPDX-License-Identifier: MIT
-- IQ of users to a mirrored room itself: discovery and ping are answered here (G13), the room's vCard comes from the master once, and
-- administration is refused (M25).

local policy = module:require "policy";
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

-- ahead of mod_muc's -2 and mod_muc_mam's 0
local before_muc = 1;

-- of the master to send the room's vCard; what is larger is handed on and not kept
local vcard_timeout = 60;
local max_vcard_bytes = 131072;
local max_askers = 100;

local mirrored, requests, room_info;

local function refuse(stanza, ...)
	module:send(st.error_reply(stanza, ...));
	return true;
end

-- on(name, handler): handler(stanza, master, room or nil) for IQ get to addresses of mirrored rooms, by those who may use the mirror
-- and by the master
local function on(name, handler)
	module:hook("iq-get/bare/" .. name, function (event)
		local stanza = event.stanza;
		local master = relay_jid.unmirror(stanza.attr.to);
		if not master then
			return;
		elseif stanza.attr.from ~= master and not policy.may_use(stanza.attr.from) then
			return refuse(stanza, "auth", "forbidden", "This mirror does not serve you");
		elseif not policy.may_be_mirrored(master) then
			return refuse(stanza, "cancel", "not-allowed", "This room is not mirrored here");
		end
		return handler(stanza, master, mirrored.get(stanza.attr.to));
	end, before_muc);
end

on("http://jabber.org/protocol/disco#info:query", function (stanza, master)
	local room_jid = stanza.attr.to;
	if stanza.tags[1].attr.node then return refuse(stanza, "cancel", "item-not-found"); end
	local info = room_info.get(room_jid);
	if info then
		module:send(room_info.reply(stanza, info));
	elseif not room_info.fetch(room_jid, master, st.clone(stanza)) then
		refuse(stanza, "wait", "resource-constraint");
	end
	return true;
end);

-- Occupants are shown to those who join
on("http://jabber.org/protocol/disco#items:query", function (stanza)
	module:send(st.reply(stanza):tag("query", { xmlns = "http://jabber.org/protocol/disco#items" }));
	return true;
end);

on("urn:xmpp:ping:ping", function (stanza, _, room)
	if not room then return refuse(stanza, "cancel", "item-not-found"); end
	module:send(st.reply(stanza));
	return true;
end);

local function send_vcard(asker, answer)
	if not answer then return refuse(asker, "wait", "remote-server-timeout", "The room's server does not answer"); end
	local copy = st.clone(answer);
	copy.attr.from, copy.attr.to, copy.attr.id = asker.attr.to, asker.attr.from, asker.attr.id;
	module:send(copy);
end

local function handle_vcard(record, answer)
	local room = mirrored.get(record.own);
	if room then
		room.fmuc.vcard_askers = nil;
		if answer and answer.attr.type == "result" and #tostring(answer) <= max_vcard_bytes then room.fmuc.vcard = answer; end
	end
	for _, asker in ipairs(record.askers) do send_vcard(asker, answer); end
end

on("vcard-temp:vCard", function (stanza, master, room)
	if not room or not room_info.has(room, "vcard-temp") then return refuse(stanza, "cancel", "service-unavailable"); end
	local state = room.fmuc;
	if state.vcard then
		send_vcard(stanza, state.vcard);
	elseif state.vcard_askers then
		if #state.vcard_askers >= max_askers then return refuse(stanza, "wait", "resource-constraint"); end
		table.insert(state.vcard_askers, st.clone(stanza));
	else
		local askers = { st.clone(stanza) };
		local iq = requests.get(room.jid, master):tag("vCard", { xmlns = "vcard-temp" }):up();
		if not requests.send("room-vcard", iq, { askers = askers }, vcard_timeout) then return refuse(stanza, "wait", "resource-constraint"); end
		state.vcard_askers = askers;
	end
	return true;
end);

-- M25
local function refuse_administration(event)
	local master = relay_jid.unmirror(event.stanza.attr.to);
	if not master then return; end
	return refuse(event.stanza, "cancel", "not-allowed", "This room is administered at " .. master);
end
for _, query in ipairs { "http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner", "jabber:iq:register" } do
	module:hook("iq/bare/" .. query .. ":query", refuse_administration, before_muc);
	module:hook("iq-get/bare/" .. query .. ":query", refuse_administration, before_muc);
	module:hook("iq-set/bare/" .. query .. ":query", refuse_administration, before_muc);
end
for _, payload in ipairs { "vcard-temp:vCard"; "urn:xmpp:message-moderate:0:moderate"; "urn:xmpp:message-moderate:1:moderate" } do
	module:hook("iq-set/bare/" .. payload, refuse_administration, before_muc);
end
module:hook("iq-set/bare/urn:xmpp:fasten:0:apply-to", refuse_administration, before_muc); -- version 0 of moderation

-- The master decides who may be in the room, so only who is may see what was said there
module:hook("iq-set/bare/urn:xmpp:mam:2:query", function (event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if not room or room:get_occupant_jid(stanza.attr.from) then return; end
	return refuse(stanza, "auth", "forbidden");
end, before_muc);

-- shared: mirrored, requests, room_info
return function (shared)
	mirrored, requests, room_info = shared.mirrored, shared.requests, shared.room_info;
	requests.on("room-vcard", handle_vcard);
end;
