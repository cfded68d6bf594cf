-- SPDX-License-Identifier: MIT
-- The presences that the master sends to a mirrored room, and what they do there (M5 to M10, M13; sections 4 and 2b of the requirements).
-- Messages: mirror/messages.
--
-- A local join enters the room when the master has accepted it and the occupants, history and subject are here, so that mod_muc greets
-- the user in the order of XEP-0045.

local fair_cache = require "prosody_relay.fair_cache";
local fanout = require "prosody_relay.fanout";
local jid_resource = require "util.jid".resource;
local whose_error = require "prosody_relay.origin";
local st = require "util.stanza";

local bounds = lib "link/limits";
local equivalent = lib "link/equivalent";
local crossing = lib "link/private";
local state_of = lib "link/lasting";
local hygiene = lib "link/hygiene";
local refusal = lib "mirror/refusal";
local unavailable = lib "mirror/unavailable";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local admission, mirrored, presences, avatar, ids, room_info, greeting, outage, probe, resync, former, take_join, send_part;

-- of the ids that a mirror may give to messages (mirror/ids)
local max_prefix_bytes = 32;

local from_master = {};

-- Codes for the joining user alone leave the copy for everybody; mod_muc gives them to the user
-- take_own_codes(room, copy, is_rejoin). is_rejoin: the codes may be left out, as the user knows them
function from_master.take_own_codes(room, copy, is_rejoin)
	local info = room.fmuc.info; -- of the same time; XEP-0045 wants the code as well
	local whois = is_rejoin and room:get_whois() or info and info.features.muc_nonanonymous and "anyone" or "moderators";
	local logged = is_rejoin and room.fmuc.logged or nil;
	local x = copy:get_child("x", xmlns_muc_user);
	for status in x:childtags("status") do
		if status.attr.code == "100" then whois = "anyone"; end
		if status.attr.code == "170" then logged = true; end
	end
	hygiene.filter("own codes of the joining user", x);
	mirrored.set_whois(room, whois);
	room.fmuc.logged = logged;
end

-- One of the new presences of a local user that were sent has been answered
local function confirm(room, occupant_jid)
	local unconfirmed = room.fmuc.line.unconfirmed;
	if unconfirmed[occupant_jid] then unconfirmed[occupant_jid] = unconfirmed[occupant_jid] > 1 and unconfirmed[occupant_jid] - 1 or nil; end
end

-- What newcomers will see of the occupant (G28). is_hidden: the room shows that user's presence to nobody else (M8, G27)
local function keep(room, occupant_jid, copy, is_hidden)
	room.fmuc.copies[occupant_jid] = fanout.view(state_of(copy));
	room.fmuc.hidden[occupant_jid] = is_hidden or nil;
end

local function show(room, occupant_jid, presence)
	local known = room.fmuc.copies[occupant_jid];
	local was_hidden = room.fmuc.hidden[occupant_jid];
	local copy, is_hidden = presence.copy, presence.is_hidden;
	keep(room, occupant_jid, copy, is_hidden);
	-- after an outage the master may say what is known here already
	if known and was_hidden == room.fmuc.hidden[occupant_jid] and equivalent(known, copy) then return; end
	local sessions = room.fmuc.recipients:by_nick(occupant_jid);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions, presence.id);
end

-- The answer to the join of that record: { copy, mark, is_hidden }
local function take_answer(room, occupant_jid, record, presence)
	local line, sent = room.fmuc.line, presence.mark and tonumber(presence.mark.attr.sent);
	from_master.take_own_codes(room, presence.copy);
	if sent then line.counts, line.received = true, sent; end
	keep(room, occupant_jid, presence.copy, presence.is_hidden);
	admission.accept(room, record);
	resync.continue(room);
end

-- accepted(room, occupant_jid, record): its candidate was the answer
function from_master.accepted(room, occupant_jid, record)
	local candidate = record.candidate;
	record.candidate = nil;
	take_answer(room, occupant_jid, record, candidate);
	if candidate.gone then mirrored.remove_occupant(room, occupant_jid, candidate.gone); end
end

-- not_the_answer(room, occupant_jid, record): its candidate shows somebody else; room may be nil
function from_master.not_the_answer(room, occupant_jid, record)
	local candidate = record.candidate;
	record.candidate = nil;
	if room and not candidate.gone then show(room, occupant_jid, candidate); end
end

