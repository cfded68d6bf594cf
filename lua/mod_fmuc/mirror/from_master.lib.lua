-- SPDX-License-Identifier: MIT
-- The presences of the master to a mirrored room (M5 to M10, M13; sections 4 and 2b of the requirements). Messages: mirror/messages.
--
-- A local user enters the room when the master has accepted the join and has sent occupants, history and subject. Then mod_muc greets the user in
-- the order of XEP-0045.

local fair_cache = require "prosody_relay.fair_cache";
local jid_resource = require "util.jid".resource;
local whose_error = require "prosody_relay.origin";
local st = require "util.stanza";

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";
local avatar = lib "mirror/avatar";
local changes = lib "mirror/changes";
local first_sync = lib "mirror/first_sync";
local ids = lib "mirror/ids";
local joins = lib "mirror/joins";
local liveness = lib "mirror/liveness";
local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local presences = lib "mirror/presences";
local refusal = lib "mirror/refusal";
local restart = lib "mirror/restart";
local resync = lib "mirror/resync";
local room_info = lib "mirror/room_info";
local unavailable = lib "mirror/unavailable";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Limit for the prefix of the ids that a mirror may give to messages (mirror/ids)
local max_prefix_bytes = 32;

local from_master = {};

local function show(room, occupant_jid, presence)
	local known = room.fmuc.copies[occupant_jid];
	local was_hidden = room.fmuc.hidden[occupant_jid];
	local copy, is_hidden = presence.copy, presence.is_hidden;
	mirrored.keep(room, occupant_jid, copy, is_hidden);
	-- after an outage the master may repeat what local users know
	if known and was_hidden == room.fmuc.hidden[occupant_jid] and equivalent(known, copy) then return; end
	local sessions = room.fmuc.recipients:by_nick(occupant_jid);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions, presence.id);
end

-- The master has answered the join of this record with this presence: { copy, mark, is_hidden }
local function take_answer(room, occupant_jid, record, presence)
	local authority, sent = room.fmuc.authority, presence.mark and presence.mark.sent;
	presences.take_own_codes(room, presence.copy);
	if sent then
		authority:learn_counting(true);
		authority:restart_count(nil, sent);
	end
	mirrored.keep(room, occupant_jid, presence.copy, presence.is_hidden);
	joins.accept(room, record);
	resync.continue(room);
end

-- The candidate of this record was the answer
local function accepted(room, occupant_jid, record)
	local candidate = record.candidate;
	record.candidate = nil;
	take_answer(room, occupant_jid, record, candidate);
	if candidate.gone then mirrored.remove_occupant(room, occupant_jid, candidate.gone); end
end

-- handle_pong(event): an IQ to the room has come, perhaps the answer to the ping after a join (mirror/joins)
function from_master.handle_pong(event)
	local stanza = event.stanza;
	local type = stanza.attr.type;
	if type ~= "result" and type ~= "error" or not joins.is_pong(stanza.attr.id) then return; end
	local room = mirrored.get(stanza.attr.to);
	if not room or stanza.attr.from ~= room.fmuc.authority.peer or whose_error.is_undeliverable(event) then return true; end
	local occupant_jid, record = joins.take_fenced(room, stanza.attr.id);
	if record and record.candidate then accepted(room, occupant_jid, record); end
	return true;
end

-- not_the_answer(room, occupant_jid, record): the candidate shows another user. room may be nil
function from_master.not_the_answer(room, occupant_jid, record)
	local candidate = record.candidate;
	record.candidate = nil;
	if room and not candidate.gone then show(room, occupant_jid, candidate); end
end

-- presence: { copy, mark, is_hidden }
local function handle_available(room, occupant_jid, presence, id)
	local state = room.fmuc;
	local record = state.waiting[occupant_jid];
	local answers = joins.answers(room, record, id);
	changes.confirm(room, occupant_jid);
	if answers then
		return take_answer(room, occupant_jid, record, presence);
	elseif answers == nil then
		record.candidate = presence;
		return;
	end
	local rejoined = resync.is_answer(room, occupant_jid, id);
	if rejoined then
		state.authority:answered();
		presences.take_own_codes(room, presence.copy, true);
	end
	if record and record.accepted and not mirrored.is_local(room, occupant_jid) then
		mirrored.keep(room, occupant_jid, presence.copy, presence.is_hidden); -- shown when the user enters
	else
		presence.id = not generation1.is_join_id(id) and id or nil;
		show(room, occupant_jid, presence);
	end
	if rejoined then resync.continue(room); end
