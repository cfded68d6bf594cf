-- SPDX-License-Identifier: MIT
-- The links of a room to other nodes (generation 2): who came over which link, and whom the other node knows from here.
--
-- link:own("links"):
--   brought  [nick] = a user of the other node, or of a node behind it:
--              nick, real_jid
--              presence   what the user last sent, without what rooms add
--              role, affiliation   at the user's own node: shown here, never enforced (N18)
--              since, is_registered   see node/collisions
--              hidden     why this room does not show the user: "refused" (a rule of this room), "kicked" (here), "taken" (another user has the
--                         nick), "leaving" (is just being hidden), "elsewhere" (the same client is here by another way); nil: the room shows
--                         the user
--              is_stale   the other node is saying again who is there, and has not named this user yet
--   by_real_jid   [real JID] = the same entries
--   told     [nick] = { real_jid, presence, role, affiliation }: whom the other node was told of; is_removed: a foreign node has removed the user
--   mark     of a node of this module (dialect/generation2): its last mark; nil: another kind of node, or not known yet
--   has_answered   whether it is known what kind of node it is
--
-- A session in the room that came over a link has room.fmuc.link_of[real JID] = link.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

local all_links = lib "link/link";
local limits = lib "link/limits";
local linked = lib "room/linked";
local collisions = lib "node/collisions";

local links = {};

-- get(room, peer) -> link with that node, or nil; room may be nil or false
function links.get(room, peer)
	return room and room.fmuc and room.fmuc.nodes[peer] or nil;
end

