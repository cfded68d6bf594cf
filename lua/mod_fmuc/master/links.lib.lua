-- SPDX-License-Identifier: MIT
-- The links of a master's room (M5, M6, M10, M19): which mirror brought which occupants, and the one copy for each mirror.
--
-- room.fmuc.links[mirror room JID] = link (link/link), with two more fields:
--   nicks   [nick] = real JID. It also lies in room._data.fmuc_links, and so survives what the room survives.
--   joins   [real JID] = the join of that session, while it goes through the room: { occupant_jid, thread (coroutine), dumping (the mirror
--           gets occupants, history and subject), resyncing (nil, or after an outage { nick (of the asking user), is_complete (the journal
--           reaches back to it) }), is_over (the user or the link has gone meanwhile) }
-- The bandwidth level that a mirror asked for (G25) also lies in room._data.fmuc_bandwidth.

local now = require "util.time".monotonic;
local st = require "util.stanza";
local jid_resource = require "util.jid".resource;

local generation1 = lib "dialect/generation1";
local audience = lib "master/audience";
local bandwidth = lib "master/bandwidth";
local journal = lib "master/journal";
local kicked = lib "master/kicked";
local stored_data = lib "room/stored_data";
local delivery = lib "room/delivery";
local linked = lib "room/linked";
local hygiene = lib "link/hygiene";
local all_links = lib "link/link";
local muc = module:depends "muc";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local links = {};

local methods, stock = linked.methods, linked.stock;

local function send_to_link(room, link_jid, stanza, is_awaited)
	local link = room.fmuc.links[link_jid];
	stanza = bandwidth.down(link, stanza, is_awaited);
	if not stanza then return; end
	link:count_sent(); -- a stanza that is not sent counts, too: so the mirror learns that something is missing
	if not link:is_open() then return; end
	local copy = st.clone(stanza);
	copy.attr.to = link_jid;
	stock(room).route_stanza(room, copy);
end

-- send(room, link, stanza): sends the one copy for a link
function links.send(room, link, stanza)
	send_to_link(room, link.peer, stanza);
end

-- A stanza for one user goes to the user's address at the mirror (M8, G12, G13)
local function send_to_user(room, link, nick, stanza)
	if link.state == "lost" and stanza.name == "presence" then link:count_sent(); end -- so that the mirror learns of it
	if not link:is_open() then return; end
	stanza = bandwidth.for_user(link, stanza);
	if not stanza then return; end
	local copy = st.clone(stanza);
	copy.attr.to = link.peer .. "/" .. nick;
	stock(room).route_stanza(room, copy);
end

-- Sends a copy to each user of a link whom a condition of mod_muc selects
local function send_to_users(room, link_jid, stanza, condition)
	local link = room.fmuc.links[link_jid];
	for nick in pairs(link.nicks) do
		local occupant_jid = room.jid .. "/" .. nick;
		if condition(occupant_jid, room._occupants[occupant_jid]) then send_to_user(room, link, nick, stanza); end
	end
end

linked.deliver_to_mirrors(send_to_link, send_to_users);

-- get(room, mirror_room_jid) -> link or nil; room may be nil
function links.get(room, link_jid)
	return room and room.fmuc and room.fmuc.links[link_jid];
end

-- add_user(room, mirror_room_jid, nick, real_jid) -> link; the mirror's first user opens it
function links.add_user(room, link_jid, nick, real_jid)
	local state = linked.attach(room);
	local link = state.links[link_jid];
	if not link then
		link = all_links.open(room.jid, link_jid, "down", "generation1");
		link.nicks, link.joins = {}, link.joins or {}; -- joins may go on, though the room is another object
		bandwidth.set_level(link, room._data.fmuc_bandwidth and room._data.fmuc_bandwidth[link_jid]);
		state.links[link_jid] = link;
		room._data.fmuc_links = room._data.fmuc_links or {};
		room._data.fmuc_links[link_jid] = link.nicks;
		journal.begin(room.jid);
	end
	link.nicks[nick] = real_jid;
	state.link_of[real_jid] = link;
	return link;
end

