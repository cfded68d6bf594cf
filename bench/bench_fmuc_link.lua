-- SPDX-License-Identifier: MIT
-- What a message from a user of a mirror to the master and back costs each server. The peers are the same two servers, but Prosody's serialiser
-- makes all bytes. Two users are at the mirror, one is at the master. PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local federation = require "federation";
local measure = require "measure";
local traffic = require "fmuc_traffic";

local ROUNDS, MESSAGES = 9, 200;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

-- The same code, in which C gives every stanza to Prosody
local plain = [[
	local real = require "prosody_relay.stanza_c";
	local function nothing() end
	package.loaded["prosody_relay.stanza_c"] = { serialise = nothing; size = nothing; top_tag = nothing; heap_size = real.heap_size };
	package.loaded["prosody_relay.stanza"], package.loaded["prosody_relay.fanout"] = nil, nil;
]];

local function servers(s, code)
	local f = {};
	f.talk = s:node { version = version; log_level = "error"; config = federation.master_config };
	f.remote = s:node { version = version; log_level = "error"; config = federation.mirror_config };
	for host, node in pairs { ["talk.example.com"] = f.talk; ["mirror.remote.example.com"] = f.remote } do
		node:eval(code);
		node:reload("fmuc", host);
	end
	f.curtis = f.talk:client("curtis@example.com/Swift");
	federation.open_room(f, federation.master_room);
	f.kev = f.remote:client("kev@remote.example.com/Swift");
	federation.enter(f.kev, "Kev");
	f.kev:expect { "message", has = "subject" };
	federation.add(f, "bob");
	return f;
end

-- Microseconds of the mirror and of the master for a message, one after the other
local function round(f)
	local mirror, master = measure.cpu_of(f.remote.pid), measure.cpu_of(f.talk.pid);
	for i = 1, MESSAGES do
		f.kev:send(traffic.message(federation.mirror_room, ("Message number %d, of which there are many"):format(i)));
		for _, user in ipairs { f.kev, f.bob, f.curtis } do user:expect({ "message", type = "groupchat" }, 30); end
	end
	return (measure.cpu_of(f.remote.pid) - mirror) / MESSAGES * 1e6, (measure.cpu_of(f.talk.pid) - master) / MESSAGES * 1e6;
end

-- The two pairs have the same hosts: each has a scenario, and so name servers, of its own
bed.scenario(function (s)
	local ours = servers(s, "");
	bed.scenario(function (other)
		local peer = servers(other, plain);
		local times = { ours = { mirror = {}; master = {} }; peer = { mirror = {}; master = {} } };
		for i = 0, ROUNDS do
			for name, f in pairs { ours = ours; peer = peer } do
				-- the first round only warms up
				times[name].mirror[i], times[name].master[i] = round(f);
			end
		end
		for _, role in ipairs { "mirror", "master" } do
			measure.report(("fmuc: CPU of the %s for a message from a mirror to its master and back, %s"):format(role, version), "us",
				measure.median(times.ours[role]), measure.median(times.peer[role]), "the same with Prosody's serialiser");
		end
	end)();
end)();
