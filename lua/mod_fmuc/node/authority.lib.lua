-- SPDX-License-Identifier: MIT
-- Whose rules hold for a user of another node (N17, N18). Each node's own rules decide whom it shows, wherever the user is. Roles and
-- affiliations of the user's own node are shown here, and give no rights here.
--
-- A kick takes the user out of this node's view. The user's own node is told, and kicks the user out of all nodes. A ban, or another rule of
-- this room, only hides the user here. Other nodes still see the user, also those for whom this node passes things on.

local jid_resource = require "util.jid".resource;

local announce = lib "node/announce";
local linked = lib "room/linked";
local links = lib "node/links";

local authority = {};

local known_roles = { visitor = true; participant = true; moderator = true };
local known_affiliations = { owner = true; admin = true; member = true };

-- role(text), affiliation(text) -> as another node may name it, or what a user without any has
function authority.role(text)
	return known_roles[text] and text or "participant";
end

function authority.affiliation(text)
	return known_affiliations[text] and text or "none";
end

-- A role or affiliation that this room itself gives counts here. Else it shows those of the user's own node, except a voice that the user does
-- not have.
local function show(room, occupant, entry, item)
	if room:get_affiliation(occupant.bare_jid) then return; end
	item.attr.affiliation = entry.affiliation;
	if occupant.role == "participant" then item.attr.role = entry.role; end
end

function linked.methods.build_item_list(room, occupant, x, ...)
	linked.stock(room).build_item_list(room, occupant, x, ...);
	local entry = links.entry_of(room, occupant);
	for item in x:childtags("item") do
		if entry then show(room, occupant, entry, item); end
	end
	return x;
end

-- The session stays behind its link until mod_muc has told it (node/arrivals): its real JID gets nothing from here
local function hide(room, event, link, entry)
	entry.hidden = "refused";
	for status in event.x:childtags("status") do
		if status.attr.code == "307" then
			entry.hidden = "kicked";
			local actor = event.actor and room:get_occupant_jid(event.actor);
			announce.kick(room, link, entry, { reason = event.reason; actor = actor and jid_resource(actor) });
		end
	end
end

-- handle_presence(event): this room is about to show that an occupant has left. If the room itself removes a user of another node, the user is
-- hidden here from now on ("muc-broadcast-presence", before node/announce).
function authority.handle_presence(event)
	local room, occupant = event.room, event.occupant;
	if occupant.role ~= nil or not room.fmuc then return; end
	for jid in occupant:each_session() do -- several nodes may have brought clients of the user
		local link = linked.link_of(room, jid, "generation2");
		local entry = link and links.brought(link)[jid_resource(occupant.nick)];
		if entry and not entry.hidden then hide(room, event, link, entry); end
	end
end

return authority;
