-- SPDX-License-Identifier: MIT
-- IQ of users to a mirrored room itself: discovery and ping are answered here (G13), the room's vCard comes from the master once, and
-- administration is refused (M25).

local crossing = lib "link/private";
local policy = lib "mirror/policy";
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

-- ahead of mod_muc's -2 and mod_muc_mam's 0
local before_muc = 1;

local archive, avatar, early_queries, mirrored, room_info;

local function refuse(stanza, ...)
	module:send(st.error_reply(stanza, ...));
	return true;
end

-- on(name, handler): handler(stanza, master, room or nil) for IQ get to addresses of mirrored rooms, by those who may use the mirror
-- and by the master
local function on(name, handler)
	-- the event for get and set is the first of the two, and some modules answer there
	module:hook("iq/bare/" .. name, function (event)
		local stanza = event.stanza;
		local master = relay_jid.unmirror(stanza.attr.to);
		if not master or stanza.attr.type ~= "get" then
			return;
		elseif stanza.attr.from ~= master and not policy.may_use(stanza.attr.from) then
			return refuse(stanza, "auth", "forbidden", "This mirror does not serve you");
		elseif #stanza.attr.id > crossing.max_id then
			return refuse(stanza, "modify", "policy-violation", "The id of this request is too long");
		elseif not policy.may_be_mirrored(master) then
			return refuse(stanza, "cancel", "not-allowed", "This room is not mirrored here");
		end
		return handler(stanza, master, mirrored.get(stanza.attr.to));
	end, before_muc);
end

-- What is kept of a question: whom to answer, and what it asks for
local function question_in(stanza)
	local attr = stanza.attr;
	return st.iq({ type = "get"; id = attr.id; from = attr.from; to = attr.to }):tag("query", { xmlns = stanza.tags[1].attr.xmlns }):reset();
end

-- Both are answered from what the master says of the room: one that is not there has no items either
local function discover(stanza, master)
	local room_jid = stanza.attr.to;
	if stanza.tags[1].attr.node then return refuse(stanza, "cancel", "item-not-found"); end
	local info = room_info.get(room_jid);
	if info then
		module:send(room_info.reply(stanza, info));
	elseif not room_info.fetch(room_jid, master, question_in(stanza)) then
		refuse(stanza, "wait", "resource-constraint");
	end
	return true;
end
on("http://jabber.org/protocol/disco#info:query", discover);
on("http://jabber.org/protocol/disco#items:query", discover);

on("urn:xmpp:ping:ping", function (stanza, _, room)
	if not room then return refuse(stanza, "cancel", "item-not-found"); end
	module:send(st.reply(stanza));
	return true;
end);

on("vcard-temp:vCard", function (stanza, _, room)
	local given = room and avatar.get(room, stanza);
	if given then return true; end
	if given == nil and room then return refuse(stanza, "wait", "resource-constraint"); end
	return refuse(stanza, "cancel", "service-unavailable");
end);

-- M25
local function refuse_administration(event)
	local master = relay_jid.unmirror(event.stanza.attr.to);
	if not master then return; end
	return refuse(event.stanza, "cancel", "not-allowed", "This room is administered at " .. master);
end
for _, query in ipairs { "http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner", "jabber:iq:register" } do
	module:hook("iq/bare/" .. query .. ":query", refuse_administration, before_muc);
end
-- where it is about changing something; urn:xmpp:fasten:0 is an earlier version of moderation
for _, payload in ipairs { "vcard-temp:vCard"; "urn:xmpp:message-moderate:1:moderate"; "urn:xmpp:fasten:0:apply-to" } do
	module:hook("iq/bare/" .. payload, function (event)
		if event.stanza.attr.type == "set" then return refuse_administration(event); end
	end, before_muc);
end

-- The master decides who may be in the room, so only who is may see what was said there
module:hook("iq-set/bare/urn:xmpp:mam:2:query", function (event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if room and room:get_occupant_jid(stanza.attr.from) or not archive.is_on() then return; end
	if early_queries.hold(stanza) then return true; end
	return room and refuse(stanza, "auth", "forbidden") or nil;
end, before_muc);

-- shared: archive, avatar, early_queries, mirrored, room_info
return function (shared)
	archive, avatar, early_queries = shared.archive, shared.avatar, shared.early_queries;
	mirrored, room_info = shared.mirrored, shared.room_info;
end;
