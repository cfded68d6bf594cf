-- SPDX-License-Identifier: MIT
-- The presences that the master sends to a mirrored room, and what they do there (M5 to M10, M13; sections 4 and 2b of the requirements).
-- Messages: messages_from_master.lib.lua.
--
-- A local join enters the room when the master has accepted it and the occupants, history and subject are here, so that mod_muc greets
-- the user in the order of XEP-0045.

local cache = require "util.cache";
local fanout = require "prosody_relay.fanout";
local jid_resource = require "util.jid".resource;
local new_id = require "util.id".medium;
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- The subject ends what a joining room is sent. A master that sends none is given this long after it has accepted the join.
local subject_timeout = 3;

-- Errors that say something about the way, not about the room
local delivery_failures = { ["remote-server-not-found"] = true; ["remote-server-timeout"] = true; ["resource-constraint"] = true };

local mirrored, ids, take_join, send_join, send_join_error, send_part;

local from_master = {};

local join_id_prefix = "fmuc-join-";

-- new_join_id() -> id for a join presence, which is recognised when the master reflects it
function from_master.new_join_id()
	return join_id_prefix .. new_id();
end

-- Whether an available presence is the answer to the join that waits for that nick. It may as well answer an earlier join that the user
-- took back, or show somebody who was faster. A master that does not reflect ids, which nobody has to, leaves no choice.
local function is_answer(state, record, id)
	if id and id:sub(1, #join_id_prefix) == join_id_prefix then state.reflects_ids = true; end
	return record and (record.accepted or id == record.id or not state.reflects_ids);
end

-- Lets the accepted joins in, in the order of XEP-0045
local function admit(room)
	local origin = { type = "component"; host = module.host; send = function (reply) return module:send(reply); end };
	for occupant_jid, record in pairs(room.fmuc.waiting) do
		if record.accepted then
			take_join(room, occupant_jid);
			if room.fmuc.reflects_ids then mirrored.make_way(room, occupant_jid); end
			for _, join in pairs(record.joins) do
				-- what the master made of the presence counts; the history limits are the user's
				local stanza = st.clone(room.fmuc.copies[occupant_jid]);
				stanza:remove_children("x", xmlns_muc_user);
				stanza:add_child(join:get_child("x", xmlns_muc));
				stanza.attr.from, stanza.attr.to, stanza.attr.id = join.attr.from, occupant_jid, join.attr.id;
				room:handle_normal_presence(origin, stanza);
			end
			if not mirrored.is_local(room, occupant_jid) then -- another module here kept the user out
				room.fmuc.copies[occupant_jid] = nil;
				send_part(room.jid, jid_resource(occupant_jid));
			end
		end
	end
	mirrored.forget_if_unused(room.jid);
end

-- finish_sync(room): what a joining room is sent is here
function from_master.finish_sync(room)
	if room.fmuc.synced then return; end
	room.fmuc.synced = true;
	admit(room);
end

-- Codes for the joining user alone leave the copy for everybody; mod_muc gives them to the user
local function take_own_codes(room, copy)
	local whois = "moderators";
	copy:get_child("x", xmlns_muc_user):maptags(function (child)
		local code = child.name == "status" and child.attr.code;
		if code == "100" then whois = "anyone"; end
		if code == "100" or code == "170" then return nil; end
		return child;
	end);
	room:set_whois(whois);
end

local function has_seen_anything(room)
	for occupant_jid in pairs(room.fmuc.copies) do
		if not room.fmuc.waiting[occupant_jid] then return true; end
	end
	return room._history ~= nil;
end

-- The master has answered and sent neither occupants nor subject, so it believes that this mirror has them: it has not heard that the
-- mirror was restarted and lost its users. An error tells it so, and all may join again.
local function start_over(room)
	local state = room.fmuc;
	state.started_over = true;
	local occupant_jid = next(state.waiting);
	if not occupant_jid then return; end
	module:send(st.presence({ type = "error"; from = room.jid; to = state.master .. "/" .. jid_resource(occupant_jid) })
		:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = xmlns_stanzas }));
	for jid, record in pairs(state.waiting) do
		state.copies[jid] = nil;
		record.accepted, record.id = nil, from_master.new_join_id();
		send_join(record);
	end
end

