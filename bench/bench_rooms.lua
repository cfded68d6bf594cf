-- SPDX-License-Identifier: MIT
-- What rooms without links cost, with mod_fmuc loaded on their service and without: all joins, a delivered copy of a message, a change of status, and
-- the memory of an occupant. Each round has two fresh servers, one after the other. PROSODY_LIB says which version. OCCUPANTS ("50 200 1000"), ROUNDS
-- (3) and GC (a value of Prosody's option gc) may be in the environment.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local measure = require "measure";
local traffic = require "fmuc_traffic";

collectgarbage("setpause", 400); -- of the clients

local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";
local sizes, rounds, gc = os.getenv("OCCUPANTS") or "50 200 1000", tonumber(os.getenv("ROUNDS")) or 3, os.getenv("GC");
local window, copies, changes = 8, 20000, 20;
local room = "hall@rooms.example.com";

require "bed.node".gc = gc;

local config = [[
	VirtualHost "example.com"
	Component "rooms.example.com" "muc"
		%s
]];

local function start(s, size, is_ours)
	local f = { users = {}; received = 0 };
	f.node = s:node { version = version; log_level = "error"; config = config:format(is_ours and "modules_enabled = { \"fmuc\" }" or "") };
	for i = 1, size do
		local user = f.node:client(("user%d@example.com/phone"):format(i));
		user.on_stanza = function ()
			f.received, user.inbox = f.received + 1, {};
		end;
		f.users[i] = user;
	end
	return f;
end

-- cost(s, f, count, send, due) -> seconds of processor time of the server until all stanzas have come
--   send(i), for each i up to count, brings due(i) stanzas to all users together; `window` of them are on their way
local function cost(s, f, count, send, due)
	local before, start_at, arrived = measure.cpu_of(f.node.pid), f.received, { [0] = 0 };
	for i = 1, count do
		send(i);
		arrived[i] = arrived[i - 1] + due(i);
		s:wait_until(function () return f.received - start_at >= arrived[math.max(0, i - window)]; end, 600);
	end
	s:wait_until(function () return f.received - start_at >= arrived[count]; end, 600);
	return measure.cpu_of(f.node.pid) - before;
end

local function heap(f)
	return f.node:eval "collectgarbage(); collectgarbage(); return collectgarbage('count') * 1024";
end

local function join(f, i)
	f.users[i]:send(("<presence to='%s/user%d'><x xmlns='http://jabber.org/protocol/muc'/><show>chat</show></presence>"):format(room, i));
end

-- All figures of one server
local function figures(size, is_ours)
	local result;
	bed.scenario(function (s)
		local f = start(s, size, is_ours);
		local function all() return size; end
		local empty = heap(f);
		join(f, 1); -- makes the room
		s:wait_until(function () return f.received == 2; end);
		f.users[1]:send(("<iq type='set' id='config' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
			.. "<x xmlns='jabber:x:data' type='submit'/></query></iq>"):format(room));
		s:wait_until(function () return f.received == 3; end);
		result = {};
		-- who joins gets the presences of all, and the subject; the others get one presence
		result.joins = cost(s, f, size - 1, function (i) join(f, i + 1); end, function (i) return 2 * (i + 1); end);
		result.bytes = (heap(f) - empty) / size;
		local messages = math.max(20, copies // size);
		local author = 0;
		local function say(i)
			author = author % size + 1;
			f.users[author]:send(traffic.message(room, ("Message number %d, of which there are many"):format(i)));
		end
		cost(s, f, messages // 4, say, all); -- warms up
		result.copy = cost(s, f, messages, say, all) / messages / size;
		result.status = cost(s, f, changes, function (i)
			f.users[1]:send(("<presence to='%s/user1'><show>%s</show></presence>"):format(room, i % 2 == 0 and "chat" or "away"));
		end, all) / changes;
	end)();
	return result;
end

local units = { { "joins", "ms", 1e3, "all joins" }, { "copy", "us", 1e6, "a delivered copy of a message" },
	{ "status", "ms", 1e3, "a change of status" }, { "bytes", "bytes", 1, "heap of an occupant" } };

for size in sizes:gmatch("%d+") do
	local ours, stock = {}, {};
	for i = 1, rounds do ours[i], stock[i] = figures(tonumber(size), true), figures(tonumber(size), false); end
	for _, unit in ipairs(units) do
		local function median(list)
			local values = {};
			for i, result in ipairs(list) do values[i] = result[unit[1]] * unit[3]; end
			return measure.median(values);
		end
		local name = ("rooms: %s, %s occupants, %s%s"):format(unit[4], size, version, gc and ", gc = " .. gc or "");
		measure.report(name, unit[2], median(ours), median(stock), "mod_muc");
	end
end
