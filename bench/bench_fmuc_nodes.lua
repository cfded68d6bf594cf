-- SPDX-License-Identifier: MIT
-- What a message costs two servers whose rooms are one (generation 2), against the stock way: the users of both servers are in one room of
-- mod_muc. 50 users are at the server e, the author is at the server w. PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local measure = require "measure";
local nodes = require "nodes";
local traffic = require "fmuc_traffic";

local USERS, ROUNDS, MESSAGES, WINDOW = 50, 7, 100, 8;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";
local elsinore, rabbithole, plain_room = "elsinore@rooms.e.example", "rabbithole@rooms.w.example", "plain@rooms.w.example";

local function enter(client, occupant_jid)
	client:send(("<presence to='%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"):format(occupant_jid));
	client:expect({ "presence", from = occupant_jid, type = false, has = nodes.muc_user .. "/status@code" }, 30);
	client:drain();
end

-- Microseconds of each server for a message of Alice to that room, which all users of e get
local function round(s, f, room)
	local received = 0;
	for _, user in ipairs(f.users) do
		user.inbox = {};
		user.on_stanza = function (stanza)
			if stanza.name == "message" then received = received + 1; end
			user.inbox = {};
		end;
	end
	local e, w = measure.cpu_of(f.e.pid), measure.cpu_of(f.w.pid);
	for i = 1, MESSAGES do
		f.alice:send(traffic.message(room, ("Message number %d, of which there are many"):format(i)));
		s:wait_until(function () return received >= (i - WINDOW) * USERS; end, 60);
	end
	s:wait_until(function () return received == MESSAGES * USERS; end, 60);
	f.alice:drain();
	return (measure.cpu_of(f.e.pid) - e) / MESSAGES * 1e6, (measure.cpu_of(f.w.pid) - w) / MESSAGES * 1e6;
end

bed.scenario(function (s)
	local f = { users = {} };
	for _, name in ipairs { "e", "w" } do f[name] = nodes.server(s, name, version, nil, { log_level = "error" }); end
	nodes.make_room(f.w, rabbithole, { inbound_peers = { elsinore } });
	nodes.make_room(f.w, plain_room);
	nodes.make_room(f.e, elsinore, { outbound_peer = rabbithole });
	f.alice = f.w:client("alice@w.example/desk");
	for _, room in ipairs { rabbithole, plain_room } do enter(f.alice, room .. "/Alice"); end
	for i = 1, USERS do
		f.users[i] = f.e:client(("user%d@e.example/phone"):format(i));
		for _, room in ipairs { elsinore, plain_room } do enter(f.users[i], ("%s/user%d"):format(room, i)); end
	end
	local times = { e = { ours = {}, stock = {} }; w = { ours = {}, stock = {} } };
	for i = 0, ROUNDS do
		-- the first round only warms up
		times.e.ours[i], times.w.ours[i] = round(s, f, rabbithole);
		times.e.stock[i], times.w.stock[i] = round(s, f, plain_room);
	end
	for name, what in pairs { e = "users' server"; w = "author's server" } do
		measure.report(("fmuc: CPU of the %s for a message between two nodes, %d users, %s"):format(what, USERS, version), "us",
			measure.median(times[name].ours), measure.median(times[name].stock), "one room of mod_muc");
	end
end)();
