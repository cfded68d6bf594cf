-- SPDX-License-Identifier: MIT
-- A mirrored room whose master cannot be reached (G1, G5, G7): how that is noticed, what holds meanwhile, and how it ends. What follows
-- when the master is there again: mirror/resync.
--
-- room.fmuc.line, in plain data so that it outlives a reload; times are monotonic:
--   phase      "live"; "lost": nothing goes out, what comes in is held; "joining": a resync is under way; "rejoining": the room is up to
--              date, its users are brought back to the master one after the other
--   heard      when a stanza of the master last came; sent, received: how many crossed, since the beginning or the last resync
--   asked      the question the master has not answered: kind, id, at, and what the kind needs
--   lost_at, gap   when the outage began, and when the master had last been heard of then
--   held       stanzas of the master that came in phase "lost"
--   presences  occupant JID -> presence of a local user as the master gets it: that of the user's first session
--   others     JID of another session of a local user -> its presence, as the master would get it
--   known_as   occupant JID -> JID of the session that the master knows the user by
--   passwords  occupant JID -> the password that the master accepted
--   parted, changed   sets of the nicks that left, and of the occupant JIDs with another presence, which the master has to be told
--   unconfirmed   occupant JID -> how many new presences of a local user were sent that have not come back
--   expired    the grace period is over, and users carry on alone
--   refused    the last question after a silence was answered with not-acceptable
--   is_stale   the room may have changed without a word
--   is_repeated   the master may think that it has told this mirror everything already

local compat = require "prosody_relay.compat";
local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local bounds = lib "link/limits";
local settings = lib "settings";
local paced = lib "link/log".paced;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local grace_period, policy = settings.grace_period, settings.outage_policy;
-- a question, or a message that should come back, that is followed by silence for so long has met an outage
local answer_timeout = settings.join_timeout;
-- A master that has been silent for so long is asked whether it is there, and the mirror still in the room
local silence = 5 * grace_period;
-- for the answer to a question that may have been lost with a connection
local doubtful_timeout = math.min(answer_timeout, 8);
-- within the grace period the master is asked often enough, the last time shortly before its end
local max_backoff = math.min(60, grace_period / 4);
-- more than that is left to the resync
local max_held = 300;

local parts; -- mirrored, outbox, resync, from_master, messages

local outage = { grace_period = grace_period };

-- new_line() -> state of the way to the master of a room that is opened
function outage.new_line()
	return { phase = "live"; heard = now(); sent = 0; received = 0; presences = {}; others = {}; known_as = {}; passwords = {};
		parted = {}; changed = {}; unconfirmed = {} };
end

-- is_out(room) -> whether what local users send has to wait
function outage.is_out(room)
	return room.fmuc.line.phase ~= "live";
end

-- is_autonomous(room) -> whether local users carry on alone
function outage.is_autonomous(room)
	return room.fmuc.line.expired == true;
end

-- heard(room, stanza): of the master, not an error of this server in its name
function outage.heard(room, stanza)
	local line = room.fmuc.line;
	line.heard = now();
	-- as the master counts: what is for the whole mirror
	if stanza.attr.to == room.jid and stanza.name ~= "iq" and stanza.attr.type ~= "error" then line.received = line.received + 1; end
end

local function try(room)
	local line = room.fmuc.line;
	if line.must_join or line.counts == false then
		parts.resync.begin(room);
	else
		parts.probe.ping(room, "probe");
	end
end

-- retry(room): the attempt has failed; another one later
function outage.retry(room)
	local line = room.fmuc.line;
	line.held = line.resync and line.resync.messages or line.held or {};
	line.lost_at, line.gap = line.lost_at or now(), line.gap or line.heard; -- the outage was over, had all gone well
	line.phase, line.asked, line.resync = "lost", nil, nil;
	line.attempts = (line.attempts or 0) + 1;
	line.retried_at = now();
	line.next_try = line.retried_at + math.min(2 ^ line.attempts, max_backoff);
end

-- lost(room, why, [must_join]): something between here and the master is wrong. must_join: stanzas are missing for certain
function outage.lost(room, why, must_join)
	local state = room.fmuc;
	local line = state.line;
	if not state.synced or state.recipients:count() == 0 then return; end -- nobody here has anything to lose
	line.must_join = line.must_join or must_join;
	if must_join and line.phase == "joining" and line.asked and line.asked.kind == "join" then return; end -- which is on its way
	if line.phase == "lost" then
		if line.asked then line.asked.in_doubt_since = line.asked.in_doubt_since or now(); end -- it may have met the same fate
		return;
	end
	paced("lost\0" .. room.jid, "info", "%s and its master may be cut off from each other: %s", room.jid, why);
	-- one that was under way has met the next outage
	if line.phase ~= "live" then
		if line.heard > (line.retried_at or 0) then line.attempts = 0; end -- the master is there
		return outage.retry(room);
	end
	line.lost_at, line.gap = line.lost_at or now(), line.gap or line.heard;
	line.phase, line.asked, line.attempts, line.next_try, line.held = "lost", nil, 0, nil, {};
	for _, record in pairs(state.waiting) do record.sent = nil; end
	try(room);
