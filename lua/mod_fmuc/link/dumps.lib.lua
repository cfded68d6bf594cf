-- SPDX-License-Identifier: MIT
-- Limits how often a mirror or node may ask for a whole room: occupants, history and subject. One short join brings back a megabyte, so a
-- room that asks again and again must wait. A link that breaks every minute stays far below the limit.

local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;
local fair_cache = require "prosody_relay.fair_cache";

local traffic = lib "link/traffic";

-- Bytes on the wire that a room may ask for at once; seconds until that is refilled
local max_bytes, period = 16 * 1024 * 1024, 600;

local asked = fair_cache.new(2000); -- JID of the room that asks -> { bytes = used at that time, at = monotonic time }

local dumps = {};

local function bytes_of(asker_jid)
	local entry = asked:get(asker_jid);
	return entry and math.max(0, entry.bytes - (now() - entry.at) * max_bytes / period) or 0;
end

-- sent(link) -> bytes that have crossed that link from here; link may be nil
function dumps.sent(link)
	return link and traffic.of(link).sent_bytes or 0;
end

-- may_have(asker_jid) -> whether that room may get the whole room now
function dumps.may_have(asker_jid)
	return bytes_of(asker_jid) < max_bytes;
end

-- count(asker_jid, bytes): that room has been sent that much
function dumps.count(asker_jid, bytes)
	asked:set(asker_jid, jid_host(asker_jid), { bytes = bytes_of(asker_jid) + bytes; at = now() });
end

return dumps;
