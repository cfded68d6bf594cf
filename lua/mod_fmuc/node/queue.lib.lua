-- SPDX-License-Identifier: MIT
-- Handles the stanzas of one node one after the other. A handler of another module may wait (util.async); what the node sends meanwhile over
-- another stream waits, too, within bounds (G29).

local heap_size = require "prosody_relay.stanza".heap_size;
local limits = lib "link/limits";
local turns = lib "room/turns";

-- Stanzas of one node
local max_waiting = 1000;

local queue = {};

-- Bytes of the stanzas that wait: [JID of the other room]
local waiting_bytes = {};

limits.count_with(function (add)
	for peer, bytes in pairs(waiting_bytes) do add(peer, bytes); end
end);

local function add_waiting(peer, bytes)
	local sum = (waiting_bytes[peer] or 0) + bytes;
	waiting_bytes[peer] = sum > 0 and sum or nil;
end

-- take(room_jid, peer, stanza, f) -> whether f() is called: now, or after what that node has sent before. False: too much waits already. stanza: what
-- f is going to handle
function queue.take(room_jid, peer, stanza, f)
	if not turns.is_taken(room_jid, peer) then return turns.take(room_jid, peer, f); end
	local bytes = heap_size(stanza);
	if not limits.has_memory_for(peer, bytes) then return false; end
	add_waiting(peer, bytes);
	local has_turn = turns.take(room_jid, peer, function ()
		add_waiting(peer, -bytes);
		f();
	end, false, max_waiting);
	if not has_turn then add_waiting(peer, -bytes); end
	return has_turn;
end

return queue;
