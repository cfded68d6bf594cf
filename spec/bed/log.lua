-- SPDX-License-Identifier: MIT
-- The log of a server is part of the result of a scenario: what it must contain, and what it may.

local log = {};
local log_mt = { __index = log };

-- what every plain test server says
local harmless = {
	"No certificate present in SSL/TLS configuration";
	"Unable to find a certificate";
	"Error initializing DNS";
	"Error indexing certificate directory";
	"LuaSec was not found";
	"Received SIGTERM";
	-- each outage between servers
	"Destroying session with %d+ unacked stanzas";
	-- 0.12 says so when a connection attempt is reset at the very moment it is made, as at the end of a scenario
	"net%.connect.*Failed connection, but unexpected!";
};

function log.new(path)
	return setmetatable({ path = path; allowed = { table.unpack(harmless) } }, log_mt);
end

function log:allow(pattern)
	table.insert(self.allowed, pattern);
end

local function lines(self)
	local file = io.open(self.path);
	if not file then return function () end; end
	return file:lines();
end

-- find(pattern) -> first line with that Lua pattern, or nil
function log:find(pattern)
	for line in lines(self) do
		if line:find(pattern) then return line; end
	end
end

-- tail(n) -> the last n lines
function log:tail(n)
	local all = {};
	for line in lines(self) do all[#all + 1] = line; end
	return table.concat(all, "\n", math.max(1, #all - n + 1));
end

local function is_allowed(self, line)
	for _, pattern in ipairs(self.allowed) do
		if line:find(pattern) then return true; end
	end
	return false;
end

-- complaints() -> the warnings, errors and tracebacks that were not allowed
function log:complaints()
	local found = {};
	local in_complaint = false;
	for line in lines(self) do
		local level = line:match("^%u%l%l %d%d %d%d:%d%d:%d%d [^\t]+\t(%l+)\t");
		if level then
			in_complaint = (level == "warn" or level == "error" or line:find("stack traceback")) and not is_allowed(self, line);
		end
		-- the lines of a traceback follow the one with the time
		if in_complaint then found[#found + 1] = line; end
	end
	return found;
end

return log;
