-- SPDX-License-Identifier: MIT
-- The rooms of a mirror: what the master sends is applied to them, and reaches the local users as the master worded it (M7, M10, M20).
--
-- A mirrored room is a room of mod_muc whose other occupants are the master's. A local join enters it when the master has accepted it
-- and the occupants, history and subject are here, so that mod_muc greets the user in the order of XEP-0045.

local datetime = require "util.datetime";
local fanout = require "prosody_relay.fanout";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local delivery = module:require "delivery";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- The subject ends what a joining room is sent. A master that sends none is given this long after it has accepted the join.
local subject_timeout = 3;

local muc, joins, echoes, send_part, send_join_error;

-- Mirrored rooms by JID; a state outlives the room object, which mod_muc may put aside and restore.
--   master: JID of the mirrored room; copies: occupant JID -> its last available presence, as local users see it;
--   synced: the first join's occupants, history and subject are here; removing: the occupant JID that the master is taking away
local states = {};

local mirrored = {};
local methods = {};

local function is_local(state, occupant_jid)
	return #state.recipients:by_nick(occupant_jid) > 0;
end

local function attach(room, state)
	function state.group_of(jid)
		if jid_bare(jid) == state.master then return false; end -- the master's own occupants
	end
	function state.is_local(occupant_jid) return is_local(state, occupant_jid); end
	delivery.attach(room, state, methods);
end

-- open(room_jid, master) -> room, made when there is none; nil when mod_muc has no place for it
function mirrored.open(room_jid, master)
	local room = muc.get_room_from_jid(room_jid);
	if not room then
		room = muc.create_room(room_jid, { hidden = true });
		if not room then return nil; end
	end
	if not room.fmuc then
		states[room_jid] = { master = master; copies = {} };
		attach(room, states[room_jid]);
	end
	return room;
end

local function get_room(room_jid)
	return states[room_jid] and muc.get_room_from_jid(room_jid);
end

local function destroy(room)
	for occupant_jid in pairs(room._occupants) do room._occupants[occupant_jid] = nil; end
	room._jid_nick = {};
	module:fire_event("muc-room-destroyed", { room = room });
end

module:hook("muc-room-destroyed", function (event)
	states[event.room.jid] = nil;
end);

-- forget_if_unused(room_jid): a mirrored room exists while it has local users, or may get one
function mirrored.forget_if_unused(room_jid)
	local room = get_room(room_jid);
	if not room or room.fmuc.recipients:count() > 0 then return; end
	for _, record in joins:each() do
		if record.room_jid == room_jid then return; end
	end
	destroy(room);
end

local function route_to_all(room, stanza, except_nick)
	local view = fanout.view(stanza);
	for jid, nick in room.fmuc.recipients:each() do
		if nick ~= except_nick then
			view.attr.to = jid;
			room:route_stanza(view);
		end
	end
end

-- The presence as its own subject sees it: with status 110, and the codes that only the subject gets
local function self_presence(presence, self_x)
	local copy = st.clone(presence);
	local x = copy:get_child("x", xmlns_muc_user);
	for status in (self_x or st.stanza("x")):childtags("status") do
		if status.attr.code ~= "110" then x:add_child(status); end
	end
	x:tag("status", { code = "110" }):up();
	return copy;
end

-- The end of an occupant on this side, when the master did not word it
local function unavailable_presence(state, occupant, base_x)
	local presence = st.presence({ type = "unavailable"; from = occupant.nick });
	local last = occupant:get_presence();
	local status = last and last.attr.type == "unavailable" and last:get_child("status");
	if status then presence:add_child(status); end
	local copy = state.copies[occupant.nick];
	local item = copy and copy:find("{" .. xmlns_muc_user .. "}x/item");
	local x = st.clone(base_x);
	x:tag("item", { affiliation = item and item.attr.affiliation or "none"; role = "none" }):up();
	return presence:add_child(x);
end

