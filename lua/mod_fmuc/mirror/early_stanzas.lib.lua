-- SPDX-License-Identifier: MIT
-- Some clients query a room's archive right after they have sent their join. Programs that send one message do not wait, either. The master decides
-- on the join, so a mirror can answer only when the join has ended. These stanzas wait here, and are refused if the join fails.

local jid_bare = require "util.jid".bare;
local heap_size = require "prosody_relay.stanza".heap_size;
local pending = require "prosody_relay.pending";
local relay_jid = require "prosody_relay.jid";
local shares = require "prosody_relay.shares";
local st = require "util.stanza";

-- Limits: stanzas of all users, stanzas of one user, and bytes of heap of one stanza (normal ones are shorter)
local max_held, max_held_of_user, max_bytes = 200, 5, 32768;
local errors = lib "errors";
local again = lib "link/again";
-- Seconds, more than a join may take
local deadline = lib "settings".join_timeout + 5;

local early_stanzas = {};

local places = shares.new(max_held, max_held_of_user);

local held_joins = lib "mirror/held_joins";
local mirrored = lib "mirror/room";
local users = lib "mirror/users";

-- Whether the session waits to enter the room
local function is_joining(room_jid, user)
	return held_joins.holds(room_jid, user) or users.waits_as(mirrored.get(room_jid), user) ~= nil;
end

local function refuse(stanza)
	errors.refuse(stanza, stanza.name == "message" and "not-in-room" or "archive-forbidden");
end

local held = pending.new(module, function (_, stanza)
	places:give(stanza.attr.from);
	refuse(stanza);
end, module.saved_state and module.saved_state.early_stanzas);
-- the keys are numbers, in order of arrival
local last = 0;
for key, stanza in held:each() do
	places:hold(stanza.attr.from);
	last = math.max(last, key);
end

-- hold(stanza) -> true when the stanza waits; nil when its sender is not joining the room, or has too many of them
function early_stanzas.hold(stanza)
	if not is_joining(stanza.attr.to, stanza.attr.from) or heap_size(stanza) > max_bytes or not places:take(stanza.attr.from) then return nil; end
	last = last + 1;
	held:add(last, st.clone(stanza), deadline);
	return true;
end

-- handle_message(event): a message of a user to the room
function early_stanzas.handle_message(event)
	local stanza = event.stanza;
	local from, to = stanza.attr.from, stanza.attr.to;
	if stanza.attr.type ~= "groupchat" or jid_bare(from) == relay_jid.unmirror(to) then return; end
	local room = mirrored.get(to);
	if room and room:get_occupant_jid(from) then return; end
	return early_stanzas.hold(stanza);
end

-- take(room_jid, user) -> list of the user's stanzas for the room, in order, which wait no longer
local function take(room_jid, user)
	local keys, list = {}, {};
	for key, stanza in held:each() do
		if stanza.attr.from == user and stanza.attr.to == room_jid then keys[#keys + 1] = key; end
	end
	table.sort(keys);
	for i, key in ipairs(keys) do
		list[i] = held:remove(key);
		places:give(user);
	end
	return list;
end

-- handle_session(event): a session has entered, and has received the history and the subject
function early_stanzas.handle_session(event)
	for _, stanza in ipairs(take(event.room.jid, event.jid)) do
		again.pass(stanza.name == "message" and "message/bare" or "iq-set/bare/urn:xmpp:mam:2:query", stanza);
	end
end

-- A join of the session has ended. Another one may still wait.
local function refuse_unless_joining(room_jid, user)
	if is_joining(room_jid, user) then return; end
	for _, stanza in ipairs(take(room_jid, user)) do refuse(stanza); end
end

-- handle_refusal(event): a user's join has failed
function early_stanzas.handle_refusal(event)
	if not event.join or event.is_repeated then return; end
	refuse_unless_joining(jid_bare(event.join.attr.to), event.join.attr.from);
end

-- handle_withdrawal(event): a user has taken the join back
function early_stanzas.handle_withdrawal(event)
	refuse_unless_joining(event.room_jid, event.user);
end

-- close(): refuses all waiting stanzas
function early_stanzas.close()
	local keys = {};
	for key in held:each() do keys[#keys + 1] = key; end
	for _, key in ipairs(keys) do
		local stanza = held:remove(key);
		places:give(stanza.attr.from);
		refuse(stanza);
	end
end

-- save() -> the waiting stanzas, for the saved_state.early_stanzas of the next instance
function early_stanzas.save()
	return held:save();
end

return early_stanzas;
