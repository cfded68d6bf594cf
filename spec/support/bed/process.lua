-- SPDX-License-Identifier: MIT
-- A program that runs beside the test, in a folder of its own, and ends by its pid.

local loop = require "bed.loop";

local process = {};
local process_mt = { __index = process };

local stop_timeout = 15;

-- Enters the first argument's folder and runs the rest, without the sockets of the test itself: they would stay open with the program.
local launcher = [[bash -c 'cd "$1" && shift; for fd in /proc/self/fd/*; do fd=${fd##*/}; ]]
	.. [[if (( fd > 2 )); then eval "exec $fd>&-"; fi; done; exec "$@"' launcher ]];

-- start(dir, command) -> process, running in the background
--   dir: working directory; what the program writes to stdout and stderr is added to the file `output` there
--   command: program and arguments, quoted for the shell, which replaces itself by the program
function process.start(dir, command)
	local self = setmetatable({ dir = dir }, process_mt);
	local pipe = assert(io.popen(launcher .. ("'%s' %s >>'%s/output' 2>&1 </dev/null & echo $!"):format(dir, command, dir)));
	self.pid = assert(tonumber(pipe:read("l")));
	pipe:close();
	return self;
end

-- alive() -> boolean; one that ended and that nobody has asked for its result is not
function process:alive()
	local stat = io.open("/proc/" .. self.pid .. "/stat");
	if not stat then return false; end
	-- nothing when it ended just now
	local text = stat:read("a");
	stat:close();
	return text ~= nil and text:match("^%d+ %b() (%a)") ~= "Z";
end

-- output() -> what the program wrote to stdout and stderr
function process:output()
	local file = io.open(self.dir .. "/output");
	local text = file and file:read("a") or "";
	if file then file:close(); end
	return text;
end

-- wait_for_end(cause): raises when the program goes on; cause is a part of the message
function process:wait_for_end(cause)
	loop.wait_until(function () return not self:alive(); end, stop_timeout, ("end of process %d after %s"):format(self.pid, cause));
end

-- send(name): sends SIG<name>
function process:send(name)
	os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid));
end

-- signal(name): sends SIG<name> and waits for the end
function process:signal(name)
	self:send(name);
	self:wait_for_end("SIG" .. name);
end

return process;