-- set_bandwidth(room, link, level): sets what the mirror gets from now on; nil: everything
function links.set_bandwidth(room, link, level)
	bandwidth.set_level(link, level);
	local levels = room._data.fmuc_bandwidth or {};
	levels[link.peer] = bandwidth.level_of(link);
	room._data.fmuc_bandwidth = next(levels) and levels or nil;
end

-- replace_session(room, nick, former): the nick has another session now; the session `former` leaves the room
function links.replace_session(room, nick, former)
	local occupant_jid = room.jid .. "/" .. nick;
	local leave = st.presence({ type = "unavailable"; from = former; to = occupant_jid });
	room:handle_normal_presence({ send = function () end }, leave);
	if room.fmuc then room.fmuc.link_of[former] = nil; end
end

-- forget(room_jid): the room ends; a later room of that name begins from zero
function links.forget(room_jid)
	for link in all_links.each("generation1") do
		if link.room_jid == room_jid then link:close(); end
	end
	journal.forget(room_jid);
end

-- discard(link): the link ends, and no room has it
function links.discard(link)
	link:close();
	-- the room may have ended, and another of that name may exist
	if not all_links.has_any(link.room_jid) then journal.forget(link.room_jid); end
end

local function end_link(room, link)
	local state = room.fmuc;
	-- the mirror itself has left (M15)
	state.links[link.peer] = nil;
	room._data.fmuc_links[link.peer] = nil;
	links.set_bandwidth(room, link, nil);
	links.discard(link);
	if next(state.links) then return; end
	room._data.fmuc_links = nil;
	linked.detach_if_unused(room);
end

-- current(room) -> the object that is that room now, or nil. While a join waits in a handler of another module, the room may be destroyed. Or
-- mod_muc may put it aside and make another object of it. A mod_muc that was unloaded is not asked: it would restore the room from the store.
function links.current(room)
	local host = prosody.hosts[module.host];
	return host and host.modules.muc == muc and muc.get_room_from_jid(room.jid) or nil;
end

local function end_session(room, link, real_jid)
	local current = links.current(room);
	for _, object in ipairs { room, current } do
		if object.fmuc and object.fmuc.link_of[real_jid] == link then object.fmuc.link_of[real_jid] = nil; end
	end
	if next(link.joins) then
		return;
	elseif links.get(current, link.peer) ~= link then
		-- after a reload it belongs to the next instance
		if module.loaded ~= false then links.discard(link); end
	elseif not next(link.nicks) then
		end_link(current, link);
	end
end

-- remove_user(room, link, nick): the user has left; the link ends with its last user
function links.remove_user(room, link, nick)
	local real_jid = link.nicks[nick];
	if not real_jid or links.current(room) ~= room then return; end
	link.nicks[nick] = nil;
	local join = link.joins[real_jid];
	if not join then return end_session(room, link, real_jid); end
	join.is_over = true; -- the room may still send something to that session, which the link must drop
end

-- while_joining(room, link, real_jid, join, f): calls f(), which lets that session enter the room. join: see above
function links.while_joining(room, link, real_jid, join, f)
	join.thread = coroutine.running();
	link.joins[real_jid] = join;
	local ok, err = xpcall(f, debug.traceback);
	link.joins[real_jid] = nil;
	local current = links.current(room);
	if current ~= room and not (current and current:get_occupant_jid(real_jid) == join.occupant_jid) then join.is_over = true; end
	if join.is_over then
		-- a handler of another module may have let the session in at the end
		local leave = st.presence({ type = "unavailable"; from = real_jid; to = join.occupant_jid });
		if current == room and room:get_occupant_jid(real_jid) then room:handle_normal_presence({ send = function () end }, leave); end
		end_session(room, link, real_jid);
	end
	if not ok then error(err, 0); end
end

-- join_of(link, real_jid) -> the join of that session, if the current coroutine is part of it; or nil
function links.join_of(link, real_jid)
	local join = link.joins[real_jid];
	return join and join.thread == coroutine.running() and join or nil;
end

