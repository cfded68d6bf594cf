-- SPDX-License-Identifier: MIT
-- Users of mirrors who were kicked (G14). If their mirror was cut off, it may bring them back in a resync (G3). So it is told of the kick.
-- A kicked user who joins again on purpose is treated like anybody.
--
-- room._data.fmuc_kicked: list of { mirror room JID, nick, presence for the mirror }, the oldest first. It survives what the room survives.

local jid_resource = require "util.jid".resource;
local heap_size = require "prosody_relay.stanza".heap_size;
local st = require "util.stanza";

local hygiene = lib "link/hygiene";

local max_kicked, max_bytes = 100, 8192;

local kicked = {};

local function find(room, link_jid, nick)
	for index, entry in ipairs(room._data.fmuc_kicked or {}) do
		if entry[1] == link_jid and entry[2] == nick then return index, entry; end
	end
end

-- The reason of a kick may be as long as a stanza
local function within_bounds(presence)
	if heap_size(presence) <= max_bytes then return presence; end
	return hygiene.copy("long presence to remember", presence);
end

-- The entry to remove: the oldest of the same mirror, else the oldest of all. So no mirror makes the room forget entries of others.
local function oldest(list)
	local link_jid = list[#list][1];
	for index = 1, #list - 1 do
		if list[index][1] == link_jid then return index; end
	end
	return 1;
end

-- add(room, link_jid, presence): a user is being kicked; presence: the last that the mirror gets of the user
function kicked.add(room, link_jid, presence)
	local list = room._data.fmuc_kicked or {};
	room._data.fmuc_kicked = list;
	kicked.forget(room, link_jid, jid_resource(presence.attr.from));
	list[#list + 1] = { link_jid, jid_resource(presence.attr.from), st.preserialize(within_bounds(presence)) };
	if #list > max_kicked then table.remove(list, oldest(list)); end
end

-- presence(room, link_jid, nick) -> the presence of a user who was kicked, if nobody has joined with that nick since; or nil
function kicked.presence(room, link_jid, nick)
	local _, entry = find(room, link_jid, nick);
	return entry and st.deserialize(entry[3]);
end

-- forget(room, link_jid, nick): a user has joined with that nick
function kicked.forget(room, link_jid, nick)
	local index = find(room, link_jid, nick);
	if index then table.remove(room._data.fmuc_kicked, index); end
end

return kicked;
