-- SPDX-License-Identifier: MIT
-- The master role: other services may mirror the rooms of this MUC service (requirements M4 to M26). This file lists the parts of the role,
-- and every event that the role handles.

local commands = require "prosody_relay.commands";
local compat = require "prosody_relay.compat";

local all_links = lib "link/link";
local generation1 = lib "dialect/generation1";
local generation2 = lib "dialect/generation2";
local drop_repeated = lib "link/repeats".drop_repeated;
local metrics = lib "link/metrics";
local requests = lib "link/requests";
local traffic = lib "link/traffic";
local every_room = lib "room/every_room";
local given_ids = lib "room/given_ids";
local history = lib "room/history";
local linked = lib "room/linked";
local restrict_pm = lib "room/restrict_pm";
local journal = lib "master/journal";
local joins = lib "master/joins";
local links = lib "master/links";
local liveness = lib "master/liveness";
local mirrors = lib "master/mirrors";
local private = lib "master/private";
local resync = lib "master/resync";
local config = lib "node/config";
local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local authority = lib "node/authority";
local collisions = lib "node/collisions";
local direct = lib "node/direct";
local foreign = lib "node/foreign";
local handshake = lib "node/handshake";
local outage = lib "node/outage";
local node_ids = lib "node/ids";
local nodes = lib "node/nodes";
local node_private = lib "node/private";
local replica = lib "node/replica";
local remembered = lib "node/remembered";
local rollcall = lib "node/rollcall";
local restart = lib "node/restart";
local muc = module:depends "muc";
local uninvited = lib "link/uninvited";

local function describe(event)
	event.reply:tag("feature", { var = generation1.xmlns }):up();
	event.reply:tag("feature", { var = generation1.xmlns_private }):up();
	if event.room and config.is_federated(event.room) then event.reply:tag("feature", { var = generation2.xmlns_node }):up(); end
end

-- Every event that this role handles, with the priority of each handler. mod_muc routes stanzas at -2, so a mirror's stanza is translated
-- before the room sees it.
local handlers = {
	["presence/full"] = {
		{ 100, traffic.count_received }; -- counts every stanza
		{ 11, nodes.handle };
		{ 10, uninvited.handle };
		{ 1, mirrors.handle_presence };
	};
	["presence/bare"] = {
		{ 100, traffic.count_received };
		{ 11, nodes.handle };
		{ 10, uninvited.handle };
		{ 1, mirrors.clean };
	};
	["message/bare"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated }; -- after its bytes are counted: they have crossed
		{ 11, nodes.handle };
		{ 10, uninvited.handle };
		{ 1, mirrors.handle_message };
	};
	["message/full"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated };
		{ 11, nodes.handle };
		{ 10, uninvited.handle };
		{ 1, private.handle };
	};
	["iq/bare"] = {
		{ 100, traffic.count_received };
		{ 50, requests.drop_without_id };
		{ 10, requests.handle_answer };
		{ 1, liveness.handle_answer };
	};
	["iq/full"] = {
		{ 100, traffic.count_received };
		{ 50, requests.drop_without_id };
		{ 10, requests.handle_answer }; -- before mod_muc routes it to the occupant
		{ 2, node_private.handle_iq };
		{ 1, private.handle };
	};
	["iq-get/bare/urn:xmpp:ping:ping"] = { -- before mod_ping's 0
		{ 2, outage.handle_ping };
		{ 1, liveness.handle_ping };
	};
	["iq-set/bare/http://jabber.org/protocol/muc#owner:query"] = { { 1, config.check_form } }; -- before mod_muc's -2
	["route/remote"] = { -- before mod_s2s sends it at -1
		{ 20, links.handle_stray };
		{ 5, traffic.count_sent };
		{ 1, compat.keep_order };
	};

	["muc-disco#info"] = {
		{ 0, describe };
		{ -0.1, restrict_pm.describe };
		{ -0.2, history.describe };
	};
	["muc-occupant-pre-join"] = {
		{ -1000, joins.check_nick }; -- after all other handlers that may change the nick
		{ -1001, joins.check_join }; -- last: handlers of other modules may have waited
		{ -1002, arrivals.check_trial };
	};
	["muc-occupant-groupchat"] = {
		{ 30, replica.handle_subject }; -- between mod_muc's 50, which looks at the role, and 20, which sets the subject
		{ -1000, replica.handle_groupchat };
	};
	["muc-occupant-joined"] = { { 0, collisions.handle_joined } };
	["muc-occupant-left"] = {
		{ 0, mirrors.handle_left };
		{ -0.5, collisions.handle_left };
		{ -0.6, arrivals.handle_left };
		{ -0.7, handshake.handle_left }; -- before mod_muc's -1, which destroys a room without occupants
	};
	["muc-broadcast-presence"] = {
		{ -10, authority.handle_presence };
		{ -11, announce.handle_presence }; -- after handlers of other modules that change it
		{ -12, handshake.handle_presence };
	};
	["muc-config-form"] = { { 5, config.add_to_form } };
	["muc-config-submitted"] = { { 0, config.handle_form } };
	["muc-config-submitted/muc#roomconfig_membersonly"] = { { -10, arrivals.handle_opened } };
	["muc-config-submitted/muc#roomconfig_roomsecret"] = { { -10, arrivals.handle_opened } };
	["muc-set-affiliation"] = { { -10, arrivals.handle_affiliation } };
	["muc-broadcast-message"] = {
		{ 0.5, given_ids.handle_broadcast }; -- between mod_muc_mam's 1, which removes ids in the room's name, and mod_muc's 0
		{ -10, announce.handle_message };
	};
	["muc-add-history"] = { { 1, given_ids.handle_history } }; -- before mod_muc_mam's 0
	["muc-get-history"] = {
		{ 20, arrivals.skip_history };
		{ 10, resync.tell_history }; -- before mod_muc_mam's 1
	};
	["muc-room-restored"] = { { 0, function (event)
		links.revive(event.room);
		restart.revive(event.room);
	end } };
	["muc-room-destroyed"] = {
		{ 1, handshake.handle_destroyed };
		{ 0.5, collisions.handle_destroyed };
		{ 0, function (event) links.forget(event.room.jid); end };
	};

	-- of this module
	["fmuc-join-refused"] = { { 0, metrics.count_refusal } };
	["fmuc-node-due"] = { { 0, handshake.ask_again } };
	["fmuc-node-doubtful"] = { { 0, rollcall.handle_doubt } };
	["fmuc-node-reached"] = { { 0, foreign.handle_reached } };
	["fmuc-node-configured"] = { { 0, handshake.handle_configured } };
	["fmuc-resync"] = { { 0, metrics.count_resync } };
};

