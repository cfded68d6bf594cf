-- SPDX-License-Identifier: MIT
-- One presence of a session after the other. A handler of another module may wait (util.async) in the middle of a user's join; what the
-- same user sends meanwhile, over another stream, has its turn when the join is over.

local turns = {};

-- Presences of one session that wait
local max_waiting = 10;

-- Key: room JID and real JID; value: list of functions whose turn is yet to come
local waiting = {};

local function run_all(queue, f)
	local failure;
	while f do
		local ok, err = xpcall(f, debug.traceback);
		failure = failure or not ok and err;
		f = table.remove(queue, 1);
	end
	return failure;
end

-- take(room_jid, real_jid, f, [is_part]) -> whether f() is called: now, or when those of that session are over that came before. False: too
-- many wait already. A part always has its turn, in place of the last that waits, as the user leaves anyway. An error of f goes to whoever
-- calls take().
function turns.take(room_jid, real_jid, f, is_part)
	local key = room_jid .. "\0" .. real_jid;
	local queue = waiting[key];
	if queue then
		if #queue >= max_waiting and not is_part then return false; end
		queue[math.min(#queue + 1, max_waiting)] = f;
		return true;
	end
	queue = {};
	waiting[key] = queue;
	local failure = run_all(queue, f);
	waiting[key] = nil;
	if failure then error(failure, 0); end
	return true;
end

return turns;
