-- SPDX-License-Identifier: MIT
-- What a foreign node sends past this service to the real JIDs of this server's users (O20): private messages, and the presence of a kick. A client
-- knows only the room here. So a private message comes from the occupant of that room, and no client gets FMUC (N11).

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local hygiene = lib "link/hygiene";
local links = lib "node/links";
local xmlns_fmuc = lib "dialect/generation2".xmlns;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local users = {};

-- The room here over which the node of that room knows the user with that real JID, or nil
local function room_of(peer, real_jid)
	for link in links.all() do
		if link.peer == peer then
			for _, told in pairs(links.told(link)) do
				if told.real_jid == real_jid then return link.room_jid; end
			end
		end
	end
end

-- handle(event): handles a message or presence to a user of this server
function users.handle(event)
	local stanza = event.stanza;
	local nick = jid_resource(stanza.attr.from);
	if not nick or not stanza:get_child("fmuc", xmlns_fmuc) then return; end
	local room_jid = room_of(jid_bare(stanza.attr.from), stanza.attr.to);
	if not room_jid then return; end
	if stanza.name == "presence" then return true; end -- the room here shows it
	local copy = hygiene.copy("message of a node", stanza, { by = { [room_jid] = true } });
	copy.attr.from = room_jid .. "/" .. nick;
	copy:add_direct_child(st.stanza("x", { xmlns = xmlns_muc_user }));
	event.stanza = copy;
end

return users;
