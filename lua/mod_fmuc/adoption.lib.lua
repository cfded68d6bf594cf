-- SPDX-License-Identifier: MIT
-- At the master: the stanza-id of a message that its mirror has shown already (M21, G9). Where nothing of that id is in the archive yet it
-- becomes the room's own; otherwise the room gives the message another, and what refers to it there is lost at the mirror.

local delivery = module:require "delivery";
local archive = module:require "archive";
local jid_prep = require "util.jid".prep;
local st = require "util.stanza";

local xmlns_sid = "urn:xmpp:sid:0";

local adoption = {};

-- Not any text of somebody else becomes a key of the archive
local function is_id(id)
	return id ~= nil and #id <= 64 and id:find("^[%w_.-]+$") ~= nil;
end

-- read(room, stanza, link) -> the id that the mirror gave the message and the room can use, or nil
function adoption.read(room, stanza, link)
	local id;
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		if jid_prep(child.attr.by) == link.jid then id = child.attr.id; end
	end
	if is_id(id) and archive.may_choose_ids() and archive.is_on(room) and not archive.has(room, id) then return id; end
end

-- during(room, id, f, …) -> results of f(…), while which a message to the room gets that id (nil: as usual)
function adoption.during(room, id, f, ...)
	if not id then return f(...); end
	return delivery.during(room.fmuc, "adopted_id", id, delivery.during, room._data, "archiving", false, f, ...);
end

module:hook("muc-broadcast-message", function (event)
	local room, stanza = event.room, event.stanza;
	local id = room.fmuc and room.fmuc.adopted_id;
	if not id or not module:fire_event("muc-message-is-historic", { room = room; stanza = stanza }) then return; end
	archive.keep(room, stanza, id);
	stanza:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = id }));
end, 0.5); -- after mod_muc_mam's 1, which removes ids in the room's name; before mod_muc's 0, which keeps the stanza as history

return adoption;
