-- SPDX-License-Identifier: MIT
-- Checks what this module keeps in room._data, which mod_muc stores. A master has fmuc_links and fmuc_bandwidth (master/links), fmuc_kicked
-- (master/kicked) and fmuc_appended (room/archive). A node has fmuc_outbound_peer, fmuc_mode and fmuc_inbound_peers (node/config), fmuc_seen
-- (node/history) and fmuc_nodes (node/restart). A store may be damaged, or written by somebody else. It must not stop a room or this module
-- from loading.

local st = require "util.stanza";

local stored_data = {};

local function is_table_of(value, is_entry)
	if type(value) ~= "table" then return false; end
	for key, entry in pairs(value) do
		if not is_entry(entry, key) then return false; end
	end
	return true;
end

local function is_text(value, key)
	return type(value) == "string" and type(key) == "string";
end

local function is_text_or_nil(value)
	return value == nil or type(value) == "string";
end

local function is_count(value)
	return math.type(value) == "integer" and value >= 0;
end

local function is_outbox(value)
	local is_valid = type(value.series) == "string" and is_count(value.sent) and is_count(value.received) and #value.messages <= value.sent;
	return is_valid and is_text_or_nil(value.theirs) and is_table_of(value.messages, function (entry, index)
		return math.type(index) == "integer" and type(entry.text) == "string" and type(entry.nick) == "string"
			and type(entry.real_jid) == "string" and is_count(entry.time) and is_text_or_nil(entry.id);
	end);
end

-- name of a field = is_valid(value) -> boolean; it may raise an error
local fields = {
	fmuc_links = function (value)
		return is_table_of(value, function (nicks, link_jid) return type(link_jid) == "string" and is_table_of(nicks, is_text); end);
	end;
	fmuc_bandwidth = function (value) return is_table_of(value, is_text); end;
	fmuc_kicked = function (value)
		return is_table_of(value, function (entry, index)
			return math.type(index) == "integer" and index >= 1 and index <= #value and type(entry[1]) == "string" and type(entry[2]) == "string"
				and st.deserialize(entry[3]).name == "presence";
		end);
	end;
	fmuc_outbound_peer = function (value) return type(value) == "string"; end;
	fmuc_mode = function (value) return type(value) == "string"; end;
	fmuc_inbound_peers = function (value)
		return is_table_of(value, function (peer, index) return math.type(index) == "integer" and type(peer) == "string"; end);
	end;
	fmuc_seen = function (value)
		return is_table_of(value, function (time, peer) return math.type(time) == "integer" and type(peer) == "string"; end);
	end;
	fmuc_nodes = function (value)
		return is_table_of(value, function (node, peer)
			return type(peer) == "string" and (node.direction == "up" or node.direction == "down") and is_outbox(node.outbox)
				and is_table_of(node.told, is_text) and is_table_of(node.brought, function (entry, nick)
					return type(nick) == "string" and type(entry.real_jid) == "string" and type(entry.role) == "string"
						and type(entry.affiliation) == "string" and is_text_or_nil(entry.since) and is_text_or_nil(entry.hidden);
				end);
		end);
	end;
	fmuc_appended = function (value) return type(value) == "number"; end;
};

-- check(room): removes data that this module cannot have written, and logs it
function stored_data.check(room)
	for name, is_valid in pairs(fields) do
		local value = room._data[name];
		local checked, valid = pcall(is_valid, value);
		if value ~= nil and not (checked and valid) then
			room._data[name] = nil;
			module:log("error", "The stored data of %s has a '%s' that cannot be used; the room goes on without it", room.jid, name);
		end
	end
end

return stored_data;
