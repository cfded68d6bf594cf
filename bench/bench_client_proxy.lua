-- SPDX-License-Identifier: MIT
-- What an IQ costs the server when it goes through mod_client_proxy, against Prosody relaying from full JID to full JID, and how much
-- memory a request in flight takes. A real Prosody, 64 requests at a time, one resource; PROSODY_LIB says which version.

package.path = "spec/?.lua;spec/?/init.lua;" .. package.path;
local _ = pcall(require, "prosody.loader") or pcall(require, "loader"); -- COMPAT w/0.12

local bed = require "bed";
local measure = require "measure";
local st = require "util.stanza";

local WINDOW, ROUNDS, IQS, WAITING = 64, 9, 4000, 5000;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

-- seconds of processor time that a process has had
local function cpu_of(pid)
	local file = assert(io.open("/proc/" .. pid .. "/stat"));
	local user, system = file:read("a"):match("%) %S+ " .. ("%S+ "):rep(10) .. "(%d+) (%d+)");
	file:close();
	return (user + system) / 100;
end

local function median(list)
	table.sort(list);
	return list[(#list + 1) // 2];
end

local function request(id, to)
	return ("<iq type='get' id='%s' to='%s'><query xmlns='urn:test'/></iq>"):format(id, to);
end

-- Microseconds of the server per request and answer.
local function round(s, node, user, to)
	local sent, answered = 0, 0;
	local function ask()
		sent = sent + 1;
		user:send(request("r" .. sent, to));
	end
	user.on_stanza = function (stanza)
		assert(stanza.attr.type == "result", tostring(stanza));
		answered = answered + 1;
		if sent < IQS then ask(); end
	end;
	local before = cpu_of(node.pid);
	for _ = 1, WINDOW do ask(); end
	s:wait_until(function () return answered == IQS; end, 120);
	user.on_stanza = nil;
	user:drain();
	return (cpu_of(node.pid) - before) / IQS * 1e6;
end

local function serve(impl)
	impl.on_stanza = function (stanza)
		if stanza.attr.type == "get" then
			impl:send(("<iq type='result' id='%s' to='%s'/>"):format(stanza.attr.id, stanza.attr.from));
		end
		impl:drain();
	end;
end

local function memory_of(node)
	return node:eval [[collectgarbage() collectgarbage() return collectgarbage("count") * 1024]];
end

local function memory_per_request(s, node, user, impl)
	impl.on_stanza = nil;
	local function fill(from, to)
		for i = from, to do user:send(request("w" .. i, "proxy.capulet.lit")); end
		user:sync();
		s:wait_until(function () return impl.count >= to; end);
	end
	impl.count = 0;
	-- what the first requests make grow for good is none of the rest's
	fill(1, WINDOW);
	local before = memory_of(node);
	fill(WINDOW + 1, WINDOW + WAITING);
	return (memory_of(node) - before) / WAITING;
end

bed.scenario(function (s)
	local node = s:node { version = version; log_level = "error"; config = [[
		VirtualHost "capulet.lit"
		Component "proxy.capulet.lit" "client_proxy"
			target_address = "impl@capulet.lit"
			client_proxy_max_pending_per_user = 10000
	]] };
	node:add_user("impl@capulet.lit");
	node:reload("client_proxy", "proxy.capulet.lit");
	local impl, user = node:client("impl@capulet.lit/a"), node:client("juliet@capulet.lit/balcony");
	impl:send "<presence/>";
	impl:send(st.presence({ type = "subscribed"; to = "proxy.capulet.lit" }));
	impl:sync();
	serve(impl);
	local ours, peer = {}, {};
	for i = 0, ROUNDS do
		local a, b = round(s, node, user, "proxy.capulet.lit"), round(s, node, user, "impl@capulet.lit/a");
		-- the first one only warms up
		if i > 0 then ours[i], peer[i] = a, b; end
	end
	measure.report(("client_proxy: CPU per IQ and answer, 64 at a time, %s"):format(version), "us", median(ours), median(peer),
		"Prosody from full JID to full JID");
	measure.report(("client_proxy: memory per request in flight, %s"):format(version), "bytes", memory_per_request(s, node, user, impl), 600,
		"limit");
end)();
