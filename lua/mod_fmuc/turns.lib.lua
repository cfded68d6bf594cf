-- SPDX-License-Identifier: MIT
-- One presence of a session after the other. A handler of another module may wait (util.async) in the middle of a user's join; what the
-- same user sends meanwhile, over another stream, has its turn when the join is over.

local turns = {};

-- A user who sends more than that meanwhile gets no answer to what is in excess
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

-- take(room_jid, real_jid, f): calls f(), now, or when those of that session are over that came before. An error of f goes to whoever
-- calls take().
function turns.take(room_jid, real_jid, f)
	local key = room_jid .. "\0" .. real_jid;
	local queue = waiting[key];
	if queue then
		if #queue < max_waiting then queue[#queue + 1] = f; end
		return;
	end
	queue = {};
	waiting[key] = queue;
	local failure = run_all(queue, f);
	waiting[key] = nil;
	if failure then error(failure, 0); end
end

return turns;
