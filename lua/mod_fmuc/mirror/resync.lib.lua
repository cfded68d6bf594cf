-- SPDX-License-Identifier: MIT
-- The resync of a mirrored room after an outage (G3, G4). One local user joins again, and the master sends what a joining room gets. Local users
-- see only what is new to them. Then the other users join again one by one, each when the master has answered the one before. Last, the mirror
-- sends what had to wait. So the mirror asks one question at a time, as the link may be slow or break again.
--
-- link:own("resync"):
--   current    state of the resync in progress: nick (occupant JID of the user who joins), copies (occupant JID -> presence), hidden (set of
--              occupant JIDs), own (occupant JID -> real JID, of users that the master has from this mirror; our extension), messages, since (time
--              of the first that may be missing), answered, is_complete (the messages will be all: our extension), archive (see mirror/backfill)
--   rejoin     occupant JIDs of users who still have to join again
--   usurpers   occupant JID -> presence of another user who may have the nick now
--   waiting_for   occupant JID of a user whose first join is sent in between
--   in_doubt   sent messages have to be sent again
--   is_stale   the room may have changed without a message about it
--   absent_since   when the master began to say that it does not have the room

local datetime = require "util.datetime";
local fanout = require "prosody_relay.fanout";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local limits = lib "link/limits";
local paced = lib "link/log".paced;
local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";
local backfill = lib "mirror/backfill";
local changes = lib "mirror/changes";
local joins = lib "mirror/joins";
local liveness = lib "mirror/liveness";
local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local outbox = lib "mirror/outbox";
local presences = lib "mirror/presences";
local room_info = lib "mirror/room_info";
local unavailable = lib "mirror/unavailable";
local grace_period = lib "settings".grace_period;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Seconds before the gap for which the mirror asks again: the last message before it may have taken a while
local overlap = 30;
-- A master may send no subject if the room has none, though it should. After this silence the mirror asks whether that was all
local subject_timeout = 3;

local resync = {};

local function of(room)
	return room.fmuc.authority:own("resync");
end

