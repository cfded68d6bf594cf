-- SPDX-License-Identifier: MIT
-- Writes to the archive of mod_muc_mam with ids that another server has chosen (G8, G9). mod_muc_mam always makes its own ids. But a
-- message must have one id, at both ends of a link and in the archive (XEP-0313 section 3.1).
--
-- The store belongs to mod_muc_mam, which answers the queries. While room._data.archiving is false, mod_muc_mam archives nothing itself.

local configmanager = require "core.configmanager";
local storagemanager = require "core.storagemanager";
local datamanager = require "util.datamanager";
local datetime = require "util.datetime";
local jid_node = require "util.jid".node;
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";

local archived_as = "message<groupchat"; -- as mod_muc_mam stores it, and looks for it

-- by how many lines an archive in one file may exceed its limit
local lines_between_cuts = 1000;

local hygiene = lib "link/hygiene";

local archive = {};

local open_store;

local function mod_muc_mam()
	return prosody.hosts[module.host].modules.muc_mam;
end

-- the archive, or nil when there is none
local function get_store()
	if not mod_muc_mam() then return nil; end
	open_store = open_store or module:open_store("muc_log", "archive");
	return open_store and open_store.find and open_store;
end

local function item_limit()
	local quota = get_store().caps and get_store().caps.quota or 1000;
	return math.floor(module:get_option_number("storage_archive_item_limit", quota) * 0.99);
end

-- own_all_rooms(): makes room._data.archiving count on this host, where muc_log_all_rooms would overrule it
function archive.own_all_rooms()
	if not configmanager.get(module.host, "muc_log_all_rooms") then return; end
	configmanager.set(module.host, "muc_log_all_rooms", false);
	configmanager.set(module.host, "muc_log_by_default", true);
end

-- may_choose_ids() -> whether room._data.archiving = false stops mod_muc_mam
function archive.may_choose_ids()
	return not configmanager.get(module.host, "muc_log_all_rooms");
end

-- is_on([room]) -> whether messages of the room are archived; without room, or without a setting in it: what the host's default is
function archive.is_on(room)
	if not get_store() then return false; end
	local archiving = room and room._data.archiving;
	if archiving == nil then archiving = module:get_option_boolean("muc_log_by_default", true); end
	return archiving;
end

-- features() -> list of features that a room with an archive announces on this host
function archive.features()
	if not archive.is_on() then return {}; end
	local caps = get_store().caps;
	return caps and caps.full_id_range and caps.ids and { xmlns_mam, xmlns_mam .. "#extended" } or { xmlns_mam };
end

-- mod_storage_internal keeps an archive in one file. To append under a given id, it reads and writes the whole file. That takes 40 ms at a
-- thousand messages, too much for each message. For an id of its own it adds one line. This code adds such a line.
local function is_one_file()
	local _, driver_name = storagemanager.get_driver(module.host, "muc_log");
	return driver_name == "internal";
end

-- room._data.fmuc_appended: how many lines since the file was last cut
local function append_line(room, id, stanza, when)
	local node, item = jid_node(room.jid), st.preserialize(stanza);
	item.key, item.when, item.with, item.attr.stamp = id, when, archived_as, datetime.datetime(when);
	local ok, err = datamanager.list_append(node, module.host, "muc_log", item);
	local count = (room._data.fmuc_appended or 0) + 1;
	if count >= lines_between_cuts then
		get_store():delete(node, { truncate = item_limit() });
		count = 0;
	end
	room._data.fmuc_appended = count;
	return ok, err;
end

local function append(room, id, stanza, when)
	if is_one_file() then return append_line(room, id, stanza, when); end
	local node, store = jid_node(room.jid), get_store();
	local ok, err = store:append(node, id, stanza, when, archived_as);
	if not ok and err == "quota-limit" and store.caps and store.caps.truncate then
		store:delete(node, { truncate = item_limit() });
		ok, err = store:append(node, id, stanza, when, archived_as);
	end
	return ok, err;
end

-- max_messages() -> the most messages of one room in an archive in one file; 0 for any other archive
function archive.max_messages()
	return archive.is_on() and is_one_file() and item_limit() + lines_between_cuts or 0;
end

-- has(room, id) -> whether the room's archive has a message with that id; false for an archive in one file
function archive.has(room, id)
	return archive.is_on() and not is_one_file() and get_store():get(jid_node(room.jid), id) ~= nil;
end

local function nothing() end

-- each_id(room) -> iterator of the ids in an archive in one file; of none for any other archive, where has() looks
function archive.each_id(room)
	if not archive.is_on(room) or not is_one_file() then return nothing; end
	return get_store():find(jid_node(room.jid)) or nothing;
end

-- begin(room): empties the archive. A server that was killed has left old messages in it.
function archive.begin(room)
	room._data.fmuc_appended = nil;
	if get_store() then get_store():delete(jid_node(room.jid)); end
end

-- keep(room, stanza, id, [when]): archives the stanza under that id, which must be new to the archive; `when` as os.time(). The room's own
-- stanza-id is left out, as mod_muc_mam adds it from the id.
function archive.keep(room, stanza, id, when)
	local copy = hygiene.copy("into the archive", stanza, { room_jid = room.jid });
	copy.attr.to = nil;
	local ok, err = append(room, id, copy, when or os.time());
	if not ok then return module:log("error", "Could not archive a message of %s: %s", room.jid, err); end
	mod_muc_mam().schedule_cleanup(jid_node(room.jid));
end

return archive;