-- presence: { copy, mark, is_hidden }
local function handle_available(room, occupant_jid, presence, id)
	local state = room.fmuc;
	local record = state.waiting[occupant_jid];
	local answers = admission.answers(room, record, id);
	confirm(room, occupant_jid);
	if answers then
		return take_answer(room, occupant_jid, record, presence);
	elseif answers == nil then
		record.candidate = presence;
		return;
	end
	local rejoined = resync.is_answer(room, occupant_jid, id);
	if rejoined then
		state.line.asked = nil;
		from_master.take_own_codes(room, presence.copy, true);
	end
	if record and record.accepted and not mirrored.is_local(room, occupant_jid) then
		keep(room, occupant_jid, presence.copy, presence.is_hidden); -- is shown when the user enters
	else
		presence.id = not admission.is_join_id(id) and id or nil;
		show(room, occupant_jid, presence);
	end
	if rejoined then resync.continue(room); end
end

local function refuse_join(room, occupant_jid, record, stanza)
	take_join(room, occupant_jid, true);
	if record.candidate then from_master.not_the_answer(room, occupant_jid, record); end
	resync.show_usurper(room, occupant_jid);
	local err = stanza:get_child("error") or st.stanza("error", { type = "cancel" }):tag("undefined-condition", { xmlns = xmlns_stanzas }):up();
	err = unavailable.refusal(room.fmuc.master, room.fmuc.info, err);
	if unavailable.is_absence(err) then room_info.forget(room.jid); end
	for _, join in pairs(record.joins) do refusal.pass_on(join, st.clone(err)); end
	greeting.pass_on(room, record);
	resync.continue(room);
	admission.send_joins(room);
	mirrored.forget_if_unused(room.jid);
end

-- This server could not deliver a presence, or does not know whether it did. Who wants to join a room that others are in waits for the end of
-- the outage; who would be the first gets the error, and is taken out again in case the master has let him in.
local function handle_undeliverable(room, occupant_jid, event)
	local state, stanza = room.fmuc, event.stanza;
	local record, nick = state.waiting[occupant_jid], jid_resource(occupant_jid);
	local _, condition = stanza:get_error();
	if resync.is_answer(room, occupant_jid, stanza.attr.id) then return probe.failed(room, state.line.asked.id); end
	if not record and nick and not mirrored.is_local(room, occupant_jid) then outage.left(room, nick); end -- may have been a part
	outage.undelivered(room, condition);
	if not record or stanza.attr.id ~= record.id or outage.is_out(room) then return; end
	refuse_join(room, occupant_jid, record, whose_error.explained(event));
	if not event.origin.dummy then send_part(room.jid, nick); end -- mod_s2s never sent it
end

-- The master refuses a new presence of a local user, who is told as in the master's room
local function pass_on_refusal(room, occupant_jid, stanza)
	confirm(room, occupant_jid);
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from = occupant_jid;
	room:route_to_occupant(room:get_occupant_by_nick(occupant_jid), copy);
end

-- Whether the mirror may have everything, though the master asks it to join again (G4): the master could not deliver something, or does not
-- know whether it did. One of this module knows by the count of stanzas, for which it is asked first.
local function may_be_complete(room)
	local line = room.fmuc.line;
	local is_counting = line.counts or line.counts == nil and room_info.has(room, crossing.xmlns);
	return is_counting and (line.phase == "live" or line.phase == "lost");
end

-- M8, M9: the master refuses a join; or does not know a user, or the mirror (G4)
local function handle_error(room, occupant_jid, stanza)
	local state, id = room.fmuc, stanza.attr.id;
	local record = state.waiting[occupant_jid];
	local _, condition = stanza:get_error();
	if resync.is_answer(room, occupant_jid, id) then
		resync.refused(room, stanza);
	elseif record and (not id or id == record.id) then
		refuse_join(room, occupant_jid, record, stanza);
	elseif record then -- the end of an earlier join
		return;
	elseif not occupant_jid and not state.synced and condition == "item-not-found" then
		greeting.join_again(room); -- the master has lost this mirror, which is new to the room
	elseif occupant_jid and not mirrored.is_local(room, occupant_jid) then
		return;
	elseif condition == "item-not-found" or condition == "not-acceptable" then
		outage.lost(room, "the master does not know it: " .. condition, occupant_jid ~= nil or not may_be_complete(room));
	elseif occupant_jid then
		pass_on_refusal(room, occupant_jid, stanza);
	end
end

local known_roles = { visitor = true; participant = true; moderator = true };

-- mod_muc compares roles, and takes an occupant without one for nobody
local function complete_item(x)
	if not x:get_child("item") then x:tag("item", { affiliation = "none" }):up(); end
	local item = x:get_child("item");
	if not known_roles[item.attr.role] then item.attr.role = "participant"; end
end

