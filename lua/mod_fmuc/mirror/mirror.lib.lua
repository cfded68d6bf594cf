-- SPDX-License-Identifier: MIT
-- The mirror role: local users join rooms of other servers through rooms of this service. Requirements M1 to M27 and the client's side
-- of XEP-0045. This file: the parts of the role, and every event that it takes part in.

local commands = require "prosody_relay.commands";
local compat = require "prosody_relay.compat";
local configmanager = require "core.configmanager";
local relay_jid = require "prosody_relay.jid";

local policy = lib "mirror/policy";

-- The occupant identifiers of a mirrored room are the master's, which pass through (G10)
if module:get_option_boolean("muc_occupant_id", false) then
	module:log("info", "muc_occupant_id has no effect on a mirror, which shows the identifiers of the master");
end
configmanager.set(module.host, "muc_occupant_id", false);
local muc = module:depends "muc";
lib "mirror/own_rooms".refuse(muc); -- before anything here can fail


local saved = module.saved_state or {};
local users = lib "mirror/users";
local parts = { send_part = users.send_part; send_join = users.send_join; stop_waiting = users.stop_waiting; update = users.update;
	seen = lib "mirror/shown"; saved = saved };
parts.outage = lib "mirror/outage" (parts);
parts.changes = lib "mirror/changes" (parts);
parts.admission = lib "mirror/joins" (parts);
parts.probe, parts.resync = lib "mirror/liveness" (parts), lib "mirror/resync" (parts);
parts.backfill = lib "mirror/backfill" (parts);
parts.greeting = lib "mirror/first_sync" (parts);
local admission, changes, outage = parts.admission, parts.changes, parts.outage;
local mirrored = lib "mirror/room" {
	muc = muc; send_part = users.send_part; saved = saved.rooms; parts = parts;
};
local requests, archive = lib "link/requests", lib "room/archive";
parts.archive = archive;
archive.own_all_rooms(); -- before mod_muc_mam is loaded, after this module as the component is made
local room_info = lib "mirror/info" { admission = admission; mirrored = mirrored; archive = archive; requests = requests };
local ids = lib "mirror/ids" { archive = archive; room_info = room_info };
local former = lib "mirror/restart" { mirrored = mirrored; grace_period = outage.grace_period; saved = saved.former };
parts.mirrored, parts.former, parts.ids, parts.room_info = mirrored, former, ids, room_info;
local outbox = lib "mirror/outbox" { parts = parts; saved = saved.outbox };
parts.outbox = outbox;
local presences = lib "mirror/subjects" { ids = ids };
local avatar = lib "mirror/avatar" { mirrored = mirrored; requests = requests; room_info = room_info };
local from_master = lib "mirror/presences" {
	mirrored = mirrored; presences = presences; avatar = avatar; ids = ids; room_info = room_info;
	take_join = users.take_join; send_part = users.send_part;
	admission = admission; outage = outage; greeting = parts.greeting; probe = parts.probe; resync = parts.resync; former = former;
};
local messages = lib "mirror/messages" {
	admission = admission; mirrored = mirrored; outbox = outbox; from_master = from_master; ids = ids; room_info = room_info;
	outage = outage; resync = parts.resync; seen = parts.seen; backfill = parts.backfill;
};
parts.from_master, parts.messages = from_master, messages;
users.start(parts);
local private = lib "mirror/private" {
	mirrored = mirrored; messages = messages; ids = ids; requests = requests; room_info = room_info;
};
parts.listed = lib "mirror/listed" { room_info = room_info; refuse_join = users.refuse_join };
local gate = lib "mirror/held_joins" { mirrored = mirrored; room_info = room_info; saved = saved.gate };
lib "mirror/operation" { mirrored = mirrored; outage = outage };
local bandwidth = lib "mirror/bandwidth" {
	admission = admission; changes = changes; mirrored = mirrored; ids = ids; level = policy.bandwidth;
};
parts.bandwidth = bandwidth;
local requests_to_room = lib "mirror/requests_to_room" { admission = admission; mirrored = mirrored; outage = outage; room_info = room_info };
local uninvited = lib "link/uninvited" { muc = muc; is_link = function (jid, room_jid) return jid == relay_jid.unmirror(room_jid); end };
local early_queries = lib "mirror/early_queries" {
	is_joining = function (room_jid, user) return gate.holds(room_jid, user) or users.waits_elsewhere(mirrored.get(room_jid), nil, user); end;
};
local room_iq = lib "mirror/room_iq" {
	archive = archive; avatar = avatar; early_queries = early_queries; mirrored = mirrored; room_info = room_info;
};
local administration, drop_repeated = lib "mirror/administration", lib "link/repeats".drop_repeated;
local metrics, traffic = lib "link/metrics", lib "link/traffic";

-- What a narrow link changes
local is_narrow, has_messages_only = policy.bandwidth ~= "full", policy.bandwidth == "messages";

