-- SPDX-License-Identifier: MIT
-- What an IQ through mod_client_proxy costs the server. The first peer is Prosody, which relays from full JID to full JID. The second is the
-- least that a proxy can do (two changes of address, nothing remembered). Also how much memory a request in flight takes.
-- A real Prosody, 64 requests at a time, one resource; PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local measure = require "measure";
local st = require "util.stanza";

local WINDOW, ROUNDS, IQS, WAITING = 64, 9, 4000, 5000;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

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
	local before = measure.cpu_of(node.pid);
	for _ = 1, WINDOW do ask(); end
	s:wait_until(function () return answered == IQS; end, 120);
	user.on_stanza = nil;
	user:drain();
	return (measure.cpu_of(node.pid) - before) / IQS * 1e6;
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

-- What a proxy is without authentication, deadlines, limits and failover: each stanza is copied and sent on.
local stateless = [[
	local st, jid_split = require "util.stanza", require "util.jid".split;
	local host = prosody.hosts["stateless.capulet.lit"];
	local members = { "impl@capulet.lit/a" };
	local function relay(event)
		local stanza = event.stanza;
		local copy = st.clone(stanza);
		if stanza.attr.type == "result" or stanza.attr.type == "error" then
			copy.attr.from, copy.attr.to = host.host, select(3, jid_split(stanza.attr.to));
		else
			copy.attr.from, copy.attr.to = host.host .. "/" .. stanza.attr.from, members[math.random(#members)];
		end
		prosody.core_post_stanza(host, copy);
		return true;
	end
	host.events.add_handler("iq/host", relay, 1);
]];

local function compare(s, node, user, addresses)
	local times = {};
	for i = 0, ROUNDS do
		for _, address in ipairs(addresses) do
			times[address] = times[address] or {};
			local time = round(s, node, user, address);
			-- the first round only warms up
			if i > 0 then table.insert(times[address], time); end
		end
	end
	local medians = {};
	for i, address in ipairs(addresses) do medians[i] = measure.median(times[address]); end
	return table.unpack(medians);
end

bed.scenario(function (s)
	local node = s:node { version = version; log_level = "error"; config = [[
		VirtualHost "capulet.lit"
		Component "proxy.capulet.lit" "client_proxy"
			target_address = "impl@capulet.lit"
			client_proxy_max_pending = 100000
			client_proxy_max_pending_per_user = 100000
		Component "stateless.capulet.lit"
			component_secret = "unused"
	]] };
	node:add_user("impl@capulet.lit");
	node:reload("client_proxy", "proxy.capulet.lit");
	local impl, user = node:client("impl@capulet.lit/a"), node:client("juliet@capulet.lit/balcony");
	impl:send "<presence/>";
	impl:send(st.presence({ type = "subscribed"; to = "proxy.capulet.lit" }));
	impl:sync();
	serve(impl);
	node:eval(stateless);
	local ours, direct, least = compare(s, node, user, { "proxy.capulet.lit", "impl@capulet.lit/a", "stateless.capulet.lit" });
	local name = ("client_proxy: CPU per IQ and answer, 64 at a time, %s"):format(version);
	measure.report(name, "us", ours, direct, "Prosody from full JID to full JID");
	measure.report(name, "us", ours, least, "stateless proxy");
	measure.report(("client_proxy: memory per request in flight, %s"):format(version), "bytes", memory_per_request(s, node, user, impl), 600,
		"limit");
end)();
