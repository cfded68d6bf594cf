-- SPDX-License-Identifier: MIT
-- Presences of local users, to the rooms of a mirror and to their occupants: joins, which the master decides on (M4, M5, M27), parts, and
-- changes of status (M16). Who waits for the master: mirror/joins.

local relay_jid = require "prosody_relay.jid";
local pending = require "prosody_relay.pending";
local bounds = lib "link/limits";
local hygiene = lib "link/hygiene";
local policy = lib "mirror/policy";
local refusal = lib "mirror/refusal";
local unavailable = lib "mirror/unavailable";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc = "http://jabber.org/protocol/muc";
local no_nick_changes = "Nicknames cannot be changed through a mirror";

local join_timeout = lib "settings".join_timeout;

local muc = module:depends "muc";

local admission, changes, mirrored, from_master, former, messages, outage, outbox, parts, room_info;

local users = {};

-- Joins the master has not answered. Key: occupant JID; record: see mirror/joins. It is in room.fmuc.waiting as well, until the user
-- is in the room.
local joins;

-- take_join(room, occupant_jid, [is_refused]) -> the record of a join that is over, or nil. is_refused: the user does not come in
function users.take_join(room, occupant_jid, is_refused)
	local waiting = joins:get(occupant_jid);
	if waiting then mirrored.visits.stop(waiting); end
	if room then -- or an admin has destroyed it
		room.fmuc.waiting[occupant_jid] = nil;
		if is_refused then room.fmuc.line.presences[occupant_jid], room.fmuc.line.asks_for_ids = nil, nil; end
	end
	return joins:remove(occupant_jid);
end

-- send_part(room_jid, nick, [status]): tells the master that a user has left. status: the user's last words (<status/>)
function users.send_part(room_jid, nick, status)
	local room = mirrored.get(room_jid);
	if room and outage.is_out(room) then return outage.left(room, nick); end
	local part = st.presence({ type = "unavailable"; from = room_jid; to = relay_jid.unmirror(room_jid) .. "/" .. nick });
	if status then part:add_child(status); end
	mirrored.send(room_jid, part); -- M12
end

-- A presence of a local user as the master gets it (M4, M16). record: of the join that it is
local function send_presence(room, stanza, fmuc_from, record)
	local room_jid = jid_bare(stanza.attr.to);
	local copy = hygiene.copy("presence to the master", stanza);
	copy = bounds.trimmed(copy) or st.clone(copy, true);
	copy.attr.from, copy.attr.to = room_jid, relay_jid.unmirror(room_jid) .. "/" .. jid_resource(stanza.attr.to);
	local line, occupant_jid = room.fmuc.line, stanza.attr.to;
	line.presences[occupant_jid] = st.clone(copy);
	if not fmuc_from then return changes.send(room, occupant_jid, copy); end
	copy.attr.id = record.id;
	local ids_wanted = not line.ids and not line.asks_for_ids and policy.is_nomirror(room.fmuc.master) and "" or nil; -- see mirror/ids
	line.asks_for_ids = line.asks_for_ids or ids_wanted;
	copy:tag("fmuc", { xmlns = xmlns_fmuc; from = fmuc_from; ids = ids_wanted });
	local password = stanza:get_child("x", xmlns_muc):get_child_text("password");
	if password then copy:text_tag("password", password); end -- G22
	record.password = password;
	line.known_as[occupant_jid] = fmuc_from;
	local nick = jid_resource(occupant_jid);
	local wants_all = parts.greeting.asks_for_all(room, record);
	if wants_all then
		copy:tag("history"):up(); -- G4: the master may think that it has told this mirror everything
	elseif former.had(room_jid, nick) or line.rejoin or room.fmuc.asker then
		copy:tag("history", { maxstanzas = "0" }):up();
	end
	line.parted[nick] = nil;
	copy:up();
	if wants_all then line.sent = -1; end -- from then on the master counts anew
	mirrored.send(room_jid, copy);
end

-- The new presence of a session that is in the room: the first one's is that of the nick, as in any room
local function update(room, stanza)
	if changes.is_of_first_session(room, stanza) then send_presence(room, stanza); end
end

