-- SPDX-License-Identifier: MIT
-- A real Openfire in a scenario, the one open peer of mod_fmuc's generation 2. It is no part of this project. The environment variable OPENFIRE
-- names a folder with the tools that run it, which are openfire.py and what that needs. Its folder `openfire` has a build of Openfire.
--
--   if not openfire.tools then pending(openfire.missing); return; end
--   it("meets an Openfire", bed.scenario(function (s)
--       local peer = openfire.new(s, { rooms = { verona = { joins = "park@talk.example.com" } } });
--       local talk = s:node { dialback = { peer }; version = "13.0"; config = [[Component "talk.example.com" "muc"]] };
--       local link = s:link(peer, talk);
--       peer:start();
--       local romeo = peer:client("romeo@openfire.example/pc");
--   end));
--
-- Its streams have neither TLS nor stream management, and it cannot be asked about them. So a link to it has no settle(), is_managed() and
-- expect_broken(). node:streams_to(peer) tells what the node knows.

local loop = require "bed.loop";
local log_file = require "bed.log";
local process = require "bed.process";
local shell = require "shell";
local stream = require "bed.stream";
local json = require "util.json";

local openfire = {};

local server = {};
local server_mt = { __index = server };

local program = shell.lines("pwd")[1] .. "/spec/support/openfire_server.py";
local start_timeout, console_timeout = 20, 20;
local s2s_port, closed_port = 5269, 9;
local password = "secret";

-- Folder of the tools; nil: there is no Openfire
openfire.tools = os.getenv("OPENFIRE");

-- The environment variable may be there and empty
if openfire.tools == "" then openfire.tools = nil; end

-- Text for pending()
openfire.missing = "no Openfire: the environment variable OPENFIRE names no folder with the tools that run one";

-- new(s, [options]) -> server, not started, so that nodes and links can come first. It ends with the scenario.
--   domain: default openfire.example; its rooms are at conference.DOMAIN
--   users: their names, default romeo and juliet
--   rooms: name -> { joins, federates, owners, columns }
--     joins: JID of the room that this room joins as a node; federates: false: the room takes no part in federations
--     owners: list of bare JIDs; columns: other columns of Openfire's table ofMucRoom
--   fmuc: false: no room of the server federates
--   properties: more system properties, name -> value
function openfire.new(s, options)
	options = options or {};
	local domain = options.domain or "openfire.example";
	local self = setmetatable({ s = s; options = options; domain = domain; muc = "conference." .. domain; streams = {} }, server_mt);
	self.address, self.dir = s:next_address(), s.dir .. "/" .. domain;
	self.log = log_file.new(self.dir .. "/home/openfire.log");
	shell.run("mkdir %s", self.dir);
	s:register(self);
	s:at_end(function () self:finish(); end);
	return self;
end

-- hosts() -> iterator (as of ipairs) of its domains
function server:hosts()
	return ipairs { self.domain, self.muc };
end

-- room(name) -> JID of that room
function server:room(name)
	return name .. "@" .. self.muc;
end

-- Where the server finds the other hosts of the scenario. It must not ask this machine's name server for the rest.
local function peers(self)
	local places = { ["*"] = { self.address, closed_port } };
	for name, owner in pairs(self.s.owner) do
		if owner ~= self then places[name] = { self.resolve(name), s2s_port }; end
	end
	return places;
end

-- Writes the description that the Python program reads. The first start makes the data of it, later ones go on with these data.
local function describe(self)
	local options = self.options;
	local file = assert(io.open(self.dir .. "/server.json", "w"));
	file:write(json.encode {
		name = "home"; ip = self.address; directory = self.dir; domain = self.domain; users = options.users or { "romeo"; "juliet" };
		rooms = options.rooms or {}; peers = peers(self); fmuc = options.fmuc ~= false; properties = options.properties or {};
	});
	file:close();
end