-- begin(event): stanzas are missing, so a user joins again
function resync.begin(event)
	local room = mirrored.get(event.room_jid);
	local authority, own = room.fmuc.authority, of(room);
	local occupant_jid;
	for jid in room:each_occupant() do
		if mirrored.is_local(room, jid) then occupant_jid = jid; break; end
	end
	if not occupant_jid then -- all have left meanwhile: mirror/outage starts again
		authority:fire("broken");
		return;
	end
	local gap = math.min(outage.since(room), outbox.in_doubt_since(room.jid) or math.huge);
	local away = math.ceil(now() - gap) + overlap;
	local messages, held = {}, outage.take_held(room);
	for _, stanza in ipairs(held) do
		if stanza.name == "message" then messages[#messages + 1] = stanza; end
	end
	messages.bytes = held.bytes;
	-- these, or the answers to them, may be lost
	changes.doubt_all(room);
	joins.doubt_all(room);
	authority:restart_count(0);
	own.rejoin, own.waiting_for = nil, nil;
	local question = changes.join_presence(room, occupant_jid, { since = datetime.datetime(os.time() - away); seconds = tostring(away) });
	own.current = { nick = occupant_jid; copies = {}; own = {}; hidden = {}; messages = messages; since = os.time() - away };
	authority:ask("join", question);
end

-- handle_broken(event): the link is lost again, which ends a resync in progress
function resync.handle_broken(event)
	local room = mirrored.get(event.room_jid);
	local own = of(room);
	if own.current then outage.put_back(room, own.current.messages); end
	own.current = nil;
end

-- counter(room) -> the table with the copies of the occupants that the master shows now: of the room, or of the resync
function resync.counter(room)
	return room.fmuc.authority.state == "syncing" and of(room).current or room.fmuc;
end

-- restart_collection(room) -> whether the master has not answered yet. It has opened a new stream, and stanzas of the old stream do not belong to
-- its answer
function resync.restart_collection(room)
	local current = of(room).current;
	if not current or current.answered then return false; end
	current.copies, current.own, current.hidden = {}, {}, {};
	return true;
end

-- presence(room, occupant_jid, presence, id): from the master, in state "syncing"; presence: { copy (as local users would see it), mark (<fmuc>
-- element or nil), is_hidden }
function resync.presence(room, occupant_jid, presence, id)
	local state, copy, mark = room.fmuc, presence.copy, presence.mark;
	local authority, current = state.authority, of(room).current;
	if copy.attr.type == "unavailable" then
		current.copies[occupant_jid], current.own[occupant_jid] = nil, nil;
		return;
	end
	local is_answer = not current.answered and authority.asked and
		(id == authority.asked.id or not state.reflects_ids and occupant_jid == current.nick);
	if is_answer then presences.take_own_codes(room, copy, true); end
	current.copies[occupant_jid], current.hidden[occupant_jid] = fanout.view(hygiene.lasting_part(copy)), presence.is_hidden;
	current.own[occupant_jid] = mark and mark.real_jid;
	if not is_answer then return; end
	current.answered = true;
	authority:answered();
	local sent = mark and mark.sent;
	authority:learn_counting(sent ~= nil);
	authority:restart_count(nil, sent or 0);
	current.is_complete = mark and mark.is_complete;
end

-- message(room, stanza): from the master, in state "syncing"
function resync.message(room, stanza)
	local current = of(room).current;
	if limits.has_room_for(current.messages, stanza, room.fmuc.authority.peer) then table.insert(current.messages, st.clone(stanza)); end
	if current.answered and stanza:get_child("subject") and not stanza:get_child("body") then resync.dumped(room); end
end

-- dumped(room): the master has sent everything that it repeats by itself
function resync.dumped(room)
	if not backfill.begin(room, of(room).current) then resync.finish(room); end
end

-- take_archived(room, stanza) -> whether the master's message is about its archive
function resync.take_archived(room, stanza)
	return backfill.take(room, of(room).current, stanza);
end

local function leave(room, occupant_jid, affiliation)
	mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid })
		:tag("x", { xmlns = xmlns_muc_user })
			:tag("item", { affiliation = affiliation or "none"; role = "none" }):up():up());
end

local function show(room, occupant_jid, copy, sessions, is_hidden)
	mirrored.keep(room, occupant_jid, copy, is_hidden);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions);
end

-- Whether the master's occupant with this nick is our local user
local function is_same_user(room, current, occupant_jid)
	local real_jid = current.own[occupant_jid];
	local occupant = room:get_occupant_by_nick(occupant_jid);
	return occupant_jid == current.nick or real_jid ~= nil and jid_bare(real_jid) == occupant.bare_jid;
end

local function show_occupant(room, current, occupant_jid, copy)
	local state = room.fmuc;
	local known, nick, own = state.copies[occupant_jid], jid_resource(occupant_jid), of(room);
	local sessions = state.recipients:by_nick(occupant_jid);
	if #sessions > 0 then
		if not is_same_user(room, current, occupant_jid) then
			table.insert(own.rejoin, occupant_jid);
			own.usurpers[occupant_jid] = copy; -- or our user: the answer to the next join shows which
		elseif not changes.is_changed(room, occupant_jid) and not equivalent(known, copy) then
			show(room, occupant_jid, copy, sessions, current.hidden[occupant_jid]);
		end
	elseif current.own[occupant_jid] then
		if not state.waiting[occupant_jid] then changes.may_be_there(room, nick); end -- left during the outage, or before a restart
	elseif not state.authority.counts and (state.waiting[occupant_jid] or changes.has_parted(room, nick)) then
		own.usurpers[occupant_jid] = copy; -- or our user: this master does not say which users are ours
	else
		changes.is_gone(room, nick); -- another user has the nick now
		if not (known and equivalent(known, copy)) then show(room, occupant_jid, copy, sessions); end
	end
