-- SPDX-License-Identifier: MIT
-- Some clients query a room's archive right after they have sent their join. The master decides on the join, so a mirror can answer only when the
-- join has ended. The query waits here, and is refused if the join fails.

local jid_bare = require "util.jid".bare;
local heap_size = require "prosody_relay.stanza".heap_size;
local pending = require "prosody_relay.pending";
local shares = require "prosody_relay.shares";
local st = require "util.stanza";

-- Limits: queries of all users, queries of one user, and bytes of heap of one query (normal queries are shorter)
local max_held, max_held_of_user, max_bytes = 200, 5, 32768;
local errors = lib "errors";
-- Seconds, more than a join may take
local deadline = lib "settings".join_timeout + 5;

local query_event = "iq-set/bare/urn:xmpp:mam:2:query";

local early_queries = {};

local places = shares.new(max_held, max_held_of_user);

local held_joins = lib "mirror/held_joins";
local mirrored = lib "mirror/room";
local users = lib "mirror/users";

-- Whether the session waits to enter the room
local function is_joining(room_jid, user)
	return held_joins.holds(room_jid, user) or users.waits_elsewhere(mirrored.get(room_jid), nil, user);
end

local function refuse(stanza)
	errors.refuse(stanza, "archive-forbidden");
end

local held = pending.new(module, function (_, stanza)
	places:give(stanza.attr.from);
	refuse(stanza);
end, module.saved_state and module.saved_state.early_queries);
for _, stanza in held:each() do places:hold(stanza.attr.from); end

local function key_of(stanza)
	return table.concat({ stanza.attr.from, stanza.attr.to, stanza.attr.id }, "\0");
end

-- hold(stanza) -> true when the query waits; nil when its sender is not joining the room, or has too many queries
function early_queries.hold(stanza)
	if not is_joining(stanza.attr.to, stanza.attr.from) or heap_size(stanza) > max_bytes or held:get(key_of(stanza)) then return nil; end
	if not places:take(stanza.attr.from) then return nil; end
	held:add(key_of(stanza), st.clone(stanza), deadline);
	return true;
end

-- take(room_jid, user) -> list of the user's queries for the room, which wait no longer
local function take(room_jid, user)
	local list = {};
	for key, stanza in held:each() do
		if stanza.attr.from == user and stanza.attr.to == room_jid then list[#list + 1] = key; end
	end
	for i, key in ipairs(list) do
		list[i] = held:remove(key);
		places:give(user);
	end
	return list;
end

-- handle_session(event): a session has entered, and has received the history and the subject
function early_queries.handle_session(event)
	local origin = { type = "component"; host = module.host; send = function (reply) return module:send(reply); end };
	for _, stanza in ipairs(take(event.room.jid, event.jid)) do module:fire_event(query_event, { origin = origin; stanza = stanza }); end
end

-- handle_refusal(event): a user's join has failed
function early_queries.handle_refusal(event)
	if not event.join then return; end
	for _, stanza in ipairs(take(jid_bare(event.join.attr.to), event.join.attr.from)) do refuse(stanza); end
end

-- save() -> the waiting queries, for the saved_state.early_queries of the next instance
function early_queries.save()
	return held:save();
end

return early_queries;
