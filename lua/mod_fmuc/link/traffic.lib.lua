-- SPDX-License-Identifier: MIT
-- What crosses the links to and from this service, counted: stanzas and their bytes as this server writes them (without stream, TLS and
-- compression), and the copies that a link spared (requirements section 5, G25). A link within one server crosses nothing, and counts nothing.
--
-- line.traffic = { sent, sent_bytes, received, received_bytes, saved }, where `line` is the state of the way to the other side, which
-- both roles keep and which outlives a reload.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local relay_jid = require "prosody_relay.jid";
local serialise = require "prosody_relay.stanza".serialise;

local metrics, find, down;

-- What crosses before there is a link, such as a question for the room's features and the first join. Key: JIDs of both rooms
local early = cache.new(256);

local traffic = {};

local function new_counts()
	return { sent = 0; sent_bytes = 0; received = 0; received_bytes = 0; saved = 0 };
end

-- of(line) -> its counts
function traffic.of(line)
	line.traffic = line.traffic or new_counts();
	return line.traffic;
end

local function counts_of(line, here, there)
	if line and line.traffic then return line.traffic; end
	local key = here .. "\0" .. there;
	local counts = early:get(key) or new_counts();
	early:set(key, not line and counts or nil);
	if line then line.traffic = counts; end
	return counts;
end

local function count(stanza, here, there, direction)
	local line, users = find(here, there);
	if not line and relay_jid.unmirror(here) ~= there and relay_jid.unmirror(there) ~= here then return; end
	local counts, bytes = counts_of(line, here, there), #serialise(stanza);
	counts[direction] = counts[direction] + 1;
	counts[direction .. "_bytes"] = counts[direction .. "_bytes"] + bytes;
	local saved = 0;
	-- for the whole mirror, which hands it on
	local is_for_all = direction == down and stanza.name ~= "iq" and stanza.attr.type ~= "error" and stanza.attr.to == jid_bare(stanza.attr.to);
	if line and is_for_all and users > 1 then saved = users - 1; end
	counts.saved = counts.saved + saved;
	metrics.crossed(jid_host(there), direction, bytes, saved);
end

-- count_sent(event): a stanza is about to be sent by mod_s2s
function traffic.count_sent(event)
	local stanza = event.stanza;
	count(stanza, jid_bare(stanza.attr.from), jid_bare(stanza.attr.to), "sent");
end

-- count_received(event): a stanza has come
function traffic.count_received(event)
	local stanza, origin = event.stanza, event.origin;
	if origin and origin.type == "s2sin" then count(stanza, jid_bare(stanza.attr.to), jid_bare(stanza.attr.from), "received"); end
end

-- start(shared): metrics (link/metrics); find(here, there) -> line, number of users at the mirror; or nil: for the bare JIDs of a room and of
-- the room at the other side; down: "sent" or "received", the direction from master to mirror
function traffic.start(shared)
	metrics, find, down = shared.metrics, shared.find, shared.down;
end

return traffic;
