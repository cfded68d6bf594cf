-- SPDX-License-Identifier: MIT
-- What a peer can make the other side keep, whatever it says (G29). Amounts are bytes of Lua's heap (stanza.heap_size): a short element on
-- the wire is a large one in memory. Both roles. What bounds each table: README.markdown, "Trust: bounds".

local heap_size = require "prosody_relay.stanza".heap_size;
local shares = require "prosody_relay.shares";
local now = require "util.time".monotonic;
local bandwidth = lib "link/bandwidth";
local once = lib "link/log".once;

local limits = {};

-- Of a presence: who, in which role, a status, and what clients usually add, which is a third of this. Longer ones do without what their
-- author has added.
limits.max_presence = 16 * 1024;

-- Of messages that are kept for somebody who may want them again, for each room
limits.max_messages = 4 * 1024 * 1024;

-- Of all that peers make this service keep together. A domain may hold as much as it leaves free.
local max_total = 256 * 1024 * 1024;

-- A mirror brings no more than that into a room, and shows no more of the master's
limits.max_occupants = lib "settings".max_occupants;

-- has_place(counter, entries) -> whether one more fits into the table `entries`, which the caller then adds. counter: a table that lives
-- as long; in it is an estimate, so that not each arrival costs a count
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

-- count_with(walk): walk(add) calls add(jid, bytes) for all that a part keeps, by the peer that caused it
function limits.count_with(walk)
	table.insert(memory.walks, walk);
	memory.used, memory.counted = nil, nil;
end

-- What leaves is not told to anybody, so from time to time everything is counted
local function count()
	memory.used, memory.counted = shares.new(max_total), now();
	for _, walk in ipairs(memory.walks) do walk(function (jid, bytes) memory.used:hold(jid, bytes); end); end
end

-- has_memory_for(jid, bytes) -> whether so much more may be kept for that peer (JID), and it counts
function limits.has_memory_for(jid, bytes)
	if not memory.used then count(); end
	if memory.used:take(jid, bytes) then return true; end
	if now() - memory.counted >= 1 then count(); end
	if memory.used:take(jid, bytes) then return true; end
	once("memory\0" .. jid, "warn", "%s makes this service keep too much, of which a part is left out now", jid);
	return false;
end

-- has_room_for(list, stanza, jid) -> whether a message of that peer finds a place in the list, which counts what is put into it in its
-- field `bytes`
function limits.has_room_for(list, stanza, jid)
	local size = heap_size(stanza);
	local bytes = (list.bytes or 0) + size;
	if bytes > limits.max_messages or not limits.has_memory_for(jid, size) then return false; end
	list.bytes = bytes;
	return true;
end

-- trimmed(presence) -> the presence, or a copy without what its author has added, or nil when it is too long even so
function limits.trimmed(presence)
	if heap_size(presence) <= limits.max_presence then return presence; end
	presence = bandwidth.stripped_presence(presence);
	return heap_size(presence) <= limits.max_presence and presence or nil;
end

-- presence_size(presence) -> bytes that an occupant's presence takes, of which mod_muc has a copy, too
function limits.presence_size(presence)
	return 2 * heap_size(presence);
end

return limits;
