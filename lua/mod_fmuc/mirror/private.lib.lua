-- SPDX-License-Identifier: MIT
-- Private messages (G12) and IQs (G13) between two occupants, at the mirror. Between two local users mod_muc handles them, and they never cross the
-- link. Those to an occupant of the master cross if the master announces the extension below. They go from R/Kev to M/Nick, and come from M/Nick to
-- R/Kev. So neither side learns a real JID (G21).

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local explained = require "prosody_relay.origin".explained;
local pending = require "prosody_relay.pending";
local relay_jid = require "prosody_relay.jid";
local shares = require "prosody_relay.shares";

local errors = lib "errors";
local restrict_pm = lib "room/restrict_pm";
local generation1 = lib "dialect/generation1";
local occupant_requests = lib "link/occupant_requests";
local hygiene = lib "link/hygiene";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Seconds for an occupant's client, behind two servers, to answer
local answer_timeout = 60;
-- Seconds for which the mirror remembers the sender of a private message, because only the sender may see its error
local error_timeout = 60;
local max_remembered, max_of_one_sender = 2000, 200;

local ids = lib "mirror/ids";
local messages = lib "mirror/messages";
local mirrored = lib "mirror/room";
local requests = lib "link/requests";
local room_info = lib "mirror/room_info";

-- Private messages that may come back as an error, once. Key: occupant JIDs of sender and recipient, and id. Record: { user = real JID of the
-- sender, nil for an occupant of the master; holder = who fills one of the places: that user, or the master }
local shares_of_sent = shares.new(max_remembered, max_of_one_sender);
local sent = pending.new(module, function (_, record) shares_of_sent:give(record.holder); end, module.saved_state and module.saved_state.private);
for _, record in sent:each() do shares_of_sent:hold(record.holder); end

local private = {};

function private.save()
	return sent:save();
end

local function sent_key(occupant_jid, to, id)
	return table.concat({ occupant_jid, to, id or "" }, "\0");
end

local function remember(occupant_jid, to, id, user, holder)
	if not id or #id > occupant_requests.max_id then return; end
	local key = sent_key(occupant_jid, to, id);
	if not sent:get(key) and shares_of_sent:take(holder) then sent:add(key, { user = user; holder = holder }, error_timeout); end
end

local function forget(key)
	local record = sent:remove(key);
	if record then shares_of_sent:give(record.holder); end
	return record;
end

-- The stanza as the master gets it, for the same nick there
local function to_master(room, stanza, occupant_jid)
	local copy = hygiene.copy("to the master", stanza, ids.from_client(room)); -- the other side adds the mark of a private message
	copy.attr.from, copy.attr.to = occupant_jid, room.fmuc.authority.peer .. "/" .. jid_resource(stanza.attr.to);
	return copy;
end

local function send_message(room, stanza, occupant_jid)
	local copy = to_master(room, stanza, occupant_jid);
	remember(occupant_jid, stanza.attr.to, stanza.attr.id, stanza.attr.from, stanza.attr.from);
	module:send(copy);
	return true;
end

-- The other side refused a private message, or the message may be lost. The session that sent it gets the error, once
local function handle_error(room, stanza)
	local occupant_jid, from = stanza.attr.to, room.jid .. "/" .. jid_resource(stanza.attr.from);
	local key = sent_key(occupant_jid, from, stanza.attr.id);
	local record = sent:get(key);
	if record and not record.user then return; end -- the sender is no local user
	forget(key);
	local occupant = room:get_occupant_by_nick(occupant_jid);
	local user = record and record.user or occupant and mirrored.is_local(room, occupant_jid) and occupant.jid;
	if not user then return; end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from, copy.attr.to = from, user;
	module:send(copy);
end

local function send_request(room, stanza, occupant_jid)
	if not occupant_requests.may_cross(stanza) then
		return errors.refuse(stanza, "request-does-not-cross");
	end
	local record = { asker = stanza.attr.from; asked = stanza.attr.to; id = stanza.attr.id };
	if not requests.send("private-iq", to_master(room, stanza, occupant_jid), record, answer_timeout) then
		errors.refuse(stanza, "too-many-questions");
	end
	return true;
end

