-- SPDX-License-Identifier: MIT
-- Presences of local users to mirrored rooms and their occupants: joins (M4, M5, M27), leaves, and status changes (M16). The master decides on
-- joins; mirror/joins has those that wait for the master.

local relay_jid = require "prosody_relay.jid";
local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local limits = lib "link/limits";
local changes = lib "mirror/changes";
local first_sync = lib "mirror/first_sync";
local from_master = lib "mirror/from_master";
local ids = lib "mirror/ids";
local joins = lib "mirror/joins";
local messages = lib "mirror/messages";
local mirrored = lib "mirror/room";
local outbox = lib "mirror/outbox";
local policy = lib "mirror/policy";
local refusal = lib "mirror/refusal";
local restart = lib "mirror/restart";
local room_info = lib "mirror/room_info";
local visits = lib "mirror/visits";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local xmlns_muc = "http://jabber.org/protocol/muc";
local muc = module:depends "muc";

local users = {};

-- send_join(event): sends a join that is due to the master (M4, M16)
function users.send_join(event)
	local room, record = event.room, event.record;
	local user, join = joins.first_session(record);
	local occupant_jid, authority = join.attr.to, room.fmuc.authority;
	local password = join:get_child("x", xmlns_muc):get_child_text("password");
	local copy = changes.announce(room, join);
	copy.attr.id = record.id;
	local wants_all, history = first_sync.asks_for_all(room, record), nil;
	if wants_all then
		history = {}; -- the master may think that it has told this mirror everything (G4)
	elseif restart.had(room.jid, jid_resource(occupant_jid)) or authority.state == "rejoining" or first_sync.is_under_way(room) then
		history = { maxstanzas = "0" };
	end
	generation1.add_join(copy, { real_jid = user; ids = ids.ask(room); password = password; history = history });
	joins.sent(record, password);
	changes.knows(room, occupant_jid, user);
	if wants_all then authority:restart_count(-1); end -- the master starts a new count with this join
	authority:send(copy);
	joins.fence(room, record);
end

-- The user does not enter
local function withdraw(occupant_jid, record)
	local room = mirrored.get(record.room_jid);
	joins.take(room, occupant_jid, true);
	if record.sent then changes.part(record.room_jid, jid_resource(occupant_jid)); end
	if record.candidate then from_master.not_the_answer(room, occupant_jid, record); end
	first_sync.pass_on(room, record);
	if room then joins.send_joins(room); end
	mirrored.forget_if_unused(record.room_jid);
end

-- refuse_join(occupant_jid, record, err): ends that join with the <error/> err
function users.refuse_join(occupant_jid, record, err)
	local unanswered = joins.all_of(record);
	withdraw(occupant_jid, record); -- first: so the session waits no more, and what it said is refused, too
	for _, join in ipairs(unanswered) do refusal.pass_on(join, st.clone(err)); end
end

local function on_join_timeout(occupant_jid, record)
	visits.stop(record);
	users.refuse_join(occupant_jid, record, errors.element("server-silent"));
end

-- Account (bare JID) that has the nick on this mirror, or waits for it; or nil
local function nick_owner(room, record, occupant_jid)
	local occupant = room and room.fmuc and mirrored.is_local(room, occupant_jid) and room:get_occupant_by_nick(occupant_jid);
	if occupant then return occupant.bare_jid; end
	return record and jid_bare((joins.first_session(record)));
end

-- waits_as(room, user) -> the occupant JID with which that session waits to enter, or nil. A session waits with one nick.
function users.waits_as(room, user)
	for occupant_jid, record in pairs(room and room.fmuc and room.fmuc.waiting or {}) do
		if record.joins[user] then return occupant_jid; end
	end
end

-- info: of the room, if the mirror asked the master because of this join
local function handle_join(stanza, room, info)
	local occupant_jid, user = stanza.attr.to, stanza.attr.from;
	local room_jid = jid_bare(occupant_jid);
	local master, reason = relay_jid.unmirror(room_jid);
	if not master then
		return refusal.join(stanza, reason == "nested" and "mirror-of-a-mirror" or "address-of-no-room");
	elseif not policy.may_use(user) then
		return refusal.join(stanza, "user-not-served");
	elseif not policy.may_be_mirrored(master) then
		return refusal.join(stanza, "server-not-allowed", jid_host(master));
	end
	local kept = limits.trimmed(st.clone(stanza));
	if not kept then return refusal.join(stanza, "presence-too-long"); end
	local record = joins.waiting_for(occupant_jid);
	local owner = nick_owner(room, record, occupant_jid);
	if owner and owner ~= jid_bare(user) then
		return refusal.join(stanza, "nick-taken");
	elseif (users.waits_as(room, user) or occupant_jid) ~= occupant_jid then
		return refusal.join(stanza, "nick-stays"); -- M27
	elseif record then
		joins.add_session(record, user, kept);
		return true;
	elseif owner then
		return; -- the master need not know of a further session (G23)
	end
	if visits.has_enough(user) then return refusal.join(stanza, "too-many-rooms"); end
	room = mirrored.open(room_jid, master);
	if not room then return refusal.join(stanza, "no-place-for-room"); end
	record = joins.new_record(room_jid, jid_bare(user));
	joins.add_session(record, user, kept);
	joins.wait(room, occupant_jid, record);
	if not room.fmuc.authority:is_out() then room_info.prepare(room, info); end -- first, so that its answer comes before occupants and history
	joins.send_joins(room);
	return true;
