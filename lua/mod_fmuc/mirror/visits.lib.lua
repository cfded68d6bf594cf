-- SPDX-License-Identifier: MIT
-- How many mirrored rooms each local user is in, or waits for: some hundred bookmarks are common, and nobody opens rooms without end (G29).
-- What a user has is counted with the records themselves, so that to be told twice does not count twice.

local jid_bare = require "util.jid".bare;
local shares = require "prosody_relay.shares";

local max_rooms_of_user = 200;

local counts = shares.new(math.huge, max_rooms_of_user);

local visits = {};

-- has_enough(user) -> whether that account may not go into one more
function visits.has_enough(user)
	return counts:refusal(user) ~= nil;
end

-- wait(record, user): the record is of a join of that user
function visits.wait(record, user)
	record.waits_for = jid_bare(user);
	counts:hold(user);
end

-- stop(record): the join is over, one way or the other
function visits.stop(record)
	if record.waits_for then counts:give(record.waits_for); end
	record.waits_for = nil;
end

-- enter(state, occupant_jid, user): an occupant of that account is in the room with that state (room.fmuc); user nil: has left
function visits.enter(state, occupant_jid, user)
	local visitors = state.visitors or {};
	state.visitors = visitors;
	if visitors[occupant_jid] then counts:give(visitors[occupant_jid]); end
	if user then counts:hold(user); end
	visitors[occupant_jid] = user;
end

-- forget(state): that room is not there any more
function visits.forget(state)
	for occupant_jid in pairs(state.visitors or {}) do visits.enter(state, occupant_jid, nil); end
end

-- restore(state): of an earlier instance; who is in the room is told by enter()
function visits.restore(state)
	for _, record in pairs(state.waiting) do
		if record.waits_for then counts:hold(record.waits_for); end
	end
end

return visits;
