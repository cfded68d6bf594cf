-- SPDX-License-Identifier: MIT
-- Messages of local users to the room. A message waits here until the master sends its copy back (M17, M18, M21, M23, G16). During an outage it
-- waits here until it can be sent (G1). Each message has one outcome: everybody sees it, or its author gets an error.
--
-- boxes[room JID] = list, in the order of arrival, and its bytes, of { stanza (as sent to the master), nick (occupant JID), user (real JID), id (as
-- the user knows it), written and at (monotonic times of its arrival and of the last change), sent, shown, refused, delayed, preceded, attempts }.
-- sent: it was sent to the master, and may have arrived or not; shown: local users have seen it already; refused: the master did not know its
-- author once; delayed: it says when it was written; preceded: when the copy of an earlier message came back; attempts: how often it was sent.

local datetime = require "util.datetime";
local heap_size = require "prosody_relay.stanza".heap_size;
local shares = require "prosody_relay.shares";
local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local limits = lib "link/limits";
local delivery = lib "room/delivery";
local hygiene = lib "link/hygiene";
local is_passing = lib "link/bandwidth".is_passing;
local policy = lib "mirror/policy";
local jid_bare = require "util.jid".bare;
local new_id = require "util.id".medium;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local xmlns_sid = "urn:xmpp:sid:0";

-- A message counts as lost after so many seconds without its copy or an earlier one's, although the master answers
local echo_timeout = math.max(60, 2 * lib "settings".join_timeout);
-- Limits: messages of a room that wait, those of one occupant, and seconds to wait during an outage. After max_age a fire-and-forget message counts
-- as delivered.
local max_messages, max_of_occupant, max_age = 500, 100, 900;
-- How often a message is sent, if one outage follows another
local max_attempts = 5;
-- A message that is older than this (seconds) is sent with the time when it was written
local worth_a_delay = 5;

-- Bytes of heap for the messages of all rooms, and for those of one user
local max_bytes, max_bytes_of_user = 64 * 1024 * 1024, 2 * 1024 * 1024;

local ids = lib "mirror/ids";
local mirrored = lib "mirror/room";
local shown = lib "mirror/shown";

local boxes, memory = {}, shares.new(max_bytes, max_bytes_of_user);

local outbox = {};

-- The message as the master gets it (M17)
local function for_master(stanza, room, occupant_jid)
	local copy = hygiene.copy("to the master", stanza, ids.from_client(room));
	copy.attr.from, copy.attr.to = occupant_jid, room.fmuc.authority.peer;
	return copy;
end

