-- SPDX-License-Identifier: MIT
-- Handles the presences of a session one after the other. A handler of another module may wait (util.async) during a user's join. Stanzas
-- that the same user sends meanwhile, over another stream, wait for the end of the join.

local async = require "util.async";

local turns = {};

-- Waiting presences of one session
local usual_max = 10;

-- [room JID and real JID] = list of functions that wait for their turn
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

-- is_taken(room_jid, real_jid) -> whether what that session sends now has to wait
function turns.is_taken(room_jid, real_jid)
	return waiting[room_jid .. "\0" .. real_jid] ~= nil;
end

-- take(room_jid, real_jid, f, [is_part, [max_waiting]]) -> whether f() is called: now, or after the earlier presences of that session. False:
-- too many wait already. A part always has its turn, in place of the last that waits, as the user leaves anyway. An error of f reaches the caller
-- whose take() runs it.
function turns.take(room_jid, real_jid, f, is_part, max_waiting)
	max_waiting = max_waiting or usual_max;
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

-- apart(f): calls f() where a handler of another module can wait. Timers have no coroutine.
function turns.apart(f)
	async.runner(function (step) step(); end):run(f);
end

return turns;