-- Turns a stanza for one session into one for the whole mirror, without self-presence marks and hidden JIDs
local function presence_for_link(room, stanza)
	return hygiene.copy("presence to a mirror", stanza, { is_hidden = room:get_whois() ~= "anyone" });
end

-- For a mirror that resyncs (G3, our extension), marks the occupants that the mirror brought itself. The mark also gives the count of
-- stanzas, and whether the mirror will get all messages that it asks for.
local function mark_own_user(link, join, presence, who)
	local nick = jid_resource(presence.attr.from);
	if not join or not join.resyncing or not link.nicks[nick] then return presence; end
	local is_asking = nick == join.resyncing.nick;
	local sent = link.sent + (who == "link" and 1 or 0);
	generation1.add_mark(presence, { real_jid = link.nicks[nick]; sent = is_asking and sent;
		is_complete = is_asking and join.resyncing.is_complete });
	return presence;
end

local function is_kick(presence)
	local x = presence.attr.type == "unavailable" and presence:get_child("x", xmlns_muc_user);
	for status in (x or st.stanza("x")):childtags("status") do
		if status.attr.code == "307" then return true; end
	end
	return false;
end

local function route_presence(room, link, stanza)
	local state, to = room.fmuc, stanza.attr.to;
	local public, join = state.publicising[coroutine.running()], links.join_of(link, to);
	local who;
	if public then who = audience.of_change(public, link, join, to); else who = audience.of_list(room, join, stanza); end
	if not who then return; end
	local subject = jid_resource(stanza.attr.from);
	local is_own = link.nicks[subject] == to;
	local presence = who == "link" and presence_for_link(room, stanza) or st.clone(stanza);
	if is_own and is_kick(presence) then kicked.add(room, link.peer, presence_for_link(room, stanza)); end
	presence = mark_own_user(link, join, presence, who);
	if who == "user" then
		-- a user who has left is not in the room any more
		local occupant_jid = is_own and stanza.attr.from or room:get_occupant_jid(to);
		if occupant_jid then send_to_user(room, link, jid_resource(occupant_jid), presence); end
		return;
	end
	send_to_link(room, link.peer, presence, join ~= nil);
end

linked.on_stanza("generation1", function (room, link, stanza)
	local join = links.join_of(link, stanza.attr.to);
	if join and join.is_over then
		return;
	elseif stanza.name == "presence" then
		route_presence(room, link, stanza);
	elseif stanza.attr.type ~= "groupchat" or not join then
		local occupant_jid = room:get_occupant_jid(stanza.attr.to);
		if occupant_jid then send_to_user(room, link, jid_resource(occupant_jid), stanza); end
	elseif join.dumping then -- history and subject
		send_to_link(room, link.peer, stanza);
	end
end);

-- handle_stray(event): handles a stanza on its way out. A module may send to an occupant's real JID past the room. In 13.0 mod_muc sends
-- the room's picture that way, at each join. For a mirrored user that would bypass the mirror, and the client does not know this room.
function links.handle_stray(event)
	local stanza = event.stanza;
	if stanza.name ~= "presence" or stanza.attr.type ~= nil or jid_resource(stanza.attr.from) then return; end
	local room = muc.get_room_from_jid(stanza.attr.from);
	local link = room and room.fmuc and room.fmuc.link_of[stanza.attr.to];
	if not link then return; end
	if link.dialect ~= "generation1" then return true; end -- a node has its own picture of the room
	local join = links.join_of(link, stanza.attr.to);
	if join and join.dumping then links.send(room, link, stanza); end -- for other joins the mirror has it
	return true;
end

-- A mirror may read the archive of a room that it is in, even if the room is members-only (G8)
function methods.get_affiliation(room, jid)
	return stock(room).get_affiliation(room, jid) or room.fmuc.links[jid] and "member" or nil;
end

local function says_that_jids_are_public(stanza)
	local x = stanza:get_child("x", xmlns_muc_user);
	for status in (x or st.stanza("x")):childtags("status") do
		if status.attr.code == "172" then return true; end
	end
	return false;
end

-- Seconds. Each mirror gets a presence of each occupant, and an owner may change the rule again and again.
local real_jids_pace = 10;