local function insert(room_jid, entry, index)
	local box = boxes[room_jid] or { bytes = 0 };
	boxes[room_jid] = box;
	entry.bytes = heap_size(entry.stanza);
	box.bytes = box.bytes + entry.bytes;
	memory:hold(entry.user, entry.bytes);
	table.insert(box, index or #box + 1, entry);
end

local function remove(room_jid, index)
	local entry = table.remove(boxes[room_jid], index);
	boxes[room_jid].bytes = boxes[room_jid].bytes - entry.bytes;
	memory:give(entry.user, entry.bytes);
	if not boxes[room_jid][1] then boxes[room_jid] = nil; end
	return entry;
end

local function send(room_jid, entry)
	local age = math.floor(now() - entry.written);
	if age >= worth_a_delay and not entry.delayed then
		entry.stanza:tag("delay", { xmlns = "urn:xmpp:delay"; from = room_jid; stamp = datetime.datetime(os.time() - age) }):up();
		entry.delayed = true;
	end
	entry.sent, entry.at, entry.attempts = true, now(), (entry.attempts or 0) + 1;
	mirrored.send(room_jid, entry.stanza);
end

-- fail(room_jid, entry, name): the author gets this error (errors.lib.lua)
local function fail(room_jid, entry, name)
	errors.refuse(st.message({ from = entry.user; to = room_jid; type = "groupchat"; id = entry.id }), name);
end

-- The author gets the error, unless everybody may have seen the message
local function fail_unless_seen(room_jid, entry, name)
	if not (entry.sent and entry.shown) then fail(room_jid, entry, name); end
end

local function find(room_jid, matches)
	for index, entry in ipairs(boxes[room_jid] or {}) do
		if matches(entry) then return index, entry; end
	end
end

local function changes_subject(stanza)
	return stanza:get_child("subject") and not stanza:get_child("body");
end

local function subject_of(stanza)
	return stanza:get_child("subject") and (stanza:get_child_text("subject") or "");
end

local function own_stanza_id(stanza, room_jid)
	for id in stanza:childtags("stanza-id", xmlns_sid) do
		if id.attr.by == room_jid then return id.attr.id; end
	end
end

-- Finds the author's entry: by its stanza-id, else by the id of the message, else by its content. If several have one id, an error is about the
-- latest, and a copy is that of the oldest.
local function find_echo(room_jid, occupant_jid, stanza, how, stanza_id)
	local box = boxes[room_jid] or {};
	local function index_of(matches)
		local is_error = stanza.attr.type == "error";
		for i = is_error and #box or 1, is_error and 1 or #box, is_error and -1 or 1 do
			if box[i].nick == occupant_jid and box[i].sent and matches(box[i].stanza) then return i; end
		end
	end
	local index = stanza_id and index_of(function (sent) return own_stanza_id(sent, room_jid) == stanza_id; end);
	if index or how == "by-stanza-id" then return index; end
	index = index_of(function (sent) return sent.attr.id == stanza.attr.id; end);
	if index or how == "by-id" or stanza.attr.type ~= "groupchat" then return index; end
	return index_of(function (sent)
		return sent:get_child_text("body") == stanza:get_child_text("body") and subject_of(sent) == subject_of(stanza);
	end);
end

-- take_echo(occupant_jid, stanza, [how], [stanza_id]) -> the author's entry that has come back as this stanza, or was refused by it, removed; or
-- nil
--   how: nil: by id, or by content when the master does not reflect ids, as for subjects. "by-id": the master reflects ids, or the stanza was here
--   before. Then a user who says the same again does not lose the new message. "by-stanza-id": nor if it has the same id
--   stanza_id: of the master
function outbox.take_echo(occupant_jid, stanza, how, stanza_id)
	local room_jid = jid_bare(occupant_jid);
	local index = find_echo(room_jid, occupant_jid, stanza, how, stanza_id);
	if not index then return nil; end
	-- copies come in the order of the messages, one by one on a slow link
	local list = boxes[room_jid];
	for later = index + 1, #list do
		list[later].preceded = now();
	end
	return remove(room_jid, index);
end

-- has_sent(occupant_jid, id) -> whether a message of that author with this id has not come back yet
function outbox.has_sent(occupant_jid, id)
	return find_echo(jid_bare(occupant_jid), occupant_jid, st.message { type = "error"; id = id }, "by-id") ~= nil;
end

-- put_back(room_jid, entry): the master refused the message because it did not know the author. The message is sent first next time
function outbox.put_back(room_jid, entry)
	entry.sent = nil;
	insert(room_jid, entry, (find(room_jid, function (other) return other.written >= entry.written; end)));
end

-- Makes place for one more message of this author (occupant JID and real JID) with this many bytes. Messages that local users have seen are removed
-- for those that they have not.
local function make_place(room_jid, occupant_jid, user, bytes)
	local of_occupant = 0;
	for _, entry in ipairs(boxes[room_jid] or {}) do
		if entry.nick == occupant_jid and not (entry.sent and entry.shown) then of_occupant = of_occupant + 1; end
	end
	if of_occupant >= max_of_occupant then return false; end
	if memory:refusal(user, bytes) then return false; end
	local box = boxes[room_jid] or { bytes = 0 };
	while #box >= max_messages or box.bytes + bytes > limits.max_messages do
		local index, entry = find(room_jid, function (other) return other.shown; end);
		if not index then return false; end
		remove(room_jid, index);
		if not entry.sent then fail(room_jid, entry, "message-not-got"); end
	end
	return true;
end

local function add(room, entry)
	if room.fmuc.authority:is_out() and is_passing(entry.stanza) then return; end
	entry.at, entry.written = now(), now();
	-- a second message with the same id gets a new id, so that their copies differ; a message that local users have seen keeps its id
	local copy = entry.stanza;
	if not entry.shown and find(room.jid, function (other) return other.nick == entry.nick and other.stanza.attr.id == copy.attr.id; end) then
		copy.attr.id = new_id();
	end
	insert(room.jid, entry);
	if not room.fmuc.authority:is_out() then send(room.jid, entry); end
end

-- Local users see the message at once, by fire and forget (M21, M23), or because they carry on alone (G1). A fire-and-forget message gets its id
-- here; the master may adopt this id (G9).
local function show_at_once(origin, stanza, room, occupant, nomirror)
	-- mod_muc refuses a user without voice at once, and the master must not do it again
	if occupant.role == "visitor" then return; end
	local stanza_id = nomirror and ids.new_stanza_id(stanza, room);
	local copy = for_master(stanza, room, occupant.nick);
	if nomirror then generation1.add_nomirror(copy); end
	if stanza_id then copy:tag("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = stanza_id }):up(); end
	add(room, { stanza = copy; nick = occupant.nick; user = stanza.attr.from; id = stanza.attr.id; shown = true });
	shown.add_own(room, copy, ids.prefix(room) ~= "" and stanza_id);
	stanza = hygiene.copy("from a client", stanza, ids.from_client(room)); -- G21
	mirrored.add_occupant_id(stanza, room, occupant.nick);
	if stanza_id then delivery.on_its_way(room, stanza).stanza_id = stanza_id; end
	return room:handle_message_to_room(origin, stanza);
end

-- handle_groupchat(origin, stanza, room) -> true when the message was handled; nil leaves it to mod_muc
function outbox.handle_groupchat(origin, stanza, room)
	local user = stanza.attr.from;
	local occupant = room:get_occupant_by_real_jid(user);
	if not occupant or not room.fmuc then return; end -- mod_muc refuses
	stanza.attr.id = stanza.attr.id or new_id();
	local nomirror = policy.is_nomirror(room.fmuc.authority.peer);
	local bytes = heap_size(stanza);
	if bytes > limits.max_messages then
		errors.refuse(stanza, "message-too-large");
	elseif not make_place(room.jid, occupant.nick, user, bytes) then
		errors.refuse(stanza, "too-many-messages");
	elseif not changes_subject(stanza) and (nomirror or room.fmuc.authority.alone) then
		return show_at_once(origin, stanza, room, occupant, nomirror);
	else
		add(room, { stanza = for_master(stanza, room, occupant.nick); nick = occupant.nick; user = user; id = stanza.attr.id });
	end
	return true;
end

-- overdue_since(room_jid) -> when the oldest message whose copy is missing was sent, or nil
function outbox.overdue_since(room_jid)
	local _, entry = find(room_jid, function (other) return other.sent and not other.shown; end);
	return entry and entry.at;
end

-- in_doubt_since(room_jid) -> when the oldest message that may have arrived or not was sent, or nil
function outbox.in_doubt_since(room_jid)
	local _, entry = find(room_jid, function (other) return other.sent; end);
	return entry and entry.at;
end

-- Whether a message has waited too long. During an outage, or if local users have seen it, the time counts since it was written. Otherwise the time
-- counts since it was sent, or since the copy of an earlier one came
local function is_overdue(entry, is_out, time)
	if is_out or entry.shown then return time - entry.written >= max_age; end
	return time - math.max(entry.at, entry.preceded or 0) >= echo_timeout;
end

local function expire(room_jid, is_out)
	local time = now();
	while true do
		local index, entry = find(room_jid, function (other) return is_overdue(other, is_out, time); end);
		if not index then return; end
		remove(room_jid, index);
		fail_unless_seen(room_jid, entry, "message-not-returned");
	end
end

-- expire(is_out): authors get errors for messages that have waited too long. is_out(room_jid) -> whether the room's master cannot be reached
function outbox.expire(is_out)
	local room_jids = {};
	for room_jid in pairs(boxes) do room_jids[#room_jids + 1] = room_jid; end
	for _, room_jid in ipairs(room_jids) do expire(room_jid, is_out(room_jid)); end
end

-- settle(room_jid): forgets messages that were sent and that local users have seen. The master has them, or no local user is left
function outbox.settle(room_jid)
	for index = #(boxes[room_jid] or {}), 1, -1 do
		local entry = boxes[room_jid][index];
		if entry.sent and entry.shown then remove(room_jid, index); end
	end
end

-- subject_changed(room_jid): another user changed the subject during an outage. Older subjects of local users must not replace it, so their authors
-- get errors
function outbox.subject_changed(room_jid)
	local function is_sent_subject(entry) return entry.sent and changes_subject(entry.stanza); end
	local index = find(room_jid, is_sent_subject);
	while index do
		fail(room_jid, remove(room_jid, index), "subject-changed-since");
		index = find(room_jid, is_sent_subject);
	end
end

-- flush(room_jid, [in_doubt]): sends the waiting messages, in order. in_doubt: also those that were sent before and may not have arrived
function outbox.flush(room_jid, in_doubt)
	local box = boxes[room_jid] or {};
	for _, entry in ipairs(table.move(box, 1, #box, 1, {})) do -- an answer may change the box before the next message is sent
		local index = (in_doubt or not entry.sent) and find(room_jid, function (other) return other == entry; end);
		if index and is_passing(entry.stanza) then
			remove(room_jid, index);
		elseif index and (entry.attempts or 0) >= max_attempts then
			remove(room_jid, index);
			fail_unless_seen(room_jid, entry, "message-broke-streams");
		elseif index then
			send(room_jid, entry);
		end
	end
end

-- show(room): local users carry on alone, and see the messages that they have sent so far (G1, autonomous)
function outbox.show(room)
	for _, entry in ipairs(boxes[room.jid] or {}) do
		if not entry.shown and entry.stanza:get_child("body") then
			entry.shown = true;
			local copy = st.clone(entry.stanza);
			copy.attr.to = nil;
			shown.add_own(room, copy);
			mirrored.add_occupant_id(copy, room, entry.nick);
			room:broadcast_message(copy);
		end
	end
end

-- fail_all(room_jid): authors get errors for all messages, which will not be sent any more
function outbox.fail_all(room_jid)
	while boxes[room_jid] do
		fail_unless_seen(room_jid, remove(room_jid, 1), "server-unreachable");
	end
end

-- save() -> the messages, for the next instance of the module
function outbox.save()
	return boxes;
end

-- restore(saved): what save() of an earlier instance returned, or nil
function outbox.restore(saved)
	boxes = saved or {};
	for _, box in pairs(boxes) do
		for _, entry in ipairs(box) do memory:hold(entry.user, entry.bytes); end
	end
end

return outbox;
