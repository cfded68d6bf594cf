-- SPDX-License-Identifier: MIT
-- The links of a mirror for admins: lists, statistics and commands (requirements section 5).

local traffic = lib "link/traffic";

local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local users = lib "mirror/users";

local role = { peer = "Master"; generation = 1 };

-- State names for admins. A link in its first sync has nothing that could be out of step, so admins see it as live
local names = { joining = "live"; syncing = "joining" };

local function name_of(link)
	return names[link.state] or link.state;
end

local function count(room)
	local here, all = 0, 0;
	for occupant_jid in pairs(room.fmuc.copies) do
		all = all + 1;
		if mirrored.is_local(room, occupant_jid) then here = here + 1; end
	end
	return here, all - here;
end

-- links() -> array of { here, there (JIDs of the rooms), state, local_occupants, remote_occupants, traffic }
function role.links()
	local list = {};
	for room_jid, state in mirrored.each() do
		local room = mirrored.get(room_jid);
		if room then
			local here, there = count(room);
			list[#list + 1] = { here = room_jid; there = state.authority.peer; state = name_of(state.authority); local_occupants = here;
				remote_occupants = there; traffic = traffic.of(state.authority) };
		end
	end
	return list;
end

-- states() -> array of the states of all links
function role.states()
	local list = {};
	for _, state in mirrored.each() do list[#list + 1] = name_of(state.authority); end
	return list;
end

-- resync(link): brings the mirrored room up to date, as after an outage
function role.resync(link)
	local room = mirrored.get(link.here);
	if room then outage.lost(room, "an admin wants it to be brought up to date", true); end
end

-- drop(link): all local users leave the room. They get the status code of a kick, otherwise their clients would rejoin at once
function role.drop(link)
	local room = mirrored.get(link.here);
	if room then users.leave(room, "307"); end
end

local function find(here, there)
	local room = mirrored.get(here);
	if room and room.fmuc.authority.peer == there then return room.fmuc.authority, room.fmuc.recipients:count(); end
end

local metrics = lib "link/metrics";
traffic.start { metrics = metrics; find = find; down = "received" };
lib "link/commands" { title = "Mirrored rooms"; peer = "Master"; roles = { role }; metrics = metrics };
