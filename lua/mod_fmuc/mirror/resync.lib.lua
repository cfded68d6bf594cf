-- SPDX-License-Identifier: MIT
-- The end of an outage at a mirror (G3, G4): one of its users joins again, the master sends what a joining room gets, and local users see
-- what differs from what they know. Then the other users follow, one after the other, each when the master has answered for the one
-- before; last, what waited goes out. A link that is slow, or breaks again, meets one question at a time.
--
-- room.fmuc.line.resync: nick (occupant JID of the user who joins), copies (occupant JID -> presence), own (occupant JID -> real JID, of
-- users that the master knows as this mirror's; our extension), messages, since (time of the first that may be missing), answered,
-- is_complete (the messages will be all: our extension), archive (see mirror/backfill).
-- room.fmuc.line.rejoin: occupant JIDs that are yet to follow; usurpers: occupant JID -> presence of somebody who may have the nick now;
-- waiting_for: occupant JID of a user whose first join comes in between.

local datetime = require "util.datetime";
local fanout = require "prosody_relay.fanout";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local bounds = lib "link/limits";
local paced = lib "link/log".paced;
local equivalent = lib "link/equivalent";
local policy = lib "mirror/policy";
local unavailable = lib "mirror/unavailable";
local state_of = lib "link/lasting";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Messages from so long before the gap are asked for again: the last that came before it may have been on its way for a while
local overlap = 30;
-- The master sends no subject where there is none, though it should: after such a silence it is asked whether that was all
local subject_timeout = 3;

local parts; -- admission, backfill, changes, mirrored, outbox, outage, probe, from_master, messages, room_info, send_part, send_join

local resync = {};

-- rejoin_presence(room, occupant_jid, history) -> join presence for a user who is in the room (M4); history: attributes of <history/>
function resync.rejoin_presence(room, occupant_jid, history)
	local state = room.fmuc;
	local session, password = room:get_occupant_by_nick(occupant_jid).jid, state.line.passwords[occupant_jid];
	local presence = st.clone(state.line.presences[occupant_jid] or st.presence());
	state.line.changed[occupant_jid], state.line.known_as[occupant_jid] = nil, session;
	presence.attr.from, presence.attr.to = room.jid, state.master .. "/" .. jid_resource(occupant_jid);
	presence.attr.id = parts.admission.new_join_id();
	local known = state.line.ids and state.line.ids.prefix or "";
	local ids_wanted = history.since and policy.is_nomirror(state.master) and known or nil; -- the master may know it no more (mirror/ids)
	presence:tag("fmuc", { xmlns = xmlns_fmuc; from = session; again = "true"; ids = ids_wanted });
	presence:tag("history", history):up();
	if password then presence:text_tag("password", password); end -- G22
	return presence:up();
end

-- begin(room): a user joins again
function resync.begin(room)
	local state = room.fmuc;
	local line = state.line;
	local occupant_jid;
	for jid in room:each_occupant() do
		if parts.mirrored.is_local(room, jid) then occupant_jid = jid; break; end
	end
	if not occupant_jid then return; end -- all have left while the master was asked: mirror/outage begins anew
	local gap = math.min(line.gap or line.heard, parts.outbox.in_doubt_since(room.jid) or math.huge);
	local away = math.ceil(now() - gap) + overlap;
	local messages = {};
	for _, stanza in ipairs(line.held or {}) do
		if stanza.name == "message" then messages[#messages + 1] = stanza; end
	end
	messages.bytes = line.held and line.held.bytes;
	line.held = nil;
	-- these may have been lost on the way there, or on the way back
	for jid in pairs(line.unconfirmed) do line.changed[jid] = true; end
	line.unconfirmed = {};
	for _, record in pairs(state.waiting) do record.sent = nil; end -- so may these have been
	line.phase, line.sent, line.rejoin, line.waiting_for = "joining", 0, nil, nil;
	local question = resync.rejoin_presence(room, occupant_jid, { since = datetime.datetime(os.time() - away); seconds = tostring(away) });
	line.resync = { nick = occupant_jid; copies = {}; own = {}; hidden = {}; messages = messages; since = os.time() - away };
	parts.probe.ask(room, "join", question);
end

-- restart_collection(room): the master has opened a new stream before it answered; what came on the old one does not belong to the answer
function resync.restart_collection(room)
	local current = room.fmuc.line.resync;
	current.copies, current.own, current.hidden = {}, {}, {};
end

-- presence(room, occupant_jid, presence, id): of the master in phase "joining"; presence: { copy (as local users would see it), mark (<fmuc>
-- element or nil), is_hidden }
function resync.presence(room, occupant_jid, presence, id)
	local state, copy, mark = room.fmuc, presence.copy, presence.mark;
	local line, current = state.line, state.line.resync;
	if copy.attr.type == "unavailable" then
		current.copies[occupant_jid], current.own[occupant_jid] = nil, nil;
		return;
	end
	local is_answer = not current.answered and line.asked and
		(id == line.asked.id or not state.reflects_ids and occupant_jid == current.nick);
	if is_answer then parts.from_master.take_own_codes(room, copy, true); end
	current.copies[occupant_jid], current.hidden[occupant_jid] = fanout.view(state_of(copy)), presence.is_hidden;
	current.own[occupant_jid] = mark and mark.attr.from;
	if not is_answer then return; end
	current.answered, line.asked = true, nil;
	local sent = mark and tonumber(mark.attr.sent);
	line.counts, line.received = sent ~= nil, sent or 0;
	current.is_complete = mark and mark.attr.complete == "true";
end

-- message(room, stanza): of the master in phase "joining"
function resync.message(room, stanza)
	local current = room.fmuc.line.resync;
	if bounds.has_room_for(current.messages, stanza, room.fmuc.master) then table.insert(current.messages, st.clone(stanza)); end
	if current.answered and stanza:get_child("subject") and not stanza:get_child("body") then resync.dumped(room); end
end

-- dumped(room): that was all that the master repeats by itself
function resync.dumped(room)
	if not parts.backfill.begin(room) then resync.finish(room); end
end

local function leave(room, occupant_jid, affiliation)
	parts.mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid })
		:tag("x", { xmlns = xmlns_muc_user })
			:tag("item", { affiliation = affiliation or "none"; role = "none" }):up():up());
