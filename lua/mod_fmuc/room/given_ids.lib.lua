-- SPDX-License-Identifier: MIT
-- Messages that come with their stanza-id: the room and its archive use that id (G9). Whoever brings the message has checked the id, and
-- names it in delivery.on_its_way(room, stanza).stanza_id.

local delivery = lib "room/delivery";
local archive = lib "room/archive";
local st = require "util.stanza";

local xmlns_sid = "urn:xmpp:sid:0";

local given_ids = {};

-- handle_broadcast(event): gives a message such an id before the room shows it
function given_ids.handle_broadcast(event)
	local room, stanza = event.room, event.stanza;
	local id = room.fmuc and delivery.way_of(room, stanza).stanza_id;
	if not id or not module:fire_event("muc-message-is-historic", { room = room; stanza = stanza }) then return; end
	if archive.is_on(room) then archive.keep(room, stanza, id); end
	stanza:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = id }));
end

-- The room, as handlers see it that are to keep one message out of the archive. The room itself does not change, as it may handle other
-- messages meanwhile.
local function without_archive(room)
	local data = setmetatable({ archiving = false }, { __index = room._data; __newindex = room._data });
	return setmetatable({ _data = data }, { __index = room; __newindex = room; __tostring = function () return tostring(room); end });
end

-- handle_history(event): keeps mod_muc_mam from giving the message another id
function given_ids.handle_history(event)
	local room, stanza = event.room, event.stanza;
	if event.is_archived or not room.fmuc or not delivery.way_of(room, stanza).stanza_id then return; end
	module:fire_event("muc-add-history", { room = without_archive(room); stanza = stanza; is_archived = true });
	return true;
end

return given_ids;
