-- SPDX-License-Identifier: MIT
-- The latest messages of a mirrored room, for mirrors that come back after an outage (G3). The room's own history is shorter. It lacks
-- messages without a body, such as reactions, and those that must not be stored. The journal keeps those while they may not have arrived.
-- Messages are kept as text, and parsed when a mirror asks.

local datetime = require "util.datetime";
local parse = require "prosody_relay.stanza".parse;
local serialise = require "prosody_relay.stanza".serialise;

-- For a room and an hour. A mirror that was away longer gets the room's history, which mod_muc_mam may take from an archive.
local max_entries, max_age = 500, 3600;

-- Bytes of the messages as text, for a room and for all rooms together. Text takes a small part of a stanza's memory (F8).
local max_bytes_of_room, max_bytes_of_all = 4 * 1024 * 1024, 64 * 1024 * 1024;
-- of an entry, in addition to its text
local entry_bytes = 250;
-- Seconds between two searches for entries that are too old
local expiry_period = 60;

local is_passing = lib "link/bandwidth".is_passing;

local xmlns_delay = "urn:xmpp:delay";

-- [room JID] = { since = time from which on it is complete, first, last = indices, bytes, [index] = { text, time, bytes } }
local journals, room_count;

local journal = {};

local function is_worth_keeping(stanza)
	return not is_passing(stanza) and (stanza:get_child("body") or not stanza:get_child("subject"));
end

local function drop_first(entries)
	entries.since = entries[entries.first].time + 1;
	entries.bytes = entries.bytes - entries[entries.first].bytes;
	entries[entries.first] = nil;
	entries.first = entries.first + 1;
end

-- All rooms have an equal part of the total
local function trim(entries, now)
	local max_bytes = math.min(max_bytes_of_room, max_bytes_of_all // room_count);
	while entries.last >= entries.first and (entries.last - entries.first >= max_entries
		or entries[entries.first].time < now - max_age or entries.bytes > max_bytes) do
		drop_first(entries);
	end
end

-- begin(room_jid): records the room from now on
function journal.begin(room_jid)
	if journals[room_jid] then return; end
	journals[room_jid] = { since = os.time(); first = 1; last = 0; bytes = 0 };
	room_count = room_count + 1;
end

-- forget(room_jid): deletes the journal, as no mirror will ask for it
function journal.forget(room_jid)
	if not journals[room_jid] then return; end
	journals[room_jid] = nil;
	room_count = room_count - 1;
end

-- add(room_jid, stanza): records a groupchat message as the occupants get it
function journal.add(room_jid, stanza)
	local entries = journals[room_jid];
	if not entries or not is_worth_keeping(stanza) then return; end
	local now = os.time();
	entries.last = entries.last + 1;
	local text = serialise(stanza);
	entries[entries.last] = { text = text; time = now; bytes = #text + entry_bytes };
	entries.bytes = entries.bytes + entries[entries.last].bytes;
	trim(entries, now);
end

-- start(): forgets old messages from now on
function journal.start()
	module:add_timer(expiry_period, function ()
		for _, entries in pairs(journals) do trim(entries, os.time()); end
		return expiry_period;
	end);
end

-- since(room_jid, time) -> iterator of delayed messages, and the time from which on it has all messages; or nil
function journal.since(room_jid, time)
	local entries = journals[room_jid];
	if not entries then return nil; end
	local index = entries.first;
	while entries[index] and entries[index].time < time do index = index + 1; end
	return function ()
		local message, entry;
		repeat -- modules make some stanzas that no parser accepts; they did not cross the link either
			entry, index = entries[index], index + 1;
			message = entry and parse(entry.text);
		until message or not entry;
		return message and message:tag("delay", { xmlns = xmlns_delay; from = room_jid; stamp = datetime.datetime(entry.time) }):up();
	end, entries.since;
end

-- save() -> the journals, for the next instance of the module
function journal.save()
	return journals;
end

-- restore(saved): takes over what save() of an earlier instance returned; nil: nothing
function journal.restore(saved)
	journals, room_count = saved or {}, 0;
	for _ in pairs(journals) do room_count = room_count + 1; end
end

journal.restore();

return journal;