end

-- A user leaves before the master has answered
local function cancel_join(occupant_jid, user)
	local record = joins.waiting_for(occupant_jid);
	if not record or not record.joins[user] then return false; end
	joins.remove_session(record, user);
	if record.entered then return false; end -- mod_muc removes the session, if it is in the room
	if next(record.joins) == nil then
		withdraw(occupant_jid, record);
	end
	module:fire_event("fmuc-join-withdrawn", { room_jid = record.room_jid; user = user });
	return true;
end

local function handle_user_presence(stanza, occupant_jid, info)
	local user, type = stanza.attr.from, stanza.attr.type;
	local room = muc.get_room_from_jid(jid_bare(occupant_jid));
	local present_as = room and room:get_occupant_jid(user);
	if type == "unavailable" then
		-- as in a room, with whatever nick the user names
		return cancel_join(users.waits_as(room, user) or occupant_jid, user) or nil; -- mod_muc does the rest
	elseif type ~= nil then
		return;
	elseif present_as and present_as ~= occupant_jid then
		return errors.refuse(stanza, "nick-stays"); -- M27
	elseif stanza:get_child("x", xmlns_muc) then
		if present_as then return; end -- the client wants everything again, which mod_muc has
		return handle_join(stanza, room, info);
	elseif present_as then
		changes.update(room, stanza);
		return true;
	elseif joins.put_off(joins.waiting_for(occupant_jid), stanza) then
		return true; -- has not entered yet
	elseif relay_jid.unmirror(jid_bare(occupant_jid)) and policy.may_use(user) then
		refusal.absent(user, occupant_jid);
		return true;
	end
end

-- handle_presence_to_occupant(event): from a user or the master
function users.handle_presence_to_occupant(event)
	local stanza = event.stanza;
	local room_jid = jid_bare(stanza.attr.to);
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return from_master.handle_presence(room_jid, event);
	end
	return handle_user_presence(stanza, stanza.attr.to, event.fmuc_info);
end

-- handle_presence_to_room(event): from a user or the master
function users.handle_presence_to_room(event)
	local stanza = event.stanza;
	local room_jid = stanza.attr.to;
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return from_master.handle_presence(room_jid, event);
	end
	-- as mod_muc does for clients that send their updates to the room
	local room = muc.get_room_from_jid(room_jid);
	local occupant_jid = room and (room:get_occupant_jid(stanza.attr.from) or users.waits_as(room, stanza.attr.from));
	if not occupant_jid then
		if stanza.attr.type ~= nil or not stanza:get_child("x", xmlns_muc) then return; end
		return refusal.join(stanza, "nick-needed");
	end
	stanza.attr.to = occupant_jid;
	local handled = handle_user_presence(stanza, occupant_jid);
	stanza.attr.to = room_jid;
	return handled;
end

-- handle_message_to_room(event): from a user or the master
function users.handle_message_to_room(event)
	local stanza = event.stanza;
	local room_jid = stanza.attr.to;
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return messages.handle(room_jid, event);
	end
	local room = muc.get_room_from_jid(room_jid);
	if stanza.attr.type ~= "groupchat" then return; end
	if room then return outbox.handle_groupchat(event.origin, stanza, room); end
	return errors.refuse(stanza, "not-in-room");
end

-- leave(room, code): removes all local users from the room, with this status code
function users.leave(room, code)
	for occupant_jid in room:each_occupant() do
		if mirrored.is_local(room, occupant_jid) then changes.part(room.jid, jid_resource(occupant_jid)); end
	end
	mirrored.evict_all(room, code);
	mirrored.forget_if_unused(room.jid);
end

-- close(): removes all local users from all rooms, and tells them
function users.close()
	for room_jid, state in mirrored.each() do
		for occupant_jid, record in pairs(state.waiting) do
			local room = mirrored.get(room_jid);
			joins.take(room, occupant_jid);
			for _, join in ipairs(joins.all_of(record)) do refusal.join(join, "mirror-closing"); end
			changes.part(room_jid, jid_resource(occupant_jid));
		end
		local room = mirrored.get(room_jid);
		if room then users.leave(room, "332"); end
	end
end

-- restore(saved): what joins.save() of an earlier instance returned, or nil
function users.restore(saved)
	joins.start(on_join_timeout, saved);
end

return users;
