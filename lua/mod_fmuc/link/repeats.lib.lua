-- SPDX-License-Identifier: MIT
-- Drops messages that arrive twice over a link, in both roles. When a stream breaks, mod_smacks of the other server may send unacknowledged
-- stanzas again (smacks_s2s_resend), though they had arrived. Such a message has a <delay/> from the domain that sends it. The second copy
-- is dropped here, before anybody counts or shows it.

local fair_cache = require "prosody_relay.fair_cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local relay_jid = require "prosody_relay.jid";
local links = lib "link/link";
local sha256 = require "util.hashes".sha256;

local xmlns_delay, xmlns_sid = "urn:xmpp:delay", "urn:xmpp:sid:0";

-- Keys of messages that have arrived. A broken stream leaves at most some hundred stanzas unacknowledged (smacks_max_queue_size of the
-- other server).
local arrived = fair_cache.new(2000);

local function key_of(stanza)
	local id, body = stanza.attr.id, stanza:get_child_text("body");
	if not id and not body then return nil; end
	local parts = { stanza.attr.type or "", stanza.attr.from, stanza.attr.to, id or "", body or "" };
	for stanza_id in stanza:childtags("stanza-id", xmlns_sid) do parts[#parts + 1] = stanza_id.attr.id; end
	return sha256(table.concat(parts, "\0"));
end

local function was_sent_again(stanza)
	local host = jid_host(stanza.attr.from);
	for delay in stanza:childtags("delay", xmlns_delay) do
		if delay.attr.from == host then return true; end
	end
	return false;
end

local function crosses_a_link(stanza)
	local from, to = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	return relay_jid.unmirror(from) == to or relay_jid.unmirror(to) == from or links.get(to, from) ~= nil;
end

-- drop_repeated(event): handles a message; one that has arrived before ends here
local function drop_repeated(event)
	local stanza = event.stanza;
	if stanza.attr.type == "error" or not crosses_a_link(stanza) then return; end
	local key = key_of(stanza);
	if not key then return; end
	if arrived:get(key) and was_sent_again(stanza) then return true; end
	arrived:set(key, stanza.attr.from, true);
end

return { drop_repeated = drop_repeated };