-- In place of mod_muc's: what the master said about the occupant goes out
function methods.publicise_occupant_status(room, occupant, x, _, _, _, _, force_unavailable, recipient)
	local state = room.fmuc;
	local copy = occupant.role ~= nil and not force_unavailable and state.copies[occupant.nick]
		or unavailable_presence(state, occupant, x.base or x);
	if recipient then return room:route_to_occupant(recipient, copy); end
	local own = self_presence(copy, x.self);
	for jid, presence in occupant:each_session() do
		if occupant.role ~= nil and presence.attr.type == "unavailable" then
			-- one of several sessions leaves, which nobody else needs to know
			local left = self_presence(unavailable_presence(state, occupant, x.base or x));
			left.attr.to = jid;
			return room:route_stanza(left);
		end
		own.attr.to = jid;
		room:route_stanza(own);
	end
	route_to_all(room, copy, occupant.nick);
end

function methods.send_occupant_list(room, to, filter)
	for occupant_jid, copy in pairs(room.fmuc.copies) do
		if not filter or filter(occupant_jid, room:get_occupant_by_nick(occupant_jid)) then
			copy.attr.to = to;
			room:route_stanza(copy);
		end
	end
end

-- The role is the master's word, also for the local user who enters
module:hook("muc-occupant-pre-join", function (event)
	local state = event.room.fmuc;
	local copy = state and state.copies[event.occupant.nick];
	if copy then event.occupant.role = copy:find("{" .. xmlns_muc_user .. "}x/item@role"); end
end);