end

local function show_differences(room, current)
	local absent = {};
	for occupant_jid, copy in pairs(room.fmuc.copies) do
		if not current.copies[occupant_jid] then absent[occupant_jid] = copy; end
	end
	for occupant_jid, copy in pairs(absent) do
		if mirrored.is_local(room, occupant_jid) then
			table.insert(of(room).rejoin, occupant_jid);
		else
			leave(room, occupant_jid, copy:find("{" .. xmlns_muc_user .. "}x/item@affiliation"));
		end
	end
	changes.forget_parted(room, current.copies);
	for occupant_jid, copy in pairs(current.copies) do show_occupant(room, current, occupant_jid, copy); end
end

-- finish(room): the master has sent everything
function resync.finish(room)
	local own = of(room);
	local current = own.current;
	own.rejoin, own.usurpers = {}, {};
	if room:get_whois() ~= "anyone" then mirrored.hide_real_jids(current.copies); end
	show_differences(room, current);
	for _, stanza in ipairs(current.messages) do module:fire_event("fmuc-message-repeated", { room = room; stanza = stanza }); end
	own.in_doubt, own.absent_since, own.current = true, nil, nil;
	own.is_stale = not current.is_complete; -- a change of the room would be among the messages
	room.fmuc.authority:fire("dumped");
end

-- handle_over(event): the room is in step with the master
function resync.handle_over(event)
	local room = mirrored.get(event.room_jid);
	outage.over(room);
	resync.continue(room);
end

-- Sends what had to wait until all users are back. Messages go first, since the master ignores users who have left.
local function send_the_rest(room)
	local state, own = room.fmuc, of(room);
	state.authority:fire("returned");
	own.rejoin, own.usurpers = nil, nil;
	outbox.flush(room.jid, own.in_doubt);
	own.in_doubt = nil;
	for nick in pairs(changes.take_parted(room)) do
		local occupant_jid = room.jid .. "/" .. nick;
		if not mirrored.is_local(room, occupant_jid) and not state.waiting[occupant_jid] then changes.part(room.jid, nick); end
	end
	changes.send_changed(room);
	if own.is_stale then room_info.renew(room); end
	own.is_stale = nil;
end

-- continue(room): the next step in state "rejoining", when the master has answered
function resync.continue(room)
	local state, own = room.fmuc, of(room);
	local authority = state.authority;
	if authority.state ~= "rejoining" or authority.asked then return; end
	local waiting = own.waiting_for and state.waiting[own.waiting_for];
	if waiting and not waiting.accepted then return; end
	local occupant_jid = own.rejoin and table.remove(own.rejoin, 1);
	if occupant_jid then
		if not mirrored.is_local(room, occupant_jid) then return resync.continue(room); end
		authority:count_sent();
		authority:ask("rejoin", changes.join_presence(room, occupant_jid, { maxstanzas = "0" }), { occupant_jid = occupant_jid });
		return;
	end
	for jid, record in pairs(state.waiting) do
		if not record.sent and not record.accepted then
			own.waiting_for = jid;
			module:fire_event("fmuc-join-due", { room = room; record = record });
			return;
		end
	end
	send_the_rest(room);
end

-- is_answer(room, occupant_jid, id) -> whether a presence or an error answers the user's join in a resync
function resync.is_answer(room, occupant_jid, id)
	local state = room.fmuc;
	local asked = state.authority.asked;
	if not asked or asked.kind ~= "join" and asked.kind ~= "rejoin" then return false; end
	return id == asked.id or not state.reflects_ids and id == nil and occupant_jid == (asked.occupant_jid or of(room).current.nick);
end

