-- SPDX-License-Identifier: MIT
-- One private Prosody: own data, own loopback address with the standard ports, own name server, own log. Both versions.

local loop = require "bed.loop";
local stream = require "bed.stream";
local log_file = require "bed.log";
local process = require "bed.process";
local jid_split = require "util.jid".split;
local deserialize = require "util.serialization".deserialize;

local node = {};
local node_mt = { __index = node };

local probe_port, dns_port = 5999, 5353;
local start_timeout = 20;
local password = "secret";

-- Prosody's option of that name, for nodes that start from now on: how its collector works. Nil: as Prosody does without the option.
node.gc = nil;

local root = assert(io.popen("pwd")):read("l");

local installations = {
	["0.12"] = { prosody = "/usr/bin/prosody"; prosodyctl = "/usr/bin/prosodyctl" };
	["13.0"] = {
		prosody = os.getenv("PROSODY13") and os.getenv("PROSODY13") .. "/usr/bin/prosody" or root .. "/build/prosody13/usr/bin/prosody";
	};
};
installations["13.0"].prosodyctl = installations["13.0"].prosody .. "ctl";
node.installations = installations;

local config_template = [[
run_as_root = true
pidfile = "$DIR/prosody.pid"
data_path = "$DIR/data"
gc = $GC
log = { { levels = { min = "$LEVEL" }, to = "file", filename = "$DIR/prosody.log" } }
interfaces = { "$ADDRESS" }
c2s_ports = { 5222 }; c2s_direct_tls_ports = { }; legacy_ssl_ports = { }
s2s_ports = { 5269 }; s2s_direct_tls_ports = { }
component_ports = { 5347 }; component_interfaces = { "$ADDRESS" }
http_ports = { }; https_ports = { }
authentication = "internal_plain"; storage = "internal"
c2s_require_encryption = false; allow_unencrypted_plain_auth = true
$SECURITY
ssl = { key = "$KEY"; certificate = "$DIR/node.crt"; cafile = "$AUTHORITY"; capath = false }
unbound = { resolvconf = false; hoststxt = false; forward = { "$ADDRESS@$DNS" }; options = { ["do-not-query-localhost:"] = "no" } }
bed_address = "$ADDRESS"; bed_port = $PROBE; bed_dialback = { $DIALBACK }
plugin_paths = { $PLUGINS }
$INSTALLED
modules_enabled = { "roster", "saslauth", "tls", "dialback", "smacks", "disco", "ping", "bed", $MODULES }
$GLOBAL

$CONFIG
]];

local function quoted_list(items)
	local quoted = {};
	for i, item in ipairs(items) do quoted[i] = ("%q"):format(item); end
	return table.concat(quoted, ", ");
end

-- Prosody either demands TLS and certificates of all other servers, or of none
local with_certificates, without_certificates = "s2s_secure_auth = true", "s2s_secure_auth = false; s2s_require_encryption = false";

