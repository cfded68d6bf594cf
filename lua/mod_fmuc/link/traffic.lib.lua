-- SPDX-License-Identifier: MIT
-- Counts the stanzas, the bytes and the saved copies of the links of this service (requirements section 5, G25). Bytes are as this server
-- writes them, without stream, TLS and compression. A link within one server is not counted.
--
-- link:own("traffic") = { sent, sent_bytes, received, received_bytes, saved }

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local relay_jid = require "prosody_relay.jid";
local stanza_lib = require "prosody_relay.stanza";

local metrics, find, down;

-- Counts from before the link exists: a question for the room's features, the first join. Key: JIDs of both rooms
local early = cache.new(256);

local traffic = {};

local fields = { "sent", "sent_bytes", "received", "received_bytes", "saved" };

-- Adds the counts from before the link existed
local function fill(counts, former)
	for _, field in ipairs(fields) do counts[field] = former and former[field] or 0; end
	return counts;
end

-- of(link) -> its counts
function traffic.of(link)
	local counts = link:own("traffic");
	return counts.sent and counts or fill(counts);
end

local function counts_of(link, here, there)
	local counts = link and link:own("traffic");
	if counts and counts.sent then return counts; end
	local key = here .. "\0" .. there;
	local former = early:get(key);
	if counts then
		early:set(key, nil);
		return fill(counts, former);
	end
	former = former or fill {};
	early:set(key, former);
	return former;
end

local function count(stanza, here, there, direction)
	local link, users = find(here, there);
	if not link and relay_jid.unmirror(here) ~= there and relay_jid.unmirror(there) ~= here then return; end
	local counts, bytes = counts_of(link, here, there), stanza_lib.size(stanza);
	counts[direction] = counts[direction] + 1;
	counts[direction .. "_bytes"] = counts[direction .. "_bytes"] + bytes;
	local saved = 0;
	-- for the whole mirror, which distributes it
	local is_for_all = direction == down and stanza.name ~= "iq" and stanza.attr.type ~= "error" and stanza.attr.to == jid_bare(stanza.attr.to);
	if link and is_for_all and users > 1 then saved = users - 1; end
	counts.saved = counts.saved + saved;
	metrics.crossed(jid_host(there), direction, bytes, saved);
end

-- count_sent(event): counts a stanza that mod_s2s is about to send. Its bytes come from C from now on.
function traffic.count_sent(event)
	local stanza = stanza_lib.native(event.stanza);
	count(stanza, jid_bare(stanza.attr.from), jid_bare(stanza.attr.to), "sent");
end

-- count_received(event): counts a stanza that has come
function traffic.count_received(event)
	local stanza, origin = event.stanza, event.origin;
	if origin and origin.type == "s2sin" then count(stanza, jid_bare(stanza.attr.to), jid_bare(stanza.attr.from), "received"); end
end

-- start(shared): metrics (link/metrics); find(here, there) -> link and number of users at the mirror, or nil; here, there: bare JIDs of the
-- two rooms; down: "sent" or "received", the direction from master to mirror
function traffic.start(shared)
	metrics, find, down = shared.metrics, shared.find, shared.down;
end

return traffic;
