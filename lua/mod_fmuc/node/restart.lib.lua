-- SPDX-License-Identifier: MIT
-- The links of a room with other nodes outlive a restart of the server (G4): room._data.fmuc_nodes. mod_muc stores it with the room when the server
-- stops. It holds for one start only: later the numbers of the messages go on.
--
-- room._data.fmuc_nodes[JID of the other room] = { direction, is_node (of this module), has_answered, outbox (of node/outbox),
-- told = { [nick] = real JID }, brought = { [nick] = { real_jid, role, affiliation, since, is_registered, hidden } } }

local st = require "util.stanza";

local hygiene = lib "link/hygiene";
local linked = lib "room/linked";
local links = lib "node/links";
local outage = lib "node/outage";
local outbox = lib "node/outbox";

local restart = {};

local function brought_by(link)
	local copy = {};
	for nick, entry in pairs(links.brought(link)) do
		copy[nick] = { real_jid = entry.real_jid; role = entry.role; affiliation = entry.affiliation; since = entry.since;
			is_registered = entry.is_registered; hidden = entry.hidden };
	end
	return copy;
end

local function told_to(link)
	local copy = {};
	for nick, told in pairs(links.told(link)) do copy[nick] = told.real_jid; end
	return copy;
end

function linked.methods.freeze(room, is_end, ...)
	local nodes = {};
	for link in links.each(room) do
		if not is_end then break; end
		nodes[link.peer] = { direction = link.direction; is_node = links.mark(link) ~= nil;
			has_answered = links.has_answered(link); outbox = outbox.save(link);
			told = told_to(link); brought = brought_by(link) };
	end
	room._data.fmuc_nodes = next(nodes) and nodes or nil;
	return linked.stock(room).freeze(room, is_end, ...);
end

local function restore_users(room, link, saved)
	for nick, entry in pairs(saved.brought) do
		local occupant = room:get_occupant_by_nick(room.jid .. "/" .. nick);
		local presence = occupant and occupant:get_presence(entry.real_jid);
		entry.nick, entry.presence = nick, presence and hygiene.copy("presence of a node", presence) or st.presence();
		links.bring(link, entry);
		if presence then
			links.bind(room, link, entry.real_jid);
		elseif not entry.hidden then
			entry.hidden = "refused"; -- until the other node names the user again
		end
	end
	if not saved.is_node then return; end -- such a node is told that they have left (node/remembered)
	for nick, real_jid in pairs(saved.told) do links.told(link)[nick] = { real_jid = real_jid }; end
end

-- revive(room): connects a room that comes back from storage with its links: those of this process, or those of the process before
function restart.revive(room)
	links.revive(room);
	local nodes = room._data.fmuc_nodes or {};
	if room._data.fmuc_nodes then
		room._data.fmuc_nodes = nil;
		room:save(true); -- a server that is killed later must not begin with this again
	end
	for peer, saved in pairs(nodes) do
		if not links.get(room, peer) then
			local link = links.open(room, peer, saved.direction);
			if saved.has_answered then links.learn_mark(link, saved.is_node and { id = ""; rooms = {} } or nil); end
			outbox.restore(link, saved.outbox);
			restore_users(room, link, saved);
			if link.direction == "up" then link:fire("synced"); end
			outage.begin(link, "this server was restarted");
		end
	end
	if room.fmuc then
		for _, occupant in room:each_occupant() do room:save_occupant(occupant); end -- takes the users of other nodes off the recipients
	end
end

return restart;
