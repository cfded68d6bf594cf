-- SPDX-License-Identifier: MIT
-- What a peer can make the other side keep, whatever it says: so many occupants in a room, so much for each. Both roles.

local bandwidth = module:require "bandwidth";
local once = module:require "quiet".once;

local bounds = {};

-- Of a presence: who, in which role, and a status. Longer ones do without what their author has added.
local max_presence_bytes = 8192;

-- Of messages that are kept for somebody who may want them again, for each room
bounds.max_message_bytes = 4 * 1024 * 1024;

-- A mirror brings no more than that into a room, and shows no more of the master's
bounds.max_occupants = module:require "settings".max_occupants;

-- has_place(counter, entries) -> whether one more fits into the table `entries`, which the caller then adds. counter: a table that lives
-- as long; in it is an estimate, so that not each arrival costs a count
function bounds.has_place(counter, entries)
	if (counter.arrivals or bounds.max_occupants) >= bounds.max_occupants then
		counter.arrivals = 0;
		for _ in pairs(entries) do counter.arrivals = counter.arrivals + 1; end
		if counter.arrivals >= bounds.max_occupants then return false; end
	end
	counter.arrivals = counter.arrivals + 1;
	return true;
end

-- size(element) -> about how many bytes it takes
local function size(element)
	local bytes = #element.name;
	for name, value in pairs(element.attr) do bytes = bytes + #name + #value; end
	for _, child in ipairs(element) do bytes = bytes + (type(child) == "table" and size(child) or #child); end
	return bytes;
end
bounds.size = size;

-- has_room_for(list, stanza) -> whether a message finds a place in the list, which counts what is put into it in its field `bytes`
function bounds.has_room_for(list, stanza)
	local bytes = (list.bytes or 0) + size(stanza);
	if bytes > bounds.max_message_bytes then return false; end
	list.bytes = bytes;
	return true;
end

-- Whether it is short enough, by itself or after what may be left out has been removed
local function trim(presence)
	if size(presence) <= max_presence_bytes then return true; end
	bandwidth.strip_presence(presence);
	return size(presence) <= max_presence_bytes;
end

-- admits(room, occupant_jid, presence, is_local) -> whether that occupant of the master has a place in the mirrored room. Local users do.
function bounds.admits(room, occupant_jid, presence, is_local)
	local state = room.fmuc;
	if not trim(presence) then
		once("large\0" .. state.master, "warn", "%s sends presences that are too long to be kept", state.master);
		return false;
	end
	local counter = state.line.phase == "joining" and state.line.resync or state;
	if is_local or state.waiting[occupant_jid] or counter.copies[occupant_jid] or bounds.has_place(counter, counter.copies) then return true; end
	once("full\0" .. state.master, "warn", "%s has more than %d occupants; the others are not shown (fmuc_max_occupants)",
		state.master, bounds.max_occupants);
	return false;
end

return bounds;