-- The master does not have the room, or its server does not have the master. Both may come back soon. is_temporary: the server says so, and users
-- may carry on alone
local function on_absence(room, is_temporary)
	local own, authority = of(room), room.fmuc.authority;
	own.absent_since = own.absent_since or now();
	if now() - own.absent_since >= grace_period and not authority.alone then
		if is_temporary then outage.expire(room); else outage.give_up(room); end
		if not authority.alone then return; end
	end
	authority:miss();
	outage.retry(room);
end

local codes = { ["forbidden"] = "301"; ["registration-required"] = "321" };

-- show_usurper(room, occupant_jid): the local user did not get the nick. Shows the other user who may have it
function resync.show_usurper(room, occupant_jid)
	local usurpers = of(room).usurpers;
	local copy = usurpers and usurpers[occupant_jid];
	if not copy then return; end
	usurpers[occupant_jid] = nil;
	show(room, occupant_jid, copy, {});
end

-- The master has not taken back the user with this nick, who has left here too
local function go_on_without(room, occupant_jid)
	if not mirrored.get(room.jid) then return; end
	if room.fmuc.authority.state == "rejoining" then
		resync.show_usurper(room, occupant_jid);
		return resync.continue(room);
	end
	if room.fmuc.recipients:count() > 0 then room.fmuc.authority:fire("incomplete"); end
end

local function send_away(room, code, why)
	local authority = room.fmuc.authority;
	local occupant_jid = authority:answered().occupant_jid or of(room).current.nick;
	paced("refused\0" .. room.jid, "info", "%s does not take %s back: %s", authority.peer, occupant_jid, why);
	mirrored.evict(room, occupant_jid, code);
	go_on_without(room, occupant_jid);
end

-- refused(room, stanza): the master does not take the user back
function resync.refused(room, stanza)
	local type, condition = stanza:get_error();
	if condition == "item-not-found" or type == "wait" and room.fmuc.authority.asked.kind == "join" then
		return on_absence(room, type == "wait");
	elseif condition == "gone" then
		outbox.fail_all(room.jid);
		return joins.end_room(room, unavailable.destroyed(stanza:get_child("error")));
	end
	send_away(room, codes[condition] or "333", condition or "error");
end

-- kicked(room, occupant_jid, presence): the master says that the user was removed during the outage (our extension)
function resync.kicked(room, occupant_jid, presence)
	room.fmuc.authority:answered();
	mirrored.remove_occupant(room, occupant_jid, presence);
	go_on_without(room, occupant_jid);
end

-- check(room, time): once a second in states "syncing" and "rejoining", while no question is open
function resync.check(room, time)
	local authority = room.fmuc.authority;
	if authority.state == "rejoining" then
		return resync.continue(room);
	elseif of(room).current.answered and time - authority.heard >= subject_timeout then
		liveness.ping(room, "dump");
	end
end

local function finish_backfill(room)
	backfill.finish(of(room).current);
	resync.finish(room);
end

local function give_up_backfill(room)
	room.fmuc.authority:answered();
	finish_backfill(room);
end

liveness.on("join", { failed = outage.retry });
liveness.on("rejoin", {
	failed = outage.retry;
	unanswered = function (room) send_away(room, "333", "no answer"); end;
});
-- has the master sent the whole dump?
liveness.on("dump", { answered = resync.dumped; failed = outage.retry });
-- does the archive have more messages?
liveness.on("archive", {
	answered = function (room, _, answer)
		if not backfill.go_on(room, of(room).current, answer) then finish_backfill(room); end
	end;
	failed = outage.retry;
	unanswered = give_up_backfill;
});

outage.after_silence_of("archive", give_up_backfill);
outage.after_silence_of("rejoin", function (room)
	room.fmuc.authority:miss();
	outage.retry(room);
end);

limits.count_with(function (add)
	for _, state in mirrored.each() do
		local current = state.authority:own("resync").current;
		local archive = current and current.archive;
		if current then
			add(state.authority.peer, mirrored.copies_size(current.copies) + (current.messages.bytes or 0) + (archive and archive.bytes or 0));
		end
	end
end);

return resync;
