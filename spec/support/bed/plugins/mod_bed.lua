-- SPDX-License-Identifier: MIT
-- The test bed's hand inside a server: runs Lua chunks sent to a loopback port, and only ever loaded by the test bed.
-- Request: length in decimal, newline, chunk. Answer: length, newline, serialised { ok, result }.

module:set_global();

local server = require "net.server";
local serialize = require "util.serialization".serialize;

local address = module:get_option_string("bed_address");
local port = module:get_option_number("bed_port");

local listener = {};
local buffers = {};

local function run(chunk)
	local code, err = load(chunk, "=eval", "t", setmetatable({ module = module }, { __index = _G }));
	if not code then return { false, err }; end
	local ok, result = xpcall(code, debug.traceback);
	return { ok, result };
end

function listener.onincoming(conn, data)
	data = (buffers[conn] or "") .. data;
	local length, start = data:match("^(%d+)\n()");
	if not length or #data < start - 1 + tonumber(length) then
		buffers[conn] = data;
		return;
	end
	buffers[conn] = nil;
	local ok, answer = pcall(serialize, run(data:sub(start, start - 1 + tonumber(length))));
	if not ok then answer = serialize({ false, tostring(answer) }); end
	conn:write(#answer .. "\n" .. answer);
end

function listener.ondisconnect(conn)
	buffers[conn] = nil;
end

-- Hosts of other servers that need no certificate
local unproven = module:get_option_set("bed_dialback", {});

-- Each scenario relies on stream management between servers, which Prosody has only where both proved who they are by certificate. A stream
-- without it is an error in the log, and so fails the scenario.
local function check_stream(event)
	local session = event.session;
	local host = session.direction == "outgoing" and session.from_host or session.to_host;
	if unproven:contains(event.host) then return; end
	if event.mechanism ~= "EXTERNAL" or not prosody.hosts[host].modules.smacks then
		session.log("error", "Without stream management: %s to %s, authenticated by %s", session.from_host, session.to_host, event.mechanism);
	end
end

local function watch(host)
	prosody.hosts[host].events.add_handler("s2s-authenticated", check_stream, 1);
end

for host in pairs(prosody.hosts) do watch(host); end
module:hook("host-activated", watch);

-- Listening is the sign that everything else is up
module:hook("server-started", function ()
	assert(server.listen(address, port, listener));
end);
