-- SPDX-License-Identifier: MIT
-- `make bytes`: the bytes that cross the link between two real Prosodys for a room of 50. From 1 to 50 of its users are behind the link, in
-- the room through a mirror or directly. Prints the table of lua/mod_fmuc/README.markdown. PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local federation = require "federation";
local traffic = require "fmuc_traffic";

local numbers, room_size = { 1, 2, 5, 20, 50 }, 50;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

local function measure(count, kind, option)
	local costs;
	bed.scenario(function (s)
		local configs = { mirror = federation.mirror_config .. "\t" .. (option or "") };
		local f = traffic.populate(s, { master = version; mirror = version }, count, math.max(1, room_size - count), kind, configs);
		costs = traffic.measure(f);
		costs.first_join, costs.last_join, costs.joins = f.first_join, f.last_join, f.joins;
	end)();
	return costs;
end

local ways = {
	{ name = "directly"; kind = "direct" };
	{ name = "mirror"; kind = "mirror" };
	{ name = "mirror, nomirror"; kind = "mirror"; option = "fmuc_nomirror = true" };
	{ name = "node"; kind = "node" };
	{ name = "mirror, messages"; kind = "mirror"; option = "fmuc_bandwidth = \"messages\"" };
};

local columns = {
	{ "N", 4 }, { "in the room", 18 }, { "own message", 15 }, { "other's message", 15 }, { "own presence", 15 }, { "other's", 11 },
	{ "first join", 15 }, { "last join", 15 }, { "all joins", 15 }, { "all left", 8 },
};

local function print_row(cells)
	for i, column in ipairs(columns) do cells[i] = ("%-" .. column[2] .. "s"):format(cells[i]); end
	print(("  " .. table.concat(cells, " ")):gsub(" +$", "") .. "");
end

local function both(cost) return ("%d + %d"):format(cost.up, cost.down); end

local header, rule = {}, {};
for i, column in ipairs(columns) do header[i], rule[i] = column[1], ("-"):rep(column[2]); end
print(("Prosody %s: bytes from the users' server + bytes from the room's server"):format(version));
print_row(header);
print_row(rule);
for _, count in ipairs(numbers) do
	for _, way in ipairs(ways) do
		local costs = measure(count, way.kind, way.option);
		print_row { count, way.name, both(costs.own_message), both(costs.other_message), both(costs.presence), both(costs.other_presence),
			both(costs.first_join), count > 1 and both(costs.last_join) or "", both(costs.joins), costs.silence.up + costs.silence.down };
	end
end
