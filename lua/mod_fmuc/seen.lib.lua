-- SPDX-License-Identifier: MIT
-- Which messages the local users of a mirrored room have been shown, so that what the master repeats after an outage is shown once (G3).

local datetime = require "util.datetime";
local jid_resource = require "util.jid".resource;

local xmlns_sid = "urn:xmpp:sid:0";

-- two for a message; more than a master tells again. And how much of a text or an id is looked at.
local max_seen, max_text = 1200, 200;
-- A message without an id is the one of the same text that was shown about when the master says it was sent
local same_time = 60;

local seen = {};

-- The id of the master's archive, if there is one; and what else makes a message itself, if anything does: one without an id and a text,
-- such as a change of the room's configuration, is rather repeated than lost
local function keys(stanza, master)
	local archive_key;
	for id in stanza:childtags("stanza-id", xmlns_sid) do
		if id.attr.by == master and id.attr.id then archive_key = "s\0" .. id.attr.id:sub(1, max_text); end
	end
	local body = stanza:get_child_text("body") or "";
	if not stanza.attr.id and body == "" then return archive_key, nil; end
	local id = (stanza.attr.id or ""):sub(1, max_text);
	return archive_key, table.concat({ "m", jid_resource(stanza.attr.from) or "", id, #body, body:sub(1, max_text) }, "\0");
end

-- add(state, stanza): a groupchat message of the room with that state, shown now
function seen.add(state, stanza)
	local memory = state.seen or { first = 1; last = 0; at = {} };
	state.seen = memory;
	local archive_key, key = keys(stanza, state.master);
	for _, known in ipairs { archive_key or false, key or false } do
		if known then
			memory.last = memory.last + 1;
			memory[memory.last] = known;
			memory.at[known] = os.time();
		end
	end
	while memory.last - memory.first >= max_seen do
		local oldest = memory[memory.first];
		memory[memory.first] = nil;
		memory.first = memory.first + 1;
		memory.at[oldest] = nil; -- of two with the same key the later one goes too, which is repeated then rather than lost
	end
end

-- has(state, stanza, [stamp]) -> whether it has been shown. stamp: when the master says it was sent (XEP-0082)
function seen.has(state, stanza, stamp)
	local memory = state.seen;
	if not memory then return false; end
	local archive_key, key = keys(stanza, state.master);
	if archive_key and memory.at[archive_key] then return true; end
	local at = key and memory.at[key];
	if not at or stanza.attr.id then return at ~= nil; end
	local sent = stamp and datetime.parse(stamp);
	return sent ~= nil and math.abs(at - sent) <= same_time;
end

return seen;
