-- SPDX-License-Identifier: MIT
-- The links of a master's room: which mirror brought which occupants, and the one copy that each mirror gets (M5, M6, M10, M19).
--
-- room.fmuc.links[mirror room JID] = { jid, nicks = { [nick] = real JID }, line, dumping, resyncing, gone }. dumping: the mirror is being
-- sent occupants, history and subject; resyncing: after an outage: { nick (on whose behalf), is_complete (the journal reaches back to it) };
-- gone: it gets nothing more. The nicks lie in room._data.fmuc_links as well, and so survive what the room survives.
--
-- link.bandwidth is the level that the mirror asked for (G25); it lies in room._data.fmuc_bandwidth as well.
--
-- link.line = { sent, received, heard, down, … } is about the way to the mirror: stanzas either way since the link began or was resynced,
-- when (monotonic time) the mirror was last heard of, and since when it cannot be reached. It survives what the module survives.

local st = require "util.stanza";
local jid_resource = require "util.jid".resource;
local now = require "util.time".monotonic;

local bandwidth = module:require "bandwidth";
local journal = module:require "journal";
local kicked = module:require "kicked";
local room_data = module:require "room_data";
local delivery = module:require "delivery";
local hygiene = module:require "hygiene";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local links = { journal = journal };

local methods = {};

-- [room JID][mirror room JID] = line
local lines;

local function stock(room)
	return getmetatable(room).__index;
end

local function send_to_link(room, link_jid, stanza)
	local link = room.fmuc.links[link_jid];
	local is_awaited = link.dumping or room.fmuc.joining == stanza.attr.from;
	stanza = bandwidth.down(link, stanza, is_awaited);
	if not stanza then return; end
	link.line.sent = link.line.sent + 1; -- what is not sent counts as well: that is how the mirror learns that something is missing
	if link.gone or link.line.down then return; end
	local copy = st.clone(stanza);
	copy.attr.to = link_jid;
	stock(room).route_stanza(room, copy);
end

-- send(room, link, stanza): the one copy for a link
function links.send(room, link, stanza)
	send_to_link(room, link.jid, stanza);
end

-- What is meant for one user goes to the user's address at the mirror (M8, G12, G13)
local function send_to_user(room, link, stanza)
	local occupant_jid = room:get_occupant_jid(stanza.attr.to);
	if link.gone or link.line.down or not occupant_jid then return; end
	stanza = bandwidth.down(link, stanza, true);
	if not stanza then return; end
	local copy = st.clone(stanza);
	copy.attr.to = link.jid .. "/" .. jid_resource(occupant_jid);
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

local function line_of(room_jid, link_jid)
	lines[room_jid] = lines[room_jid] or {};
	local line = lines[room_jid][link_jid] or { sent = 0; received = 0; heard = now() };
	lines[room_jid][link_jid] = line;
	return line;
end

-- add_user(room, mirror_room_jid, nick, real_jid) -> link, made when it is the mirror's first user
function links.add_user(room, link_jid, nick, real_jid)
	local state = room.fmuc or attach(room);
	local link = state.links[link_jid];
	if not link then
		local levels = room._data.fmuc_bandwidth;
		link = { jid = link_jid; nicks = {}; line = line_of(room.jid, link_jid); bandwidth = levels and levels[link_jid] };
		state.links[link_jid] = link;
		room._data.fmuc_links = room._data.fmuc_links or {};
		room._data.fmuc_links[link_jid] = link.nicks;
		journal.begin(room.jid);
	end
	link.nicks[nick] = real_jid;
	state.link_of[real_jid] = link;
	return link;
end

-- set_bandwidth(room, link, level): what the mirror wants to get from now on; nil: everything
function links.set_bandwidth(room, link, level)
	level = bandwidth.level(level);
	link.bandwidth = level ~= "full" and level or nil;
	local levels = room._data.fmuc_bandwidth or {};
	levels[link.jid] = link.bandwidth;
	room._data.fmuc_bandwidth = next(levels) and levels or nil;
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
	links.set_bandwidth(room, link, nil);
	lines[room.jid][link.jid] = nil;
	if next(state.links) then return; end
	room._data.fmuc_links = nil;
	lines[room.jid] = nil;
	journal.forget(room.jid);
	delivery.detach(room, methods);
end

