-- SPDX-License-Identifier: MIT
-- What a delivered copy of a groupchat message costs the server of the users: 200 of them in a mirrored room, against the same 200 in a
-- room of mod_muc on the same server. The author sits at another server; 8 messages are on their way at a time. PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local federation = require "federation";
local measure = require "measure";
local traffic = require "fmuc_traffic";

local OCCUPANTS, ROUNDS, MESSAGES, WINDOW = 200, 7, 60, 8;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";
local plain_room = "jabberchat@rooms.remote.example.com";

local function enter(client, occupant_jid)
	client:send(("<presence to='%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"):format(occupant_jid));
	client:expect({ "presence", from = occupant_jid, type = false, has = federation.muc_user .. "/status@code" }, 30);
	client:drain();
end

-- Microseconds of the users' server per delivered copy
local function round(s, f, room)
	local received = 0;
	for _, user in ipairs(f.users) do
		user.inbox = {};
		user.on_stanza = function (stanza)
			if stanza.name == "message" then received = received + 1; end
			user.inbox = {};
		end;
	end
	local before = measure.cpu_of(f.remote.pid);
	for i = 1, MESSAGES do
		f.curtis:send(traffic.message(room, ("Message number %d, of which there are many"):format(i)));
		s:wait_until(function () return received >= (i - WINDOW) * OCCUPANTS; end, 60);
	end
	s:wait_until(function () return received == MESSAGES * OCCUPANTS; end, 60);
	f.curtis:drain();
	return (measure.cpu_of(f.remote.pid) - before) / (MESSAGES * OCCUPANTS) * 1e6;
end

bed.scenario(function (s)
	local f = { users = {} };
	f.talk = s:node { version = version; log_level = "error"; config = federation.master_config };
	f.remote = s:node { version = version; log_level = "error"; config = federation.mirror_config .. [[
		Component "rooms.remote.example.com" "muc"
	]] };
	f.curtis = f.talk:client("curtis@example.com/Swift");
	federation.open_room(f, federation.master_room);
	for i = 1, OCCUPANTS do
		f.users[i] = f.remote:client(("user%d@remote.example.com/phone"):format(i));
		enter(f.users[i], ("%s/user%d"):format(plain_room, i));
		if i == 1 then
			f.users[1]:send(("<iq type='set' id='config' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
				.. "<x xmlns='jabber:x:data' type='submit'/></query></iq>"):format(plain_room));
			f.users[1]:expect { "iq", type = "result", id = "config" };
		end
		enter(f.users[i], ("%s/user%d"):format(federation.mirror_room, i));
	end
	enter(f.curtis, plain_room .. "/Curtis");
	local ours, stock = {}, {};
	for i = 0, ROUNDS do
		local here, there = round(s, f, federation.master_room), round(s, f, plain_room);
		-- the first round only warms up
		if i > 0 then ours[i], stock[i] = here, there; end
	end
	measure.report(("fmuc: CPU per delivered copy at a mirror, %d occupants, %s"):format(OCCUPANTS, version), "us",
		measure.median(ours), measure.median(stock), "mod_muc");
end)();