end

local function refuse_join(room, occupant_jid, record, stanza)
	joins.take(room, occupant_jid, true);
	if record.candidate then from_master.not_the_answer(room, occupant_jid, record); end
	resync.show_usurper(room, occupant_jid);
	local err = stanza:get_child("error") or st.stanza("error", { type = "cancel" }):tag("undefined-condition", { xmlns = xmlns_stanzas }):up();
	err = unavailable.refusal(room.fmuc.authority.peer, room.fmuc.info, err);
	if unavailable.is_absence(err) then room_info.forget(room.jid); end
	for user, join in pairs(record.joins) do refusal.pass_on(join, st.clone(err), record.repeated and record.repeated[user] ~= nil); end
	first_sync.pass_on(room, record);
	resync.continue(room);
	joins.send_joins(room);
	mirrored.forget_if_unused(room.jid);
end

-- This server could not deliver a presence, or does not know whether it did. If the room has local users, a join waits for the end of the outage.
-- The first user of a room gets the error. The master is told that this user has left, in case it has accepted the join.
local function handle_undeliverable(room, occupant_jid, event)
	local state, stanza = room.fmuc, event.stanza;
	local record, nick = state.waiting[occupant_jid], jid_resource(occupant_jid);
	local _, condition = stanza:get_error();
	if resync.is_answer(room, occupant_jid, stanza.attr.id) then return liveness.failed(room, state.authority.asked.id); end
	if not record and nick and not mirrored.is_local(room, occupant_jid) then changes.may_be_there(room, nick); end -- may have said that the user left
	outage.undelivered(room, condition);
	if not record or stanza.attr.id ~= record.id or state.authority:is_out() then return; end
	refuse_join(room, occupant_jid, record, whose_error.explained(event));
	if not event.origin.dummy then changes.part(room.jid, nick); end -- else mod_s2s never sent it
	joins.repeat_joins(record);
end

-- The master refuses a new presence of a local user. The user gets the error, as in the master's room
local function pass_on_refusal(room, occupant_jid, stanza)
	changes.confirm(room, occupant_jid);
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from = occupant_jid;
	room:route_to_occupant(room:get_occupant_by_nick(occupant_jid), copy);
end

-- Whether the mirror may have everything, although the master asks it to join again (G4). The master could not deliver something, or does not know
-- whether it did. A master of this module counts stanzas, so the mirror asks for its count first.
local function may_be_complete(room)
	local authority = room.fmuc.authority;
	local is_counting = authority.counts or authority.counts == nil and room_info.has(room, generation1.xmlns_private);
	return is_counting and authority.state ~= "syncing" and authority.state ~= "rejoining";
end

-- The master refuses a join (M8, M9), or does not know a user or the mirror (G4)
local function handle_error(room, occupant_jid, stanza)
	local state, id = room.fmuc, stanza.attr.id;
	local record = state.waiting[occupant_jid];
	local _, condition = stanza:get_error();
	if resync.is_answer(room, occupant_jid, id) then
		resync.refused(room, stanza);
	elseif record and (not id or id == record.id) then
		refuse_join(room, occupant_jid, record, stanza);
		joins.repeat_joins(record);
	elseif record then -- the error of an earlier join
		return;
	elseif not occupant_jid and state.authority.state == "joining" and condition == "item-not-found" then
		first_sync.join_again(room); -- the master has forgotten this mirror during the first sync
	elseif occupant_jid and not mirrored.is_local(room, occupant_jid) then
		return;
	elseif condition == "item-not-found" or condition == "not-acceptable" then
		outage.lost(room, "the master does not know it: " .. condition, occupant_jid ~= nil or not may_be_complete(room));
	elseif occupant_jid then
		pass_on_refusal(room, occupant_jid, stanza);
	end
end

local known_roles = { visitor = true; participant = true; moderator = true };

-- mod_muc compares roles, and ignores an occupant without one
local function complete_item(x)
	if not x:get_child("item") then x:tag("item", { affiliation = "none" }):up(); end
	local item = x:get_child("item");
	if not known_roles[item.attr.role] then item.attr.role = "participant"; end
end

