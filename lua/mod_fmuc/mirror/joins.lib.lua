-- SPDX-License-Identifier: MIT
-- Joins of local users. A user enters a mirrored room when the master has answered the join (F3, M5, M8). Not every presence for a nick answers the
-- join that waits for that nick. Another user may have the nick at the master.
--
-- A master of this module returns the id of the join with its answer. XEP-0045 does not require that, so other masters may not. A mirror that opens
-- a room does not know whether the master does. Until the first answer shows it, the mirror sends one join at a time. Before the mirror has a user
-- in the room, the master sends presences only after it has accepted that join. Later, if the master returns no ids, the mirror sends a ping after
-- each join, since servers answer in order. A presence for the nick that comes before the pong, without an error, is the answer to the join. A
-- queue alone is not enough: another user may take the nick just before the join arrives.
--
-- state.waiting[occupant JID] = record of a user's join:
--   room_jid, user (bare JID), id (of the presence to the master), since (time), sent, password
--   order      JIDs of the user's sessions, in order of arrival
--   joins      JID of a session -> its join presence
--   repeated   JID of a session -> its second join, which came when the first had been sent; it counts after the answer to the first
--   updates    JID of a session -> its new presence meanwhile
--   held       stanzas that the master has sent to this user alone meanwhile
--   fence      id of the ping
--   candidate  a presence that may be the answer, see mirror/from_master
--   accepted, accepted_at
--   entered    set of the sessions that have entered, until all have; handlers of other modules may wait meanwhile
--   removed    the presence by which the master removed the user during that time

local async = require "util.async";
local jid_resource = require "util.jid".resource;
local pending = require "prosody_relay.pending";
local new_id = require "util.id".short;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local limits = lib "link/limits";
local again = lib "link/again";
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

-- Stanzas of the master to one user alone, before the user is in the room
local max_held = 50;

local joins = {};

-- Joins that the master has not answered, with their deadlines. Key: occupant JID
local timers;

-- new_record(room_jid, user) -> record of a join without any session. user: bare JID
function joins.new_record(room_jid, user)
	return { room_jid = room_jid; user = user; id = generation1.new_join_id(); since = now(); order = {}; joins = {} };
end

