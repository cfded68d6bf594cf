-- SPDX-License-Identifier: MIT
-- How many mirrored rooms each local user is in, or waits for, with a limit (G29). Users with a few hundred bookmarks are common. The records
-- themselves show what was counted, so that nothing counts twice.

local jid_bare = require "util.jid".bare;
local shares = require "prosody_relay.shares";

local max_rooms_of_user = 200;

local counts = shares.new(math.huge, max_rooms_of_user);

local visits = {};

-- has_enough(user) -> whether the account may not join one more room
function visits.has_enough(user)
	return counts:refusal(user) ~= nil;
end

-- wait(record, user): the record is of a join of this user
function visits.wait(record, user)
	record.waits_for = jid_bare(user);
	counts:hold(user);
end

-- stop(record): the join has ended, with or without success
function visits.stop(record)
	if record.waits_for then counts:give(record.waits_for); end
	record.waits_for = nil;
end

-- enter(state, occupant_jid, user): an occupant of this account is in the room with this state (room.fmuc). user: nil when the occupant has left
function visits.enter(state, occupant_jid, user)
	local visitors = state.visitors or {};
	state.visitors = visitors;
	if visitors[occupant_jid] then counts:give(visitors[occupant_jid]); end
	if user then counts:hold(user); end
	visitors[occupant_jid] = user;
end

-- forget(state): the room does not exist any more
function visits.forget(state)
	for occupant_jid in pairs(state.visitors or {}) do visits.enter(state, occupant_jid, nil); end
end

-- restore(state): counts the joins of an earlier instance that wait. enter() counts the users in the room
function visits.restore(state)
	for _, record in pairs(state.waiting) do
		if record.waits_for then counts:hold(record.waits_for); end
	end
end

return visits;