end

local function show(room, occupant_jid, copy, sessions, is_hidden)
	room.fmuc.copies[occupant_jid], room.fmuc.hidden[occupant_jid] = copy, is_hidden or nil;
	parts.mirrored.set_occupant(room, occupant_jid, copy, sessions);
	parts.mirrored.show(room, occupant_jid, copy, sessions);
end

-- Whether the master's occupant of that name is our local user
local function is_same_user(room, current, occupant_jid)
	local real_jid = current.own[occupant_jid];
	local occupant = room:get_occupant_by_nick(occupant_jid);
	return occupant_jid == current.nick or real_jid ~= nil and jid_bare(real_jid) == occupant.bare_jid;
end

local function show_occupant(room, current, occupant_jid, copy)
	local state = room.fmuc;
	local known, nick = state.copies[occupant_jid], jid_resource(occupant_jid);
	local sessions = state.recipients:by_nick(occupant_jid);
	if #sessions > 0 then
		if not is_same_user(room, current, occupant_jid) then
			table.insert(state.line.rejoin, occupant_jid);
			state.line.usurpers[occupant_jid] = copy; -- or our user; the answer will tell
		elseif not state.line.changed[occupant_jid] and not equivalent(known, copy) then
			show(room, occupant_jid, copy, sessions, current.hidden[occupant_jid]);
		end
	elseif current.own[occupant_jid] then
		if not state.waiting[occupant_jid] then state.line.parted[nick] = true; end -- left meanwhile, or before a restart
	elseif not state.line.counts and (state.waiting[occupant_jid] or state.line.parted[nick]) then
		state.line.usurpers[occupant_jid] = copy; -- or our user: this master does not say whose users it has
	else
		state.line.parted[nick] = nil; -- somebody else has the nick now
		if not (known and equivalent(known, copy)) then show(room, occupant_jid, copy, sessions); end
	end
end

local function show_differences(room, current)
	local state = room.fmuc;
	local known = {};
	for occupant_jid, copy in pairs(state.copies) do known[occupant_jid] = copy; end
	for occupant_jid, copy in pairs(known) do
		if current.copies[occupant_jid] then -- below
			known[occupant_jid] = nil;
		elseif parts.mirrored.is_local(room, occupant_jid) then
			table.insert(state.line.rejoin, occupant_jid);
		else
			leave(room, occupant_jid, copy:find("{" .. xmlns_muc_user .. "}x/item@affiliation"));
		end
	end
	for nick in pairs(state.line.parted) do
		if not current.copies[room.jid .. "/" .. nick] then state.line.parted[nick] = nil; end
	end
	for occupant_jid, copy in pairs(current.copies) do show_occupant(room, current, occupant_jid, copy); end
end

-- finish(room): all that the master had to say is here
function resync.finish(room)
	local line = room.fmuc.line;
	local current = line.resync;
	line.rejoin, line.usurpers = {}, {};
	if room:get_whois() ~= "anyone" then parts.mirrored.hide_real_jids(current.copies); end
	show_differences(room, current);
	for _, stanza in ipairs(current.messages) do parts.messages.missed(room, stanza); end
	line.in_doubt, line.absent_since = true, nil;
	line.is_stale = not current.is_complete; -- a change of the room would be among the messages
	parts.outage.over(room);
	resync.continue(room);
end

