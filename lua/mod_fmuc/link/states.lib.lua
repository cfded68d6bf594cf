-- SPDX-License-Identifier: MIT
-- The states of a link, and the events that change them. Plain data: other files do the work of a change (link/link).
--
-- Up, in the mirror that joined the room at the other side:
--   joining     the first users wait for what the other side sends to a new mirror
--   live
--   lost        the other side cannot be reached, or something is missing. Nothing goes out, and incoming stanzas are held.
--   syncing     one user joins again, and the other side repeats what is there
--   rejoining   the room is up to date, and the mirror brings its users back one after the other
--
-- Down, in the room that was joined:
--   dumping     the mirror is being sent occupants, history and subject
--   live
--   lost        the mirror cannot be reached, and has the grace period to come back
--
-- A closed link stays closed.

local states = {};

local up = {
	joining = { synced = "live" };
	live = { broken = "lost" };
	lost = { complete = "rejoining"; incomplete = "syncing"; emptied = "joining" };
	syncing = { dumped = "rejoining"; incomplete = "syncing"; broken = "lost"; emptied = "joining" };
	rejoining = { returned = "live"; broken = "lost"; emptied = "joining" };
	closed = {};
};

local down = {
	dumping = { dumped = "live"; broken = "lost" };
	live = { dump = "dumping"; broken = "lost" };
	lost = { dump = "dumping"; complete = "live" };
	closed = {};
};

local tables = { up = up; down = down };
local first = { up = "joining"; down = "dumping" };

-- first(direction) -> the state of a new link. direction: "up" or "down"
function states.first(direction)
	return first[direction];
end

-- next(direction, state, event) -> the state after that event; nil when the event means nothing in that state
function states.next(direction, state, event)
	if event == "closed" then return state ~= "closed" and "closed" or nil; end
	return tables[direction][state][event];
end

return states;