-- From a local user to an occupant of the master
local function handle_outbound(room, stanza)
	local type = stanza.attr.type;
	local occupant_jid = room:get_occupant_jid(stanza.attr.from);
	if type == "error" or type == "result" or not occupant_jid or type == "groupchat" then return; end -- mod_muc handles these
	if not room_info.has(room, generation1.xmlns_private) then
		return errors.refuse(stanza, "private-does-not-cross");
	end
	if stanza.name == "iq" then return send_request(room, stanza, occupant_jid); end
	return send_message(room, stanza, occupant_jid);
end

local function deliver_message(room, stanza, origin)
	local copy = hygiene.copy("private message from the master", stanza, ids.from_master(room));
	copy:tag("x", { xmlns = xmlns_muc_user }):up();
	copy.attr.from = room.jid .. "/" .. jid_resource(stanza.attr.from);
	if not room:get_occupant_by_nick(copy.attr.from) then return true; end -- the sender has left
	remember(copy.attr.from, copy.attr.to, copy.attr.id, nil, room.fmuc.authority.peer);
	if module:fire_event("muc-private-message", { room = room, origin = origin, stanza = copy }) ~= false then
		room:route_to_occupant(room:get_occupant_by_nick(stanza.attr.to), copy);
	end
	return true;
end

-- From an occupant of the master. The mirror has this occupant too, with the address at the master as real JID
local function handle_inbound(room, event)
	local stanza = event.stanza;
	local type = stanza.attr.type;
	if stanza.name == "message" and type == "error" and jid_resource(stanza.attr.from) then
		if room then handle_error(room, explained(event)); end
		return true;
	elseif type == "error" or type == "result" then
		return true; -- to an unknown or expired request
	elseif not room or not mirrored.is_local(room, stanza.attr.to) then
		return errors.refuse(stanza, "recipient-not-in-room");
	elseif stanza.name == "iq" and not occupant_requests.may_cross(stanza) then
		return errors.refuse(stanza, "request-does-not-cross");
	end
	if stanza.name == "message" then return deliver_message(room, stanza, event.origin); end
	event.stanza = hygiene.cleaned("private from the master", stanza, ids.from_master(room));
	-- mod_muc asks the user and routes the answer back
end

-- A self-ping of a user who is not in the room (any more). item-not-found would mean a changed nick (XEP-0410, G11)
local function handle_stranger(stanza)
	local type = stanza.attr.type;
	if type == "error" or type == "result" then return; end
	return errors.refuse(stanza, "not-in-room");
end

-- handle(event): a message or IQ to an occupant
function private.handle(event)
	local stanza = event.stanza;
	local room_jid = jid_bare(stanza.attr.to);
	local master = relay_jid.unmirror(room_jid);
	if not master then return; end
	local room = mirrored.get(room_jid);
	if jid_bare(stanza.attr.from) == master then
		if stanza.name == "message" and (stanza.attr.type == "groupchat" or not jid_resource(stanza.attr.from)) then
			return messages.handle(room_jid, event);
		end
		return handle_inbound(room, event);
	elseif not room then
		return handle_stranger(stanza);
	elseif occupant_requests.is_stray_error(room, stanza) then
		return true;
	elseif not mirrored.is_local(room, stanza.attr.to) and room:get_occupant_by_nick(stanza.attr.to) then
		return handle_outbound(room, stanza);
	end
end

-- handle_local(event): from a local user, either to another local user or as an error to an occupant of the master
function private.handle_local(event)
	local room, stanza = event.room, event.stanza;
	local from = stanza.attr.from;
	if not room.fmuc or not mirrored.is_local(room, from) then return; end
	if not mirrored.is_local(room, stanza.attr.to) then
		if not forget(sent_key(stanza.attr.to, from, stanza.attr.id)) then return false; end
	elseif stanza.attr.type ~= "error" then
		local who_may = restrict_pm.refusal(room, from, stanza.attr.to);
		if who_may then
			local reply = errors.reply(stanza, "private-not-allowed", who_may);
			reply:get_child("error").attr.by = room.jid;
			room:route_to_occupant(room:get_occupant_by_nick(from), reply);
			return false;
		end
	end
	hygiene.filter("from a client", stanza, ids.from_client(room)); -- mod_muc's own copy
	mirrored.add_occupant_id(stanza, room, from);
end

requests.on("private-iq", function (record, answer) module:send(occupant_requests.answer(record, answer)); end);

return private;
