-- SPDX-License-Identifier: MIT
-- Users of mirrors who were kicked (G14): their mirror may have been cut off then, and bring them back when it resyncs (G3). It is told what
-- it missed. A user who joins again of his own accord is as welcome as anybody.
--
-- room._data.fmuc_kicked, which survives what the room survives: list of { mirror room JID, nick, presence as the mirror was to get it },
-- the oldest first

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

-- A reason may be as long as a stanza
local function within_bounds(presence)
	if heap_size(presence) <= max_bytes then return presence; end
	return hygiene.copy("long presence to remember", presence);
end

-- The oldest, of the same mirror if there is another: no mirror makes the room forget the others'
local function oldest(list)
	local link_jid = list[#list][1];
	for index = 1, #list - 1 do
		if list[index][1] == link_jid then return index; end
	end
	return 1;
end

-- add(room, link_jid, presence): a user is being taken out of the room; presence: the last that the mirror gets of the user
function kicked.add(room, link_jid, presence)
	local list = room._data.fmuc_kicked or {};
	room._data.fmuc_kicked = list;
	kicked.forget(room, link_jid, jid_resource(presence.attr.from));
	list[#list + 1] = { link_jid, jid_resource(presence.attr.from), st.preserialize(within_bounds(presence)) };
	if #list > max_kicked then table.remove(list, oldest(list)); end
end

-- presence(room, link_jid, nick) -> that presence of who was kicked, while nobody has joined with that nick since; or nil
function kicked.presence(room, link_jid, nick)
	local _, entry = find(room, link_jid, nick);
	return entry and st.deserialize(entry[3]);
end

-- forget(room, link_jid, nick): somebody has joined
function kicked.forget(room, link_jid, nick)
	local index = find(room, link_jid, nick);
	if index then table.remove(room._data.fmuc_kicked, index); end
end

return kicked;
