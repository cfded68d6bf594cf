-- SPDX-License-Identifier: MIT
-- The messages that the master sends to a mirrored room: history, subject, live ones, refusals (M17 to M20, G15).

local datetime = require "util.datetime";
local heap_size = require "prosody_relay.stanza".heap_size;
local jid_resource = require "util.jid".resource;
local whose_error = require "prosody_relay.origin";
local st = require "util.stanza";

local generation1 = lib "dialect/generation1";
local delivery = lib "room/delivery";
local history = lib "room/history";
local hygiene = lib "link/hygiene";
local limits = lib "link/limits";
local first_sync = lib "mirror/first_sync";
local from_master = lib "mirror/from_master";
local ids = lib "mirror/ids";
local joins = lib "mirror/joins";
local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local outbox = lib "mirror/outbox";
local resync = lib "mirror/resync";
local room_info = lib "mirror/room_info";
local shown = lib "mirror/shown";

-- Limit for the history of a room, in bytes of heap
local max_history_bytes = 1024 * 1024;

local xmlns_delay = "urn:xmpp:delay";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local messages = {};

local function master_delay(stanza, master)
	for delay in stanza:childtags("delay", xmlns_delay) do
		if delay.attr.from == master then return delay; end
	end
end

-- Dates an old message as the master does
local function date(room, stanza, delay)
	local when = datetime.parse(delay.attr.stamp) or os.time();
	ids.mark_history(stanza, room, when);
	delay.attr.from = room.jid;
	return when;
end

-- Keeps the latest messages of the history that fit into the limit
local function trim_history(room)
	local entries, bytes, first = room._history or {}, 0, 1;
	for i = #entries, 1, -1 do
		entries[i].bytes = entries[i].bytes or heap_size(entries[i].stanza);
		if bytes + entries[i].bytes > max_history_bytes then
			first = i + 1;
			break;
		end
		bytes = bytes + entries[i].bytes;
	end
	local count = #entries;
	table.move(entries, first, count, 1);
	for i = count - first + 2, count do entries[i] = nil; end
	room.fmuc.history_bytes = bytes;
end

-- Adds a message to the room's history, with the master's timestamp
local function add_history(room, stanza, when)
	room._history = room._history or {};
	table.insert(room._history, { stanza = stanza; timestamp = when });
	history.trim(room);
	trim_history(room);
end

-- trim_history(event): after mod_muc has added the message to the history
function messages.trim_history(event)
	if event.room.fmuc and event.room._history then trim_history(event.room); end
end

-- limit_history(event): the history is what the master has sent and what came later. If it is shorter than the room's limit, mod_muc_mam would
-- replace it by its archive, which has no older messages.
function messages.limit_history(event)
	if not event.room.fmuc then return; end
	local kept = #(event.room._history or {});
	event.maxstanzas = math.min(event.maxstanzas or kept, kept);
end

-- The codes for a change of the room's configuration (XEP-0045 section 10.2.1)
local changes = { ["104"] = true; ["170"] = true; ["171"] = true; ["172"] = true; ["173"] = true; ["174"] = true };

-- The codes about real JIDs, and who may see real JIDs after the change
local whois = { ["172"] = "anyone"; ["173"] = "moderators"; ["174"] = "moderators" };

-- Reads from a message what has changed about the room. Changes about real JIDs apply at once; for the rest the mirror asks the master.
local function take_change(room, stanza)
	local x = not jid_resource(stanza.attr.from) and stanza:get_child("x", xmlns_muc_user);
	if not x then return; end
	local has_changed, new_whois = false, nil;
	for status in x:childtags("status") do
		local code = status.attr.code;
		has_changed, new_whois = has_changed or changes[code], whois[code] or new_whois;
	end
	if new_whois then mirrored.set_whois(room, new_whois); end
	if has_changed then room_info.renew(room); end
end

-- The message as local users get it, and the master's delay element if there is one. id: of the message, if the master has lost it
local function for_users(room, stanza, id)
	local copy = hygiene.copy("message from the master", stanza, ids.from_master(room));
	local nick = jid_resource(stanza.attr.from);
	copy.attr.from, copy.attr.to = nick and room.jid .. "/" .. nick or room.jid, nil;
	copy.attr.id = id or copy.attr.id;
	return copy, master_delay(copy, room.fmuc.authority.peer);
end

local function is_subject(stanza)
	return stanza:get_child("subject") and not stanza:get_child("body") and not stanza:get_child("thread");
end

local function set_subject(room, copy, delay)
	room._data.subject, room._data.subject_from = copy:get_child_text("subject"), copy.attr.from;
	room._data.subject_time = delay and datetime.parse(delay.attr.stamp) or os.time();
end

-- Takes the local user's message that has come back as this copy, or nil. The user may have left meanwhile; room may be nil. known: what
-- shown.has() says of the message
local function take_echo(room_jid, room, stanza, known)
	local nick = jid_resource(stanza.attr.from);
	if not nick then return nil; end
	local keeps_ids = room and stanza.attr.id and not is_subject(stanza) and room_info.has(room, "http://jabber.org/protocol/muc#stable_id");
	local how = known == "id" and "by-stanza-id" or (known or keeps_ids) and "by-id" or nil;
	return outbox.take_echo(room_jid .. "/" .. nick, stanza, how, room and shown.id(room, stanza));
end

-- A message that local users saw before the master did has an id now, and can be archived (G8). A fire-and-forget message has its own id.
local function archive_shown(room, echo, stanza, copy, delay)
	shown.confirm(room, stanza);
	if generation1.is_nomirror(echo.stanza) then return; end
	ids.mark_history(copy, room, delay and datetime.parse(delay.attr.stamp) or os.time());
end

