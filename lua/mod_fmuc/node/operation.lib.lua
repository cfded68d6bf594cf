-- SPDX-License-Identifier: MIT
-- What an admin can see of federated rooms, and do with them (requirements section 5).

local commands = require "prosody_relay.commands";

local all_links = lib "link/link";
local config = lib "node/config";
local errors = lib "errors";
local handshake = lib "node/handshake";
local links = lib "node/links";
local outage = lib "node/outage";
local traffic = lib "link/traffic";
local muc = module:depends "muc";

local operation = { peer = "Node"; generation = 2 };

local function count(room, link)
	local here, there = 0, 0;
	for _ in room:each_occupant() do here = here + 1; end
	for _, entry in pairs(links.brought(link)) do
		if not entry.hidden then there = there + 1; end
	end
	return here - there, there;
end

-- links() -> as master/operation, with problem: why the link is not up; users of further nodes are local here
function operation.links()
	local list = {};
	for link in links.all() do
		local room = muc.get_room_from_jid(link.room_jid);
		if links.get(room, link.peer) == link then
			local here, there = count(room, link);
			list[#list + 1] = { here = link.room_jid; there = link.peer; state = link.state; problem = outage.problem(link);
				local_occupants = here; remote_occupants = there; traffic = traffic.of(link) };
		end
	end
	return list;
end

-- states() -> array of the states of all links
function operation.states()
	local list = {};
	for link in links.all() do list[#list + 1] = link.state; end
	return list;
end

-- resync(link): both nodes exchange what is there, as after an outage
function operation.resync(link)
	outage.begin(all_links.get(link.here, link.there), "an admin wants it to be brought up to date", true);
end

-- drop(link): the rooms are two, until somebody joins or leaves
function operation.drop(link)
	local room = muc.get_room_from_jid(link.here);
	local current = links.get(room, link.there);
	if not current then return; end
	if current.direction == "up" then handshake.leave(room, current); else handshake.dismiss(room, current); end
end

local function describe(room)
	local peer, mode = config.outbound(room);
	local accepted = table.concat(room._data.fmuc_inbound_peers or { "no room" }, ", ");
	return ("%s  joins %s (%s), accepts %s"):format(room.jid, peer or "no room", mode, accepted);
end

local function overview()
	local lines = {};
	for room in muc.all_rooms() do
		if config.is_federated(room) then lines[#lines + 1] = describe(room); end
	end
	table.sort(lines);
	lines[#lines + 1] = ("%d federated rooms"):format(#lines);
	return lines;
end

local function configure(room_jid, values)
	local room = muc.get_room_from_jid(room_jid or "");
	if not room then return nil, ("There is no room %s"):format(tostring(room_jid)); end
	local kept, problem, detail = config.check(room.jid, values);
	if not kept then return nil, errors.error(problem, detail).text; end
	config.set(room, kept);
	room:save(true);
	return true, describe(room);
end

local function words(text)
	local list = {};
	for word in (text or ""):gmatch("[^%s,]+") do list[#list + 1] = word; end
	return list;
end

-- start(): offers the commands to configure rooms
function operation.start()
	commands.start(module, {
		title = "Federated rooms"; node = "https://prosody-relay/fmuc#nodes";
		list = "nodes"; list_desc = "Show with which rooms of other servers the rooms federate"; overview = overview;
		subject = "room"; subject_label = "Room of this service";
		actions = {
			{ name = "join"; label = "Let it join that room"; desc = "Let a room join a room of another server; \"\" for none"; args = { "peer", "mode" };
				run = function (room_jid, peer, mode)
					return configure(room_jid, { outbound_peer = peer or ""; mode = mode ~= "" and mode or nil });
				end };
			{ name = "accept"; label = "Let these rooms join it"; desc = "Let these rooms of other servers join a room, and no others"; args = { "peer" };
				run = function (room_jid, peers) return configure(room_jid, { inbound_peers = words(peers) }); end };
		};
		fields = { { name = "peer"; label = "Addresses of rooms of other servers" }; { name = "mode"; label = "primary-primary or primary-replica" } };
	});
end

return operation;
