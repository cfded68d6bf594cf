-- SPDX-License-Identifier: MIT
-- The archive of mod_muc_mam with ids that another server has chosen (G8, G9). mod_muc_mam always makes ids of its own; a message is to
-- have the same id at both ends of a link, and the archive of a room knows it by the id that the room shows (XEP-0313 section 3.1).
--
-- The store is mod_muc_mam's, which answers the queries. It keeps out of what is archived here while room._data.archiving is false.

local configmanager = require "core.configmanager";
local jid_node = require "util.jid".node;
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_sid = "urn:xmpp:sid:0";

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

-- has(room, id) -> whether the room's archive has a message with that id
function archive.has(room, id)
	return get_store():get(jid_node(room.jid), id) ~= nil;
end

local function append(node, id, stanza, when)
	local store = get_store();
	local ok, err = store:append(node, id, stanza, when, "message<groupchat");
	if not ok and err == "quota-limit" and store.caps and store.caps.truncate then
		local limit = module:get_option_number("storage_archive_item_limit", store.caps.quota or 1000);
		store:delete(node, { truncate = math.floor(limit * 0.99) });
		ok, err = store:append(node, id, stanza, when, "message<groupchat");
	end
	return ok, err;
end

-- keep(room, stanza, id, [when]): archives the stanza under that id, which is not in the archive yet; `when` as os.time(). Its
-- stanza-id of the room is not kept, as mod_muc_mam adds it from the id.
function archive.keep(room, stanza, id, when)
	local node = jid_node(room.jid);
	local copy = st.clone(stanza);
	copy.attr.to = nil;
	copy:maptags(function (child)
		if child.name == "stanza-id" and child.attr.xmlns == xmlns_sid and child.attr.by == room.jid then return nil; end
		return child;
	end);
	local ok, err = append(node, id, copy, when or os.time());
	if not ok then return module:log("error", "Could not archive a message of %s: %s", room.jid, err); end
	mod_muc_mam().schedule_cleanup(node);
end

return archive;