-- What was put off until everybody is back. First what they said, since the master hears nobody who has left.
local function send_the_rest(room)
	local state = room.fmuc;
	local line = state.line;
	line.phase, line.rejoin, line.usurpers = "live", nil, nil;
	parts.outbox.flush(room.jid, line.in_doubt);
	line.in_doubt = nil;
	local parted, changed = line.parted, line.changed;
	line.parted, line.changed = {}, {};
	for nick in pairs(parted) do
		local occupant_jid = room.jid .. "/" .. nick;
		if not parts.mirrored.is_local(room, occupant_jid) and not state.waiting[occupant_jid] then parts.send_part(room.jid, nick); end
	end
	for occupant_jid in pairs(changed) do
		if parts.mirrored.is_local(room, occupant_jid) then
			parts.changes.send(room, occupant_jid, st.clone(line.presences[occupant_jid]));
		end
	end
	if line.is_stale then parts.room_info.renew(room); end
	line.is_stale = nil;
end

-- continue(room): in phase "rejoining", when the master has answered
function resync.continue(room)
	local state = room.fmuc;
	local line = state.line;
	if line.phase ~= "rejoining" or line.asked then return; end
	local waiting = line.waiting_for and state.waiting[line.waiting_for];
	if waiting and not waiting.accepted then return; end
	local occupant_jid = line.rejoin and table.remove(line.rejoin, 1);
	if occupant_jid then
		if not parts.mirrored.is_local(room, occupant_jid) then return resync.continue(room); end
		line.sent = line.sent + 1;
		return parts.probe.ask(room, "rejoin", resync.rejoin_presence(room, occupant_jid, { maxstanzas = "0" }), { occupant_jid = occupant_jid });
	end
	for jid, record in pairs(state.waiting) do
		if not record.sent and not record.accepted then
			line.waiting_for = jid;
			return parts.send_join(record);
		end
	end
	send_the_rest(room);
end

-- is_answer(room, occupant_jid, id) -> whether a presence or an error is the answer to the join of that user
function resync.is_answer(room, occupant_jid, id)
	local state = room.fmuc;
	local asked = state.line.asked;
	if not asked or asked.kind ~= "join" and asked.kind ~= "rejoin" then return false; end
	return id == asked.id or not state.reflects_ids and id == nil and occupant_jid == (asked.occupant_jid or state.line.resync.nick);
end

-- The master does not have the room, or its server does not have the master. It may be about to come back.
-- is_temporary: its server says so, and users may carry on alone
local function on_absence(room, is_temporary)
	local line = room.fmuc.line;
	line.absent_since = line.absent_since or now();
	if now() - line.absent_since >= parts.outage.grace_period and not line.expired then
		if is_temporary then parts.outage.expire(room); else parts.outage.give_up(room); end
		if not line.expired then return; end
	end
	line.must_join = true;
	parts.outage.retry(room);
end

local codes = { ["forbidden"] = "301"; ["registration-required"] = "321" };

-- show_usurper(room, occupant_jid): the local user who wanted that nick does not have it; somebody else may
function resync.show_usurper(room, occupant_jid)
	local usurpers = room.fmuc.line.usurpers;
	local copy = usurpers and usurpers[occupant_jid];
	if not copy then return; end
	usurpers[occupant_jid] = nil;
	show(room, occupant_jid, copy, {});
end

-- The user of that nick has not been taken back, and is not here any more
local function go_on_without(room, occupant_jid)
	if not parts.mirrored.get(room.jid) then return; end
	local line = room.fmuc.line;
	if line.phase == "rejoining" then
		resync.show_usurper(room, occupant_jid);
		return resync.continue(room);
	end
	if room.fmuc.recipients:count() > 0 then resync.begin(room); end
end

local function send_away(room, code, why)
	local line = room.fmuc.line;
	local occupant_jid = line.asked.occupant_jid or line.resync.nick;
	paced("refused\0" .. room.jid, "info", "%s does not take %s back: %s", room.fmuc.master, occupant_jid, why);
	line.asked = nil;
	parts.mirrored.evict(room, occupant_jid, code);
	go_on_without(room, occupant_jid);
end

-- refused(room, stanza): the master does not take the user back
function resync.refused(room, stanza)
	local type, condition = stanza:get_error();
	if condition == "item-not-found" or type == "wait" and room.fmuc.line.asked.kind == "join" then
		return on_absence(room, type == "wait");
	elseif condition == "gone" then
		parts.outbox.fail_all(room.jid);
		return parts.from_master.end_room(room, unavailable.destroyed(stanza:get_child("error")));
	end
	send_away(room, codes[condition] or "333", condition or "error");
end

-- ignored(room): the master has answered what came after the user's join, but not that
function resync.ignored(room)
	send_away(room, "333", "no answer");
end

-- kicked(room, occupant_jid, presence): the user was taken out of the room while it was cut off, the master says (our extension)
function resync.kicked(room, occupant_jid, presence)
	room.fmuc.line.asked = nil;
	parts.mirrored.remove_occupant(room, occupant_jid, presence);
	go_on_without(room, occupant_jid);
end

-- check(room, time): once a second in phases "joining" and "rejoining", while no question is open
function resync.check(room, time)
	local line = room.fmuc.line;
	if line.phase == "rejoining" then
		return resync.continue(room);
	elseif line.resync.answered and time - line.heard >= subject_timeout then
		parts.probe.ping(room, "dump");
	end
end

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return resync;
end;
