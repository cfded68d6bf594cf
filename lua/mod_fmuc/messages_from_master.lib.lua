-- SPDX-License-Identifier: MIT
-- The messages that the master sends to a mirrored room: history, subject, live ones, refusals (M17 to M20, G15).

local datetime = require "util.datetime";
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local mirrored, outbox, from_master, ids, room_info;

local messages = {};

local function master_delay(stanza, master)
	for delay in stanza:childtags("delay", xmlns_delay) do
		if delay.attr.from == master then return delay; end
	end
end

-- The room's history as the master keeps it, with the master's stamps
local function add_history(room, stanza, delay)
	local when = datetime.parse(delay.attr.stamp) or os.time();
	ids.mark_history(stanza, room, when);
	delay.attr.from = room.jid;
	room._history = room._history or {};
	table.insert(room._history, { stanza = stanza; timestamp = when });
	while #room._history > room:get_historylength() do table.remove(room._history, 1); end
end

-- Nobody but this room says so; the master removes such stamps only if they are in its own name
local function remove_forged_delays(stanza, room_jid)
	stanza:maptags(function (child)
		local is_delay = child.name == "delay" and child.attr.xmlns == xmlns_delay or child.name == "x" and child.attr.xmlns == "jabber:x:delay";
		if is_delay and child.attr.from == room_jid then return nil; end
		return child;
	end);
end

local function is_anybody_accepted(state)
	for _, record in pairs(state.waiting) do
		if record.accepted then return true; end
	end
	return false;
end

local function has_status(stanza, code)
	for status in (stanza:get_child("x", xmlns_muc_user) or stanza):childtags("status") do
		if status.attr.code == code then return true; end
	end
	return false;
end

-- id: of the message, where the master has lost it
local function handle_groupchat(room, stanza, id)
	local state = room.fmuc;
	if not state.synced and not is_anybody_accepted(state) then return; end -- meant for users who have left
	local copy = st.clone(stanza);
	local nick = jid_resource(stanza.attr.from);
	copy.attr.from, copy.attr.to = nick and room.jid .. "/" .. nick or room.jid, nil;
	copy.attr.id = id or copy.attr.id;
	copy:remove_children("nomirror", xmlns_fmuc);
	remove_forged_delays(copy, room.jid);
	ids.clean_from_master(copy, room);
	local delay = master_delay(copy, state.master);
	local subject = copy:get_child("subject");
	if subject and not copy:get_child("body") and not copy:get_child("thread") then
		room._data.subject, room._data.subject_from = subject:get_text(), copy.attr.from;
		room._data.subject_time = delay and datetime.parse(delay.attr.stamp) or os.time();
		if not state.synced then return from_master.finish_sync(room); end
	elseif delay then
		if not state.synced then add_history(room, copy, delay); end
		return;
	end
	from_master.finish_sync(room); -- live messages come after the subject
	if not nick and has_status(copy, "104") then room_info.renew(room); end
	room:broadcast_message(copy);
end

-- G15: the master refused a message; its sender is told, even one who has left meanwhile
local function handle_message_error(room_jid, room, stanza)
	local occupant_jid = stanza.attr.to;
	local is_local = room and mirrored.is_local(room, occupant_jid);
	local echo = outbox.take_echo(occupant_jid, stanza);
	local sender = echo and echo.user or is_local and room:get_occupant_by_nick(occupant_jid).jid;
	if sender then
		local copy = st.clone(stanza);
		copy.attr.from, copy.attr.to = room_jid, sender;
		if echo then copy.attr.id = echo.id; end
		module:send(copy);
	end
	if not is_local then return; end
	local _, condition = stanza:get_error();
	if condition == "not-acceptable" or condition == "item-not-found" then from_master.lose(room, stanza); end
end

-- handle(room_jid, stanza): to the mirrored room or to one of its occupants
function messages.handle(room_jid, stanza)
	local room = mirrored.get(room_jid);
	local type, nick = stanza.attr.type, jid_resource(stanza.attr.from);
	if type == "error" then
		handle_message_error(room_jid, room, stanza);
		return true;
	end
	-- it has come back, even if its author has left meanwhile
	local echo = type == "groupchat" and nick and outbox.take_echo(room_jid .. "/" .. nick, stanza);
	if not room then
		from_master.deny(room_jid, stanza);
	elseif type == "groupchat" and not jid_resource(stanza.attr.to) then
		handle_groupchat(room, stanza, echo and stanza.attr.id == nil and echo.id);
	end
	return true;
end

-- shared: mirrored (mirrored_room.lib.lua), outbox (outbox.lib.lua), from_master (from_master.lib.lua),
-- ids, room_info
return function (shared)
	mirrored, outbox, from_master = shared.mirrored, shared.outbox, shared.from_master;
	ids, room_info = shared.ids, shared.room_info;
	return messages;
end;