-- Every event that this role takes part in, with the priority of each handler. mod_muc routes stanzas at -2, other modules answer at 0.
lib "link/events".hook {
	["presence/full"] = {
		{ 100, traffic.count_received }; -- whatever becomes of it
		{ 10, uninvited.handle };
		{ 3, gate.handle_presence }; -- holds joins back, which then come again
		{ 2, is_narrow and bandwidth.handle_presence };
		{ 1, users.handle_presence_to_occupant };
	};
	["presence/bare"] = {
		{ 100, traffic.count_received };
		{ 10, uninvited.handle };
		{ 2, is_narrow and bandwidth.handle_presence };
		{ 1, users.handle_presence_to_room };
	};
	["message/bare"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated }; -- its bytes have crossed, and nothing else of it counts
		{ 10, uninvited.handle };
		{ 3, has_messages_only and bandwidth.handle_groupchat };
		{ 2, requests_to_room.handle }; -- the next one knows groupchat only
		{ 1, users.handle_message_to_room };
	};
	["message/full"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated };
		{ 10, uninvited.handle };
		{ 5, requests_to_room.handle_error }; -- these two would be private messages
		{ 4, requests_to_room.handle_reply };
		{ 2, has_messages_only and bandwidth.handle_private };
		{ 1, private.handle };
	};
	["iq/full"] = {
		{ 100, traffic.count_received };
		{ 10, requests.handle_answer }; -- mod_muc would route it to the occupant
		{ 2, has_messages_only and bandwidth.handle_private };
		{ 1, private.handle };
	};
	["iq/bare"] = {
		{ 100, traffic.count_received };
		{ 12, parts.probe.handle_answer };
		{ 11, admission.handle_pong };
		{ 10, requests.handle_answer };
	};
	-- mod_muc_mam has handlers at 0
	["iq-get/bare/urn:xmpp:ping:ping"] = { { 10, parts.probe.handle_ping } };
	["iq-set/bare/urn:xmpp:mam:2:query"] = { { 1, room_iq.check_query } };
	["iq/bare/http://jabber.org/protocol/disco#info:query"] = { { 1, room_iq.discover } };
	["iq/bare/http://jabber.org/protocol/disco#items:query"] = { { 1, room_iq.discover } };
	["iq/bare/urn:xmpp:ping:ping"] = { { 1, room_iq.ping } };
	["iq/bare/vcard-temp:vCard"] = { { 1, room_iq.vcard } };
	["iq/bare/http://jabber.org/protocol/muc#admin:query"] = { { 1, room_iq.refuse_administration } };
	["iq/bare/http://jabber.org/protocol/muc#owner:query"] = { { 1, room_iq.refuse_administration } };
	["iq/bare/jabber:iq:register:query"] = { { 1, room_iq.refuse_administration } };
	["iq/bare/urn:xmpp:message-moderate:1:moderate"] = { { 1, room_iq.refuse_change } };
	["iq/bare/urn:xmpp:fasten:0:apply-to"] = { { 1, room_iq.refuse_change } }; -- an earlier version of moderation
	["route/remote"] = {
		{ 10, is_narrow and bandwidth.handle_outbound }; -- before it is counted
		{ 5, traffic.count_sent }; -- before mod_s2s sends it at -1
	};

	["muc-occupant-pre-join"] = {
		{ 0, mirrored.set_role };
		{ -1000, admission.handle_pre_join }; -- the last of all: handlers of other modules may have waited
		{ -1001, mirrored.check_session };
	};
	["muc-occupant-session-new"] = {
		{ 0, changes.handle_session };
		{ -1, avatar.greet }; -- after mod_muc's 50 and 20, which send the history and the subject
		{ -10, early_queries.handle_session };
	};
	["muc-occupant-joined"] = {
		{ 0, mirrored.count_visitor };
		{ -3, former.handle_change }; -- after mod_muc and the rest of this module
	};
	["muc-occupant-left"] = {
		{ 0, mirrored.handle_left };
		{ -0.5, mirrored.keep_while_joining }; -- mod_muc's -1 destroys a room without occupants
		{ -1.5, former.handle_change };
		{ -2, function (event) mirrored.forget_if_unused(event.room.jid); end };
	};
	["muc-room-restored"] = {
		{ 0, mirrored.handle_restored };
		{ -1, room_info.handle_restored };
	};
	["muc-room-destroyed"] = {
		{ 0, mirrored.handle_destroyed };
		{ -1, former.handle_destroyed };
	};
	["muc-broadcast-message"] = {
		{ 0.5, ids.handle_broadcast }; -- between mod_muc_mam's 1, which removes ids in the room's name, and mod_muc's 0, which keeps the history
		{ -1, messages.trim_history };
	};
	["muc-get-history"] = { { 2, messages.limit_history } }; -- before mod_muc_mam's 1
	["muc-private-message"] = { { 2, private.handle_local } }; -- before anybody makes something of it
	["item-added/adhoc-provider"] = { { -1, administration.hide } }; -- after mod_adhoc's 0, which then has the command to be taken away

	-- of this module
	["fmuc-room-info"] = { { 0, gate.handle_info } };
	["fmuc-join-refused"] = {
		{ 0, metrics.count_refusal };
		{ -1, early_queries.handle_refusal };
	};
	["fmuc-resync"] = { { 0, metrics.count_resync } };
};

function module.save()
	return { rooms = mirrored.save(); joins = users.save(); outbox = outbox.save(); former = former.save(); requests = requests.save();
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
