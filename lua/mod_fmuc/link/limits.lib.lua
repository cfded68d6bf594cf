-- SPDX-License-Identifier: MIT
-- Bounds for what a peer can make this side keep (G29), in both roles. Amounts are bytes of Lua's heap (stanza.heap_size): a short element
-- on the wire is large in memory. README.markdown, "Trust: bounds", lists the bound of each table.

local heap_size = require "prosody_relay.stanza".heap_size;
local shares = require "prosody_relay.shares";
local st = require "util.stanza";
local now = require "util.time".monotonic;
local bandwidth = lib "link/bandwidth";
local once = lib "link/log".once;

local limits = {};

-- For a presence. Identity, role, status and usual additions of clients take a third of this. A longer presence loses what its author added.
limits.max_presence = 16 * 1024;

-- For an attribute of a presence that is too long: as much as a JID can have
local max_attribute = 3071;

-- For the messages of one room that are kept to be sent again
limits.max_messages = 4 * 1024 * 1024;

-- For everything that peers make this service keep. A domain may hold as much as it leaves free.
local max_total = 256 * 1024 * 1024;

-- How many users a mirror brings into a room, and how many occupants of a master a mirror shows
limits.max_occupants = lib "settings".max_occupants;

-- has_place(counter, entries) -> whether one more fits into the table `entries`; the caller then adds it. counter: a table that lives as
-- long as `entries`. It holds an estimate, so not every arrival needs a count.
function limits.has_place(counter, entries)
	if (counter.arrivals or limits.max_occupants) >= limits.max_occupants then
		counter.arrivals = 0;
		for _ in pairs(entries) do counter.arrivals = counter.arrivals + 1; end
		if counter.arrivals >= limits.max_occupants then return false; end
	end
	counter.arrivals = counter.arrivals + 1;
	return true;
end

local memory = { walks = {} };

-- count_with(walk): walk(add) calls add(jid, bytes) for everything that a part of the module keeps; jid: the peer that caused it
function limits.count_with(walk)
	table.insert(memory.walks, walk);
	memory.used, memory.counted = nil, nil;
end

-- Nobody reports what is removed, so from time to time everything is counted
local function count()
	memory.used, memory.counted = shares.new(max_total), now();
	for _, walk in ipairs(memory.walks) do walk(function (jid, bytes) memory.used:hold(jid, bytes); end); end
end

-- has_memory_for(jid, bytes) -> whether that many more bytes may be kept for that peer (JID); they count from now on
function limits.has_memory_for(jid, bytes)
	if not memory.used then count(); end
	if memory.used:take(jid, bytes) then return true; end
	if now() - memory.counted >= 1 then count(); end
	if memory.used:take(jid, bytes) then return true; end
	once("memory\0" .. jid, "warn", "%s sends more data than this service keeps for it; the rest is left out", jid);
	return false;
end

-- has_room_for(list, stanza, jid) -> whether a message of that peer fits into the list. The list counts its messages in its field `bytes`.
function limits.has_room_for(list, stanza, jid)
	local size = heap_size(stanza);
	local bytes = (list.bytes or 0) + size;
	if bytes > limits.max_messages or not limits.has_memory_for(jid, size) then return false; end
	list.bytes = bytes;
	return true;
end

local kept_attributes = { "type", "from", "to", "id", "xml:lang" };

-- The short attributes that every presence may have
local function short_attributes(attr)
	local short = {};
	for _, name in ipairs(kept_attributes) do
		local value = attr[name];
		short[name] = value and #value <= max_attribute and value or nil;
	end
	return short;
end

-- trimmed(presence) -> the presence, or a copy without what its author added, or nil when the copy is still too long
function limits.trimmed(presence)
	if heap_size(presence) <= limits.max_presence then return presence; end
	presence = bandwidth.stripped_presence(presence);
	presence.attr = short_attributes(presence.attr);
	return heap_size(presence) <= limits.max_presence and presence or nil;
end

-- bare_presence(presence) -> a copy without children, for one that is too long even so
function limits.bare_presence(presence)
	return st.presence(short_attributes(presence.attr));
end

-- presence_size(presence) -> bytes that an occupant's presence takes, with the copy in mod_muc
function limits.presence_size(presence)
	return 2 * heap_size(presence);
end

return limits;
