-- SPDX-License-Identifier: MIT
-- Who is let into a mirrored room: whose join the master has answered (F3, M5, M8). Not every presence for a nick is the answer to the join
-- that waits for that nick: somebody else may have the nick at the master.
--
-- A master returns the id of the join with its answer; this module does. XEP-0045 does not ask for that, so other masters may not. It is
-- not known of a room that is opened whether its master does. Until the first answer shows it, one join is out at a time: before the mirror
-- has a user in the room, the master sends presences only when it has accepted that one. Later, with a master that returns no ids, each
-- join is followed by a ping: a server answers in order. A presence for the nick that comes before the answer to the ping, without an
-- error, is the answer to the join. A queue alone would not do: somebody else may take the nick just before the join arrives.
--
-- state.waiting[occupant JID] = record of a user's join:
--   room_jid, user (bare JID), id (of the presence to the master), since (time), sent, password
--   order      JIDs of the user's sessions, as they came
--   joins      JID of a session -> its join presence
--   updates    JID of a session -> its new presence meanwhile
--   held       what the master has said to that user alone meanwhile
--   fence      id of the ping
--   candidate  a presence that may be the answer, see mirror/from_master
--   accepted, accepted_at
--   entered    set of the sessions that were let in, while others are: handlers of other modules may wait meanwhile
--   removed    the presence by which the master took the user away at that time

local async = require "util.async";
local jid_resource = require "util.jid".resource;
local pending = require "prosody_relay.pending";
local new_id = require "util.id".short;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local limits = lib "link/limits";
local generation1 = lib "dialect/generation1";
local hygiene = lib "link/hygiene";
local changes = lib "mirror/changes";
local ids = lib "mirror/ids";
local mirrored = lib "mirror/room";
local refusal = lib "mirror/refusal";
local restart = lib "mirror/restart";
local room_info = lib "mirror/room_info";
local unavailable = lib "mirror/unavailable";
local visits = lib "mirror/visits";
local join_timeout = lib "settings".join_timeout;

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_ping = "urn:xmpp:ping";

local fence_prefix = "fmuc-fence-";

-- What the master says to a user alone before the user is in the room
local max_held = 50;

local joins = {};

-- Joins that the master has not answered, until it is too late. Key: occupant JID
local timers;

-- new_record(room_jid, user) -> record of a user's (bare JID) join without any session
function joins.new_record(room_jid, user)
	return { room_jid = room_jid; user = user; id = generation1.new_join_id(); since = now(); order = {}; joins = {} };
end

