-- SPDX-License-Identifier: MIT
-- Outages: the master of a mirrored room cannot be reached (G1, G5, G7). This file detects an outage, handles the room meanwhile, and ends the
-- outage. When the master can be reached again, mirror/resync takes over.
--
-- link:own("outage"):
--   lost_at, since   when the outage began, and when the last stanza of the master before it came
--   held       stanzas of the master that came while the link was lost
--   attempts, retried_at, next_try   number of attempts, time of the last failed one, time of the next
--   refused    the master answered the last question after a silence with not-acceptable

local now = require "util.time".monotonic;
local st = require "util.stanza";

local limits = lib "link/limits";
local paced = lib "link/log".paced;
local archive = lib "room/archive";
local changes = lib "mirror/changes";
local first_sync = lib "mirror/first_sync";
local joins = lib "mirror/joins";
local liveness = lib "mirror/liveness";
local mirrored = lib "mirror/room";
local outbox = lib "mirror/outbox";
local room_info = lib "mirror/room_info";
local settings = lib "settings";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local grace_period, policy = settings.grace_period, settings.outage_policy;
-- Seconds of silence after a question, or after a message that should come back, that mean an outage
local answer_timeout = settings.join_timeout;
-- After this silence the mirror asks the master whether it is there, and the mirror still in the room
local silence = 5 * grace_period;
-- Seconds for the answer to a question that a broken connection may have lost
local doubtful_timeout = math.min(answer_timeout, 8);
-- Seconds between attempts at most: several fit into the grace period, the last one shortly before its end
local max_backoff = math.min(60, grace_period / 4);
-- The resync brings what exceeds this limit
local max_held = 300;

local outage = {};

local function of(room)
	return room.fmuc.authority:own("outage");
end

-- heard(room, stanza): a stanza of the master has come, not an error of this server in the master's name
function outage.heard(room, stanza)
	local authority = room.fmuc.authority;
	authority:hear();
	-- counts as the master does: stanzas for the whole mirror
	if stanza.attr.to == room.jid and stanza.name ~= "iq" and stanza.attr.type ~= "error" then authority:count_received(); end
end

local function try(room)
	local authority = room.fmuc.authority;
	if authority.must_join or authority.counts == false then
		authority:fire("incomplete");
	else
		liveness.ping(room, "probe");
	end
end

-- retry(room): the attempt has failed. Plans the next one
function outage.retry(room)
	local own, authority = of(room), room.fmuc.authority;
	authority:fire("broken");
	authority:answered();
	own.held = own.held or {};
	own.lost_at, own.since = own.lost_at or now(), own.since or authority.heard; -- outage.over() may have cleared these
	own.attempts = (own.attempts or 0) + 1;
	own.retried_at = now();
	own.next_try = own.retried_at + math.min(2 ^ own.attempts, max_backoff);
end

-- A new outage interrupts a resync
local function interrupt(room)
	local own = of(room);
	if room.fmuc.authority.heard > (own.retried_at or 0) then own.attempts = 0; end -- the master has been reached since
	outage.retry(room);
end

-- lost(room, why, [must_join]): there is a problem between the mirror and the master. must_join: stanzas are certainly missing
function outage.lost(room, why, must_join)
	local state = room.fmuc;
	local authority = state.authority;
	if authority.state == "joining" or state.recipients:count() == 0 then return; end -- no local user is affected
	if must_join then authority:miss(); end
	if must_join and authority.state == "syncing" and authority.asked and authority.asked.kind == "join" then return; end -- the join is on its way
	if authority.state == "lost" then return authority:doubt(); end -- the question may be lost, too
	paced("lost\0" .. room.jid, "info", "%s and its master may be cut off from each other: %s", room.jid, why);
	if authority.state ~= "live" then return interrupt(room); end
	local own = of(room);
	own.lost_at, own.since = own.lost_at or now(), own.since or authority.heard;
	authority:fire("broken");
	authority:answered();
	own.attempts, own.next_try, own.held = 0, nil, {};
	joins.doubt_all(room);
	try(room);
end

