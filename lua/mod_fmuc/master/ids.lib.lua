-- SPDX-License-Identifier: MIT
-- At the master: the stanza-id of a message that its mirror has shown already (M21, G9) becomes the room's own, so that references to it
-- mean the same message at both ends.
--
-- No mirror may name a message after another one (F9, XEP-0359 section 3). So the master gives each link a random prefix of its own, and
-- takes over an id only if it has the prefix of that link, and a higher number than all that the link has used. Then it is new for certain,
-- whatever the archive has, and nothing has to be looked up. Any other message gets an id of the room, and what refers to it by the
-- mirror's id is lost here.
--
-- link:own("ids"): prefix, last. The prefix crosses the link once, if the mirror asks for it in a join: <fmuc ids=''/>, with the prefix
-- that it knows (our extension).

local generation1 = lib "dialect/generation1";
local delivery = lib "room/delivery";
local archive = lib "room/archive";
local jid_prep = require "util.jid".prep;
local new_id = require "util.id".short;
local st = require "util.stanza";

local xmlns_sid = "urn:xmpp:sid:0";

local ids = {};

local function is_possible(room)
	return archive.may_choose_ids() and archive.is_on(room);
end

-- offer(room, link, known) -> the presence that tells the mirror its prefix, or nil where no ids can be taken over. known: the prefix that the
-- mirror has, if any: one that has been restarted has lost its numbers, and begins with another prefix
function ids.offer(room, link, known)
	if not is_possible(room) then return nil; end
	local own = link:own("ids");
	if not own.prefix or own.prefix ~= known then own.prefix, own.last = new_id(), 0; end
	return generation1.prefix(room.jid, own.prefix);
end

-- The number of an id with the prefix of that link; or nil
local function number_of(id, link)
	local prefix = link:own("ids").prefix;
	if not id or not prefix or #id > 64 or id:sub(1, #prefix) ~= prefix then return nil; end
	return math.tointeger(tonumber(id:match("^%-([1-9]%d*)$", #prefix + 1)));
end

-- read(room, stanza, link) -> the id that the mirror gave the message and the room can use, or nil. The mirror cannot use it again.
function ids.read(room, stanza, link)
	local id;
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		if jid_prep(child.attr.by) == link.peer then id = child.attr.id; end
	end
	local number, own = number_of(id, link), link:own("ids");
	if not number or number <= own.last or not is_possible(room) then return nil; end
	own.last = number;
	return id;
end

-- handle_broadcast(event): a message is about to be shown to the room
function ids.handle_broadcast(event)
	local room, stanza = event.room, event.stanza;
	local id = room.fmuc and delivery.way_of(room, stanza).stanza_id;
	if not id or not module:fire_event("muc-message-is-historic", { room = room; stanza = stanza }) then return; end
	archive.keep(room, stanza, id);
	stanza:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = id }));
end

-- The room as those see it who are to keep one message out of their archive. The room itself does not change: other messages may be on
-- their way meanwhile.
local function without_archive(room)
	local data = setmetatable({ archiving = false }, { __index = room._data; __newindex = room._data });
	return setmetatable({ _data = data }, { __index = room; __newindex = room; __tostring = function () return tostring(room); end });
end

-- handle_history(event): mod_muc_mam would give the message another id
function ids.handle_history(event)
	local room, stanza = event.room, event.stanza;
	if event.is_archived or not room.fmuc or not delivery.way_of(room, stanza).stanza_id then return; end
	module:fire_event("muc-add-history", { room = without_archive(room); stanza = stanza; is_archived = true });
	return true;
end

return ids;