-- add_session(record, user, join): another session of the user wants to be let in, or the same again
function joins.add_session(record, user, join)
	joins.remove_session(record, user);
	record.order[#record.order + 1] = user;
	if record.entered then record.entered[user] = nil; end
	record.joins[user] = st.clone(join);
end

-- remove_session(record, user): that session does not want to be let in any more
function joins.remove_session(record, user)
	record.joins[user] = nil;
	for i, other in ipairs(record.order) do
		if other == user then return table.remove(record.order, i); end
	end
end

-- wait(room, occupant_jid, record): for the master's answer, or until it is too late
function joins.wait(room, occupant_jid, record)
	visits.wait(record, record.user);
	room.fmuc.waiting[occupant_jid] = record;
	timers:add(occupant_jid, record, join_timeout);
end

-- stop_waiting(occupant_jid): the join of that user has no deadline any more
function joins.stop_waiting(occupant_jid)
	local record = timers:remove(occupant_jid);
	if record then visits.stop(record); end
end

-- take(room, occupant_jid, [is_refused]): a join is over. room: nil when an admin has destroyed it; is_refused: the user does not come in
function joins.take(room, occupant_jid, is_refused)
	joins.stop_waiting(occupant_jid);
	if not room then return; end
	room.fmuc.waiting[occupant_jid] = nil;
	if not is_refused then return; end
	changes.refused(room, occupant_jid);
	ids.join_refused(room);
end

-- waiting_for(occupant_jid) -> the record of a join with that nick, whether the master has answered it or not; or nil
function joins.waiting_for(occupant_jid)
	local room = mirrored.get(occupant_jid:match("^[^/]*"));
	return timers:get(occupant_jid) or room and room.fmuc.waiting[occupant_jid];
end

-- put_off(record, stanza) -> whether that is a new presence of a session which waits; it counts when the session is in the room
function joins.put_off(record, stanza)
	local user = stanza.attr.from;
	if not record or not record.joins[user] then return false; end
	record.updates = record.updates or {};
	record.updates[user] = limits.trimmed(st.clone(stanza));
	return true;
end

-- first_session(record) -> JID and join presence of the session whose join goes to the master
function joins.first_session(record)
	return record.order[1], record.joins[record.order[1]];
end

-- Those of the joins that wait for the next step (is_next(record)), in the order in which they came. Few do at a time, of many that wait.
local function in_order(waiting, is_next)
	local list = {};
	for occupant_jid, record in pairs(waiting) do
		if is_next(record) then list[#list + 1] = { occupant_jid, record }; end
	end
	table.sort(list, function (a, b) return a[2].since < b[2].since; end);
	return list;
end

local function is_sent(record) return record.sent; end
local function is_unsent(record) return not record.sent; end
local function is_to_enter(record) return record.accepted and not record.entered; end

-- send_joins(room): sends to the master what may go now of the joins that wait
function joins.send_joins(room)
	local state = room.fmuc;
	if state.authority:is_out() then return; end -- mirror/resync sends them
	local one_at_a_time = not state.reflects_ids and state.authority.state == "joining";
	if one_at_a_time and in_order(state.waiting, is_sent)[1] then return; end
	for _, entry in ipairs(in_order(state.waiting, is_unsent)) do
		-- an answer may come before the next is sent
		if not entry[2].sent then module:fire_event("fmuc-join-due", { room = room; record = entry[2] }); end
		if one_at_a_time then return; end
	end
end

-- begin_again(record): what the master has said to that join does not count; it is sent once more
function joins.begin_again(record)
	record.accepted, record.accepted_at, record.sent, record.candidate = nil, nil, nil, nil;
	record.id = generation1.new_join_id();
end

-- doubt_all(room): those that were sent may have been lost
function joins.doubt_all(room)
	for _, record in pairs(room.fmuc.waiting) do record.sent = nil; end
end

-- sent(record): the join has left for the master
function joins.sent(record, password)
	record.sent, record.sent_at, record.password = true, now(), password;
end

-- fence(room, record): after the join has been sent
function joins.fence(room, record)
	record.fence, record.candidate = nil, nil;
	local state = room.fmuc;
	-- a mirror that was restarted may be in the room already, as the master knows
	local is_new = state.authority.state == "joining" and not joins.is_repeated(room) and not restart.is_known(room.jid);
	if state.reflects_ids or is_new then return; end
	record.fence = fence_prefix .. new_id();
	module:send(st.iq({ type = "get"; id = record.fence; from = room.jid; to = state.authority.peer }):tag("ping", { xmlns = xmlns_ping }));
end

-- repeat_all(room): everybody who waits joins once more, though the master may think that it has told this mirror everything
function joins.repeat_all(room)
	room.fmuc.authority:own("joins").is_repeated = true;
end

-- is_repeated(room) -> whether repeat_all() was called
function joins.is_repeated(room)
	return room.fmuc.authority:own("joins").is_repeated == true;
end

-- learn(event): the master of a room is one of this module, which returns ids
function joins.learn(event)
	if not event.info.features[generation1.xmlns_private] then return; end
	event.room.fmuc.reflects_ids = true;
	joins.send_joins(event.room);
end

-- answers(room, record, id) -> whether an available presence with that id, for the nick of that join, is the answer to it; nil: maybe
function joins.answers(room, record, id)
	local state = room.fmuc;
	if generation1.is_join_id(id) and not state.reflects_ids then
		state.reflects_ids = true;
		joins.send_joins(room);
	end
	if not record or not record.sent or record.accepted then return false; end
	if id == record.id then return true; end
	if state.reflects_ids or id ~= nil then return false; end -- somebody else's
	if record.fence then return nil; end
	return state.authority.state == "joining";
end

-- is_pong(id) -> whether that is the id of a ping of fence()
function joins.is_pong(id)
	return id:sub(1, #fence_prefix) == fence_prefix;
end

-- take_fenced(room, id) -> occupant JID and record of the join after which that ping was sent; or nil
function joins.take_fenced(room, id)
	for occupant_jid, record in pairs(room and room.fmuc.waiting or {}) do
		if record.fence == id then
			record.fence = nil;
			return occupant_jid, record;
		end
	end
end

-- tell(room, occupant_jid, copy): what the master has to say to that user alone, as the user gets it (M8, G27); one who has not been let in
-- yet gets it then
function joins.tell(room, occupant_jid, copy)
	local record = room.fmuc.waiting[occupant_jid];
	if record then
		record.held = record.held or {};
		if #record.held < max_held and limits.has_room_for(record.held, copy, room.fmuc.authority.peer) then table.insert(record.held, copy); end
	end
	if mirrored.is_local(room, occupant_jid) then room:route_to_occupant(room:get_occupant_by_nick(occupant_jid), copy); end
end

local function deliver(room, stanza, user)
	stanza.attr.to = user;
	room:route_stanza(stanza);
end

local origin = { type = "component"; host = module.host; send = function (reply) return module:send(reply); end };

-- One session of an accepted user. What the master made of the presence counts; the history limits are the user's.
local function let_session_in(room, occupant_jid, record, user)
	local join = record.joins[user];
	local stanza = hygiene.copy("presence to let in", room.fmuc.copies[occupant_jid]);
	stanza:add_child(join:get_child("x", xmlns_muc));
	stanza.attr.from, stanza.attr.to, stanza.attr.id = join.attr.from, occupant_jid, join.attr.id;
	for _, held in ipairs(record.held or {}) do
		if held.name == "presence" then deliver(room, held, user); end
	end
	room:handle_normal_presence(setmetatable({ fmuc_record = record }, { __index = origin }), stanza);
	if room:get_occupant_jid(user) ~= occupant_jid then return; end
	if not record.joins[user] then -- has gone while a handler waited
		return room:handle_normal_presence(origin, st.presence({ type = "unavailable"; from = user; to = occupant_jid }));
	end
	changes.joined(room, occupant_jid, join);
	for _, held in ipairs(record.held or {}) do
		if held.name == "message" then deliver(room, held, user); end
	end
end

local function next_session(record)
	for _, user in ipairs(record.order) do
		if not record.entered[user] then return user; end
	end
end

-- More sessions may come while others enter
local function let_in(room, occupant_jid, record)
	local user = next_session(record);
	while user and room.fmuc and room.fmuc.waiting[occupant_jid] == record do
		record.entered[user] = true;
		let_session_in(room, occupant_jid, record, user);
		user = next_session(record);
	end
end

-- handle_pre_join(event): after all handlers of other modules, which may have waited for long
function joins.handle_pre_join(event)
	local room, stanza, record = event.room, event.stanza, event.origin.fmuc_record;
	if not record then return; end
	local state = mirrored.get(room.jid) == room and room.fmuc;
	if not state or state.waiting[stanza.attr.to] ~= record or not record.joins[stanza.attr.from] then return true; end
end

local function settle(room, occupant_jid, record)
	local state = room.fmuc;
	if not state or state.waiting[occupant_jid] ~= record then return; end -- the room has ended, or the user was refused
	state.waiting[occupant_jid] = nil;
	changes.accepted(room, occupant_jid, record.password); -- which was the right one (G22)
	if record.removed then mirrored.remove_occupant(room, occupant_jid, record.removed); end
	if mirrored.is_local(room, occupant_jid) then
		changes.settle(room, occupant_jid);
		for user, update in pairs(record.updates or {}) do
			if room:get_occupant_jid(user) == occupant_jid then changes.update(room, update); end
		end
	elseif state.copies[occupant_jid] then -- another module here kept the user out
		mirrored.forget(room, occupant_jid);
		changes.refused(room, occupant_jid);
		changes.part(room.jid, jid_resource(occupant_jid));
	end
end

-- Lets the accepted joins in, in the order of XEP-0045
local function admit(room)
	for _, entry in ipairs(in_order(room.fmuc.waiting, is_to_enter)) do
		local occupant_jid, record = entry[1], entry[2];
		if is_to_enter(record) and room.fmuc and room.fmuc.waiting[occupant_jid] == record then
			record.entered = {};
			joins.stop_waiting(occupant_jid);
			mirrored.make_way(room, occupant_jid);
			local ok, err = xpcall(let_in, debug.traceback, room, occupant_jid, record);
			settle(room, occupant_jid, record);
			if not ok then error(err, 0); end
		end
	end
	mirrored.forget_if_unused(room.jid);
end

-- Timers have no coroutine in which a handler could wait
local function admit_in_a_coroutine(room)
	local _, is_main = coroutine.running();
	if is_main then async.runner(admit):run(room); else admit(room); end
end

-- accept(room, record): the master has let that user in
function joins.accept(room, record)
	record.accepted, record.accepted_at = true, record.accepted_at or now();
	if room.fmuc.authority.state ~= "joining" then return admit_in_a_coroutine(room); end
end

-- handle_synced(event): what a joining room is sent is here
function joins.handle_synced(event)
	local room = mirrored.get(event.room_jid);
	if room.fmuc.reflects_ids == nil then room.fmuc.reflects_ids = false; end
	joins.send_joins(room);
	admit_in_a_coroutine(room);
end

-- end_room(room, destroy): the room has been destroyed; users are told with that element (G17)
function joins.end_room(room, destroy)
	room_info.forget(room.jid);
	for occupant_jid, record in pairs(room.fmuc.waiting) do
		joins.take(room, occupant_jid, true);
		for _, join in pairs(record.joins) do refusal.pass_on(join, unavailable.gone(destroy)); end
	end
	mirrored.evict_all(room, nil, destroy);
	mirrored.forget_if_unused(room.jid);
end

limits.count_with(function (add)
	for _, state in mirrored.each() do
		for _, record in pairs(state.waiting) do add(state.authority.peer, record.held and record.held.bytes or 0); end
	end
end);

-- start(on_timeout, saved): on_timeout(occupant_jid, record) is called when the master has not answered; saved: of save() of an earlier
-- instance, or nil
function joins.start(on_timeout, saved)
	timers = pending.new(module, on_timeout, saved);
end

-- save() -> the joins that the master has not answered, for the next instance
function joins.save()
	return timers:save();
end

return joins;
