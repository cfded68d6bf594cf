-- SPDX-License-Identifier: MIT
-- A program in a terminal of its own: keys go in, what it paints comes out. The pseudo-terminal is util-linux' script(1), which every
-- Debian has; nothing here blocks.

local terminal = {};
local terminal_mt = { __index = terminal };

local rows, columns = 40, 150;

local function read(path)
	local file = io.open(path, "rb");
	local text = file and file:read("a") or "";
	if file then file:close(); end
	return text;
end

local function children(pid)
	return read(("/proc/%d/task/%d/children"):format(pid, pid));
end

-- start(s, dir, command, environment) -> terminal. s: scenario, at whose end the program ends; dir: folder for the program, exists;
-- command: for the shell; environment: table of names and values
function terminal.start(s, dir, command, environment)
	local self = setmetatable({ s = s; dir = dir }, terminal_mt);
	assert(os.execute(("mkfifo '%s/keys'"):format(dir)));
	self.keys = assert(io.open(dir .. "/keys", "r+")); -- for both, which does not wait for the other end
	self.keys:setvbuf("no");
	local set = {};
	for name, value in pairs(environment) do set[#set + 1] = ("%s='%s'"):format(name, value); end
	local pipe = assert(io.popen(("cd '%s' && env TERM=xterm LC_ALL=C.UTF-8 %s script -qfec 'stty rows %d cols %d; exec %s' screen "
		.. "<keys >/dev/null 2>&1 & echo $!"):format(dir, table.concat(set, " "), rows, columns, command)));
	self.pid = tonumber(pipe:read("l"));
	pipe:close();
	s:at_end(function () self:stop(); end);
	return self;
end

-- type(text): the keys, and Enter
function terminal:type(text)
	self.keys:write(text .. "\r");
end

-- text() -> what was painted so far, without colours and positions, words apart by single spaces
function terminal:text()
	local raw = read(self.dir .. "/screen");
	return (raw:gsub("\27%][^\7]*\7", " "):gsub("\27[%[%(%)]?[%d;?]*[%a@]?", " "):gsub("%c", " "):gsub("%s+", " "));
end

local function without_spaces(text)
	return (text:gsub(" ", ""));
end

-- expect(text, [timeout = 20]): waits until it has been painted; spaces do not count, as a program may move over them
function terminal:expect(text, timeout)
	self.s:wait_until(function () return without_spaces(self:text()):find(without_spaces(text), 1, true); end, timeout or 20, function ()
		return ("%q on the screen:\n%s\n"):format(text, self:text());
	end);
end

-- stop(): ends the program, and waits
function terminal:stop()
	if not self.pid then return; end
	local pids = { self.pid };
	for pid in children(self.pid):gmatch("%d+") do pids[#pids + 1] = pid; end
	os.execute("kill -KILL " .. table.concat(pids, " ") .. " 2>/dev/null");
	self.pid = nil;
	self.keys:close();
end

return terminal;
