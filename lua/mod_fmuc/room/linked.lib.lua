-- SPDX-License-Identifier: MIT
-- A room of a MUC service that has links, to mirrors (generation 1) or to other nodes (generation 2). This file makes room.fmuc:
--   links     [mirror room JID] = link, see master/links
--   nodes     [room JID of the other node] = link, see node/links
--   link_of   [real JID] = the link over which that session is reached
-- and what room/delivery keeps.

local delivery = lib "room/delivery";

local linked = {
	-- methods of mod_muc that such a room replaces. The files of a role add theirs.
	methods = {};
};

local routes, send_to_link, send_to_users = {}, {}, {};

-- on_stanza(dialect, route): route(room, link, stanza) gets what the room sends to a session behind a link of that dialect
function linked.on_stanza(dialect, route)
	routes[dialect] = route;
end

-- deliver_to_mirrors(to_link, to_users): what room/delivery calls to send copies over links of mirrors
function linked.deliver_to_mirrors(to_link, to_users)
	send_to_link, send_to_users = to_link, to_users;
end

-- stock(room) -> mod_muc's own methods of that room
function linked.stock(room)
	return getmetatable(room).__index;
end

-- attach(room) -> room.fmuc, made when there is none
function linked.attach(room)
	if room.fmuc then return room.fmuc; end
	local state = { links = {}; nodes = {}; link_of = {}; publicising = setmetatable({}, { __mode = "k" });
		send_to_link = send_to_link; send_to_users = send_to_users };
	function state.group_of(jid)
		local link = state.link_of[jid];
		if link and link.dialect == "generation2" then return false; end -- node/announce sends one copy for each node
		return link and link.peer;
	end
	delivery.attach(room, state, linked.methods);
	return state;
end

-- link_of(room, jid, dialect) -> the link of that dialect over which the session is reached; or nil. room may be nil or false
function linked.link_of(room, jid, dialect)
	local link = room and room.fmuc and room.fmuc.link_of[jid];
	return link and link.dialect == dialect and link or nil;
end

-- detach(room): gives the room its own methods back; attach() begins anew
function linked.detach(room)
	delivery.detach(room, linked.methods);
end

-- detach_if_unused(room): as detach(), when the room has no link any more
function linked.detach_if_unused(room)
	if not next(room.fmuc.links) and not next(room.fmuc.nodes) then linked.detach(room); end
end

function linked.methods.route_stanza(room, stanza)
	local link = room.fmuc.link_of[stanza.attr.to];
	if not link then return linked.stock(room).route_stanza(room, stanza); end
	return routes[link.dialect](room, link, stanza);
end

return linked;
