-- SPDX-License-Identifier: MIT
-- Private messages (N19, G12) and IQ (G13) between occupants of different nodes. Each node on the way routes them onward. The rules of the room
-- where somebody writes, and of the room where somebody reads, hold as for any private message.
--
-- Only nodes of this module get them. Openfire would show a private message to the whole room.

local jid_bare = require "util.jid".bare;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";
local whose_error = require "prosody_relay.origin";

local bandwidth = lib "node/bandwidth";
local errors = lib "errors";
local generation2 = lib "dialect/generation2";
local hygiene = lib "link/hygiene";
local linked = lib "room/linked";
local links = lib "node/links";
local occupant_requests = lib "link/occupant_requests";
local requests = lib "link/requests";
local muc = module:depends "muc";

local answer_timeout = 60;

local private = {};

-- What mod_muc sends to the session of a user of another node: only private messages, and answers to requests of that user. A node has its own
-- picture of the room.
linked.on_stanza("generation2", function (room, link, stanza)
	local occupant_jid, from = room:get_occupant_jid(stanza.attr.to), jid_resource(stanza.attr.from);
	if not occupant_jid or not from or not links.mark(link) or link.state ~= "live" then return; end
	local to = link.peer .. "/" .. jid_resource(occupant_jid);
	if stanza.name == "iq" then
		local copy = st.clone(stanza);
		copy.attr.to = to;
		return module:send(copy);
	end
	local author = links.told(link)[from];
	if stanza.name ~= "message" or stanza.attr.type == "groupchat" or not author then return; end
	local message = bandwidth.stripped(link, hygiene.copy("message to a node", stanza));
	if message then link:send(generation2.private(message, room.jid .. "/" .. from, to, author.real_jid)); end
end);

-- The link over which that occupant is reached; nil for a user of this node
local function link_of(room, occupant_jid)
	local occupant = room:get_occupant_by_nick(occupant_jid);
	return occupant and linked.link_of(room, occupant.jid, "generation2");
end

-- An objection to a stanza that is to cross that link -> name of an error; or nil
local function objection(link, stanza)
	if not links.mark(link) then return "private-does-not-arrive"; end
	if link.state ~= "live" then return "server-unreachable"; end
	if bandwidth.verdict(link, stanza) == "other" then return "link-too-narrow"; end
	if stanza.name == "iq" and not occupant_requests.may_cross(stanza) then return "request-does-not-cross"; end
end

-- Asks an occupant behind that link -> name of an error; or nil
local function ask(room, link, stanza)
	local copy, asker = hygiene.copy("from anybody", stanza), stanza.attr.from;
	local record = { room_jid = room.jid; asker = asker; user = asker; asked = stanza.attr.to; id = stanza.attr.id };
	copy.attr.from, copy.attr.to = room:get_occupant_jid(asker), link.peer .. "/" .. jid_resource(stanza.attr.to);
	return not requests.send("node-iq", copy, record, answer_timeout) and "too-many-questions" or nil;
end

requests.on("node-iq", function (record, answer)
	local room = muc.get_room_from_jid(record.room_jid);
	if room and room:get_occupant_jid(record.asker) then room:route_stanza(occupant_requests.answer(record, answer)); end
end);

-- A request or message of an occupant to another one, whoever brought them. mod_muc would ask at the real JID.
local function handle_special(room, origin, stanza)
	local type = stanza.attr.type;
	local link = type ~= "error" and type ~= "result" and type ~= "groupchat" and link_of(room, stanza.attr.to);
	if not link or not room:get_occupant_jid(stanza.attr.from) then return false; end
	local problem = objection(link, stanza);
	if not problem and bandwidth.verdict(link, stanza) == "transient" then return true; end
	if not problem and stanza.name == "message" then return false; end
	problem = problem or ask(room, link, stanza);
	if problem then origin.send(errors.reply(stanza, problem)); end
	return true;
end

function linked.methods.handle_iq_to_occupant(room, origin, stanza)
	return handle_special(room, origin, stanza) or linked.stock(room).handle_iq_to_occupant(room, origin, stanza);
end

function linked.methods.handle_message_to_occupant(room, origin, stanza)
	return handle_special(room, origin, stanza) or linked.stock(room).handle_message_to_occupant(room, origin, stanza);
end

-- An origin for mod_muc, whose answers go back over the link
local function origin_for(stanza)
	local to, occupant_jid = stanza.attr.from, stanza.attr.to;
	return { type = "component"; host = module.host; send = function (reply)
		reply.attr.from, reply.attr.to = occupant_jid, to;
		module:send(reply);
	end };
end

-- Passes a private message on that a user sends whom this room does not show
local function pass_on(link, target, stanza, entry)
	if not target or target == link or objection(target, stanza) then return false; end
	local to = target.peer .. "/" .. jid_resource(stanza.attr.to);
	local message = bandwidth.stripped(target, hygiene.copy("message of a node", stanza, { by = { [jid_bare(stanza.attr.to)] = true } }));
	if not message then return true; end
	target:send(generation2.private(message, target.room_jid .. "/" .. entry.nick, to, entry.real_jid));
	return true;
end

-- receive(room, link, nick, stanza, said): a user of another node writes to one occupant
function private.receive(room, link, nick, stanza, said)
	local entry, real_jid = links.brought(link)[nick], jid_prep(said.real_jid);
	if not entry or not real_jid or jid_bare(entry.real_jid) ~= jid_bare(real_jid) then return; end
	local origin = origin_for(stanza);
	if entry.hidden then
		if not pass_on(link, link_of(room, stanza.attr.to), stanza, entry) then origin.send(errors.reply(stanza, "not-in-room")); end
		return;
	end
	local message = hygiene.copy("message of a node", stanza, { by = { [jid_bare(stanza.attr.to)] = true } });
	message.attr.from = entry.real_jid;
	room:handle_message_to_occupant(origin, message);
end

-- return_error(room, link, event): an error in the name of an occupant of another node, for the user of this room who has written. The occupant
-- may have left.
function private.return_error(room, link, event)
	local stanza = event.stanza;
	local occupant, nick = room:get_occupant_by_nick(stanza.attr.to), jid_resource(stanza.attr.from);
	if not occupant or not nick then return; end
	local author = room:get_occupant_by_nick(room.jid .. "/" .. nick);
	if author and linked.link_of(room, author.jid, "generation2") ~= link then return; end -- O13
	local copy = hygiene.copy("from anybody", whose_error.explained(event));
	copy.attr.from = room.jid .. "/" .. nick;
	room:route_to_occupant(occupant, copy);
end

-- handle_iq(event): handles an IQ of a user of another node to an occupant
function private.handle_iq(event)
	local stanza = event.stanza;
	local from, type = stanza.attr.from, stanza.attr.type;
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	local link = links.get(room, jid_bare(from));
	if not link then return; end
	if type == "error" or type == "result" then return true; end -- nobody has sent that request, or it has ended
	local origin, entry = origin_for(stanza), links.brought(link)[jid_resource(from) or ""];
	local problem = (not entry or entry.hidden) and "not-in-room" or not occupant_requests.may_cross(stanza) and "request-does-not-cross";
	if problem then
		origin.send(errors.reply(stanza, problem));
		return true;
	end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from = entry.real_jid;
	return room:handle_iq_to_occupant(origin, copy);
end

return private;