end

-- undelivered(room, condition): a stanza for the master has not been delivered, or nobody knows. In phase "lost" that is no news: the open
-- question, which was asked since, has its own answer.
function outage.undelivered(room, condition)
	if room.fmuc.line.phase ~= "lost" then outage.lost(room, condition); end
end

-- hold(room, stanza): of the master, in phase "lost"
function outage.hold(room, stanza)
	local line = room.fmuc.line;
	if #line.held < max_held and bounds.has_room_for(line.held, stanza, room.fmuc.master) then
		table.insert(line.held, st.clone(stanza));
	else
		line.must_join = true;
	end
end

-- left(room, nick): a local user, as the master is to be told
function outage.left(room, nick)
	local line = room.fmuc.line;
	if line.parted[nick] or bounds.has_place(line, line.parted) then
		line.parted[nick] = true;
	else
		line.must_join = true; -- the master says then who of this mirror it has
	end
end

-- hear_again(room, stanzas): treats stanzas that were held as if they came now; they have been counted
function outage.hear_again(room, stanzas)
	for _, stanza in ipairs(stanzas or {}) do
		local handler = stanza.name == "presence" and parts.from_master.handle_held or parts.messages.handle_held;
		handler(room, stanza);
	end
end

-- abandon(room): its last user leaves; what waits for the master is sent, or returned as undeliverable
function outage.abandon(room)
	local line = room.fmuc.line;
	parts.outbox.settle(room.jid);
	if line.phase == "live" then return; end
	line.phase = "live";
	parts.outbox.flush(room.jid);
	for nick in pairs(line.parted) do parts.send_part(room.jid, nick); end
end

-- over(room): the room is as at the master
function outage.over(room)
	local line = room.fmuc.line;
	paced("over\0" .. room.jid, "info", "%s is in step with its master again", room.jid);
	module:fire_event("fmuc-resync");
	line.phase, line.asked, line.must_join, line.attempts = "rejoining", nil, nil, 0;
	line.lost_at, line.gap, line.expired, line.resync = nil, nil, nil, nil;
	local held = line.held;
	line.held = nil;
	outage.hear_again(room, held);
end

local function leave_occupants(room, code)
	for occupant_jid, copy in pairs(room.fmuc.copies) do
		if not parts.mirrored.is_local(room, occupant_jid) then
			local x = st.stanza("x", { xmlns = xmlns_muc_user })
				:tag("item", { affiliation = copy:find("{" .. xmlns_muc_user .. "}x/item@affiliation") or "none"; role = "none" }):up();
			if code then x:tag("status", { code = code }):up(); end
			parts.mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid }):add_child(x));
		end
	end
end

-- give_up(room): local users have to join again (status 333), what they said is returned
function outage.give_up(room)
	parts.outbox.fail_all(room.jid);
	leave_occupants(room);
	parts.mirrored.evict_all(room, "333");
end

-- expire(room): the grace period is over, and the admin's policy says what follows
function outage.expire(room)
	paced("expired\0" .. room.jid, "info", "The master of %s has been away for %g s", room.jid, grace_period);
	if policy == "replica" then return outage.give_up(room); end
	room.fmuc.line.expired, room.fmuc.line.must_join = true, true;
	leave_occupants(room, "333");
	parts.outbox.show(room);
end

-- Those who were in the room have left while it was out of step; for those who wait for it, it begins anew
local function start_afresh(room)
	local state = room.fmuc;
	outage.abandon(room);
	for occupant_jid in pairs(state.copies) do parts.mirrored.remove_occupant(room, occupant_jid); end
	room._history = nil;
	parts.archive.begin(room); -- the master tells it all again
	state.seen, state.used_ids = nil, nil;
	state.synced, state.started_over, state.asker, state.line = nil, nil, nil, outage.new_line();
	state.line.is_repeated = true;
	for _, record in pairs(state.waiting) do parts.admission.begin_again(record); end
	parts.room_info.renew(room);
	parts.admission.send_joins(room);
end

