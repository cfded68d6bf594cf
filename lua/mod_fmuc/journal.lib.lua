-- SPDX-License-Identifier: MIT
-- What was said in a mirrored room lately, for mirrors that come back after an outage (G3). The room's own history is shorter, and leaves
-- out what has no body, such as reactions, and what is not to be stored: that is kept here for as long as it may not have arrived.

local datetime = require "util.datetime";
local st = require "util.stanza";

-- For a room and an hour; who was away for longer gets the room's history, which mod_muc_mam may back with an archive
local max_entries, max_age = 500, 3600;

local bounds = module:require "bounds"; -- and for so many bytes
local is_passing = module:require "passing";

local xmlns_delay = "urn:xmpp:delay";

-- [room JID] = { since = time from which on it is complete, first, last = indices, bytes, [index] = { stanza, time, bytes } }
local journals;

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

-- begin(room_jid): from now on
function journal.begin(room_jid)
	journals[room_jid] = journals[room_jid] or { since = os.time(); first = 1; last = 0; bytes = 0 };
end

-- forget(room_jid): no mirror will ask any more
function journal.forget(room_jid)
	journals[room_jid] = nil;
end

-- add(room_jid, stanza): a groupchat message as the occupants get it
function journal.add(room_jid, stanza)
	local entries = journals[room_jid];
	if not entries or not is_worth_keeping(stanza) then return; end
	local now = os.time();
	entries.last = entries.last + 1;
	entries[entries.last] = { stanza = st.clone(stanza); time = now; bytes = bounds.size(stanza) };
	entries.bytes = entries.bytes + entries[entries.last].bytes;
	while entries.last - entries.first >= max_entries or entries[entries.first].time < now - max_age
		or entries.bytes > bounds.max_message_bytes and entries.last > entries.first do
		drop_first(entries);
	end
end

-- since(room_jid, time) -> iterator of delayed messages, and the time from which on it has all of them; or nil
function journal.since(room_jid, time)
	local entries = journals[room_jid];
	if not entries then return nil; end
	local index = entries.first;
	while entries[index] and entries[index].time < time do index = index + 1; end
	return function ()
		local entry = entries[index];
		if not entry then return nil; end
		index = index + 1;
		return st.clone(entry.stanza):tag("delay", { xmlns = xmlns_delay; from = room_jid; stamp = datetime.datetime(entry.time) }):up();
	end, entries.since;
end

-- save() -> the journals, for the next instance of the module
function journal.save()
	return journals;
end

-- restore(saved): of save() of an earlier instance, or nil
function journal.restore(saved)
	journals = saved or {};
end

journal.restore();

return journal;
