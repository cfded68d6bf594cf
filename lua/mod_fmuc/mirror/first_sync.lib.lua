-- SPDX-License-Identifier: MIT
-- Finds out when the master has sent everything to the first user of a mirrored room. The subject comes last, but the master may have none, or this
-- mirror may have missed it. If the master may think that the mirror has everything (G4), one join asks for everything, for all users.
--
-- link:own("first_sync"): asker (record of the join that asks for everything), started_over

local jid_resource = require "util.jid".resource;

local generation1 = lib "dialect/generation1";
local joins = lib "mirror/joins";
local liveness = lib "mirror/liveness";
local mirrored = lib "mirror/room";
local restart = lib "mirror/restart";

-- Seconds of silence after an accepted join until the mirror asks the master whether that was all. On a slow link the silence may mean nothing
local subject_timeout = 3;

local first_sync = {};

local function of(room)
	return room.fmuc.authority:own("first_sync");
end

local function is_over(room)
	return room.fmuc.authority.state ~= "joining";
end

-- asks_for_all(room, record) -> whether this join is the one that asks for everything
function first_sync.asks_for_all(room, record)
	if is_over(room) or not (joins.is_repeated(room) or restart.is_known(room.jid)) then return false; end
	local own = of(room);
	own.asker = own.asker or record;
	return own.asker == record;
end

-- is_under_way(room) -> whether a join has asked for everything
function first_sync.is_under_way(room)
	return of(room).asker ~= nil;
end

local function forget_answer(room, occupant_jid, record)
	mirrored.forget(room, occupant_jid);
	joins.begin_again(record);
end

-- pass_on(room, record): this join has failed, so another one may have to ask for everything. room may be nil
function first_sync.pass_on(room, record)
	if not room or is_over(room) or of(room).asker ~= record then return; end
	of(room).asker = nil;
	local occupant_jid, other = next(room.fmuc.waiting);
	if other then forget_answer(room, occupant_jid, other); end
	joins.send_joins(room);
end

local function has_seen_anything(room)
	for occupant_jid in pairs(room.fmuc.copies) do
		if not room.fmuc.waiting[occupant_jid] then return true; end
	end
	return room._history ~= nil;
end

-- join_again(room): the master has not sent everything, so all waiting users join again
function first_sync.join_again(room)
	local own = of(room);
	if own.started_over then return; end
	own.started_over, own.asker = true, nil;
	joins.repeat_all(room);
	for occupant_jid, record in pairs(room.fmuc.waiting) do forget_answer(room, occupant_jid, record); end
	joins.send_joins(room);
end

-- The master has answered, but has sent neither occupants nor subject. So it believes that this mirror has them. It does not know that the mirror
-- was restarted and lost its users. An error tells the master, and all users may join again.
local function start_over(room, occupant_jid)
	module:send(generation1.unknown(room.jid, room.fmuc.authority.peer .. "/" .. jid_resource(occupant_jid)));
	first_sync.join_again(room);
end

local function accepted_user(state)
	for occupant_jid, record in pairs(state.waiting) do
		if record.accepted then return occupant_jid, record; end
	end
end

-- is_anybody_accepted(state) -> whether an accepted user still waits for the rest. state: room.fmuc
function first_sync.is_anybody_accepted(state)
	return accepted_user(state) ~= nil;
end

-- finish(room): the master has sent everything that a joining room gets
function first_sync.finish(room)
	local authority = room.fmuc.authority;
	if is_over(room) then return; end
	of(room).asker = nil;
	authority:fire("synced");
end

-- check(room, time): once a second, until the first user has entered
function first_sync.check(room, time)
	local _, record = accepted_user(room.fmuc);
	if record and time - math.max(record.accepted_at, room.fmuc.authority.heard) >= subject_timeout then liveness.ping(room, "greeting"); end
end

-- complete(room, [is_broken]): the master will send nothing more to the first user. is_broken: something is missing
function first_sync.complete(room, is_broken)
	local occupant_jid = accepted_user(room.fmuc);
	if is_over(room) or not occupant_jid then
		return;
	elseif of(room).started_over then
		first_sync.finish(room);
	elseif is_broken then
		first_sync.join_again(room);
	elseif not has_seen_anything(room) then
		start_over(room, occupant_jid);
	else
		first_sync.finish(room);
	end
end

-- has the master sent everything to the first user?
liveness.on("greeting", {
	answered = function (room, asked, answer)
		first_sync.complete(room, liveness.is_complete(room, asked, answer) == false);
	end;
});

return first_sync;
