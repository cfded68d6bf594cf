-- SPDX-License-Identifier: MIT
-- The mirror role: local users join rooms of other servers through rooms of this service. Requirements M1 to M27 and the client's side
-- of XEP-0045. This file: what local users send; mirror/outbox: their messages to the room;
-- mirror/presences: what the master sends; mirror/room: the rooms.

local commands = require "prosody_relay.commands";
local compat = require "prosody_relay.compat";
local configmanager = require "core.configmanager";
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
-- ahead of mod_muc's -2, which sees only what a mirror may decide by itself
local before_muc = 1;

local no_nick_changes = "Nicknames cannot be changed through a mirror";

local join_timeout = lib "settings".join_timeout;

-- The occupant identifiers of a mirrored room are the master's, which pass through (G10)
if module:get_option_boolean("muc_occupant_id", false) then
	module:log("info", "muc_occupant_id has no effect on a mirror, which shows the identifiers of the master");
end
configmanager.set(module.host, "muc_occupant_id", false);
local muc = module:depends "muc";
lib "mirror/own_rooms".refuse(muc); -- before anything here can fail

local admission, changes, mirrored, from_master, former, ids, messages, outage, outbox, parts, room_info;

-- Joins the master has not answered. Key: occupant JID; record: see mirror/joins. It is in room.fmuc.waiting as well, until the user
-- is in the room.
local joins;

-- is_refused: the user does not come in
local function take_join(room, occupant_jid, is_refused)
	local waiting = joins:get(occupant_jid);
	if waiting then mirrored.visits.stop(waiting); end
	if room then -- or an admin has destroyed it
		room.fmuc.waiting[occupant_jid] = nil;
		if is_refused then room.fmuc.line.presences[occupant_jid], room.fmuc.line.asks_for_ids = nil, nil; end
	end
	return joins:remove(occupant_jid);
end

-- status: the user's last words (<status/>), or nil
local function send_part(room_jid, nick, status)
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
	take_join(room, occupant_jid, true);
	if record.sent then send_part(record.room_jid, jid_resource(occupant_jid)); end
	if record.candidate then from_master.not_the_answer(room, occupant_jid, record); end
	parts.greeting.pass_on(room, record);
	if room then admission.send_joins(room); end
	mirrored.forget_if_unused(record.room_jid);
end

-- err: <error/> element
local function refuse_join(occupant_jid, record, err)
	for _, join in pairs(record.joins) do refusal.pass_on(join, st.clone(err)); end
	withdraw(occupant_jid, record);
end

local function on_join_timeout(occupant_jid, record)
	mirrored.visits.stop(record);
	refuse_join(occupant_jid, record, unavailable.error("wait", "remote-server-timeout", "The room's server does not answer"));
end

local function send_join(record)
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

-- Whether that session waits to be let in already, with another nick than that of the occupant JID (nil: any)
local function waits_elsewhere(room, occupant_jid, user)
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
	elseif waits_elsewhere(room, occupant_jid, user) then
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

module:hook("presence/full", function (event)
	local stanza = event.stanza;
	local room_jid = jid_bare(stanza.attr.to);
	if jid_bare(stanza.attr.from) == relay_jid.unmirror(room_jid) then
		return from_master.handle_presence(room_jid, event);
	end
	return handle_user_presence(stanza, stanza.attr.to, event.fmuc_info);
end, before_muc);

module:hook("presence/bare", function (event)
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
end, before_muc);

module:hook("message/bare", function (event)
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
end, before_muc);

local saved = module.saved_state or {};
joins = pending.new(module, on_join_timeout, saved.joins);
local function stop_waiting(occupant_jid)
	local record = joins:remove(occupant_jid);
	if record then mirrored.visits.stop(record); end
end
local function update_if_present(stanza)
	local room = mirrored.get(jid_bare(stanza.attr.to));
	if room then update(room, stanza); end
end
parts = { send_part = send_part; send_join = send_join; stop_waiting = stop_waiting; update = update_if_present; seen = lib "mirror/shown" };
outage = lib "mirror/outage" (parts);
parts.outage = outage;
changes = lib "mirror/changes" (parts);
parts.changes = changes;
admission = lib "mirror/joins" (parts);
parts.admission = admission;
parts.probe, parts.resync = lib "mirror/liveness" (parts), lib "mirror/resync" (parts);
parts.backfill = lib "mirror/backfill" (parts);
parts.greeting = lib "mirror/first_sync" (parts);
mirrored = lib "mirror/room" {
	muc = muc; send_part = send_part; saved = saved.rooms; parts = parts;
};
local requests, archive = lib "link/requests", lib "room/archive";
parts.archive = archive;
archive.own_all_rooms(); -- before mod_muc_mam is loaded, after this module as the component is made
room_info = lib "mirror/info" { admission = admission; mirrored = mirrored; archive = archive; requests = requests };
ids = lib "mirror/ids" { archive = archive; room_info = room_info };
former = lib "mirror/restart" { mirrored = mirrored; grace_period = outage.grace_period; saved = saved.former };
parts.mirrored, parts.former, parts.ids = mirrored, former, ids;
outbox = lib "mirror/outbox" { parts = parts; saved = saved.outbox };
parts.outbox = outbox;
local presences = lib "mirror/subjects" { ids = ids };
local avatar = lib "mirror/avatar" { mirrored = mirrored; requests = requests; room_info = room_info };
from_master = lib "mirror/presences" {
	mirrored = mirrored; presences = presences; avatar = avatar; ids = ids; room_info = room_info;
	take_join = take_join; send_part = send_part;
	admission = admission; outage = outage; greeting = parts.greeting; probe = parts.probe; resync = parts.resync; former = former;
};
messages = lib "mirror/messages" {
	admission = admission; mirrored = mirrored; outbox = outbox; from_master = from_master; ids = ids; room_info = room_info;
	outage = outage; resync = parts.resync; seen = parts.seen; backfill = parts.backfill;
};
parts.from_master, parts.messages, parts.room_info = from_master, messages, room_info;
local private = lib "mirror/private" {
	mirrored = mirrored; messages = messages; ids = ids; requests = requests; room_info = room_info;
};
parts.listed = lib "mirror/listed" { room_info = room_info; refuse_join = refuse_join };
local gate = lib "mirror/held_joins" { mirrored = mirrored; room_info = room_info; saved = saved.gate };
lib "link/repeats";
lib "mirror/operation" { mirrored = mirrored; outage = outage };
parts.bandwidth = lib "mirror/bandwidth" {
	admission = admission; changes = changes; mirrored = mirrored; ids = ids; level = policy.bandwidth;
};
lib "mirror/requests_to_room" { admission = admission; mirrored = mirrored; outage = outage; room_info = room_info };
lib "link/uninvited" { muc = muc; is_link = function (jid, room_jid) return jid == relay_jid.unmirror(room_jid); end };
local early_queries = lib "mirror/early_queries" {
	is_joining = function (room_jid, user) return gate.holds(room_jid, user) or waits_elsewhere(mirrored.get(room_jid), nil, user); end;
};
lib "mirror/room_iq" { archive = archive; avatar = avatar; early_queries = early_queries; mirrored = mirrored; room_info = room_info };

function module.save()
	return { rooms = mirrored.save(); joins = joins:save(); outbox = outbox.save(); former = former.save(); requests = requests.save();
		private = private.save(); gate = gate.save(); early_queries = early_queries.save() };
end

local function close()
	gate.close();
	mirrored.close_all();
end

function module.unload()
	commands.stop(module);
	if module.reloading then mirrored.release(); else close(); requests.close(); end
end

compat.on_stopping(module, close); -- while the streams to users and other servers still stand
