-- SPDX-License-Identifier: MIT
-- The rooms that are connected by links form a tree (G18). Each node says in a join, and in the answer, which rooms are behind it. So a second way
-- to a room is noticed before anything crosses it.

local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;

local generation2 = lib "dialect/generation2";
local links = lib "node/links";

-- All rooms that are known here go to each node that joins. A stanza that is too large would break its stream.
local max_known_bytes = 128 * 1024;
-- Links of a room: of one domain, and in all
local max_links_of_domain, max_links = 50, 100;

local tree = {};

-- Calls f(JID) for each room that is known to be behind the links of this room, except that link
local function each_room(room, except_link, f)
	f(room.jid);
	for link in links.each(room) do
		if link ~= except_link then
			f(link.peer);
			for _, room_jid in ipairs(links.mark(link) and links.mark(link).rooms or {}) do f(jid_prep(room_jid) or room_jid); end
		end
	end
end

-- rooms(room, link) -> list of the rooms that are here from that link's point of view
function tree.rooms(room, link)
	local rooms, known = {}, {};
	each_room(room, link, function (room_jid)
		if not known[room_jid] then rooms[#rooms + 1] = room_jid; end
		known[room_jid] = true;
	end);
	return rooms;
end

-- find_loop(room, link, rooms) -> a room that is among these, and known here: there is a way between both sides already; or nil
function tree.find_loop(room, link, rooms)
	local known, loop = {}, nil;
	for _, room_jid in ipairs(rooms) do known[jid_prep(room_jid) or room_jid] = true; end
	each_room(room, link, function (room_jid) loop = loop or known[room_jid] and room_jid; end);
	return loop;
end

-- are_too_many(room, link, their_mark) -> whether the rooms of a mark are more than this node can keep, or tell others
function tree.are_too_many(room, link, their_mark)
	local bytes = their_mark.size;
	each_room(room, link, function (room_jid) bytes = bytes + #room_jid + generation2.room_bytes; end);
	return their_mark.size > generation2.max_rooms_bytes or bytes > max_known_bytes;
end

-- has_place(room, peer) -> whether one more room may join this one
function tree.has_place(room, peer)
	local of_domain, all = 0, 0;
	for link in links.each(room) do
		all = all + 1;
		if jid_host(link.peer) == jid_host(peer) then of_domain = of_domain + 1; end
	end
	return all < max_links and of_domain < max_links_of_domain;
end

return tree;