local function check_live(room, line, time)
	local overdue = parts.outbox.overdue_since(room.jid);
	if line.asked then
		if time - math.max(line.asked.at, line.heard) < answer_timeout then return; end
		if line.asked.kind == "silence" then return outage.lost(room, "no answer"); end
		parts.probe.failed(room, line.asked.id);
		parts.greeting.complete(room);
	elseif not room.fmuc.synced then
		parts.greeting.check(room, time);
	elseif overdue and time - math.max(overdue, line.heard) >= answer_timeout then
		outage.lost(room, "a message did not come back");
	elseif time - line.heard >= silence and room.fmuc.recipients:count() > 0 then
		parts.probe.ping(room, "silence");
	end
end

local function is_grace_over(line, time)
	return line.lost_at and not line.expired and time - math.max(line.lost_at, line.heard) >= grace_period;
end

local function check_lost(room, line, time)
	if room.fmuc.recipients:count() == 0 then
		return start_afresh(room);
	elseif is_grace_over(line, time) then
		return outage.expire(room);
	elseif line.asked then
		if not line.asked.check and time - line.asked.at >= answer_timeout then parts.probe.check(room); end
		if time < line.asked.patience * (line.asked.in_doubt_since and doubtful_timeout or answer_timeout)
			+ (line.asked.in_doubt_since or math.max(line.asked.at, line.heard)) then return; end
		module:log("debug", "No answer of the master of %s to %s", room.jid, line.asked.kind);
		if line.asked.kind == "join" or line.asked.kind == "probe" then return parts.probe.repeat_question(room); end
		if line.asked.kind == "archive" then
			line.asked = nil;
			return parts.backfill.finish(room);
		end
		if line.asked.kind == "rejoin" then line.must_join = true; end
		outage.retry(room);
	elseif line.phase == "lost" then
		if not line.next_try or time >= line.next_try then try(room); end
	else
		parts.resync.check(room, time);
	end
end

-- Whether nothing is to be done for a room, which then may stay where mod_muc has put it: mod_muc keeps 100 rooms in memory, and to bring
-- back more than that each second is all that a server would do
local function is_at_rest(room_jid, state, time)
	local line = state.line;
	if line.asked and (line.asked.in_doubt_since or time - line.asked.at >= answer_timeout) then
		return false;
	elseif line.phase == "live" and not state.synced then -- somebody waits for the master
		return line.asked ~= nil or not parts.greeting.is_anybody_accepted(state);
	elseif line.phase == "live" then
		return line.asked ~= nil or time - line.heard < silence and not parts.outbox.overdue_since(room_jid);
	end
	local is_waiting = line.asked or line.phase == "lost" and line.next_try and time < line.next_try;
	return is_waiting and state.recipients ~= nil and state.recipients:count() > 0 and not is_grace_over(line, time);
end

local function check(room_jid)
	local state, time = parts.mirrored.state(room_jid), now();
	if state and not state.synced then parts.listed.check(room_jid, state, time); end
	if not state or is_at_rest(room_jid, state, time) then return; end
	local room = parts.mirrored.get(room_jid);
	if not room then return; end
	local line = state.line;
	if line.phase == "live" then check_live(room, line, time); else check_lost(room, line, time); end
end

module:add_timer(1, function ()
	local room_jids = {};
	for room_jid in parts.mirrored.each() do room_jids[#room_jids + 1] = room_jid; end
	for _, room_jid in ipairs(room_jids) do
		local ok, err = pcall(check, room_jid);
		if not ok then module:log("error", "Looking after %s: %s", room_jid, err); end
	end
	parts.outbox.expire(function (room_jid)
		local state = parts.mirrored.state(room_jid);
		return state ~= nil and state.line.phase ~= "live";
	end);
	return 1;
end);

compat.on_stream_lost(module, function (host, is_new)
	local concerned, broken_at = {}, now();
	for room_jid, state in parts.mirrored.each() do
		if jid_host(state.master) == host then concerned[#concerned + 1] = room_jid; end
	end
	for _, room_jid in ipairs(concerned) do
		-- later: an answer may be lost as well while the end of the stream is still being dealt with
		module:add_timer(0, function ()
			local room = parts.mirrored.get(room_jid);
			if not room then return; end
			local asked, current = room.fmuc.line.asked, room.fmuc.line.resync;
			if asked and asked.at > broken_at then return; end -- mod_smacks has told already, and the question took another way
			if is_new and current and not current.answered then return parts.resync.restart_collection(room); end
			outage.lost(room, "a connection with " .. host .. " broke");
		end);
	end
end);

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return outage;
end;
