-- SPDX-License-Identifier: MIT
-- What a foreign node sends to the real JIDs of this server's users, past their room (O20): Openfire does so with private messages and requests, and
-- with the news of a kick, which the room gets too. Users must not see <fmuc/> (N11), and know only their own room.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

local generation2 = lib "dialect/generation2";
local hygiene = lib "link/hygiene";
local links = lib "node/links";
local muc = module:depends "muc";

local direct = {};

local function find_link(peer)
	for link in links.all() do
		if link.peer == peer then return link; end
	end
end

-- The nick under which the other node knows that user of this server; or nil
local function find_nick(link, real_jid)
	for nick, told in pairs(links.told(link)) do
		if told.real_jid == real_jid then return nick; end
	end
end

-- The room shows the message as a private one, if it shows its author
local function deliver(link, stanza, nick)
	local room, entry = muc.get_room_from_jid(link.room_jid), links.brought(link)[jid_resource(stanza.attr.from) or ""];
	if not room or not entry or entry.hidden then return; end
	local message = hygiene.copy("message of a node", stanza, { by = {} });
	message.attr.from, message.attr.to = entry.real_jid, link.room_jid .. "/" .. nick;
	room:handle_message_to_occupant({ type = "component"; host = module.host; send = function () end }, message);
end

-- handle(event): handles a stanza to a user of this server
function direct.handle(event)
	local kind = event.origin.type;
	if kind ~= "s2sin" and kind ~= "s2sout" then return; end -- rooms of this server send most of what users get
	local stanza = event.stanza;
	local link = stanza:get_child("fmuc", generation2.xmlns) and find_link(jid_bare(stanza.attr.from));
	if not link then return; end
	local nick = find_nick(link, stanza.attr.to);
	if stanza.name == "presence" then return true; end -- the room has its own word for it
	if stanza.name == "message" and stanza.attr.type ~= "error" and nick then
		deliver(link, stanza, nick);
		return true;
	end
	event.stanza = hygiene.cleaned("from anybody", stanza);
end

-- events: those of a host of users to which handle() belongs
direct.events = { "message/full"; "message/bare"; "presence/full"; "presence/bare"; "iq/full"; "iq/bare" };

return direct;
