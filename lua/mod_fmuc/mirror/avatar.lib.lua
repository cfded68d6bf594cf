-- SPDX-License-Identifier: MIT
-- The avatar of a mirrored room (XEP-0486). The master announces it in a presence from the bare JID of the room. Users get it from the room's
-- vCard, which the mirror fetches from the master once.

local fanout = require "prosody_relay.fanout";
local heap_size = require "prosody_relay.stanza".heap_size;
local st = require "util.stanza";

-- Seconds for the master to send the vCard. The mirror passes a larger vCard on but does not keep it.
local vcard_timeout = 60;
local max_vcard_bytes = 131072;

local errors = lib "errors";
local limits = lib "link/limits";
local delivery = lib "room/delivery";
local hygiene = lib "link/hygiene";

local requests = lib "link/requests";
local room_info = lib "mirror/room_info";
local mirrored = lib "mirror/room";

local avatar = {};

-- is_announcement(room, stanza) -> whether the presence announces the avatar of the room
function avatar.is_announcement(room, stanza)
	return stanza.attr.type == nil and stanza.attr.from == room.fmuc.authority.peer and stanza:get_child("x", "vcard-temp:x:update") ~= nil;
end

-- announce(room, stanza): sends it to local users now, and later to users who join
function avatar.announce(room, stanza)
	if heap_size(stanza) > limits.max_presence or not limits.has_memory_for(room.fmuc.authority.peer, heap_size(stanza)) then return; end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from, copy.attr.to, copy.attr.id = room.jid, nil, nil;
	room.fmuc.vcard, room.fmuc.avatar = nil, hygiene.lasting_part(copy);
	delivery.to_all(room, copy);
end

-- greet(event): a session has entered, and has received the history and the subject
function avatar.greet(event)
	local announcement = event.room.fmuc and event.room.fmuc.avatar;
	if not announcement then return; end
	local view = fanout.view(announcement);
	view.attr.to = event.jid;
	event.room:route_stanza(view);
end

-- The part of a query that is kept to answer it
local function top_of(asker)
	return st.iq({ type = "get"; id = asker.attr.id; from = asker.attr.from; to = asker.attr.to });
end

local function send_vcard(asker, answer)
	local reply = answer and st.clone(answer)
		or errors.reply(asker, "server-silent");
	reply.attr.from, reply.attr.to, reply.attr.id = asker.attr.to, asker.attr.from, asker.attr.id;
	module:send(reply);
end

local function handle_answer(record, answer)
	local room = mirrored.get(record.own);
	if room then
		local size = answer and answer.attr.type == "result" and heap_size(answer);
		if size and size <= max_vcard_bytes and limits.has_memory_for(record.peer, size) then room.fmuc.vcard = answer; end
	end
	for _, asker in ipairs(record.askers) do send_vcard(asker, answer); end
end

-- get(room, asker) -> true when the asker (stanza) is answered now or later; nil when too many wait; false when the room has no vCard
function avatar.get(room, asker)
	local state = room.fmuc;
	if not room_info.has(room, "vcard-temp") then return false; end
	if state.vcard then
		send_vcard(asker, state.vcard);
		return true;
	end
	local record = requests.find("room-vcard", state.authority.peer);
	if record then
		if not requests.wait(record, asker.attr.from) then return nil; end
		table.insert(record.askers, top_of(asker));
		return true;
	end
	local iq = requests.get(room.jid, state.authority.peer):tag("vCard", { xmlns = "vcard-temp" }):up();
	return requests.send("room-vcard", iq, { askers = { top_of(asker) }; asker = asker.attr.from }, vcard_timeout);
end

-- handle_change(event): the room's configuration has changed, perhaps its vCard too
function avatar.handle_change(event)
	event.room.fmuc.vcard = nil;
end

requests.on("room-vcard", handle_answer);

limits.count_with(function (add)
	for _, state in mirrored.each() do
		add(state.authority.peer, (state.vcard and heap_size(state.vcard) or 0) + (state.avatar and heap_size(state.avatar) or 0));
	end
end);

return avatar;
