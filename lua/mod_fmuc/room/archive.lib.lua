-- SPDX-License-Identifier: MIT
-- The archive of mod_muc_mam with ids that another server has chosen (G8, G9). mod_muc_mam always makes ids of its own; a message is to
-- have the same id at both ends of a link, and the archive of a room knows it by the id that the room shows (XEP-0313 section 3.1).
--
-- The store is mod_muc_mam's, which answers the queries. It keeps out of what is archived here while room._data.archiving is false.

local configmanager = require "core.configmanager";
local storagemanager = require "core.storagemanager";
local datamanager = require "util.datamanager";
local datetime = require "util.datetime";
local jid_node = require "util.jid".node;
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";

local archived_as = "message<groupchat"; -- by mod_muc_mam, which looks for that

-- of an archive in one file, which may be that much too long
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

-- own_all_rooms(): makes room._data.archiving count on this host, which this option of mod_muc_mam would overrule
function archive.own_all_rooms()
	if not configmanager.get(module.host, "muc_log_all_rooms") then return; end
	configmanager.set(module.host, "muc_log_all_rooms", false);
	configmanager.set(module.host, "muc_log_by_default", true);
end

-- may_choose_ids() -> whether room._data.archiving = false keeps mod_muc_mam out
function archive.may_choose_ids()
	return not configmanager.get(module.host, "muc_log_all_rooms");
end

-- is_on([room]) -> whether messages of the room, or of one that says nothing about it, are archived
function archive.is_on(room)
	if not get_store() then return false; end
	local archiving = room and room._data.archiving;
	if archiving == nil then archiving = module:get_option_boolean("muc_log_by_default", true); end
	return archiving;
end

-- features() -> list of what a room of this host with an archive announces
function archive.features()
	if not archive.is_on() then return {}; end
	local caps = get_store().caps;
	return caps and caps.full_id_range and caps.ids and { xmlns_mam, xmlns_mam .. "#extended" } or { xmlns_mam };
end

-- mod_storage_internal, which keeps an archive in one file, reads and writes all of it to append something under a given id (40 ms at a
-- thousand messages, which is too much for each of them), but adds one line for an id of its own. This adds that line.
local function is_one_file()
	local _, driver_name = storagemanager.get_driver(module.host, "muc_log");
	return driver_name == "internal";
end

-- room._data.fmuc_appended: how many since the file was last cut
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

-- max_messages() -> how many messages of one room are archived at most, where that is known: of an archive in one file
function archive.max_messages()
	return archive.is_on() and is_one_file() and item_limit() + lines_between_cuts or 0;
end

-- has(room, id) -> whether the room's archive has a message with that id, where it can say so without reading all of it
function archive.has(room, id)
	return archive.is_on() and not is_one_file() and get_store():get(jid_node(room.jid), id) ~= nil;
end

-- begin(room): there is nothing in it yet. A server that was killed has left what it had.
function archive.begin(room)
	room._data.fmuc_appended = nil;
	if get_store() then get_store():delete(jid_node(room.jid)); end
end

-- keep(room, stanza, id, [when]): archives the stanza under that id, which is not in the archive yet; `when` as os.time(). Its
-- stanza-id of the room is not kept, as mod_muc_mam adds it from the id.
function archive.keep(room, stanza, id, when)
	local copy = hygiene.copy("into the archive", stanza, { room_jid = room.jid });
	copy.attr.to = nil;
	local ok, err = append(room, id, copy, when or os.time());
	if not ok then return module:log("error", "Could not archive a message of %s: %s", room.jid, err); end
	mod_muc_mam().schedule_cleanup(jid_node(room.jid));
end

return archive;
