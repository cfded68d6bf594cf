-- SPDX-License-Identifier: MIT
-- Measuring two ways to do the same in one run, and printing one JSON object a line.

local measure = {};

-- Seconds of processor time that one call of f(n) takes.
local function time(f, n)
	collectgarbage();
	local start = os.clock();
	f(n);
	return os.clock() - start;
end

-- median(list), which is in order afterwards
function measure.median(list)
	table.sort(list);
	return list[(#list + 1) // 2];
end

-- How many repetitions take about as long as `seconds`.
local function repetitions(f, seconds)
	local n = 1;
	while time(f, n) < seconds / 4 do n = n * 2; end
	return n * 4;
end

-- compare(ours, peer, [rounds=15], [seconds=0.02]) -> median nanoseconds per repetition of either
-- ours, peer: functions that repeat their work n times. The rounds alternate, so that a slow moment of the machine hits both.
function measure.compare(ours, peer, rounds, seconds)
	local n_ours, n_peer = repetitions(ours, seconds or 0.02), repetitions(peer, seconds or 0.02);
	local times_ours, times_peer = {}, {};
	for round = 1, rounds or 15 do
		times_ours[round] = time(ours, n_ours) / n_ours * 1e9;
		times_peer[round] = time(peer, n_peer) / n_peer * 1e9;
	end
	return measure.median(times_ours), measure.median(times_peer);
end

-- cpu_of(pid) -> seconds of processor time that a process has had
function measure.cpu_of(pid)
	local file = assert(io.open("/proc/" .. pid .. "/schedstat"));
	local nanoseconds = file:read("n");
	file:close();
	return nanoseconds / 1e9;
end

-- exchange(scenario, user, count, window, request): sends request(1) to request(count), `window` of them in flight at a time, and waits for
-- as many results
function measure.exchange(s, user, count, window, request)
	local sent, answered = 0, 0;
	local function ask()
		sent = sent + 1;
		user:send(request(sent));
	end
	user.on_stanza = function (stanza)
		assert(stanza.attr.type == "result", tostring(stanza));
		answered, user.inbox = answered + 1, {};
		if sent < count then ask(); end
	end;
	for _ = 1, window do ask(); end
	s:wait_until(function () return answered == count; end, 120);
	user.on_stanza = nil;
end

-- meets(limit, ours, peer) -> boolean
--   limit: { ratio = least peer / ours; ratio_at_most = …; ours = most of ours, in the unit }, each may be absent
function measure.meets(limit, ours, peer)
	local ratio = peer / ours;
	return ratio >= (limit.ratio or 0) and ratio <= (limit.ratio_at_most or math.huge) and ours <= (limit.ours or math.huge);
end

-- report(bench, unit, ours, peer, peer_name, [limit]): less is better; ratio = peer / ours. With a limit the line says whether it is met.
function measure.report(bench, unit, ours, peer, peer_name, limit)
	local verdict = limit and (', "met": %s'):format(measure.meets(limit, ours, peer)) or "";
	for name, value in pairs(limit or {}) do verdict = (', "limit of %s": %.3g'):format(name, value) .. verdict; end
	print(([[{"bench": "%s", "unit": "%s", "ours": %.1f, "peer": %.1f, "peer_name": "%s", "ratio": %.2f%s}]])
		:format(bench, unit, ours, peer, peer_name, peer / ours, verdict));
end

return measure;
