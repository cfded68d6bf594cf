-- SPDX-License-Identifier: MIT
-- The stanza-id of a message that its mirror has already shown (M21, G9) becomes the master's own. So references to it mean the same
-- message at both ends.
--
-- No mirror may give a message the id of another one (F9, XEP-0359 section 3). So the master gives each link its own random prefix. It
-- takes over an id only with that prefix, and with a higher number than all before on that link. Such an id is certainly new to the
-- archive, so nothing has to be looked up. Any other message gets an id of the room, and references by the mirror's id are lost here.
--
-- link:own("ids"): prefix, last. A mirror asks for the prefix in a join: <fmuc ids=''/>, with the prefix that it knows (our extension). The
-- prefix crosses the link once.

local generation1 = lib "dialect/generation1";
local archive = lib "room/archive";
local jid_prep = require "util.jid".prep;
local new_id = require "util.id".short;

local xmlns_sid = "urn:xmpp:sid:0";

local ids = {};

local function is_possible(room)
	return archive.may_choose_ids() and archive.is_on(room);
end

-- offer(room, link, known) -> the presence that tells the mirror its prefix, or nil where no ids can be taken over. known: the prefix that
-- the mirror has, if any. A restarted mirror has lost its numbers, and gets another prefix.
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

-- read(room, stanza, link) -> the id that the mirror gave the message, if the room can use it; or nil. The mirror cannot use it again.
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

return ids;