-- What mod_muc sends to one session becomes what a whole mirror may see: no mark of a self-presence, no JID that only some may know
local function presence_for_link(room, stanza)
	return hygiene.copy("presence to a mirror", stanza, { is_hidden = room:get_whois() ~= "anyone" });
end

-- One copy for each link while an occupant's status is made public: the one addressed to the occupant itself on its own links, since that
-- has all status codes, and the id that a mirror waits for; the first of the others elsewhere.
local function wanted_by_link(state, link, to)
	local public = state.publicising;
	if not public then return link.dumping; end
	if public.own[link] then return link.nicks[public.nick] == to; end
	if public.sent[link] then return false; end
	public.sent[link] = true;
	return true;
end

-- For a mirror that resyncs (G3, our extension): which of the occupants it brought itself, where its count of stanzas has to be, and
-- whether it will be told all that was said in the time it asks for
local function mark_own_user(link, presence)
	local nick = jid_resource(presence.attr.from);
	if not link.resyncing or not link.nicks[nick] then return presence; end
	local is_asking = nick == link.resyncing.nick;
	return presence:tag("fmuc", { xmlns = xmlns_fmuc; from = link.nicks[nick]; sent = is_asking and tostring(link.line.sent + 1) or nil;
		complete = is_asking and link.resyncing.is_complete and "true" or nil }):up();
end

local function is_kick(presence)
	local x = presence.attr.type == "unavailable" and presence:get_child("x", xmlns_muc_user);
	for status in (x or st.stanza("x")):childtags("status") do
		if status.attr.code == "307" then return true; end
	end
	return false;
end

function methods.route_stanza(room, stanza)
	local state = room.fmuc;
	local link = state.link_of[stanza.attr.to];
	if not link then return stock(room).route_stanza(room, stanza); end
	if stanza.name == "presence" then
		if wanted_by_link(state, link, stanza.attr.to) then
			local presence = presence_for_link(room, stanza);
			if link.nicks[jid_resource(presence.attr.from)] == stanza.attr.to and is_kick(presence) then
				kicked.add(room, link.jid, presence);
			end
			send_to_link(room, link.jid, mark_own_user(link, presence));
		end
	elseif stanza.attr.type ~= "groupchat" then
		send_to_user(room, link, stanza);
	elseif link.dumping then -- history and subject
		send_to_link(room, link.jid, stanza);
	end
end

-- Whoever may be in the room may read its archive
function methods.get_affiliation(room, jid)
	return stock(room).get_affiliation(room, jid) or jid == room.fmuc.reader and "member" or nil;
end

function methods.broadcast(room, stanza, condition)
	if not condition and stanza.attr.type == "groupchat" then journal.add(room.jid, stanza); end
	return delivery.broadcast(room, stanza, condition);
end

function methods.publicise_occupant_status(room, occupant, ...)
	local state = room.fmuc;
	local own = {}; -- of a user who came through several mirrors there are several
	for jid, presence in occupant:each_session() do
		local link = state.link_of[jid];
		-- a session that leaves the nick to others of its user is not what its link should see of the nick
		if link and (occupant.role == nil or presence.attr.type == nil) then own[link] = true; end
	end
	local public = { nick = jid_resource(occupant.nick); own = own; sent = {} };
	delivery.during(state, "publicising", public, stock(room).publicise_occupant_status, room, occupant, ...);
end

-- revive(room): a room that comes back from storage, after a restart or because mod_muc had put it aside, brings its mirrored users along
function links.revive(room)
	room_data.check(room);
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

-- each_line() -> iterator of room JID, { [mirror room JID] = line }
function links.each_line()
	return pairs(lines);
end

-- line(room_jid, mirror_room_jid) -> its line, or nil
function links.line(room_jid, link_jid)
	return lines[room_jid] and lines[room_jid][link_jid];
end

-- save() -> what is known of the links besides what the rooms keep, for the next instance of the module
function links.save()
	return { lines = lines; journals = journal.save() };
end

-- restore(saved): of save() of an earlier instance, or nil
function links.restore(saved)
	lines = saved and saved.lines or {};
	journal.restore(saved and saved.journals);
end

-- release(room): gives the room its own methods back; a later revive() finds the links again
function links.release(room)
	delivery.detach(room, methods);
end

return links;