-- undelivered(room, condition): a stanza to the master may not have been delivered. While the link is lost this is no news: the open question was
-- asked later, and has its own answer.
function outage.undelivered(room, condition)
	if room.fmuc.authority.state ~= "lost" then outage.lost(room, condition); end
end

-- hold(room, stanza): keeps a stanza of the master while the link is lost
function outage.hold(room, stanza)
	local held = of(room).held;
	if #held < max_held and limits.has_room_for(held, stanza, room.fmuc.authority.peer) then
		table.insert(held, st.clone(stanza));
	else
		room.fmuc.authority:miss();
	end
end

-- take_held(room) -> list of the held stanzas, which are held no longer. Its field `bytes` says how much memory it takes
function outage.take_held(room)
	local own = of(room);
	local held = own.held or {};
	own.held = nil;
	return held;
end

-- put_back(room, messages): holds the messages of an interrupted resync
function outage.put_back(room, messages)
	of(room).held = messages;
end

-- since(room) -> when the last stanza of the master before the outage came
function outage.since(room)
	return of(room).since or room.fmuc.authority.heard;
end

local function tell_parted(room, parted)
	for nick in pairs(parted) do changes.part(room.jid, nick); end
end

-- abandon(event): the room ends, mostly as its last user has left. Stanzas that wait for the master are sent, or returned as undeliverable
function outage.abandon(event)
	local room = event.room;
	if not room.fmuc then return; end
	local authority = room.fmuc.authority;
	outbox.settle(room.jid);
	if not authority:is_out() then return; end
	local parted = changes.take_parted(room);
	authority:close();
	outbox.flush(room.jid);
	tell_parted(room, parted);
end

-- over(room): the room is in step with the master
function outage.over(room)
	paced("over\0" .. room.jid, "info", "%s is in step with its master again", room.jid);
	module:fire_event("fmuc-resync");
	room.fmuc.authority:answered();
	room.fmuc.authority:caught_up();
	local own = of(room);
	own.lost_at, own.since, own.attempts = nil, nil, 0;
	for _, stanza in ipairs(outage.take_held(room)) do module:fire_event("fmuc-stanza-held", { room = room; stanza = stanza }); end
end

local function leave_occupants(room, code)
	for occupant_jid, copy in pairs(room.fmuc.copies) do
		if not mirrored.is_local(room, occupant_jid) then
			local x = st.stanza("x", { xmlns = xmlns_muc_user })
				:tag("item", { affiliation = copy:find("{" .. xmlns_muc_user .. "}x/item@affiliation") or "none"; role = "none" }):up();
			if code then x:tag("status", { code = code }):up(); end
			mirrored.remove_occupant(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid }):add_child(x));
		end
	end
end

-- give_up(room): local users have to join again (status 333), and get errors for their messages
function outage.give_up(room)
	outbox.fail_all(room.jid);
	leave_occupants(room);
	mirrored.evict_all(room, "333");
end

-- expire(room): the grace period is over. The admin's policy decides what follows
function outage.expire(room)
	paced("expired\0" .. room.jid, "info", "The master of %s has been away for %g s", room.jid, grace_period);
	if policy == "replica" then return outage.give_up(room); end
	room.fmuc.authority:go_alone();
	leave_occupants(room, "333");
	outbox.show(room);
end

-- All users have left the room during the outage. For users who wait to join, the room starts with a new first sync
local function start_afresh(room)
	local state = room.fmuc;
	local parted = changes.take_parted(room);
	outbox.settle(room.jid);
	state.authority:begin_again();
	outbox.flush(room.jid);
	tell_parted(room, parted);
	for occupant_jid in pairs(state.copies) do mirrored.remove_occupant(room, occupant_jid); end
	room._history = nil;
	archive.begin(room); -- the master sends the history again
	joins.repeat_all(room);
	for _, record in pairs(state.waiting) do joins.begin_again(record); end
	room_info.renew(room);
	joins.send_joins(room);
end

-- is_quiet(room_jid, link, time) -> whether a live link needs no question now
function outage.is_quiet(room_jid, link, time)
	return link.asked ~= nil or time - link.heard < silence and not outbox.overdue_since(room_jid);
end