-- deny(room_jid, stanza): tells a master that this mirror is not in its room. Once a second is enough: the master may be sending a large room to a
-- user who has left.
local denied = fair_cache.new(256);
function from_master.deny(room_jid, stanza)
	if restart.is_known(room_jid) then return; end -- after a restart users have time to come back
	local second = os.time();
	if denied:get(room_jid) == second then return; end
	denied:set(room_jid, stanza.attr.from, second);
	errors.refuse(stanza, "no-item");
end

-- The room is destroyed. The first such presence is enough
local function is_end(room, copy)
	local destroy = copy:get_child("x", xmlns_muc_user):get_child("destroy");
	if not destroy then return false; end
	joins.end_room(room, destroy);
	return true;
end

local function handle_unavailable(room, occupant_jid, copy)
	local record = room.fmuc.waiting[occupant_jid];
	if record and record.candidate then
		record.candidate.gone = copy;
		return;
	elseif record and record.entered and not mirrored.is_local(room, occupant_jid) then
		record.removed = copy;
		return;
	elseif record and record.accepted then
		first_sync.finish(room); -- joined and left at once: the user sees both
	end
	mirrored.remove_occupant(room, occupant_jid, copy);
end

local function handle_occupant(room, occupant_jid, stanza)
	local copy, id = presences.for_local_users(room, stanza, occupant_jid), stanza.attr.id;
	local is_hidden = jid_resource(stanza.attr.to) ~= nil;
	local mark = generation1.read_mark(stanza);
	if stanza.attr.type == nil then
		copy = mirrored.admits(room, occupant_jid, copy, resync.counter(room));
		if not copy then return; end
		complete_item(copy:get_child("x", xmlns_muc_user));
	elseif is_end(room, copy) then
		return;
	end
	if stanza.attr.type == "unavailable" and id and resync.is_answer(room, occupant_jid, id) then
		resync.kicked(room, occupant_jid, copy);
	elseif room.fmuc.authority.state == "syncing" then
		resync.presence(room, occupant_jid, { copy = copy; mark = mark; is_hidden = is_hidden }, id);
	elseif stanza.attr.type == nil then
		local asked_for_marks = joins.is_repeated(room) or restart.is_known(room.jid);
		if asked_for_marks and mark and not room.fmuc.waiting[occupant_jid] and not mirrored.is_local(room, occupant_jid) then
			-- a user of this mirror who is not here any more; after a restart users have time to come back
			local nick = jid_resource(occupant_jid);
			if not restart.had(room.jid, nick) then changes.part(room.jid, nick); end
			return;
		end
		handle_available(room, occupant_jid, { copy = copy; mark = mark; is_hidden = is_hidden }, id);
	else
		handle_unavailable(room, occupant_jid, copy);
	end
end

-- handle_held(event): a presence that was counted and held (mirror/outage)
function from_master.handle_held(event)
	local room, stanza = event.room, event.stanza;
	if stanza.name ~= "presence" then return; end
	handle_occupant(room, presences.subject(room, stanza), stanza);
end

-- handle_presence(room_jid, event): to the bare JID of the mirrored room or, for one user only, to the occupant JID
function from_master.handle_presence(room_jid, event)
	local stanza = event.stanza;
	local room = mirrored.get(room_jid);
	local type = stanza.attr.type;
	if not room then
		if type == nil then from_master.deny(room_jid, stanza); end
		return true;
	end
	local occupant_jid = presences.subject(room, stanza);
	if whose_error.is_undeliverable(event) then
		handle_undeliverable(room, occupant_jid, event);
		return true;
	end
	outage.heard(room, stanza);
	if avatar.is_announcement(room, stanza) then
		avatar.announce(room, stanza);
		return true;
	end
	local prefix = not jid_resource(stanza.attr.from) and generation1.read_prefix(stanza);
	if prefix and #prefix <= max_prefix_bytes then
		ids.set_prefix(room, prefix);
		return true;
	end
	if type == "error" then
		handle_error(room, occupant_jid, stanza);
	elseif occupant_jid and (type == nil or type == "unavailable") and stanza:get_child("x", xmlns_muc_user) then
		if jid_resource(stanza.attr.to) and presences.addressee(room, stanza) ~= occupant_jid then
			joins.tell(room, presences.addressee(room, stanza), presences.for_local_users(room, stanza, occupant_jid, true));
		elseif room.fmuc.authority.state == "lost" then
			outage.hold(room, stanza);
		else
			handle_occupant(room, occupant_jid, stanza);
		end
	end
	return true;
end

return from_master;