-- A user who joins a room after it became non-anonymous sees all real JIDs. So the mirrors must know them.
local function send_real_jids(room)
	room.fmuc.told_real_jids = now();
	for _, occupant in room:each_occupant() do
		if room:get_presence_broadcast()[occupant.role] then
			local x = st.stanza("x", { xmlns = xmlns_muc_user });
			local presence = st.clone(occupant:get_presence());
			room:build_item_list(occupant, x, false);
			presence:add_child(x);
			module:fire_event("muc-build-occupant-presence", { room = room; occupant = occupant; stanza = presence });
			for link_jid in pairs(room.fmuc.links) do send_to_link(room, link_jid, presence); end
		end
	end
end

-- At once, or after the pace when that has just been done
local function tell_real_jids(room)
	local state = room.fmuc;
	local pause = (state.told_real_jids or -real_jids_pace) + real_jids_pace - now();
	if pause <= 0 then return send_real_jids(room); end
	if state.will_tell_real_jids then return; end
	state.will_tell_real_jids = true;
	module:add_timer(pause, function ()
		state.will_tell_real_jids = nil;
		local current = links.current(room);
		if current and current.fmuc and current:get_whois() == "anyone" then send_real_jids(current); end
	end);
end

function methods.broadcast(room, stanza, condition)
	if not condition and stanza.attr.type == "groupchat" then journal.add(room.jid, stanza); end
	delivery.broadcast(room, stanza, condition);
	if stanza.attr.from == room.jid and says_that_jids_are_public(stanza) then tell_real_jids(room); end
end

-- room.fmuc.publicising[coroutine] = { nick, own (set of the occupant's own links), sent (set of links that have their copy), recipient (it
-- is for one occupant only), seen_by (see master/audience) }. mod_muc builds and routes the presences in one step, and cannot pass our data
-- on. So the data lies under the coroutine.
function methods.publicise_occupant_status(room, occupant, x, nick, actor, reason, prev_role, force_unavailable, recipient)
	local state, thread = room.fmuc, coroutine.running();
	local own = {}; -- several, if the user came through several mirrors
	for jid, presence in occupant:each_session() do
		local link = linked.link_of(room, jid, "generation1");
		-- If a session leaves and its user has others in the nick, its link sees the nick as others do
		if link and (occupant.role == nil or presence.attr.type == nil) then own[link] = true; end
	end
	local former = state.publicising[thread];
	state.publicising[thread] = { nick = jid_resource(occupant.nick); own = own; sent = {}; recipient = recipient;
		seen_by = audience.seen_by(room, occupant, prev_role, force_unavailable) };
	local ok, err = xpcall(stock(room).publicise_occupant_status, debug.traceback, room, occupant, x, nick, actor, reason, prev_role,
		force_unavailable, recipient);
	state.publicising[thread] = former;
	if not ok then error(err, 0); end
end

-- revive(room): connects a room that comes back from storage with its mirrored users. That happens after a restart, or when mod_muc had put
-- the room aside
function links.revive(room)
	stored_data.check(room);
	local saved = room._data.fmuc_links;
	room._data.fmuc_links = nil;
	for link_jid, nicks in pairs(saved or {}) do
		for nick, real_jid in pairs(nicks) do
			if room:get_occupant_jid(real_jid) == room.jid .. "/" .. nick then links.add_user(room, link_jid, nick, real_jid); end
		end
	end
	if not room.fmuc then return; end
	for _, link in pairs(room.fmuc.links) do link:fire("dumped"); end -- nobody waits for a dump any more
	for _, occupant in room:each_occupant() do room:save_occupant(occupant); end -- puts the occupants behind their links
end

-- end_all(room): removes the users of all mirrors from the room, which is not mirrored any more
function links.end_all(room)
	for _, link in pairs(room.fmuc.links) do
		for nick in pairs(link.nicks) do room:set_role(true, room.jid .. "/" .. nick, nil, "Mirroring of this room has ended"); end
	end
	room._data.fmuc_kicked = nil;
end

return links;