-- deny(room_jid, stanza): tells a master that believes this mirror to be in its room. Once a second will do: it may be sending a large
-- room to somebody who left.
local denied = fair_cache.new(256);
function from_master.deny(room_jid, stanza)
	if former.is_known(room_jid) then return; end -- after a restart: its users are given time to come back
	local second = os.time();
	if denied:get(room_jid) == second then return; end
	denied:set(room_jid, stanza.attr.from, second);
	module:send(st.error_reply(stanza, "cancel", "item-not-found"));
end

-- end_room(room, destroy): the room has been destroyed; users are told with that element (G17)
function from_master.end_room(room, destroy)
	room_info.forget(room.jid);
	for occupant_jid, record in pairs(room.fmuc.waiting) do
		take_join(room, occupant_jid, true);
		for _, join in pairs(record.joins) do refusal.pass_on(join, unavailable.gone(destroy)); end
	end
	mirrored.evict_all(room, nil, destroy);
	mirrored.forget_if_unused(room.jid);
end

-- One such presence is enough
local function is_end(room, copy)
	local destroy = copy:get_child("x", xmlns_muc_user):get_child("destroy");
	if not destroy then return false; end
	from_master.end_room(room, destroy);
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
		admission.finish_sync(room); -- in and out at once: the user sees both
	end
	mirrored.remove_occupant(room, occupant_jid, copy);
end

local function handle_occupant(room, occupant_jid, stanza)
	local copy, id = presences.for_local_users(room, stanza, occupant_jid), stanza.attr.id;
	local is_hidden = jid_resource(stanza.attr.to) ~= nil;
	local mark = stanza:get_child("fmuc", xmlns_fmuc);
	if stanza.attr.type == nil then
		copy = bounds.admits(room, occupant_jid, copy, mirrored.is_local(room, occupant_jid));
		if not copy then return; end
		complete_item(copy:get_child("x", xmlns_muc_user));
	elseif is_end(room, copy) then
		return;
	end
	if stanza.attr.type == "unavailable" and id and resync.is_answer(room, occupant_jid, id) then
		resync.kicked(room, occupant_jid, copy);
	elseif room.fmuc.line.phase == "joining" then
		resync.presence(room, occupant_jid, { copy = copy; mark = mark; is_hidden = is_hidden }, id);
	elseif stanza.attr.type == nil then
		local asked_for_marks = room.fmuc.line.is_repeated or former.is_known(room.jid);
		if asked_for_marks and mark and not room.fmuc.waiting[occupant_jid] and not mirrored.is_local(room, occupant_jid) then
			-- one of this mirror, but not any more; after a restart there is a time to come back
			local nick = jid_resource(occupant_jid);
			if not former.had(room.jid, nick) then send_part(room.jid, nick); end
			return;
		end
		handle_available(room, occupant_jid, { copy = copy; mark = mark; is_hidden = is_hidden }, id);
	else
		handle_unavailable(room, occupant_jid, copy);
	end
end

-- handle_held(room, stanza): a presence that has been counted and held (mirror/outage)
function from_master.handle_held(room, stanza)
	handle_occupant(room, presences.subject(room, stanza), stanza);
end

-- handle_presence(room_jid, event): to the bare JID of the mirrored room or, for one user only, to the occupant
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
	local prefix = type == nil and not jid_resource(stanza.attr.from) and stanza:find("{" .. xmlns_fmuc .. "}fmuc@ids");
	if prefix and #prefix <= max_prefix_bytes then
		ids.set_prefix(room, prefix);
		return true;
	end
	if type == "error" then
		handle_error(room, occupant_jid, stanza);
	elseif occupant_jid and (type == nil or type == "unavailable") and stanza:get_child("x", xmlns_muc_user) then
		if jid_resource(stanza.attr.to) and presences.addressee(room, stanza) ~= occupant_jid then
			admission.tell(room, presences.addressee(room, stanza), presences.for_local_users(room, stanza, occupant_jid, true));
		elseif room.fmuc.line.phase == "lost" then
			outage.hold(room, stanza);
		else
			handle_occupant(room, occupant_jid, stanza);
		end
	end
	return true;
end

-- shared: admission, mirrored, presences, avatar, ids, room_info, greeting, outage, probe, resync, former (libs of these names);
-- take_join(room, occupant_jid, [is_refused]) -> record or nil; send_part(room_jid, nick)
return function (shared)
	admission, mirrored, presences, avatar, outage = shared.admission, shared.mirrored, shared.presences, shared.avatar, shared.outage;
	ids, room_info = shared.ids, shared.room_info;
	greeting, probe, resync, former, take_join = shared.greeting, shared.probe, shared.resync, shared.former, shared.take_join;
	send_part = shared.send_part;
	return from_master;
end;