local function accept(room, occupant_jid, record)
	local room_jid, state, id, accepted = room.jid, room.fmuc, record.id, record.accepted;
	record.accepted = true;
	if state.synced then return admit(room); end
	if accepted then return; end
	module:add_timer(subject_timeout, function ()
		local current = mirrored.get(room_jid);
		if not current or current.fmuc ~= state or state.synced then return; end
		if state.waiting[occupant_jid] ~= record or record.id ~= id then return; end -- this join is over
		if state.started_over or has_seen_anything(current) then from_master.finish_sync(current); else start_over(current); end
	end);
end

local function handle_available(room, occupant_jid, copy, id)
	local state = room.fmuc;
	local record = state.waiting[occupant_jid];
	local answer = is_answer(state, record, id);
	if answer then take_own_codes(room, copy); end
	state.copies[occupant_jid] = fanout.view(copy);
	if answer then return accept(room, occupant_jid, record); end
	local sessions = state.recipients:by_nick(occupant_jid);
	mirrored.set_occupant(room, occupant_jid, copy, sessions);
	mirrored.show(room, occupant_jid, copy, sessions);
end

-- lose(room, stanza): the master does not know this mirror any more, after a restart or because a stanza could not reach it. All local
-- users have to join again; their clients know what to do with status 333.
function from_master.lose(room, stanza)
	module:log("info", "%s does not know %s any more: %s", room.fmuc.master, room.jid, select(2, stanza:get_error()) or "error");
	mirrored.evict_all(room, "333");
end

-- M8, M9: the master refuses a join; or does not know a user
local function handle_error(room, occupant_jid, stanza)
	local record, id = room.fmuc.waiting[occupant_jid], stanza.attr.id;
	if record then
		if id and id ~= record.id then return; end -- the end of an earlier join
		take_join(room, occupant_jid);
		local err = stanza:get_child("error") or st.stanza("error", { type = "cancel" }):tag("undefined-condition", { xmlns = xmlns_stanzas }):up();
		for _, join in pairs(record.joins) do send_join_error(join, st.clone(err)); end
		return mirrored.forget_if_unused(room.jid);
	end
	local _, condition = stanza:get_error();
	if mirrored.is_local(room, occupant_jid) and not delivery_failures[condition] then from_master.lose(room, stanza); end
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
local denied = cache.new(256);
function from_master.deny(room_jid, stanza)
	local second = os.time();
	if denied:get(room_jid) == second then return; end
	denied:set(room_jid, second);
	module:send(st.error_reply(stanza, "cancel", "item-not-found"));
end

-- handle_presence(room_jid, stanza): to the bare JID of the mirrored room or, for one user only, to the occupant
function from_master.handle_presence(room_jid, stanza)
	local room = mirrored.get(room_jid);
	local type = stanza.attr.type;
	if not room then
		if type == nil then from_master.deny(room_jid, stanza); end
		return true;
	end
	local nick = jid_resource(stanza.attr.to) or jid_resource(stanza.attr.from);
	if not nick then return true; end
	local occupant_jid = room_jid .. "/" .. nick;
	if type == "error" then
		handle_error(room, occupant_jid, stanza);
	elseif (type == nil or type == "unavailable") and stanza:get_child("x", xmlns_muc_user) then
		local copy, id = st.clone(stanza), stanza.attr.id;
		copy:remove_children("fmuc", xmlns_fmuc);
		ids.clean_from_master(copy, room);
		copy.attr.from, copy.attr.to, copy.attr.id = occupant_jid, nil, nil;
		if type == nil then
			complete_item(copy:get_child("x", xmlns_muc_user));
			handle_available(room, occupant_jid, copy, id);
		else
			local record = room.fmuc.waiting[occupant_jid];
			if record and record.accepted then from_master.finish_sync(room); end -- in and out at once: the user sees both
			mirrored.remove_occupant(room, occupant_jid, copy);
		end
	end
	return true;
end

-- shared: mirrored (mirrored_room.lib.lua), ids (ids.lib.lua); take_join(room, occupant_jid) -> record or nil; send_join(record);
-- send_join_error(join, error element); send_part(room_jid, nick)
return function (shared)
	mirrored, ids, take_join = shared.mirrored, shared.ids, shared.take_join;
	send_join, send_join_error, send_part = shared.send_join, shared.send_join_error, shared.send_part;
	return from_master;
end;
