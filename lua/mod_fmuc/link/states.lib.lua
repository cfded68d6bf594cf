-- SPDX-License-Identifier: MIT
-- The states of a link, and the events that change them. Plain data: other files do the work of a change (link/link).
--
-- Generation 1, up, in the mirror that joined the room at the other side:
--   joining     the first users wait for what the other side sends to a new mirror
--   live
--   lost        the other side cannot be reached, or something is missing. Nothing goes out, and incoming stanzas are held.
--   syncing     one user joins again, and the other side repeats what is there
--   rejoining   the room is up to date, and the mirror brings its users back one after the other
--
-- Generation 1, down, in the room that was joined:
--   dumping     the mirror is being sent occupants, history and subject
--   live
--   lost        the mirror cannot be reached, and has the grace period to come back
--
-- Generation 2, up, in the node that joins the other node:
--   joining     the other node was asked, and has not answered to the end
--   live
--   lost        the other node cannot be reached, or has refused. This node asks again after a while.
--   ending      this room takes the users of the other node out, before the link is closed
--
-- Generation 2, down, in the node that was joined:
--   live
--   lost        the other node cannot be reached
--   ending      as above
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

local node_up = {
	joining = { synced = "live"; broken = "lost"; ended = "ending" };
	live = { broken = "lost"; join = "joining"; ended = "ending" };
	lost = { join = "joining"; ended = "ending" };
	ending = {};
	closed = {};
};

local node_down = {
	live = { broken = "lost"; ended = "ending" };
	lost = { synced = "live"; ended = "ending" };
	ending = {};
	closed = {};
};

local tables = { generation1 = { up = up; down = down }; generation2 = { up = node_up; down = node_down } };
local first = { generation1 = { up = "joining"; down = "dumping" }; generation2 = { up = "joining"; down = "live" } };

-- first(dialect, direction) -> the state of a new link. direction: "up" or "down"
function states.first(dialect, direction)
	return first[dialect][direction];
end

-- next(dialect, direction, state, event) -> the state after that event; nil when the event means nothing in that state
function states.next(dialect, direction, state, event)
	if event == "closed" then return state ~= "closed" and "closed" or nil; end
	return tables[dialect][direction][state][event];
end

return states;
