-- SPDX-License-Identifier: MIT
-- Modules that send to an occupant's real JID past the room: to a mirrored user that is a way around the mirror, to a client that knows
-- nothing of this room. mod_muc of 13.0 does so with the picture of the room, at each join.

local jid_resource = require "util.jid".resource;

local links = lib "master/links";
local muc = module:depends "muc";

local strays = {};

-- handle(event): a stanza on its way out
function strays.handle(event)
	local stanza = event.stanza;
	if stanza.name ~= "presence" or stanza.attr.type ~= nil or jid_resource(stanza.attr.from) then return; end
	local room = muc.get_room_from_jid(stanza.attr.from);
	local link = room and room.fmuc and room.fmuc.link_of[stanza.attr.to];
	if not link then return; end
	local join = links.join_of(link, stanza.attr.to);
	if join and join.dumping then links.send(room, link, stanza); end -- others of the mirror have it
	return true;
end

return strays;
