-- SPDX-License-Identifier: MIT
-- The mirror role: local users join rooms of other servers through rooms of this service. Requirements M1 to M27 and the client's side of XEP-0045.
-- This file lists the parts of the role, and every event that the role handles.

local commands = require "prosody_relay.commands";
local compat = require "prosody_relay.compat";
local configmanager = require "core.configmanager";

local archive = lib "room/archive";
local policy = lib "mirror/policy";

-- The occupant ids of a mirrored room are the master's (G10)
if module:get_option_boolean("muc_occupant_id", false) then
	module:log("info", "muc_occupant_id has no effect on a mirror, which shows the identifiers of the master");
end
configmanager.set(module.host, "muc_occupant_id", false);
local muc = module:depends "muc";
lib "mirror/own_rooms".refuse(muc); -- before anything here can fail
archive.own_all_rooms(); -- before Prosody loads mod_muc_mam, which follows this module

local administration = lib "mirror/administration";
local avatar = lib "mirror/avatar";
local bandwidth = lib "mirror/bandwidth";
local changes = lib "mirror/changes";
local drop_repeated = lib "link/repeats".drop_repeated;
local early_stanzas = lib "mirror/early_stanzas";
local from_master = lib "mirror/from_master";
local generation1 = lib "dialect/generation1";
local held_joins = lib "mirror/held_joins";
local ids = lib "mirror/ids";
local joins = lib "mirror/joins";
local links = lib "link/link";
local liveness = lib "mirror/liveness";
local messages = lib "mirror/messages";
local metrics = lib "link/metrics";
local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local outbox = lib "mirror/outbox";
local private = lib "mirror/private";
local requests = lib "link/requests";
local requests_to_room = lib "mirror/requests_to_room";
local restart = lib "mirror/restart";
local resync = lib "mirror/resync";
local room_info = lib "mirror/room_info";
local room_iq = lib "mirror/room_iq";
local traffic = lib "link/traffic";
local uninvited = lib "link/uninvited";
local users = lib "mirror/users";

local function close()
	held_joins.close();
	users.close();
	early_stanzas.close();
end

-- Handlers that only a narrow link needs
local is_narrow, has_messages_only = policy.bandwidth ~= "full", policy.bandwidth == "messages";

