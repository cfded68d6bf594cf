-- SPDX-License-Identifier: MIT
-- What an admin can see of the links of a master's rooms, and do with them (requirements section 5).

local traffic = lib "link/traffic";

local all_links = lib "link/link";
local links, liveness = lib "master/links", lib "master/liveness";
local muc = module:depends "muc";

local role = { peer = "Mirror"; generation = 1 };

local function state_of(link)
	return link.state == "lost" and "lost" or "live";
end

local function count(room, link)
	local here, there = 0, 0;
	for _ in room:each_occupant() do here = here + 1; end
	for _ in pairs(link.nicks) do there = there + 1; end
	return here - there, there;
end

-- links() -> array of { here, there (JIDs of the rooms), state, local_occupants, remote_occupants, traffic }; users of other mirrors are
-- local here
function role.links()
	local list = {};
	for link in all_links.each("generation1") do
		local room = muc.get_room_from_jid(link.room_jid);
		if links.get(room, link.peer) == link then
			local here, there = count(room, link);
			list[#list + 1] = { here = link.room_jid; there = link.peer; state = state_of(link); local_occupants = here;
				remote_occupants = there; traffic = traffic.of(link) };
		end
	end
	return list;
end

-- states() -> array of the states of all links
function role.states()
	local list = {};
	for link in all_links.each("generation1") do list[#list + 1] = state_of(link); end
	return list;
end

-- resync(link): tells the mirror that it has missed something and must join again
function role.resync(link)
	local current = all_links.get(link.here, link.there);
	if current then current:count_sent(); end -- or the mirror would find nothing missing
	liveness.nudge(link.here, link.there);
end

-- drop(link): kicks the users of that mirror from the room
function role.drop(link)
	local room = muc.get_room_from_jid(link.here);
	local current = links.get(room, link.there);
	if not current then return; end
	local nicks = {};
	for nick in pairs(current.nicks) do nicks[#nicks + 1] = nick; end
	for _, nick in ipairs(nicks) do room:set_role(true, room.jid .. "/" .. nick, nil, "The link to this mirror was closed"); end
end

-- find(here, there) -> the link between these rooms, and the number of users to whom the other side distributes a copy; or nil
function role.find(here, there)
	local link = all_links.get(here, there);
	if not link then return nil; end
	local room = muc.get_room_from_jid(here);
	return link, room and room.fmuc and room.fmuc.recipients:count_group(there) or 0;
end

return role;