-- Lets the accepted joins in, in the order of XEP-0045
local function admit(room)
	local accepted = {};
	for occupant_jid, record in joins:each() do
		if record.room_jid == room.jid and record.accepted then accepted[#accepted + 1] = occupant_jid; end
	end
	for _, occupant_jid in ipairs(accepted) do
		for _, join in pairs(joins:remove(occupant_jid).joins) do
			-- what the master made of the presence counts; its history limits are the user's
			local stanza = st.clone(room.fmuc.copies[occupant_jid]);
			stanza:remove_children("x", xmlns_muc_user);
			stanza:add_child(join:get_child("x", xmlns_muc));
			stanza.attr.from, stanza.attr.to, stanza.attr.id = join.attr.from, occupant_jid, join.attr.id;
			room:handle_normal_presence({ type = "component"; host = module.host; send = function (s) module:send(s); end }, stanza);
		end
	end
end

local function finish_sync(room)
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

local function accept(room, record)
	record.accepted = true;
	if room.fmuc.synced then return admit(room); end
	local room_jid = room.jid;
	module:add_timer(subject_timeout, function ()
		local current = get_room(room_jid);
		if current then finish_sync(current); end
	end);
end

local function set_occupant(room, occupant_jid, copy, sessions)
	local state = room.fmuc;
	local occupant = room:get_occupant_by_nick(occupant_jid);
	local session = state.master .. "/" .. jid_resource(occupant_jid);
	occupant = occupant or room:new_occupant(session, occupant_jid);
	occupant.role = copy:find("{" .. xmlns_muc_user .. "}x/item@role") or occupant.role;
	for _, jid in ipairs(sessions or { session }) do occupant:set_session(jid, copy); end
	room:save_occupant(occupant);
end

local function handle_available(room, occupant_jid, copy)
	local state = room.fmuc;
	local record = joins:get(occupant_jid);
	if record then take_own_codes(room, copy); end
	state.copies[occupant_jid] = fanout.view(copy);
	if record then return accept(room, record); end
	local sessions = state.recipients:by_nick(occupant_jid);
	if #sessions == 0 then
		set_occupant(room, occupant_jid, copy);
		return route_to_all(room, copy);
	end
	set_occupant(room, occupant_jid, copy, sessions);
	route_to_all(room, copy, occupant_jid);
	local own = self_presence(copy);
	for _, jid in ipairs(sessions) do
		own.attr.to = jid;
		room:route_stanza(own);
	end
end

local function handle_unavailable(room, occupant_jid, copy)
	if joins:get(occupant_jid) then return; end -- the end of the user's previous stay
	local state = room.fmuc;
	local sessions = state.recipients:by_nick(occupant_jid);
	local occupant = room:get_occupant_by_nick(occupant_jid);
	state.copies[occupant_jid] = nil;
	if not occupant then return; end
	occupant.role = nil;
	room:save_occupant(occupant);
	route_to_all(room, copy);
	local own = #sessions > 0 and self_presence(copy);
	for _, jid in ipairs(sessions) do
		own.attr.to = jid;
		room:route_stanza(own);
	end
	state.removing = occupant_jid;
	module:fire_event("muc-occupant-left", { room = room; nick = occupant_jid; occupant = occupant });
	state.removing = nil;
end

-- The master does not know this mirror any more, after a restart or because a stanza could not reach it. All local users have to join
-- again; their clients know what to do with status 333.
local function lose(room, stanza)
	module:log("info", "%s does not know %s any more: %s", room.fmuc.master, room.jid, select(2, stanza:get_error()) or "error");
	for occupant_jid in room:each_occupant() do
		if is_local(room.fmuc, occupant_jid) then
			handle_unavailable(room, occupant_jid, st.presence({ type = "unavailable"; from = occupant_jid })
				:tag("x", { xmlns = xmlns_muc_user })
					:tag("item", { affiliation = "none"; role = "none" }):up()
					:tag("status", { code = "333" }):up():up());
		end
	end
end

-- Errors that say something about the way, not about the room
local delivery_failures = { ["remote-server-not-found"] = true; ["remote-server-timeout"] = true; ["resource-constraint"] = true };

-- M8, M9: the master refuses a join; or does not know a user
local function handle_error(room, occupant_jid, stanza)
	local record = joins:remove(occupant_jid);
	if record then
		for _, join in pairs(record.joins) do send_join_error(join, st.clone(stanza:get_child("error"))); end
		return mirrored.forget_if_unused(room.jid);
	end
	local _, condition = stanza:get_error();
	if is_local(room.fmuc, occupant_jid) and not delivery_failures[condition] then lose(room, stanza); end
end

-- handle_presence(room_jid, stanza): from the master, to the bare JID of the mirrored room or, for one user only, to the occupant
function mirrored.handle_presence(room_jid, stanza)
	local room = get_room(room_jid);
	local type = stanza.attr.type;
	if not room then
		-- the master believes that this mirror is in its room
		if type == nil then module:send(st.error_reply(stanza, "cancel", "item-not-found")); end
		return true;
	end
	local nick = jid_resource(stanza.attr.to) or jid_resource(stanza.attr.from);
	if not nick then return true; end
	local occupant_jid = room_jid .. "/" .. nick;
	if type == "error" then
		handle_error(room, occupant_jid, stanza);
	elseif (type == nil or type == "unavailable") and stanza:get_child("x", xmlns_muc_user) then
		local copy = st.clone(stanza);
		copy:remove_children("fmuc", xmlns_fmuc);
		copy.attr.from, copy.attr.to, copy.attr.id = occupant_jid, nil, nil;
		if type == nil then handle_available(room, occupant_jid, copy); else handle_unavailable(room, occupant_jid, copy); end
	end
	return true;
end

local function master_delay(stanza, master)
	for delay in stanza:childtags("delay", xmlns_delay) do
		if delay.attr.from == master then return delay; end
	end
end

-- The room's history as the master keeps it, with the master's stamps
local function add_history(room, stanza, delay)
	delay.attr.from = room.jid;
	room._history = room._history or {};
	table.insert(room._history, { stanza = stanza; timestamp = datetime.parse(delay.attr.stamp) or os.time() });
	while #room._history > room:get_historylength() do table.remove(room._history, 1); end
end

local function handle_groupchat(room, stanza)
	local state = room.fmuc;
	local copy = st.clone(stanza);
	local nick = jid_resource(stanza.attr.from);
	copy.attr.from, copy.attr.to = nick and room.jid .. "/" .. nick or room.jid, nil;
	copy:remove_children("nomirror", xmlns_fmuc);
	local delay = master_delay(copy, state.master);
	local subject = copy:get_child("subject");
	if subject and not copy:get_child("body") and not copy:get_child("thread") then
		room._data.subject, room._data.subject_from = subject:get_text(), copy.attr.from;
		room._data.subject_time = delay and datetime.parse(delay.attr.stamp) or os.time();
		if not state.synced then return finish_sync(room); end
	elseif delay then
		if not state.synced then add_history(room, copy, delay); end
		return;
	end
	finish_sync(room); -- live messages come after the subject
	if nick then echoes:remove(copy.attr.from .. "\0" .. (copy.attr.id or "")); end
	room:broadcast_message(copy);
end

-- G15: the master refused a message; its sender is told
local function handle_message_error(room, stanza)
	local occupant_jid = stanza.attr.to;
	local occupant = room:get_occupant_by_nick(occupant_jid);
	if not occupant or not is_local(room.fmuc, occupant_jid) then return; end
	local sender = echoes:remove(occupant_jid .. "\0" .. (stanza.attr.id or "")) or occupant.jid;
	local copy = st.clone(stanza);
	copy.attr.from, copy.attr.to = room.jid, sender;
	module:send(copy);
	local _, condition = stanza:get_error();
	if condition == "not-acceptable" or condition == "item-not-found" then lose(room, stanza); end
end

-- handle_message(room_jid, stanza): from the master, to the mirrored room or to one of its occupants
function mirrored.handle_message(room_jid, stanza)
	local room = get_room(room_jid);
	local type = stanza.attr.type;
	if not room then
		if type ~= "error" then module:send(st.error_reply(stanza, "cancel", "item-not-found")); end
	elseif type == "error" then
		handle_message_error(room, stanza);
	elseif type == "groupchat" and not jid_resource(stanza.attr.to) then
		handle_groupchat(room, stanza);
	end
	return true;
end

-- A local user has left, by its own presence or because its client is unreachable
module:hook("muc-occupant-left", function (event)
	local room = event.room;
	local state = room.fmuc;
	if not state or jid_bare(event.occupant.bare_jid) == state.master then return; end
	state.copies[event.nick] = nil;
	if state.removing ~= event.nick then send_part(room.jid, jid_resource(event.nick)); end
end);

-- after mod_muc's -1, which destroys a room without any occupants
module:hook("muc-occupant-left", function (event)
	mirrored.forget_if_unused(event.room.jid);
end, -2);

module:hook("muc-room-restored", function (event)
	local room = event.room;
	if states[room.jid] then
		attach(room, states[room.jid]);
	else -- left over from a server that did not end in order; nobody in it is there any more
		room._occupants, room._jid_nick = {}, {};
	end
end);

-- close_all(): leaves all rooms; the local users are told
function mirrored.close_all()
	for room_jid in pairs(states) do
		local room = muc.get_room_from_jid(room_jid);
		for occupant_jid, record in joins:each() do
			if record.room_jid == room_jid then
				for _, join in pairs(joins:remove(occupant_jid).joins) do
					send_join_error(join, st.error_reply(join, "wait", "service-unavailable", "The mirror is closing"):get_child("error"));
				end
				send_part(room_jid, jid_resource(occupant_jid));
			end
		end
		for occupant_jid, occupant in room:each_occupant() do
			if is_local(room.fmuc, occupant_jid) then
				occupant.role = nil;
				room:save_occupant(occupant);
				room:publicise_occupant_status(occupant, st.stanza("x", { xmlns = xmlns_muc_user }):tag("status", { code = "332" }):up());
				send_part(room_jid, jid_resource(occupant_jid));
			end
		end
		destroy(room);
	end
end

-- save() -> the mirrored rooms, for the next instance of the module
function mirrored.save()
	local saved = {};
	for room_jid, state in pairs(states) do
		saved[room_jid] = { master = state.master; copies = state.copies; synced = state.synced };
	end
	return saved;
end

local function restore(saved)
	for room_jid, state in pairs(saved) do
		local room = muc.get_room_from_jid(room_jid);
		if room then
			states[room_jid] = state;
			attach(room, state);
		end
	end
end

-- release(): gives the rooms their own methods back
function mirrored.release()
	for room_jid in pairs(states) do
		local room = muc.get_room_from_jid(room_jid);
		if room then delivery.detach(room, methods); end
	end
end

-- shared: muc (environment of mod_muc), joins, echoes (tables of mirror.lib.lua), send_part, send_join_error, saved (or nil)
return function (shared)
	muc, joins, echoes, send_part, send_join_error = shared.muc, shared.joins, shared.echoes, shared.send_part, shared.send_join_error;
	restore(shared.saved or {});
	return mirrored;
end;
