-- SPDX-License-Identifier: MIT
-- Limits how often a mirror may ask a master for a whole room: occupants, history and subject. One short join brings back a megabyte, so a
-- mirror that asks again and again must wait. A link that breaks every minute stays far below the limit.

local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;
local fair_cache = require "prosody_relay.fair_cache";

local traffic = lib "link/traffic";

-- Bytes on the wire that a mirror of a room may ask for at once; seconds until that is refilled
local max_bytes, period = 16 * 1024 * 1024, 600;

local asked = fair_cache.new(2000); -- mirror room JID -> { bytes = used at that time, at = monotonic time }

local dumps = {};

local function bytes_of(mirror_room_jid)
	local entry = asked:get(mirror_room_jid);
	return entry and math.max(0, entry.bytes - (now() - entry.at) * max_bytes / period) or 0;
end

-- sent(link) -> bytes that have crossed that link to the mirror; link may be nil
function dumps.sent(link)
	return link and traffic.of(link).sent_bytes or 0;
end

-- may_have(mirror_room_jid) -> whether that mirror may get the whole room now
function dumps.may_have(mirror_room_jid)
	return bytes_of(mirror_room_jid) < max_bytes;
end

-- count(mirror_room_jid, bytes): the mirror has been sent that much
function dumps.count(mirror_room_jid, bytes)
	asked:set(mirror_room_jid, jid_host(mirror_room_jid), { bytes = bytes_of(mirror_room_jid) + bytes; at = now() });
end

return dumps;
