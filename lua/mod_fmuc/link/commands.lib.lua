-- SPDX-License-Identifier: MIT
-- What an admin can see and do while the server runs (prosody_relay.commands): the links of a mirror, or of a master's rooms.

local commands = require "prosody_relay.commands";

local node = "https://prosody-relay/fmuc#links";

-- of a link in either role
local states = { "live", "lost", "joining", "rejoining" };

local role;

local function by_address(a, b)
	if a.here ~= b.here then return a.here < b.here; end
	return a.there < b.there;
end

local function links()
	local list = role.links();
	table.sort(list, by_address);
	return list;
end

local function describe(link)
	local traffic = link.traffic;
	return ("%s  %s %s, generation 1, %s, %d local and %d remote occupants, sent %d stanzas of %d bytes, received %d of %d, %d copies saved")
		:format(link.here, role.peer:lower(), link.there, link.state, link.local_occupants, link.remote_occupants, traffic.sent,
			traffic.sent_bytes, traffic.received, traffic.received_bytes, traffic.saved);
end

local function overview()
	local list = links();
	local lines = {};
	for i, link in ipairs(list) do lines[i] = describe(link); end
	lines[#lines + 1] = ("%d links"):format(#list);
	return lines;
end

-- jid: the room at the other side of the link, or the room here
local function for_links(jid, f, text)
	local count = 0;
	for _, link in ipairs(links()) do
		if link.there == jid or link.here == jid then
			f(link);
			count = count + 1;
		end
	end
	if count == 0 then return nil, ("There is no link with %s"):format(jid); end
	return true, text:format(jid);
end

local function resync(jid)
	return for_links(jid, role.resync, "The link with %s is brought up to date");
end

local function drop(jid)
	return for_links(jid, role.drop, "The link with %s is closed, its users are not in the room any more");
end

local function addresses()
	local list, known = {}, {};
	for _, link in ipairs(links()) do
		if not known[link.there] then list[#list + 1] = link.there; end
		known[link.there] = true;
	end
	return list;
end

local function count_states()
	local numbers = {};
	for _, state in ipairs(role.states()) do numbers[state] = (numbers[state] or 0) + 1; end
	return numbers;
end

-- shared: metrics; role (title; peer: the name of the other side; links, states, resync, drop: as in mirror/operation)
return function (shared)
	role = shared.role;
	commands.start(module, {
		title = role.title; node = node;
		list = "links"; list_desc = "Show the links of a mirror, or of the rooms of a service"; overview = overview;
		subject = "link"; subject_label = role.peer; subjects = addresses;
		actions = {
			{ name = "resync"; label = "Bring up to date"; desc = "Bring a mirrored room up to date"; run = resync };
			{ name = "drop"; label = "Close"; desc = "Close a link; the users of the mirror leave the room"; run = drop };
		};
	});
	shared.metrics.watch(states, count_states);
end;
