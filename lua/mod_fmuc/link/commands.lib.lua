-- SPDX-License-Identifier: MIT
-- What an admin can see and do while the server runs (prosody_relay.commands): the links of a mirror, or of a master's rooms.

local commands = require "prosody_relay.commands";

local node = "https://prosody-relay/fmuc#links";

-- of a link in any role
local states = { "live", "lost", "joining", "rejoining" };

local roles;

local function by_address(a, b)
	if a.here ~= b.here then return a.here < b.here; end
	return a.there < b.there;
end

-- All links of all roles, each with its role
local function links()
	local list = {};
	for _, role in ipairs(roles) do
		for _, link in ipairs(role.links()) do
			link.role = role;
			list[#list + 1] = link;
		end
	end
	table.sort(list, by_address);
	return list;
end

local function describe(link)
	local traffic = link.traffic;
	return ("%s  %s %s, generation %d, %s%s, %d local and %d remote occupants, sent %d stanzas of %d bytes, received %d of %d, %d copies saved")
		:format(link.here, link.role.peer:lower(), link.there, link.role.generation, link.state, link.problem and " (" .. link.problem .. ")" or "",
			link.local_occupants, link.remote_occupants, traffic.sent, traffic.sent_bytes, traffic.received, traffic.received_bytes, traffic.saved);
end

local function overview()
	local list = links();
	local lines = {};
	for i, link in ipairs(list) do lines[i] = describe(link); end
	lines[#lines + 1] = ("%d links"):format(#list);
	return lines;
end

-- jid: the room at the other side of the link, or the room here
local function for_links(jid, action, text)
	local count = 0;
	for _, link in ipairs(links()) do
		if link.there == jid or link.here == jid then
			link.role[action](link);
			count = count + 1;
		end
	end
	if count == 0 then return nil, ("There is no link with %s"):format(jid); end
	return true, text:format(jid);
end

local function resync(jid)
	return for_links(jid, "resync", "The link with %s is brought up to date");
end

local function drop(jid)
	return for_links(jid, "drop", "The link with %s is closed, its users are not in the room any more");
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
	for _, role in ipairs(roles) do
		for _, state in ipairs(role.states()) do numbers[state] = (numbers[state] or 0) + 1; end
	end
	return numbers;
end

-- shared: metrics; title; peer (label of the other side); roles: list of { peer (name of the other side), generation, links, states, resync,
-- drop: as in mirror/operation }
return function (shared)
	roles = shared.roles;
	commands.start(module, {
		title = shared.title; node = node;
		list = "links"; list_desc = "Show the links of a mirror, or of the rooms of a service"; overview = overview;
		subject = "link"; subject_label = shared.peer; subjects = addresses;
		actions = {
			{ name = "resync"; label = "Bring up to date"; desc = "Bring a link up to date"; run = resync };
			{ name = "drop"; label = "Close"; desc = "Close a link; its users leave the room"; run = drop };
		};
	});
	shared.metrics.watch(states, count_states);
end;
