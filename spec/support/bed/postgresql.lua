-- SPDX-License-Identifier: MIT
-- A private PostgreSQL: Debian's programs with a cluster in the scenario's folder, which ends with the scenario. Logs in through the socket
-- in its folder need no password, those by TCP do.

local loop = require "bed.loop";
local process = require "bed.process";
local shell = require "shell";

local postgresql = {};
local cluster_mt = { __index = postgresql };

local start_timeout = 30;

-- The server refuses to run as root.
local is_root = shell.lines("id -u")[1] == "0";
local as_postgres = is_root and "setpriv --reuid=postgres --regid=postgres --init-groups " or "";

local function programs()
	local found = shell.lines("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V || true");
	return found[#found] or error("PostgreSQL is missing; `make deps` brings it", 0);
end

-- start(scenario) -> running cluster: address and port for TCP, dir (of its socket)
function postgresql.start(s)
	local bin = programs();
	local self = setmetatable({ address = s:next_address(); port = 5432; dir = s.dir.."/postgresql" }, cluster_mt);
	shell.run("chmod a+x %s && mkdir %s", s.dir, self.dir);
	if is_root then shell.run("chown postgres: %s", self.dir); end
	-- a test needs no data that survive a power failure
	shell.run("cd %s && " .. as_postgres .. "%s -D %s --no-sync -U postgres -E UTF8 --no-locale --auth-local=trust --auth-host=scram-sha-256",
		self.dir, bin .. "/initdb", self.dir .. "/data");
	self.process = process.start(self.dir, as_postgres .. ("%s/postgres -D '%s/data' -k '%s' -h %s -p %d -F"):format(bin, self.dir, self.dir,
		self.address, self.port));
	s:at_end(function () self:stop(); end);
	loop.wait_until(function ()
		if not self.process:alive() then error("PostgreSQL ended at its start:\n" .. self.process:output(), 0); end
		return self.process:output():find("ready to accept connections", 1, true);
	end, start_timeout, function () return "start of PostgreSQL:\n" .. self.process:output(); end);
	return self;
end

-- stop(): fast shutdown, and wait
function postgresql:stop()
	if self.process:alive() then self.process:signal("INT"); end
end

return postgresql;
