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
	-- 0.12 says so when a connection attempt is reset at once, for example at the end of a scenario
	"net%.connect.*Failed connection, but unexpected!";
};

-- what a server may say besides, once the scenario takes its clients and components away
local harmless_at_end = {
	"Component not connected, bouncing error";
	-- 0.12, when a stream that is being closed is acknowledged
	"Unhandled %S+ stream element.*xmlns=urn:xmpp:sm:3";
};

function log.new(path)
	return setmetatable({ path = path; allowed = { table.unpack(harmless) } }, log_mt);
end

function log:allow(pattern)
	table.insert(self.allowed, pattern);
end

local function size(path)
	local file = io.open(path);
	local bytes = file and file:seek("end") or 0;
	if file then file:close(); end
	return bytes;
end

-- scenario_ends(): what stands there from now on comes of taking things down
function log:scenario_ends()
	self.end_at = size(self.path);
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

local function matches_one(line, patterns)
	for _, pattern in ipairs(patterns) do
		if line:find(pattern) then return true; end
	end
	return false;
end

-- position: of the end of the line, in bytes
local function is_allowed(self, line, position)
	local is_at_end = self.end_at ~= nil and position > self.end_at;
	return matches_one(line, self.allowed) or is_at_end and matches_one(line, harmless_at_end);
end

-- complaints() -> the warnings, errors and tracebacks that were not allowed
function log:complaints()
	local found = {};
	local in_complaint, position = false, 0;
	for line in lines(self) do
		position = position + #line + 1;
		local level = line:match("^%u%l%l %d%d %d%d:%d%d:%d%d [^\t]+\t(%l+)\t");
		if level then
			in_complaint = (level == "warn" or level == "error" or line:find("stack traceback")) and not is_allowed(self, line, position);
		end
		-- the lines of a traceback follow the one with the time
		if in_complaint then found[#found + 1] = line; end
	end
	return found;
end

return log;