-- The user does not come in after all
local function withdraw(occupant_jid, record)
	local room = mirrored.get(record.room_jid);
	users.take_join(room, occupant_jid, true);
	if record.sent then users.send_part(record.room_jid, jid_resource(occupant_jid)); end
	if record.candidate then from_master.not_the_answer(room, occupant_jid, record); end
	parts.greeting.pass_on(room, record);
	if room then admission.send_joins(room); end
	mirrored.forget_if_unused(record.room_jid);
end

-- refuse_join(occupant_jid, record, err): ends that join with the <error/> err
function users.refuse_join(occupant_jid, record, err)
	for _, join in pairs(record.joins) do refusal.pass_on(join, st.clone(err)); end
	withdraw(occupant_jid, record);
end

local function on_join_timeout(occupant_jid, record)
	mirrored.visits.stop(record);
	users.refuse_join(occupant_jid, record, unavailable.error("wait", "remote-server-timeout", "The room's server does not answer"));
end

-- send_join(record): to the master
function users.send_join(record)
	local room = mirrored.get(record.room_jid);
	local user, join = admission.first_session(record);
	record.sent, record.sent_at = true, now();
	send_presence(room, join, user, record);
	admission.fence(room, record);
end

-- The record of a join with that nick, whether the master has answered it or not; or nil
local function waiting_for(occupant_jid)
	local room = mirrored.get(jid_bare(occupant_jid));
	return joins:get(occupant_jid) or room and room.fmuc.waiting[occupant_jid];
end

-- Whether a session of another account has that nick on this mirror already
local function nick_owner(room, record, occupant_jid)
	local occupant = room and room.fmuc and mirrored.is_local(room, occupant_jid) and room:get_occupant_by_nick(occupant_jid);
	if occupant then return occupant.bare_jid; end
	return record and jid_bare((admission.first_session(record)));
end

-- waits_elsewhere(room, occupant_jid, user) -> whether that session waits to be let in already, with another nick than that of the occupant
-- JID (nil: any)
function users.waits_elsewhere(room, occupant_jid, user)
	for other_jid, record in pairs(room and room.fmuc and room.fmuc.waiting or {}) do
		if other_jid ~= occupant_jid and record.joins[user] then return true; end
	end
	return false;
end

-- info: of the room, if the master was asked for this join
local function handle_join(stanza, room, info)
	local occupant_jid, user = stanza.attr.to, stanza.attr.from;
	local room_jid = jid_bare(occupant_jid);
	local master, reason = relay_jid.unmirror(room_jid);
	if not master then
		return refusal.join(stanza, "modify", "jid-malformed", unavailable.no_address(reason));
	elseif not policy.may_use(user) then
		return refusal.join(stanza, "auth", "forbidden", "This mirror does not serve you");
	elseif not policy.may_be_mirrored(master) then
		return refusal.join(stanza, "cancel", "not-allowed", "Rooms of " .. jid_host(master) .. " are not mirrored here");
	end
	local kept = bounds.trimmed(st.clone(stanza));
	if not kept then return refusal.join(stanza, "modify", "policy-violation", "This presence is too long"); end
	local record = waiting_for(occupant_jid);
	local owner = nick_owner(room, record, occupant_jid);
	if owner and owner ~= jid_bare(user) then
		return refusal.join(stanza, "cancel", "conflict");
	elseif users.waits_elsewhere(room, occupant_jid, user) then
		return refusal.join(stanza, "modify", "not-acceptable", no_nick_changes); -- M27
	elseif record then
		admission.add_session(record, user, kept);
		return true;
	elseif owner then
		return; -- a further session of an occupant concerns only this side (G23)
	end
	if mirrored.visits.has_enough(user) then return refusal.join(stanza, "wait", "resource-constraint", "You are in too many mirrored rooms"); end
	room = mirrored.open(room_jid, master);
	if not room then return refusal.join(stanza, "wait", "resource-constraint", "This mirror has no room for another room"); end
	record = admission.new_record(room_jid, jid_bare(user));
	mirrored.visits.wait(record, user);
	admission.add_session(record, user, kept);
	room.fmuc.waiting[occupant_jid] = record;
	joins:add(occupant_jid, record, join_timeout);
	if not outage.is_out(room) then room_info.prepare(room, info); end -- first, so that its answer comes before occupants and history
	admission.send_joins(room);
	return true;