-- is_late(link, time) -> whether the master may not answer the open question any more
function outage.is_late(link, time)
	return link.asked ~= nil and (link.asked.in_doubt_since ~= nil or time - link.asked.at >= answer_timeout);
end

-- is_waiting(link, time) -> whether an outage goes on, and needs no action now
function outage.is_waiting(link, time)
	local own = link:own("outage");
	return (link.asked or link.state == "lost" and own.next_try and time < own.next_try) and not outage.is_grace_over(link, time);
end

-- is_grace_over(link, time) -> whether the grace period is over, and the admin's policy decides
function outage.is_grace_over(link, time)
	local lost_at = link:own("outage").lost_at;
	return lost_at and not link.alone and time - math.max(lost_at, link.heard) >= grace_period;
end

-- check_live(room, time): once a second while the link is joining or live
function outage.check_live(room, time)
	local authority = room.fmuc.authority;
	local overdue = outbox.overdue_since(room.jid);
	if authority.asked then
		if time - math.max(authority.asked.at, authority.heard) < answer_timeout then return; end
		if authority.asked.kind == "silence" then return outage.lost(room, "no answer"); end
		liveness.failed(room, authority.asked.id);
		first_sync.complete(room);
	elseif authority.state == "joining" then
		first_sync.check(room, time);
	elseif overdue and time - math.max(overdue, authority.heard) >= answer_timeout then
		outage.lost(room, "a message did not come back");
	elseif time - authority.heard >= silence and room.fmuc.recipients:count() > 0 then
		liveness.ping(room, "silence");
	end
end

local function is_unanswered(asked, heard, time)
	local patience = asked.in_doubt_since and doubtful_timeout or answer_timeout;
	return time >= asked.patience * patience + (asked.in_doubt_since or math.max(asked.at, heard));
end

-- [kind of question] = function(room) for a question without an answer; default: another attempt
local after_silence = { join = liveness.repeat_question; probe = liveness.repeat_question };

-- after_silence_of(kind, f): f(room) is called when a question of this kind has no answer
function outage.after_silence_of(kind, f)
	after_silence[kind] = f;
end

-- check_out(room, time) -> whether an outage, or a resync, needs nothing else now; once a second
function outage.check_out(room, time)
	local authority = room.fmuc.authority;
	local asked = authority.asked;
	if room.fmuc.recipients:count() == 0 then
		start_afresh(room);
	elseif outage.is_grace_over(authority, time) then
		outage.expire(room);
	elseif asked then
		if not asked.check and time - asked.at >= answer_timeout then liveness.check(room); end
		if not is_unanswered(asked, authority.heard, time) then return true; end
		module:log("debug", "No answer of the master of %s to %s", room.jid, asked.kind);
		(after_silence[asked.kind] or outage.retry)(room);
	elseif authority.state == "lost" then
		local next_try = of(room).next_try;
		if not next_try or time >= next_try then try(room); end
	else
		return false;
	end
	return true;
end

-- after a long silence
liveness.on("silence", {
	answered = function (room, asked, answer)
		local complete = liveness.is_complete(room, asked, answer);
		local own, authority = of(room), room.fmuc.authority;
		-- The mirror may not be in the room any more. But some masters always say so.
		local refuses, refused = select(2, answer:get_error()) == "not-acceptable", own.refused;
		own.refused = refuses;
		if complete then
			outbox.settle(room.jid);
		elseif complete == false or authority.counts or refuses and not refused then
			outage.lost(room, "something did not arrive", true);
		else
			authority:learn_counting(false);
		end
	end;
	failed = function (room) outage.lost(room, "the question could not be delivered"); end;
});

-- after a problem with the connection: is anything missing?
liveness.on("probe", {
	answered = function (room, asked, answer)
		local authority = room.fmuc.authority;
		if liveness.is_complete(room, asked, answer) then
			outbox.settle(room.jid);
			authority:fire("complete");
			return;
		end
		if authority.counts == nil then authority:learn_counting(false); end
		authority:miss();
		authority:fire("incomplete");
	end;
	failed = outage.retry;
});

limits.count_with(function (add)
	for _, state in mirrored.each() do
		local held = state.authority:own("outage").held;
		add(state.authority.peer, held and held.bytes or 0);
	end
end);

return outage;
