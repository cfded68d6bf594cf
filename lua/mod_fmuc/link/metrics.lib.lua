-- SPDX-License-Identifier: MIT
-- The metrics of the module (README.markdown, "Metrics"): prosody_mod_fmuc/..., with label `host`.

local shared = require "prosody_relay.metrics";

local delivery = lib "room/delivery";
local settings = lib "settings";

local metrics = {};

-- Any server may open a link, and a label is never removed
local max_peers = 50;

local stanzas = module:metric("counter", "link_stanzas", "", "Stanzas that crossed a link", { "peer", "direction" });
local bytes = module:metric("counter", "link", "bytes", "Bytes of these stanzas", { "peer", "direction" });
local copies_avoided = module:metric("counter", "copies_avoided", "", "Copies that did not cross a link because one was enough", { "peer" });
local deliveries = shared.plain(module, "counter", "local_deliveries", "", "Copies of messages and presences to local users of such rooms");
local joins_refused = module:metric("counter", "joins_refused", "", "Joins through a mirror that were refused", { "reason" });
local resyncs = shared.plain(module, "counter", "resyncs", "", "Links that were brought up to date after an outage");
local links = module:metric("gauge", "links", "", "Links, by what state they are in", { "state" });

local peers, peer_count = {}, 0;

for _, host in ipairs(settings.allow_masters or {}) do peers[host] = host; end
for host in pairs(settings.allow_peers or {}) do peers[host] = host; end

local function label_of(peer)
	if not peers[peer] and peer_count < max_peers then
		peers[peer], peer_count = peer, peer_count + 1;
	end
	return peers[peer] or "other";
end

-- crossed(peer, direction, size, saved): a stanza of `size` bytes crossed the link with that host, and saved `saved` copies
function metrics.crossed(peer, direction, size, saved)
	peer = label_of(peer);
	stanzas:with_labels(peer, direction):add(1);
	bytes:with_labels(peer, direction):add(size);
	if saved > 0 then copies_avoided:with_labels(peer):add(saved); end
end

-- count_refusal(event): a join was refused; event.error: presence or element with the reason
function metrics.count_refusal(event)
	local child = event.error and event.error.tags[1];
	joins_refused:with_labels(shared.condition(child and child.name)):add(1);
end

-- count_resync(): a link was brought up to date
function metrics.count_resync()
	resyncs:add(1);
end

local delivered = 0;

-- watch(states, count): states: list of all states; count() -> { [state] = number of links }, called when Prosody collects its statistics
function metrics.watch(states, count)
	module:hook_global("stats-update", function ()
		local numbers = count();
		for _, state in ipairs(states) do links:with_labels(state):set(numbers[state] or 0); end
		local total = delivery.count;
		deliveries:add(total - delivered);
		delivered = total;
	end);
end

return metrics;
