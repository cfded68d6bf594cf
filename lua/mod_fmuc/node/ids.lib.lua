-- SPDX-License-Identifier: MIT
-- The stanza-ids of messages in federated rooms (G9): a message has the same id in all nodes. Its own node gives it. So references
-- work everywhere. No other node can give a message the id of another one (F9): then this room gives one of its own.

local archive = lib "room/archive";
local jid_resource = require "util.jid".resource;
local used_ids = lib "room/used_ids";

local xmlns_sid = "urn:xmpp:sid:0";

local max_length = 128;
-- How many of the latest ids are compared, at least
local min_compared = 1000;

local ids = {};

local used = {}; -- [room JID] = list of room/used_ids

-- of(stanza, by) -> the stanza-id that this room gave, or nil
function ids.of(stanza, by)
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		local id = child.attr.id;
		if child.attr.by == by and id and id ~= "" and #id <= max_length then return id; end
	end
end

local function list_of(room)
	if not used[room.jid] then
		used[room.jid] = {};
		for id in archive.each_id(room) do ids.add(room, id); end -- those that the room gave before
	end
	return used[room.jid];
end

-- add(room, id): the room has given that id
function ids.add(room, id)
	used[room.jid] = used_ids.add(used[room.jid], id, math.max(min_compared, archive.max_messages()));
end

-- is_used(room, id) -> whether the room has given that id to a message
function ids.is_used(room, id)
	return used_ids.has(list_of(room), id) or archive.has(room, id);
end

-- choose(room, link, stanza) -> the id that the other node has given the message, if this room can use it; or nil
function ids.choose(room, link, stanza)
	local id = ids.of(stanza, link.peer);
	if not id or archive.is_on(room) and not archive.may_choose_ids() or ids.is_used(room, id) then return nil; end
	return id;
end

-- What stands for a message to which no other node has given an id. No stanza-id begins so.
local function words_of(nick, stanza)
	return ("\0%s\0%s\0%s"):format(nick, stanza.attr.id or "", stanza:get_child_text("body") or "");
end

-- has_id(stanza, [except]) -> whether the message has a stanza-id, that of one room left aside
function ids.has_id(stanza, except)
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		if child.attr.by ~= except then return true; end
	end
	return false;
end

-- note(room, stanza): the room shows that message
function ids.note(room, stanza)
	local id = ids.of(stanza, room.jid);
	list_of(room);
	if id then ids.add(room, id); end
	if not ids.has_id(stanza, room.jid) then ids.add(room, words_of(jid_resource(stanza.attr.from), stanza)); end
end

-- has_shown(room, nick, stanza) -> whether the room has shown these words of that user lately. mod_muc forgets its history early.
function ids.has_shown(room, nick, stanza)
	return used_ids.has(list_of(room), words_of(nick, stanza));
end

-- forget(room_jid): the room does not federate any more. When its last link ends, it may come back, and the other node repeats messages.
function ids.forget(room_jid)
	used[room_jid] = nil;
end

-- save() -> data for restore() of the next instance of the module
function ids.save()
	return used;
end

function ids.restore(saved)
	used = saved or used;
end

return ids;