-- Runs the Python program in a folder below the server's
local function run(self, name, arguments)
	local dir = ("%s/%s"):format(self.dir, name);
	shell.run("mkdir -p %s && rm -f %s", dir, dir .. "/output");
	local words = { "env", "PYTHONDONTWRITEBYTECODE=1", "OPENFIRE=" .. openfire.tools, "python3", program, self.dir .. "/server.json",
		table.unpack(arguments) };
	for i, word in ipairs(words) do words[i] = shell.quote(word); end
	return process.start(dir, table.concat(words, " "));
end

-- start(): runs the server and waits until it listens. Later starts go on with the data of the first one, which says where other servers are.
-- So nodes, and links to them, have to be there before the first start.
function server:start()
	describe(self);
	self.process = run(self, "run", {});
	self.pid = tonumber(loop.wait_until(function ()
		if not self.process:alive() then error("Openfire ended at its start:\n" .. self.process:output(), 0); end
		return self.process:output():match("ready (%d+)");
	end, start_timeout, function () return "start of Openfire:\n" .. self.process:output() .. self.log:tail(15); end));
end

-- The program beside Openfire ends when Openfire has ended
local function signal(self, name)
	if self.pid and self.process:alive() then
		shell.try("kill -%s %s", name, tostring(self.pid));
		self.process:wait_for_end("SIG" .. name .. " to Openfire");
	end
	self.pid = nil;
end

-- stop(): orderly shutdown (SIGTERM), and wait
function server:stop()
	signal(self, "TERM");
end

-- kill(): SIGKILL, and wait. The next start would wait ten seconds for the owner of the database's lock, which cannot come any more.
function server:kill()
	signal(self, "KILL");
	os.remove(self.dir .. "/home/embedded-db/openfire.lck");
end

-- client(jid) -> authenticated client stream of one of the users. No presence is sent.
function server:client(jid)
	local client = stream.client(self.address, jid, password);
	self.streams[#self.streams + 1] = client;
	return client;
end

-- certify(): makes the certificate that Openfire's setup wizard would have made, trusts the scenario's authority for certificates, and restarts
function server:certify()
	local function keytool(store, command, ...)
		shell.run("keytool -noprompt -storepass changeit -keystore %s " .. command, self.dir .. "/home/resources/security/" .. store, ...);
	end
	self:stop();
	keytool("keystore", "-genkeypair -alias %s -keyalg RSA -keysize 2048 -validity 1825 -keypass changeit -dname %s -ext %s", self.domain,
		"CN=" .. self.domain, ("SAN=DNS:%s,DNS:*.%s"):format(self.domain, self.domain));
	keytool("truststore", "-importcert -alias bed -file %s", self.s.authority.certificate);
	self:start();
end

-- console(method, ...): an action of the admin console, and wait. Methods are those of the tools' class Console:
--   "federate", room_jid, enabled, joins: whether the room federates, and the JID of the room that it joins, or ""
--   "stop_session", room_jid, peer_jid: ends the federation with that room
--   "kick", room_jid, nick
--   "property", name, value: a system property
function server:console(method, ...)
	local action = run(self, "console", { method, json.encode { ... } });
	loop.wait_until(function () return not action:alive(); end, console_timeout, "the admin console of Openfire");
	if not action:output():find("done") then error("the admin console of Openfire:\n" .. action:output(), 2); end
end

-- expect_log(pattern, [timeout]) -> the line
function server:expect_log(pattern, timeout)
	return loop.wait_until(function () return self.log:find(pattern); end, timeout, function ()
		return ("Openfire's log line %q in:\n%s"):format(pattern, self.log:tail(15));
	end);
end

-- errors() -> list of the errors in its log, without their tracebacks
function server:errors()
	local list = {};
	for line in self.log:tail(math.huge):gmatch("[^\n]+") do
		if line:find("^%S+ ERROR ") or line:find("^%S+ FATAL ") then list[#list + 1] = line; end
	end
	return list;
end

-- finish(): ends everything
function server:finish()
	for _, client in ipairs(self.streams) do client:kill(); end
	self:kill();
	-- Openfire may have got no further than its start, and dies with the program beside it
	if self.process and self.process:alive() then self.process:signal("KILL"); end
end

return openfire;