local is_started = false;
-- Takes part in what happens, with the state of the instance before a reload
local function start()
	local mirrors_of_rooms, federated_rooms = lib "master/operation", lib "node/operation";
	traffic.start { metrics = metrics; find = mirrors_of_rooms.find; down = "sent" }; -- every stanza is counted
	lib "link/commands" { title = "Links of rooms"; peer = "Mirror or node"; roles = { mirrors_of_rooms, federated_rooms }; metrics = metrics };
	federated_rooms.start();
	every_room.start();
	lib "link/events".hook(handlers);
	lib "link/events".hook_for_users(direct.events, direct.handle, 100);
	is_started = true;
	local saved = module.saved_state or {};
	all_links.restore(saved.links);
	journal.restore(saved.journals);
	collisions.restore(saved.joined);
	node_ids.restore(saved.ids);
	remembered.restore(saved.remembered);
	for room in muc.live_rooms() do
		links.revive(room);
		restart.revive(room);
		handshake.check(room);
	end
end

-- Defined before anything can fail, because Prosody also calls it when the module fails to load
function module.unload()
	commands.stop(module);
	every_room.stop();
	if not module.reloading then
		if not is_started and module.saved_state then start(); end -- so that all mirrors learn of the end
		requests.close();
	end
	for room in muc.live_rooms() do
		local state = room.fmuc;
		if state and module.reloading then
			linked.detach(room);
		elseif state then
			handshake.end_all(room);
			if room.fmuc then links.end_all(room); end
		end
	end
end

start();
journal.start();
liveness.start();
outage.start();
replica.start();
if not module.saved_state then module:add_timer(1, foreign.recall_all); end -- then the streams to other servers can begin
module:add_feature(generation1.xmlns);

function module.save()
	return { links = all_links.save(); journals = journal.save(); joined = collisions.save(); ids = node_ids.save(); remembered = remembered.save();
		requests = requests.save() };
end

compat.on_stopping(module, requests.close, -1); -- before the streams to other servers close
