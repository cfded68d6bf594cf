-- SPDX-License-Identifier: MIT
-- The event loop of the test bed: Prosody's own epoll server, driven step by step. All clients, components, links and name servers of
-- a scenario run in it. They move whenever the scenario waits for something.

local server = require "net.server_epoll";
local logger = require "util.logger";
local now = require "util.time".monotonic;

server.set_config({ read_size = 65536, min_wait = 0, tcp_backlog = 1024, read_timeout = 86400, connect_timeout = 10 });

-- Each wait for something to happen takes at most so many times as long as the scenario says. Only a failure reaches such a bound, so
-- it may be generous; PATIENCE=1 is for those who expect failures, and a larger number for a machine that is very busy.
local patience = tonumber(os.getenv("PATIENCE")) or 10;

local default_timeout = 5;

local loop = { server = server, now = now };

-- Errors raised inside a listener are only logged by the server; a scenario must not overlook them.
local failures = {};
logger.add_simple_sink(function (name, level, message)
	if level == "error" then failures[#failures + 1] = name .. ": " .. message; end
end);

-- after(seconds, callback): a callback that returns a number is called again after that many seconds
loop.after = server.add_task;

-- No event of this process announces some conditions (a process ended, a log line was written). The loop checks them this often.
local tick = 0.01;
server.add_task(tick, function () return tick; end);

-- wait_until(condition, [timeout = 5], [what]) -> what the condition returned; raises when the time is over, which PATIENCE multiplies.
-- `what` is the text of that error, or a function that makes it.
function loop.wait_until(condition, timeout, what)
	timeout = (timeout or default_timeout) * patience;
	local deadline = now() + timeout;
	local result = condition();
	while not result and now() < deadline do
		server.loop(true);
		result = condition();
	end
	if #failures > 0 then
		local first = failures[1];
		failures = {};
		error("test bed: " .. first, 0);
	end
	if result then return result; end
	if type(what) == "function" then what = what(); end
	error(("not within %.3g s: %s"):format(timeout, what or "condition"), 2);
end

-- wait(seconds): lets the time pass, whatever PATIENCE says
function loop.wait(seconds)
	local deadline = now() + seconds;
	loop.wait_until(function () return now() >= deadline; end, seconds + 1, "the time to pass");
end

return loop;
