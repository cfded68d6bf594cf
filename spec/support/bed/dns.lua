-- SPDX-License-Identifier: MIT
-- A name server of a few lines: it answers A queries for the hosts of a scenario and says NXDOMAIN to the rest. Each node asks its own
-- instance, so that the same name can lead each of them through another link.

local loop = require "bed.loop";
local socket = require "socket";

local dns = {};

local type_a = 1;

local function read_question(packet)
	local labels, position = {}, 13;
	while true do
		local length = packet:byte(position);
		if length == 0 then break; end
		labels[#labels + 1] = packet:sub(position + 1, position + length);
		position = position + length + 1;
	end
	return table.concat(labels, "."):lower(), (">I2"):unpack(packet, position + 1), packet:sub(13, position + 4);
end

local function make_answer(packet, lookup)
	local name, qtype, question = read_question(packet);
	local address = lookup(name);
	local answers = "";
	if address and qtype == type_a then
		local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$");
		-- the name by pointer to the question, class IN, no caching
		answers = (">I2I2I2I4I2BBBB"):pack(0xC00C, type_a, 1, 0, 4, tonumber(a), tonumber(b), tonumber(c), tonumber(d));
	end
	local flags = 0x8580 + (address and 0 or 3); -- response, authoritative, recursion; NXDOMAIN
	return packet:sub(1, 2) .. (">I2I2I2I2I2"):pack(flags, 1, answers ~= "" and 1 or 0, 0, 0) .. question .. answers;
end

-- serve(address, port, lookup) -> handle with close(). lookup(name) returns an IPv4 address or nil.
function dns.serve(address, port, lookup)
	local udp = socket.udp();
	assert(udp:setsockname(address, port));
	udp:settimeout(0);
	local watch = loop.server.watchfd(udp, function ()
		local packet, ip, from_port = udp:receivefrom();
		if packet and #packet > 12 then udp:sendto(make_answer(packet, lookup), ip, from_port); end
	end);
	return { close = function ()
		watch:close();
		udp:close();
	end };
end

return dns;
