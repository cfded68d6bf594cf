-- SPDX-License-Identifier: MIT
-- When has the first user of a mirrored room been sent all of it? The subject ends what a joining room is sent, but the master may have
-- none, or this mirror may have missed it. Where the master may think that the mirror has everything (G4), one user asks for it, for all.
--
-- room.fmuc.asker: record of that user's join

local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- A master that has accepted the join and then been silent for so long is asked whether that was all: on a slow link it may be nothing
local subject_timeout = 3;

local parts; -- admission, former, probe

local greeting = {};

-- asks_for_all(room, record) -> whether the join of that record is the one that asks for everything
function greeting.asks_for_all(room, record)
	local state = room.fmuc;
	if state.synced or not (state.line.is_repeated or parts.former.is_known(room.jid)) then return false; end
	state.asker = state.asker or record;
	return state.asker == record;
end

local function forget_answer(room, occupant_jid, record)
	room.fmuc.copies[occupant_jid] = nil;
	parts.admission.begin_again(record);
end

-- pass_on(room, record): the user of that record does not come in; somebody else may have to ask for everything. room may be nil
function greeting.pass_on(room, record)
	if not room or room.fmuc.synced or room.fmuc.asker ~= record then return; end
	room.fmuc.asker = nil;
	local occupant_jid, other = next(room.fmuc.waiting);
	if other then forget_answer(room, occupant_jid, other); end
	parts.admission.send_joins(room);
end

local function has_seen_anything(room)
	for occupant_jid in pairs(room.fmuc.copies) do
		if not room.fmuc.waiting[occupant_jid] then return true; end
	end
	return room._history ~= nil;
end

-- join_again(room): what the master has sent is not all; everybody who waits joins once more
function greeting.join_again(room)
	local state = room.fmuc;
	if state.started_over then return; end
	state.started_over, state.line.is_repeated, state.asker = true, true, nil;
	for occupant_jid, record in pairs(state.waiting) do forget_answer(room, occupant_jid, record); end
	parts.admission.send_joins(room);
end

-- The master has answered and sent neither occupants nor subject, so it believes that this mirror has them: it has not heard that the
-- mirror was restarted and lost its users. An error tells it so, and all may join again.
local function start_over(room, occupant_jid)
	module:send(st.presence({ type = "error"; from = room.jid; to = room.fmuc.master .. "/" .. jid_resource(occupant_jid) })
		:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = xmlns_stanzas }));
	greeting.join_again(room);
end

local function accepted_user(state)
	for occupant_jid, record in pairs(state.waiting) do
		if record.accepted then return occupant_jid, record; end
	end
end

-- is_anybody_accepted(state) -> whether the master has let somebody in who still waits for the rest
function greeting.is_anybody_accepted(state)
	return accepted_user(state) ~= nil;
end

-- check(room, time): once a second, while the first user has not been let in
function greeting.check(room, time)
	local _, record = accepted_user(room.fmuc);
	if record and time - math.max(record.accepted_at, room.fmuc.line.heard) >= subject_timeout then parts.probe.ping(room, "greeting"); end
end

-- complete(room, [is_broken]): nothing more will come for the first user. is_broken: but something is missing
function greeting.complete(room, is_broken)
	local state = room.fmuc;
	local occupant_jid = accepted_user(state);
	if state.synced or not occupant_jid then
		return;
	elseif state.started_over then
		parts.admission.finish_sync(room);
	elseif is_broken then
		greeting.join_again(room);
	elseif not has_seen_anything(room) then
		start_over(room, occupant_jid);
	else
		parts.admission.finish_sync(room);
	end
end

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return greeting;
end;