-- Hosts of the servers that this node believes by dialback
local function unproven_hosts(self)
	local names = {};
	for _, server in ipairs(self.dialback or {}) do
		for _, name in server:hosts() do names[#names + 1] = name; end
	end
	return names;
end

local function write_config(self)
	local plugins = table.move(self.plugins or {}, 1, #(self.plugins or {}), 2, { root .. "/spec/support/bed/plugins" });
	if not self.installed then table.insert(plugins, 1, root .. "/lua"); end
	self.certificate, self.key = self.dir .. "/node.crt", self.authority.key;
	self.authority:issue(select(2, self:hosts()), self.certificate);
	local values = {
		KEY = self.key; AUTHORITY = self.authority.certificate;
		DIR = self.dir; ADDRESS = self.address; GC = node.gc or "nil"; LEVEL = self.log_level or "debug";
		DNS = tostring(dns_port); PROBE = tostring(probe_port);
		SECURITY = self.dialback and without_certificates or with_certificates; DIALBACK = quoted_list(unproven_hosts(self));
		PLUGINS = quoted_list(plugins); MODULES = quoted_list(self.modules or {});
		INSTALLED = self.installed and ("installer_plugin_path = %q"):format(self.installed) or "";
		GLOBAL = self.global or ""; CONFIG = self.config;
	};
	local file = assert(io.open(self.dir .. "/prosody.cfg.lua", "w"));
	file:write((config_template:gsub("%$(%u+)", values)));
	file:close();
end

-- new{ scenario, address, dir, version, config, … } -> node, not started. See bed.init for the options.
function node.new(options)
	local self = setmetatable(options, node_mt);
	self.log = log_file.new(self.dir .. "/prosody.log");
	self.streams = {};
	return self;
end

-- hosts() -> iterator (as of ipairs) of the host names in the node's configuration
function node:hosts()
	local text = ("\n" .. self.config):gsub("\n%s*%-%-[^\n]*", "\n");
	local names = {};
	for kind, name in text:gmatch("(%u%l+%u?%l+)%s*%(?%s*\"([^\"]+)\"") do
		if kind == "VirtualHost" or kind == "Component" then names[#names + 1] = name; end
	end
	return ipairs(names);
end

local function environment(self)
	if self.installed then return ""; end
	return ("LUA_PATH_5_4='%s/lua/?.lua;%s/lua/?/init.lua;;' LUA_CPATH_5_4='%s/build/?.so;;' "):format(root, root, root);
end

-- start(): runs the server and waits until everything listens
function node:start()
	write_config(self);
	local program = installations[self.version].prosody;
	if not io.open(program) then error(program .. " is missing; `make deps prosody13` brings it", 2); end
	self.process = process.start(self.dir, ("env %s%s --config '%s/prosody.cfg.lua' -F"):format(environment(self), program, self.dir));
	self.pid = self.process.pid;
	self.dns = self.dns or self.serve_dns(self.address, dns_port);
	loop.wait_until(function ()
		if not self.process:alive() then error("Prosody ended at its start:\n" .. self:output() .. self.log:tail(15), 0); end
		return pcall(self.eval, self, "return true");
	end, start_timeout, function () return "start of Prosody:\n" .. self:output() .. self.log:tail(15); end);
end

-- output() -> what the process wrote to stdout and stderr
function node:output()
	return self.process:output();
end

local function signal(self, name)
	self.process:signal(name);
	self.pid, self.frozen = nil, nil;
end

-- stop(): orderly shutdown, and wait. The probe starts the shutdown: 0.12 runs its handler of SIGTERM between any two instructions. The handler
-- stumbles when that is in the middle of a new connection.
function node:stop()
	if not self.pid then return; end
	if not pcall(self.eval, self, "return true") then return signal(self, "TERM"); end
	-- the end comes before the answer
	pcall(self.eval, self, [[prosody.main_thread:run(function () prosody.shutdown("stopped by the test bed"); end)]]);
	self.process:wait_for_end("its shutdown");
	self.pid = nil;
end

-- kill(): SIGKILL, and wait
function node:kill()
	if self.pid then signal(self, "KILL"); end
end

-- freeze(): the server stands still, and its peers do not know: its connections stay open, and take what is sent to it, until thaw() or
-- kill(). What it did not acknowledge by then is lost when it is killed.
function node:freeze()
	self.process:send("STOP");
	self.frozen = true;
end

function node:thaw()
	self.process:send("CONT");
	self.frozen = nil;
end

-- restart([changes]): stop and start; changes = { config = …, global = …, version = … }
function node:restart(changes)
	self:stop();
	for key, value in pairs(changes or {}) do self[key] = value; end
	self:start();
end

-- reload_config(config): writes the new configuration and makes the running server read it
function node:reload_config(config)
	self.config = config;
	write_config(self);
	self:eval [[assert(prosody.reload_config())]];
end

-- reload(module, host): module reload as by the shell command
function node:reload(module, host)
	self:eval(([[assert(require "core.modulemanager".reload(%q, %q))]]):format(host, module));
end

-- eval(chunk) -> result of the Lua chunk, run inside the server
function node:eval(chunk)
	local answer, closed = "", nil;
	local conn = assert(loop.server.addclient(self.address, probe_port, {
		onconnect = function (conn) conn:write(#chunk .. "\n" .. chunk); end;
		onincoming = function (_, data) answer = answer .. data; end;
		ondisconnect = function (_, err) closed = err or true; end;
	}, "*a"));
	local start;
	loop.wait_until(function ()
		local length;
		length, start = answer:match("^(%d+)\n()");
		return closed or (length and #answer >= start - 1 + tonumber(length));
	end, 30, "answer of the probe");
	if closed then error("the probe does not answer: " .. tostring(closed), 2); end
	conn:close();
	local result = assert(deserialize(answer:sub(start)));
	if not result[1] then error("in the server: " .. tostring(result[2]), 2); end
	return result[2];
end

-- unacknowledged(from, to) -> number of stanzas that the host `to` of another server has not acknowledged (XEP-0198). Only stanzas count that
-- the stream from this server's host `from` has sent. Stanzas that wait for a stream, or for which it was opened, do not count.
-- Raises an error when there is no such stream with stream management, because then nothing is known.
function node:unacknowledged(from, to)
	return self:eval(([[
		local session = prosody.hosts[%q].s2sout[%q];
		assert(session and session.smacks, "no managed stream");
		return session.outgoing_stanza_queue:count_unacked();
	]]):format(from, to));
end

-- streams_to(other) -> number of streams between this server and another node; number of stanzas that are not acknowledged.
-- The first has both directions and any state, as this server knows them. The second has the stanzas that this server has sent.
-- Each outgoing stream that does not count stanzas yet adds one to the second. Both are 0 when this server does not run, or is frozen.
function node:streams_to(other)
	if not self.pid or self.frozen then return 0, 0; end
	local names = {};
	for i, name in other:hosts() do names[i] = ("[%q] = true"):format(name); end
	return table.unpack(self:eval(([[
		local others, streams, unacknowledged = { %s }, 0, 0;
		for _, host in pairs(prosody.hosts) do
			for name, session in pairs(host.s2sout or {}) do
				if others[name] then
					local queue = session.outgoing_stanza_queue;
					streams, unacknowledged = streams + 1, unacknowledged + (queue and queue:count_unacked() or 1);
				end
			end
		end
		for session in pairs(prosody.incoming_s2s) do
			if others[session.from_host] then streams = streams + 1; end
		end
		return { streams, unacknowledged };
	]]):format(table.concat(names, ", "))));
end

-- add_user(jid): makes the account; the password is the same for all
function node:add_user(jid)
	local user, host = jid_split(jid);
	self:eval(([[
		local usermanager = require "core.usermanager";
		if not usermanager.user_exists(%q, %q) then assert(usermanager.create_user(%q, %q, %q)); end
	]]):format(user, host, user, password, host));
end

function node:delete_user(jid)
	local user, host = jid_split(jid);
	self:eval(([[assert(require "core.usermanager".delete_user(%q, %q))]]):format(user, host));
end

-- client(jid) -> authenticated client stream; the account is made when it does not exist. No presence is sent.
function node:client(jid)
	self:add_user(jid);
	local client = stream.client(self.address, jid, password);
	self.streams[#self.streams + 1] = client;
	return client;
end

-- resume(jid, id, h) -> client stream that goes on with a session of XEP-0198: its id, number of stanzas received on it
function node:resume(jid, id, h)
	local client = stream.resume(self.address, jid, password, id, h);
	self.streams[#self.streams + 1] = client;
	return client;
end

-- component(host, secret) -> authenticated XEP-0114 stream
function node:component(host, secret)
	local component = stream.component(self.address, host, secret);
	self.streams[#self.streams + 1] = component;
	return component;
end

-- allow_log(pattern): a warning or error this scenario provokes
function node:allow_log(pattern)
	self.log:allow(pattern);
end

-- expect_log(pattern, [timeout]) -> the line
function node:expect_log(pattern, timeout)
	return loop.wait_until(function () return self.log:find(pattern); end, timeout, function ()
		return ("log line %q in:\n%s"):format(pattern, self.log:tail(15));
	end);
end

-- finish(): ends everything; returns the log lines that nobody allowed
function node:finish()
	if self.frozen then self:thaw(); end
	for _, client in ipairs(self.streams) do client:kill(); end
	-- COMPAT w/0.12: a SIGTERM in the middle of a session's end finds that session half gone, and a traceback
	if self.pid then
		local enough = loop.now() + 0.5;
		pcall(loop.wait_until, function ()
			return self:eval [[return next(prosody.full_sessions) == nil]] or loop.now() > enough; -- a hibernating session stays
		end);
	end
	local stopped, err = pcall(self.stop, self);
	if not stopped then self:kill(); end
	if self.dns then self.dns.close(); end
	local complaints = self.log:complaints();
	if not stopped then table.insert(complaints, 1, err); end
	return complaints;
end

return node;