end

-- A user who goes before the master has answered
local function cancel_join(occupant_jid, user)
	local record = waiting_for(occupant_jid);
	if not record or not record.joins[user] then return false; end
	admission.remove_session(record, user);
	if record.entered then return false; end -- mod_muc takes that session out, if it is in
	if next(record.joins) == nil then
		withdraw(occupant_jid, record);
	end
	return true;
end

local function handle_user_presence(stanza, occupant_jid, info)
	local user, type = stanza.attr.from, stanza.attr.type;
	local room = muc.get_room_from_jid(jid_bare(occupant_jid));
	local present_as = room and room:get_occupant_jid(user);
	if type == "unavailable" then
		return cancel_join(occupant_jid, user) or nil; -- mod_muc does the rest
	elseif type ~= nil then
		return;
	elseif present_as and present_as ~= occupant_jid then
		module:send(st.error_reply(stanza, "modify", "not-acceptable", no_nick_changes)); -- M27
		return true;
	elseif stanza:get_child("x", xmlns_muc) then
		if present_as then return; end -- wants everything again, which is all here
		return handle_join(stanza, room, info);
	elseif present_as then
		update(room, stanza);
		return true;
	elseif admission.put_off(waiting_for(occupant_jid), stanza) then
		return true; -- has not been let in yet
	elseif relay_jid.unmirror(jid_bare(occupant_jid)) and policy.may_use(user) then
		refusal.absent(user, occupant_jid);
		return true;
	end
end

-- handle_presence_to_occupant(event): of a user, or of the master
function users.handle_presence_to_occupant(event)
	local stanza = event.stanza;
	local room_jid = jid_bare(stanza.attr.to);
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return from_master.handle_presence(room_jid, event);
	end
	return handle_user_presence(stanza, stanza.attr.to, event.fmuc_info);
end

-- handle_presence_to_room(event): of a user, or of the master
function users.handle_presence_to_room(event)
	local stanza = event.stanza;
	local room_jid = stanza.attr.to;
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return from_master.handle_presence(room_jid, event);
	end
	-- as mod_muc does for clients that send their updates to the room
	local room = muc.get_room_from_jid(room_jid);
	local occupant_jid = room and room:get_occupant_jid(stanza.attr.from);
	if not occupant_jid then
		if stanza.attr.type ~= nil or not stanza:get_child("x", xmlns_muc) then return; end
		return refusal.join(stanza, "modify", "jid-malformed", "A nickname is needed");
	end
	stanza.attr.to = occupant_jid;
	local handled = handle_user_presence(stanza, occupant_jid);
	stanza.attr.to = room_jid;
	return handled;
end

-- handle_message_to_room(event): of a user, or of the master
function users.handle_message_to_room(event)
	local stanza = event.stanza;
	local room_jid = stanza.attr.to;
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return messages.handle(room_jid, event);
	end
	local room = muc.get_room_from_jid(room_jid);
	if stanza.attr.type ~= "groupchat" then return; end
	if room then return outbox.handle_groupchat(event.origin, stanza, room); end
	module:send(st.error_reply(stanza, "cancel", "not-acceptable", "You are not currently connected to this chat"));
	return true;
end

-- stop_waiting(occupant_jid): the join of that user has no deadline any more
function users.stop_waiting(occupant_jid)
	local record = joins:remove(occupant_jid);
	if record then mirrored.visits.stop(record); end
end

-- update(stanza): the new presence of a user who may be in the room
function users.update(stanza)
	local room = mirrored.get(jid_bare(stanza.attr.to));
	if room then update(room, stanza); end
end

-- save() -> the joins that the master has not answered, for the next instance
function users.save()
	return joins:save();
end

-- start(shared): the mirror's parts by name
function users.start(shared)
	parts = shared;
	admission, changes, mirrored, from_master, former = parts.admission, parts.changes, parts.mirrored, parts.from_master, parts.former;
	messages, outage, outbox, room_info = parts.messages, parts.outage, parts.outbox, parts.room_info;
	joins = pending.new(module, on_join_timeout, parts.saved.joins);
end

return users;
