-- SPDX-License-Identifier: MIT
-- IQs of users to a mirrored room itself. The mirror answers discovery and pings (G13), and fetches the room's vCard from the master once. It
-- refuses administration (M25).

local errors = lib "errors";
local occupant_requests = lib "link/occupant_requests";
local policy = lib "mirror/policy";
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

local archive = lib "room/archive";
local avatar = lib "mirror/avatar";
local early_stanzas = lib "mirror/early_stanzas";
local mirrored = lib "mirror/room";
local room_info = lib "mirror/room_info";

local room_iq = {};

local refuse = errors.refuse;

-- answer_with(handler) -> handler of an event, which calls handler(stanza, master, room or nil) for IQ gets to mirrored rooms. It serves the master
-- and users who may use the mirror. Prosody fires the event for both get and set first, and some modules answer there.
local function answer_with(handler)
	return function (event)
		local stanza = event.stanza;
		local master = relay_jid.unmirror(stanza.attr.to);
		if not master or stanza.attr.type ~= "get" then
			return;
		elseif stanza.attr.from ~= master and not policy.may_use(stanza.attr.from) then
			return refuse(stanza, "user-not-served");
		elseif #stanza.attr.id > occupant_requests.max_id then
			return refuse(stanza, "id-too-long");
		elseif not policy.may_be_mirrored(master) then
			return refuse(stanza, "room-not-mirrored");
		end
		return handler(stanza, master, mirrored.get(stanza.attr.to));
	end;
end

-- The part of a question that is kept: who asks, and for what
local function question_in(stanza)
	local attr = stanza.attr;
	return st.iq({ type = "get"; id = attr.id; from = attr.from; to = attr.to }):tag("query", { xmlns = stanza.tags[1].attr.xmlns }):reset();
end

-- discover(event): answers disco#info and disco#items from the master's description. A room that does not exist has no items either
room_iq.discover = answer_with(function (stanza, master)
	local room_jid = stanza.attr.to;
	if stanza.tags[1].attr.node then return refuse(stanza, "no-item"); end
	local info = room_info.get(room_jid);
	if info then
		module:send(room_info.reply(stanza, info));
	elseif not room_info.fetch(room_jid, master, question_in(stanza)) then
		refuse(stanza, "too-many-questions");
	end
	return true;
end);

-- ping(event)
room_iq.ping = answer_with(function (stanza, _, room)
	if not room then return refuse(stanza, "no-item"); end
	module:send(st.reply(stanza));
	return true;
end);

-- refuse_administration(event): rooms are administered at the master (M25)
function room_iq.refuse_administration(event)
	local master = relay_jid.unmirror(event.stanza.attr.to);
	if not master then return; end
	return refuse(event.stanza, "administered-elsewhere", master);
end

-- refuse_change(event): the same for type set only; a get means something else there
function room_iq.refuse_change(event)
	if event.stanza.attr.type == "set" then return room_iq.refuse_administration(event); end
end

local answer_with_vcard = answer_with(function (stanza, _, room)
	local given = room and avatar.get(room, stanza);
	if given then return true; end
	if given == nil and room then return refuse(stanza, "too-many-questions"); end
	return refuse(stanza, "no-vcard");
end);

-- vcard(event)
function room_iq.vcard(event)
	return room_iq.refuse_change(event) or answer_with_vcard(event);
end

-- check_query(event): a query to the archive. Only occupants may read it, because the master decides who may be in the room
function room_iq.check_query(event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if room and room:get_occupant_jid(stanza.attr.from) or not archive.is_on() then return; end
	if early_stanzas.hold(stanza) then return true; end
	return room and refuse(stanza, "archive-forbidden") or nil;
end

return room_iq;
