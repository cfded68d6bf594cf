-- SPDX-License-Identifier: MIT
-- The master role: other services may mirror the rooms of this MUC service (requirements M4 to M26). This file lists the parts of the role,
-- and every event that the role handles.

local commands = require "prosody_relay.commands";
local compat = require "prosody_relay.compat";

local all_links = lib "link/link";
local generation1 = lib "dialect/generation1";
local drop_repeated = lib "link/repeats".drop_repeated;
local metrics = lib "link/metrics";
local requests = lib "link/requests";
local traffic = lib "link/traffic";
local history = lib "room/history";
local restrict_pm = lib "room/restrict_pm";
local ids = lib "master/ids";
local journal = lib "master/journal";
local joins = lib "master/joins";
local links = lib "master/links";
local liveness = lib "master/liveness";
local mirrors = lib "master/mirrors";
local private = lib "master/private";
local resync = lib "master/resync";
local muc = module:depends "muc";
local uninvited = lib "link/uninvited";

local function describe(event)
	event.reply:tag("feature", { var = generation1.xmlns }):up();
	event.reply:tag("feature", { var = generation1.xmlns_private }):up();
end

-- Every event that this role handles, with the priority of each handler. mod_muc routes stanzas at -2, so a mirror's stanza is translated
-- before the room sees it.
local handlers = {
	["presence/full"] = {
		{ 100, traffic.count_received }; -- counts every stanza
		{ 10, uninvited.handle };
		{ 1, mirrors.handle_presence };
	};
	["presence/bare"] = {
		{ 100, traffic.count_received };
		{ 10, uninvited.handle };
		{ 1, mirrors.clean };
	};
	["message/bare"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated }; -- after its bytes are counted: they have crossed
		{ 10, uninvited.handle };
		{ 1, mirrors.handle_message };
	};
	["message/full"] = {
		{ 100, traffic.count_received };
		{ 50, drop_repeated };
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
		{ 1, private.handle };
	};
	["iq-get/bare/urn:xmpp:ping:ping"] = { { 1, liveness.handle_ping } }; -- before mod_ping's 0
	["route/remote"] = { -- before mod_s2s sends it at -1
		{ 20, links.handle_stray };
		{ 5, traffic.count_sent };
	};

	["muc-disco#info"] = {
		{ 0, describe };
		{ -0.1, restrict_pm.describe };
		{ -0.2, history.describe };
	};
	["muc-occupant-pre-join"] = {
		{ -1000, joins.check_nick }; -- after all other handlers that may change the nick
		{ -1001, joins.check_join }; -- last: handlers of other modules may have waited
	};
	["muc-occupant-left"] = { { 0, mirrors.handle_left } };
	["muc-broadcast-message"] = { { 0.5, ids.handle_broadcast } }; -- between mod_muc_mam's 1, which removes ids in the room's name, and mod_muc's 0
	["muc-add-history"] = { { 1, ids.handle_history } }; -- before mod_muc_mam's 0
	["muc-get-history"] = { { 10, resync.tell_history } }; -- before mod_muc_mam's 1
	["muc-room-restored"] = { { 0, function (event) links.revive(event.room); end } };
	["muc-room-destroyed"] = { { 0, function (event) links.forget(event.room.jid); end } };

	-- of this module
	["fmuc-join-refused"] = { { 0, metrics.count_refusal } };
	["fmuc-resync"] = { { 0, metrics.count_resync } };
};

local is_started = false;
-- Takes part in what happens, with the state of the instance before a reload
local function start()
	lib "master/operation"; -- every stanza is counted
	lib "link/events".hook(handlers);
	is_started = true;
	local saved = module.saved_state or {};
	all_links.restore(saved.links);
	journal.restore(saved.journals);
	for room in muc.live_rooms() do links.revive(room); end
end

-- Defined before anything can fail, because Prosody also calls it when the module fails to load
function module.unload()
	commands.stop(module);
	if not module.reloading then
		if not is_started and module.saved_state then start(); end -- so that all mirrors learn of the end
		requests.close();
	end
	for room in muc.live_rooms() do
		local state = room.fmuc;
		if state and module.reloading then
			links.release(room);
		elseif state then
			links.end_all(room);
		end
	end
end

start();
journal.start();
liveness.start();
module:add_feature(generation1.xmlns);

function module.save()
	return { links = all_links.save(); journals = journal.save(); requests = requests.save() };
end

compat.on_stopping(module, requests.close, -1); -- before the streams to other servers close
