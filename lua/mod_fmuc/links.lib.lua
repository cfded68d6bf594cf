-- SPDX-License-Identifier: MIT
-- The links of a master's room: which mirror brought which occupants, and the one copy that each mirror gets (M5, M6, M10, M19).
--
-- room.fmuc.links[mirror room JID] = { jid, nicks = { [nick] = real JID }, dumping, gone }. dumping: the mirror is being sent occupants,
-- history and subject; gone: it cannot be reached. The nicks lie in room._data.fmuc_links as well, and so survive what the room survives.

local st = require "util.stanza";
local jid_resource = require "util.jid".resource;

local delivery = module:require "delivery";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local links = {};

local methods = {};

local function stock(room)
	return getmetatable(room).__index;
end

local function send_to_link(room, link_jid, stanza)
	local link = room.fmuc.links[link_jid];
	if link.gone then return; end
	local copy = st.clone(stanza);
	copy.attr.to = link_jid;
	stock(room).route_stanza(room, copy);
end

local function attach(room)
	local state = { links = {}; link_of = {}; send_to_link = send_to_link };
	function state.group_of(jid)
		local link = state.link_of[jid];
		return link and link.jid;
	end
	delivery.attach(room, state, methods);
	return state;
end

-- get(room, mirror_room_jid) -> link or nil; room may be nil
function links.get(room, link_jid)
	return room and room.fmuc and room.fmuc.links[link_jid];
end

-- add_user(room, mirror_room_jid, nick, real_jid) -> link, made when it is the mirror's first user
function links.add_user(room, link_jid, nick, real_jid)
	local state = room.fmuc or attach(room);
	local link = state.links[link_jid];
	if not link then
		link = { jid = link_jid; nicks = {} };
		state.links[link_jid] = link;
		room._data.fmuc_links = room._data.fmuc_links or {};
		room._data.fmuc_links[link_jid] = link.nicks;
	end
	link.nicks[nick] = real_jid;
	state.link_of[real_jid] = link;
	return link;
end

-- replace_session(room, nick, former): the nick's session is another one now; the former leaves the room
function links.replace_session(room, nick, former)
	local occupant_jid = room.jid .. "/" .. nick;
	local leave = st.presence({ type = "unavailable"; from = former; to = occupant_jid });
	room:handle_normal_presence({ send = function () end }, leave);
	if room.fmuc then room.fmuc.link_of[former] = nil; end
end

-- remove_user(room, link, nick): with the last one the link ends
function links.remove_user(room, link, nick)
	local state = room.fmuc;
	if not link.nicks[nick] then return; end
	state.link_of[link.nicks[nick]] = nil;
	link.nicks[nick] = nil;
	if next(link.nicks) then return; end
	-- the mirror itself has left (M15)
	state.links[link.jid] = nil;
	room._data.fmuc_links[link.jid] = nil;
	if next(state.links) then return; end
	room._data.fmuc_links = nil;
	delivery.detach(room, methods);
end

-- What mod_muc sends to one session becomes what a whole mirror may see: no mark of a self-presence, no JID that only some may know
local function presence_for_link(room, stanza)
	local copy = st.clone(stanza);
	local reveal = room:get_whois() == "anyone";
	local x = copy:get_child("x", xmlns_muc_user);
	if x then
		x:maptags(function (child)
			local code = child.name == "status" and child.attr.code;
			if code == "110" or code == "201" or code == "210" then return nil; end
			if child.name == "item" and not reveal then
				local actor = child:get_child("actor");
				child.attr.jid = nil;
				if actor then actor.attr.jid = nil; end
			end
			return child;
		end);
	end
	return copy;
end

-- One copy for each link while an occupant's status is made public: the one addressed to the occupant itself on its own link, since that
-- has all status codes; the first of the others elsewhere.
local function wanted_by_link(state, link, to)
	local public = state.publicising;
	if not public then return link.dumping; end
	if public.own == link then return link.nicks[public.nick] == to; end
	if public.sent[link] then return false; end
	public.sent[link] = true;
	return true;
end

function methods.route_stanza(room, stanza)
	local state = room.fmuc;
	local link = state.link_of[stanza.attr.to];
	if not link then return stock(room).route_stanza(room, stanza); end
	if stanza.name == "presence" then
		if wanted_by_link(state, link, stanza.attr.to) then
			send_to_link(room, link.jid, presence_for_link(room, stanza));
		end
	elseif stanza.attr.type == "groupchat" and link.dumping then -- history and subject
		send_to_link(room, link.jid, stanza);
	end
end

function methods.publicise_occupant_status(room, occupant, ...)
	local state = room.fmuc;
	local own;
	for jid, presence in occupant:each_session() do
		-- a session that leaves the nick to others of its user is not what its link should see of the nick
		if occupant.role == nil or presence.attr.type == nil then own = own or state.link_of[jid]; end
	end
	local public = { nick = jid_resource(occupant.nick); own = own; sent = {} };
	delivery.during(state, "publicising", public, stock(room).publicise_occupant_status, room, occupant, ...);
end

-- revive(room): a room that comes back from storage, after a restart or because mod_muc had put it aside, brings its mirrored users along
function links.revive(room)
	local saved = room._data.fmuc_links;
	room._data.fmuc_links = nil;
	for link_jid, nicks in pairs(saved or {}) do
		for nick, real_jid in pairs(nicks) do
			if room:get_occupant_jid(real_jid) == room.jid .. "/" .. nick then links.add_user(room, link_jid, nick, real_jid); end
		end
	end
	if not room.fmuc then return; end
	for _, occupant in room:each_occupant() do room:save_occupant(occupant); end -- which puts them behind their links
end

-- release(room): gives the room its own methods back; a later revive() finds the links again
function links.release(room)
	delivery.detach(room, methods);
end

return links;