-- add_session(record, user, join): another session of the user joins, or the same session again
function joins.add_session(record, user, join)
	local repeated = record.repeated or {};
	if record.joins[user] and (record.sent or repeated[user]) and not record.entered then
		if repeated[user] then refusal.join(repeated[user], "earlier-presences"); end
		repeated[user], record.repeated = st.clone(join), repeated;
		return;
	end
	joins.remove_session(record, user);
	record.order[#record.order + 1] = user;
	if record.entered then record.entered[user] = nil; end
	record.joins[user] = st.clone(join);
end

-- remove_session(record, user): the session does not want to join any more
function joins.remove_session(record, user)
	record.joins[user] = nil;
	if record.repeated then record.repeated[user] = nil; end
	for i, other in ipairs(record.order) do
		if other == user then return table.remove(record.order, i); end
	end
end

-- all_of(record) -> list of the join presences that have no answer yet
function joins.all_of(record)
	local list = {};
	for _, join in pairs(record.joins) do list[#list + 1] = join; end
	for _, join in pairs(record.repeated or {}) do list[#list + 1] = join; end
	return list;
end

-- repeat_joins(record): the first joins have their answer, and the second ones come now
function joins.repeat_joins(record)
	for _, join in pairs(record.repeated or {}) do again.pass("presence/full", join); end
end

-- wait(room, occupant_jid, record): waits for the master's answer, until the deadline
function joins.wait(room, occupant_jid, record)
	visits.wait(record, record.user);
	room.fmuc.waiting[occupant_jid] = record;
	timers:add(occupant_jid, record, join_timeout);
end

-- stop_waiting(occupant_jid): removes the deadline of the user's join
function joins.stop_waiting(occupant_jid)
	local record = timers:remove(occupant_jid);
	if record then visits.stop(record); end
end

-- take(room, occupant_jid, [is_refused]): a join has ended. room: nil when an admin has destroyed it; is_refused: the user does not enter
function joins.take(room, occupant_jid, is_refused)
	joins.stop_waiting(occupant_jid);
	if not room then return; end
	room.fmuc.waiting[occupant_jid] = nil;
	if not is_refused then return; end
	changes.refused(room, occupant_jid);
	ids.join_refused(room);
end

-- waiting_for(occupant_jid) -> record of the join with this nick that has not ended, answered by the master or not; or nil
function joins.waiting_for(occupant_jid)
	local room = mirrored.get(occupant_jid:match("^[^/]*"));
	return timers:get(occupant_jid) or room and room.fmuc.waiting[occupant_jid];
end

-- put_off(record, stanza) -> whether this is a new presence of a session that waits. It is used when the session is in the room
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

-- The joins that wait for the next step (is_next(record)), in order of arrival. These are few of the many that wait.
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

-- send_joins(room): sends the waiting joins that may go to the master now
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

-- begin_again(record): ignores the master's answer to this join, which is sent again
function joins.begin_again(record)
	record.accepted, record.accepted_at, record.sent, record.candidate = nil, nil, nil, nil;
	record.id = generation1.new_join_id();
end

-- doubt_all(room): the joins that were sent may be lost
function joins.doubt_all(room)
	for _, record in pairs(room.fmuc.waiting) do record.sent = nil; end
end

-- sent(record, password): the join was sent to the master
function joins.sent(record, password)
	record.sent, record.sent_at, record.password = true, now(), password;
end

-- fence(room, record): sends a ping after the join, if the answer may be unclear
function joins.fence(room, record)
	record.fence, record.candidate = nil, nil;
	local state = room.fmuc;
	-- for the master, a restarted mirror may still be in the room
	local is_new = state.authority.state == "joining" and not joins.is_repeated(room) and not restart.is_known(room.jid);
	if state.reflects_ids or is_new then return; end
	record.fence = fence_prefix .. new_id();
	module:send(st.iq({ type = "get"; id = record.fence; from = room.jid; to = state.authority.peer }):tag("ping", { xmlns = xmlns_ping }));
end

-- repeat_all(room): all waiting users join again, although the master may think that this mirror has everything
function joins.repeat_all(room)
	room.fmuc.authority:own("joins").is_repeated = true;
end

-- is_repeated(room) -> whether repeat_all() was called
function joins.is_repeated(room)
	return room.fmuc.authority:own("joins").is_repeated == true;
end

-- learn(event): the master has described the room. A master of this module returns ids
function joins.learn(event)
	if not event.info.features[generation1.xmlns_private] then return; end
	event.room.fmuc.reflects_ids = true;
	joins.send_joins(event.room);
end

-- answers(room, record, id) -> whether an available presence with this id, for the nick of the join, answers the join; nil: perhaps
function joins.answers(room, record, id)
	local state = room.fmuc;
	if generation1.is_join_id(id) and not state.reflects_ids then
		state.reflects_ids = true;
		joins.send_joins(room);
	end
	if not record or not record.sent or record.accepted then return false; end
	if id == record.id then return true; end
	if state.reflects_ids or id ~= nil then return false; end -- another user's
	if record.fence then return nil; end
	return state.authority.state == "joining";
end

-- is_pong(id) -> whether a ping of fence() had this id
function joins.is_pong(id)
	return id:sub(1, #fence_prefix) == fence_prefix;
end

-- take_fenced(room, id) -> occupant JID and record of the join after which this ping was sent; or nil
function joins.take_fenced(room, id)
	for occupant_jid, record in pairs(room and room.fmuc.waiting or {}) do
		if record.fence == id then
			record.fence = nil;
			return occupant_jid, record;
		end
	end
end

-- tell(room, occupant_jid, copy): a stanza that the master has sent to this user alone, as the user gets it (M8, G27). A user who has not entered
-- yet gets it on entering
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

-- Lets in one session of an accepted user. The presence is the master's version; the history limits are the user's.
local function let_session_in(room, occupant_jid, record, user)
	local join = record.joins[user];
	local stanza = hygiene.copy("presence to let in", room.fmuc.copies[occupant_jid]);
	stanza:add_child(join:get_child("x", xmlns_muc));
	stanza.attr.from, stanza.attr.to, stanza.attr.id = join.attr.from, occupant_jid, join.attr.id;
	for _, held in ipairs(record.held or {}) do
		if held.name == "presence" then deliver(room, held, user); end
	end
	room:handle_normal_presence(setmetatable({ fmuc_record = record }, { __index = again.origin }), stanza);
	if room:get_occupant_jid(user) ~= occupant_jid then return; end
	if not record.joins[user] then -- left while a handler waited
		return room:handle_normal_presence(again.origin, st.presence({ type = "unavailable"; from = user; to = occupant_jid }));
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

-- handle_pre_join(event): after all handlers of other modules, which may have waited long
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
	changes.accepted(room, occupant_jid, record.password); -- the right one (G22)
	if record.removed then mirrored.remove_occupant(room, occupant_jid, record.removed); end
	if mirrored.is_local(room, occupant_jid) then
		changes.settle(room, occupant_jid);
		for user, update in pairs(record.updates or {}) do
			if room:get_occupant_jid(user) == occupant_jid then changes.update(room, update); end
		end
	elseif state.copies[occupant_jid] then -- another module has refused the user
		mirrored.forget(room, occupant_jid);
		changes.refused(room, occupant_jid);
		changes.part(room.jid, jid_resource(occupant_jid));
	end
	joins.repeat_joins(record);
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

-- accept(room, record): the master has accepted the join
function joins.accept(room, record)
	record.accepted, record.accepted_at = true, record.accepted_at or now();
	if room.fmuc.authority.state ~= "joining" then return admit_in_a_coroutine(room); end
end

-- handle_synced(event): the master has sent everything that a joining room gets
function joins.handle_synced(event)
	local room = mirrored.get(event.room_jid);
	if room.fmuc.reflects_ids == nil then room.fmuc.reflects_ids = false; end
	joins.send_joins(room);
	admit_in_a_coroutine(room);
end

-- end_room(room, destroy): the room was destroyed. Users get the <destroy/> element (G17)
function joins.end_room(room, destroy)
	room_info.forget(room.jid);
	for occupant_jid, record in pairs(room.fmuc.waiting) do
		joins.take(room, occupant_jid, true);
		for _, join in ipairs(joins.all_of(record)) do refusal.pass_on(join, unavailable.gone(destroy)); end
	end
	mirrored.evict_all(room, nil, destroy);
	mirrored.forget_if_unused(room.jid);
end

limits.count_with(function (add)
	for _, state in mirrored.each() do
		for _, record in pairs(state.waiting) do add(state.authority.peer, record.held and record.held.bytes or 0); end
	end
end);

-- start(on_timeout, saved): on_timeout(occupant_jid, record) is called when the master has not answered in time. saved: what save() of an earlier
-- instance returned, or nil
function joins.start(on_timeout, saved)
	timers = pending.new(module, on_timeout, saved);
end

-- save() -> the joins that the master has not answered, for the next instance
function joins.save()
	return timers:save();
end

return joins;