-- each(room) -> iterator of the links of the room with other nodes, those that exist now
function links.each(room)
	local list, i = {}, 0;
	for _, link in pairs(room.fmuc and room.fmuc.nodes or {}) do list[#list + 1] = link; end
	return function ()
		i = i + 1;
		return list[i];
	end;
end

-- all() -> iterator of the links of all rooms with other nodes
function links.all()
	return all_links.each("generation2");
end

local function own(link)
	return link:own("links");
end

-- brought(link), told(link) -> these tables
function links.brought(link)
	return own(link).brought;
end

function links.told(link)
	return own(link).told;
end

-- find(link, real_jid) -> the entry of that session among those of brought(link), or nil
function links.find(link, real_jid)
	return own(link).by_real_jid[real_jid];
end

-- bring(link, entry): the other node has brought that user, or has named another nick or real JID; drop(link, entry): before a change, or when the
-- user has left
function links.bring(link, entry)
	local data = own(link);
	data.brought[entry.nick], data.by_real_jid[entry.real_jid] = entry, entry;
end

function links.drop(link, entry)
	local data = own(link);
	if data.brought[entry.nick] == entry then data.brought[entry.nick] = nil; end
	if data.by_real_jid[entry.real_jid] == entry then data.by_real_jid[entry.real_jid] = nil; end
end

-- forget_told(link): the other node does not know anybody of this one
function links.forget_told(link)
	own(link).told = {};
end

-- mark_stale(link): the other node is going to say who is there; forget_stale_marks(link): it will not say it to the end
function links.mark_stale(link)
	for _, entry in pairs(own(link).brought) do entry.is_stale = true; end
end

function links.forget_stale_marks(link)
	for _, entry in pairs(own(link).brought) do entry.is_stale = nil; end
end

-- mark(link) -> what the other node, of this module, said of itself; or nil
function links.mark(link)
	return own(link).mark;
end

-- learn_mark(link, mark): the other node has said that of itself; nil: it is another kind of node
function links.learn_mark(link, mark)
	own(link).mark, own(link).has_answered = mark, true;
end

-- has_answered(link) -> whether the other node has ever sent all that a joining node gets, or has joined this one
function links.has_answered(link)
	return own(link).has_answered or false;
end

-- may_count(link) -> whether the other node counts messages, or it is not known yet whether it does (node/outbox)
function links.may_count(link)
	return own(link).mark ~= nil or not own(link).has_answered;
end

-- open(room, peer, direction) -> a new link with that node
function links.open(room, peer, direction)
	local state = linked.attach(room);
	local link = all_links.open(room.jid, peer, direction, "generation2");
	local data = own(link);
	data.brought, data.by_real_jid, data.told = {}, {}, {};
	state.nodes[peer] = link;
	return link;
end

-- close(room, link): the link ends. Its users have been removed from the room.
function links.close(room, link)
	link:close();
	if links.get(room, link.peer) ~= link then return; end
	room.fmuc.nodes[link.peer] = nil;
	linked.detach_if_unused(room);
end

-- revive(room): connects a room that comes back from storage, or a reload, with its links
function links.revive(room)
	for link in all_links.each("generation2") do
		if link.room_jid == room.jid then
			local state = linked.attach(room);
			state.nodes[link.peer] = link;
			for _, entry in pairs(own(link).brought) do
				if not entry.hidden then state.link_of[entry.real_jid] = link; end
			end
		end
	end
end

limits.count_with(function (add)
	for link in all_links.each("generation2") do
		for _, entry in pairs(own(link).brought) do add(link.peer, limits.presence_size(entry.presence)); end
	end
end);

-- bind(room, link, real_jid): that session is behind the link; unbind(room, link, real_jid): it is not any more. Meanwhile it may be behind another.
function links.bind(room, link, real_jid)
	room.fmuc.link_of[real_jid] = link;
end

function links.unbind(room, link, real_jid)
	if room.fmuc and room.fmuc.link_of[real_jid] == link then room.fmuc.link_of[real_jid] = nil; end
end

-- entry_of(room, occupant) -> the entry of the occupant's first session, if that came over a link with a node; or nil
function links.entry_of(room, occupant)
	local link = linked.link_of(room, occupant.jid, "generation2");
	return link and own(link).brought[jid_resource(occupant.nick)];
end

-- A session of the occupant that did not come over that link. The one that the other node knows is preferred: the user keeps one real JID
-- there.
local function session_for(room, occupant, link, told)
	local link_of, sessions = room.fmuc.link_of, occupant.sessions;
	local function serves(jid)
		return sessions[jid] and sessions[jid].attr.type == nil and link_of[jid] ~= link;
	end
	if told and serves(told.real_jid) then return told.real_jid; end
	if serves(occupant.jid) then return occupant.jid; end
	for jid in occupant:each_session() do
		if serves(jid) then return jid; end
	end
end

-- A user with that nick whom this room does not show, but other nodes may
local function hidden_person(room, nick, link)
	for other in links.each(room) do
		local entry = other ~= link and own(other).brought[nick];
		if entry and (entry.hidden == "refused" or entry.hidden == "kicked") then return entry; end
	end
end

-- person(room, nick, link) -> whom the other node of that link should know under that nick: { nick, real_jid, presence, role, affiliation,
-- since, is_registered, is_own (a user of this node) }; or nil
function links.person(room, nick, link)
	local occupant = room:get_occupant_by_nick(room.jid .. "/" .. nick);
	local real_jid = occupant and session_for(room, occupant, link, own(link).told[nick]);
	if not real_jid then return not occupant and hidden_person(room, nick, link) or nil; end
	local origin = linked.link_of(room, real_jid, "generation2");
	local entry = origin and own(origin).brought[nick];
	if entry then return entry; end
	return { is_own = true; nick = nick; real_jid = real_jid; presence = occupant:get_presence(real_jid); role = occupant.role;
		affiliation = room:get_affiliation(jid_bare(real_jid)) or "none"; since = collisions.since(room, nick);
		is_registered = collisions.is_registered(room, nick, real_jid) };
end

-- nicks(room) -> set of the nicks of all whom this room knows: its occupants, and users whom it does not show
function links.nicks(room)
	local nicks = {};
	for occupant_jid in room:each_occupant() do nicks[jid_resource(occupant_jid)] = true; end
	for link in links.each(room) do
		for nick in pairs(own(link).brought) do nicks[nick] = true; end
	end
	return nicks;
end

return links;