local function handle_groupchat(room, stanza)
	local echo, is_joining = take_echo(room.jid, room, stanza), room.fmuc.authority.state == "joining";
	if echo and echo.shown then return archive_shown(room, echo, stanza, for_users(room, stanza)); end
	if is_joining and not first_sync.is_anybody_accepted(room.fmuc) then return; end -- meant for users who have left
	local copy, delay = for_users(room, stanza, echo and stanza.attr.id == nil and echo.id);
	if is_subject(copy) then
		if delay and not is_joining and copy:get_child_text("subject") == (room._data.subject or "") then return; end -- a repeated subject
		set_subject(room, copy, delay);
		if is_joining then return first_sync.finish(room); end
	elseif delay then
		-- an incomplete dump is followed by another
		if is_joining and not shown.has(room, stanza, delay.attr.stamp) then
			shown.add(room, stanza);
			add_history(room, copy, date(room, copy, delay));
		end
		return;
	end
	first_sync.finish(room); -- live messages come after the subject
	if shown.is_same(room, stanza) then return; end -- sent twice because a stream broke
	take_change(room, copy);
	shown.add(room, stanza);
	room:broadcast_message(copy);
end

-- handle_repeated(event): the master has repeated a message in a resync, or sent a new one meanwhile. It is shown if it is new to local users
function messages.handle_repeated(event)
	local room, stanza = event.room, event.stanza;
	local copy, delay = for_users(room, stanza);
	if is_subject(copy) then
		if copy:get_child_text("subject") == (room._data.subject or "") then return; end
		take_echo(room.jid, room, stanza);
		outbox.subject_changed(room.jid);
		set_subject(room, copy, delay);
		return room:broadcast_message(copy);
	end
	local known = shown.has(room, stanza, delay and delay.attr.stamp);
	local echo = take_echo(room.jid, room, stanza, known);
	if echo and echo.shown then return archive_shown(room, echo, stanza, copy, delay); end
	if known then return shown.confirm(room, stanza); end
	shown.add(room, stanza);
	take_change(room, copy);
	if not delay then return room:broadcast_message(copy); end
	local when = date(room, copy, delay);
	if module:fire_event("muc-message-is-historic", { room = room; stanza = copy }) then add_history(room, copy, when); end
	room:broadcast(st.clone(copy));
end

-- handle_held(event): a groupchat message that was counted and held (mirror/outage)
function messages.handle_held(event)
	if event.stanza.name == "message" then handle_groupchat(event.room, event.stanza); end
end

-- tell_sender(room_jid, room, stanza, [echo]): sends the error of a message to its sender. If the message is not in the outbox, its sender already
-- knows the outcome. But a master may lose ids, so an error without an id may be about any message.
local function tell_sender(room_jid, room, stanza, echo)
	local occupant_jid = stanza.attr.to;
	local is_any_message = not stanza.attr.id and room and mirrored.is_local(room, occupant_jid);
	local sender = echo and echo.user or is_any_message and room:get_occupant_by_nick(occupant_jid).jid;
	if not sender then return; end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from, copy.attr.to = room_jid, sender;
	if echo then copy.attr.id = echo.id; end
	module:send(copy);
end

-- The master has refused a message (G15). The sender gets the error, also after leaving the room. If the master does not know the sender, the
-- resync may send the message once more.
local function handle_message_error(room_jid, room, stanza)
	local is_local = room and mirrored.is_local(room, stanza.attr.to);
	local echo = outbox.take_echo(stanza.attr.to, stanza);
	local _, condition = stanza:get_error();
	local is_unknown = condition == "not-acceptable" or condition == "item-not-found";
	if is_local and echo and is_unknown and not echo.refused then
		echo.refused = true;
		outbox.put_back(room_jid, echo);
	else
		tell_sender(room_jid, room, stanza, echo);
	end
	if is_local and is_unknown then outage.lost(room, condition, true); end
end

-- This server could not deliver a message, or does not know whether it did. The message keeps its place in the outbox, and the resync shows whether
-- it has arrived. A message that is not in the outbox has come back already.
local function handle_undeliverable(room_jid, room, event)
	local stanza = event.stanza;
	if room then outage.undelivered(room, (select(2, stanza:get_error()))); end
	if room and room.fmuc.authority:is_out() then return; end
	local echo = outbox.take_echo(stanza.attr.to, stanza, "by-id");
	if echo and not echo.shown then tell_sender(room_jid, room, whose_error.explained(event), echo); end
end

local function handle_in_room(room, stanza)
	local state = room.fmuc.authority.state;
	if state == "lost" then
		outage.hold(room, stanza);
	elseif state == "syncing" then
		resync.message(room, stanza);
	else
		handle_groupchat(room, stanza);
	end
end

-- handle(room_jid, event): from the master, to the mirrored room or to one of its occupants
function messages.handle(room_jid, event)
	local stanza = event.stanza;
	local room = mirrored.get(room_jid);
	local type = stanza.attr.type;
	if whose_error.is_undeliverable(event) then
		handle_undeliverable(room_jid, room, event);
		return true;
	end
	if room and resync.take_archived(room, stanza) then return true; end
	if room then outage.heard(room, stanza); end
	if type == "error" then
		handle_message_error(room_jid, room, stanza);
	elseif not room then
		if type == "groupchat" then take_echo(room_jid, nil, stanza); end
		from_master.deny(room_jid, stanza);
	elseif jid_resource(stanza.attr.to) then
		joins.tell(room, stanza.attr.to, (for_users(room, stanza)));
	elseif type == "groupchat" then
		handle_in_room(room, stanza);
	else -- about the room, and not a part of the conversation
		delivery.to_all(room, (for_users(room, stanza)));
	end
	return true;
end

limits.count_with(function (add)
	for _, state in mirrored.each() do add(state.authority.peer, state.history_bytes or 0); end
end);

return messages;