-- All events that this role handles, with the priority of each handler. At -2 mod_muc routes stanzas, at 0 other modules answer.
local handlers = {
	["presence/full"] = {
		{ 100, traffic.count_received }; -- counts every stanza
		{ 10, uninvited.handle };
		{ 3, held_joins.handle_presence }; -- holds joins, and fires them again later
		{ 2, is_narrow and bandwidth.handle_presence };
		{ 1, users.handle_presence_to_occupant };
	};
	["presence/bare"] = {
		{ 100, traffic.count_received };
		{ 10, uninvited.handle };
		{ 3, held_joins.handle_presence_to_room };
		{ 2, is_narrow and bandwidth.handle_presence };
		{ 1, users.handle_presence_to_room };
	};
	["message/bare"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated }; -- its bytes count, the rest of it is ignored
		{ 10, uninvited.handle };
		{ 3, has_messages_only and bandwidth.handle_groupchat };
		{ 2, requests_to_room.handle }; -- the next handlers know groupchat only
		{ 1.5, early_stanzas.handle_message };
		{ 1, users.handle_message_to_room };
	};
	["message/full"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated };
		{ 10, uninvited.handle };
		{ 5, requests_to_room.handle_error }; -- the next handlers would take these two for private messages
		{ 4, requests_to_room.handle_reply };
		{ 2, has_messages_only and bandwidth.handle_private };
		{ 1, private.handle };
	};
	["iq/full"] = {
		{ 100, traffic.count_received };
		{ 50, requests.drop_without_id };
		{ 10, requests.handle_answer }; -- mod_muc would route it to the occupant
		{ 2, has_messages_only and bandwidth.handle_private };
		{ 1, private.handle };
	};
	["iq/bare"] = {
		{ 100, traffic.count_received };
		{ 50, requests.drop_without_id };
		{ 12, liveness.handle_answer };
		{ 11, from_master.handle_pong };
		{ 10, requests.handle_answer };
	};
	-- mod_muc_mam has handlers at 0
	["iq-get/bare/urn:xmpp:ping:ping"] = { { 10, liveness.handle_ping } };
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
		{ 5, traffic.count_sent };
		{ 1, compat.keep_order }; -- before mod_s2s sends it at -1
	};

	["muc-occupant-pre-join"] = {
		{ 0, mirrored.set_role };
		{ -1000, joins.handle_pre_join }; -- last: handlers of other modules may have waited
		{ -1001, mirrored.check_session };
	};
	["muc-occupant-session-new"] = {
		{ 0, changes.handle_session };
		{ -1, avatar.greet }; -- after mod_muc's 50 and 20, which send the history and the subject
		{ -10, early_stanzas.handle_session };
	};
	["muc-occupant-joined"] = {
		{ 0, mirrored.count_visitor };
		{ -3, restart.handle_change }; -- after mod_muc and the rest of this module
	};
	["muc-occupant-left"] = {
		{ 0, mirrored.handle_left };
		{ -0.25, changes.handle_left };
		{ -0.5, mirrored.keep_while_joining }; -- mod_muc's -1 destroys a room without occupants
		{ -1.5, restart.handle_change };
		{ -2, function (event) mirrored.forget_if_unused(event.room.jid); end };
	};
	["muc-room-restored"] = {
		{ 0, mirrored.handle_restored };
		{ -1, room_info.handle_restored };
	};
	["muc-room-destroyed"] = {
		{ 1, outage.abandon }; -- before the room is forgotten here, and by mod_muc at 0
		{ 0, mirrored.handle_destroyed };
		{ -1, restart.handle_destroyed };
	};
	["muc-broadcast-message"] = {
		{ 0.5, ids.handle_broadcast }; -- between mod_muc_mam's 1, which removes ids in the room's name, and mod_muc's 0, which keeps the history
		{ -1, messages.trim_history };
	};
	["muc-get-history"] = { { 2, messages.limit_history } }; -- before mod_muc_mam's 1
	["muc-private-message"] = { { 2, private.handle_local } }; -- before other modules handle it
	["item-added/adhoc-provider"] = { { -1, administration.hide } }; -- after mod_adhoc's 0, which registers the command

	-- Events of this module
	["fmuc-link/synced"] = { { 0, joins.handle_synced } };
	["fmuc-link/broken"] = { { 0, resync.handle_broken } };
	["fmuc-link/incomplete"] = { { 0, resync.begin } };
	["fmuc-link/complete"] = { { 0, resync.handle_over } };
	["fmuc-link/dumped"] = { { 0, resync.handle_over } };
	["fmuc-join-due"] = { { 0, users.send_join } };
	["fmuc-message-repeated"] = { { 0, messages.handle_repeated } };
	["fmuc-stanza-held"] = {
		{ 0, from_master.handle_held };
		{ -1, messages.handle_held };
	};
	["fmuc-session-left"] = { { 0, changes.handle_session_left } };
	["fmuc-room-info"] = { { 0, held_joins.handle_info } };
	["fmuc-room-described"] = { { 0, joins.learn } };
	["fmuc-room-changed"] = { { 0, avatar.handle_change } };
	["fmuc-join-withdrawn"] = { { 0, early_stanzas.handle_withdrawal } };
	["fmuc-join-refused"] = {
		{ 0, metrics.count_refusal };
		{ -1, early_stanzas.handle_refusal };
	};
	["fmuc-resync"] = { { 0, metrics.count_resync } };
};

local is_started = false;
-- Takes part in what happens, with the state of the instance before a reload
local function start()
	lib "mirror/operation"; -- every stanza is counted
	lib "link/events".hook(handlers);
	is_started = true;
	local saved = module.saved_state or {};
	links.restore(saved.links);
	outbox.restore(saved.outbox);
	users.restore(saved.joins);
	held_joins.restore(saved.held_joins);
	mirrored.restore(saved.rooms);
	restart.restore(saved.restart);
end

-- Defined before anything can fail, because Prosody also calls it when the module fails to load
function module.unload()
	commands.stop(module);
	if module.reloading then return mirrored.release(); end
	if not is_started and module.saved_state then start(); end -- so that who waits is answered
	close();
	requests.close();
end

start();
lib "mirror/timer";
module:add_feature(generation1.xmlns_private);

function module.save()
	return { links = links.save(); rooms = mirrored.save(); joins = joins.save(); outbox = outbox.save(); restart = restart.save();
		requests = requests.save(); private = private.save(); held_joins = held_joins.save(); early_stanzas = early_stanzas.save() };
end

-- while the streams to users and other servers are open; requests end when the users have been told
compat.on_stopping(module, close);
compat.on_stopping(module, requests.close, -1);
