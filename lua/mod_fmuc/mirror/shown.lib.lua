-- SPDX-License-Identifier: MIT
-- The messages that local users of a mirrored room have seen. So a message that the master repeats after an outage is shown once (G3).
--
-- If the master gives a message a stanza-id, this id alone decides (F14). Programs may repeat a text with the same message id. Otherwise the
-- author's nick, the id and the text decide.
--
-- link:own("shown") = { first, last, [index] = key, at = { [key] = what is known of it } }, the oldest first. Keys and values:
--   "s" .. stanza-id     the hash of what the message says
--   "m" .. hash          when a message of that hash was shown, by os.time()
--   "o" .. hash          how many messages of that hash local users have seen before the master gave them an id

local datetime = require "util.datetime";
local jid_resource = require "util.jid".resource;
local sha1 = require "util.hashes".sha1;

local xmlns_sid = "urn:xmpp:sid:0";

-- Keys, two for each message; more than a master repeats
local max_seen = 1200;
-- For a message without an id: seconds at most between the times of the same text here and at the master
local same_time = 60;

local room_info = lib "mirror/room_info";

local shown = {};

local function claimed_id(room, stanza)
	for id in stanza:childtags("stanza-id", xmlns_sid) do
		if id.attr.by == room.fmuc.authority.peer and id.attr.id then return id.attr.id; end
	end
end

-- id(room, stanza) -> the stanza-id that the master has given the message, or nil. Also nil if the master does not announce that it removes forged
-- stanza-ids
function shown.id(room, stanza)
	return room_info.has(room, xmlns_sid) and claimed_id(room, stanza) or nil;
end

local function key_of_id(id)
	return "s" .. (#id <= 64 and id or sha1(id));
end

-- Hash of nick, id and text, or nil for a message without id and text, such as a configuration change. Such a message is better repeated than lost
local function content(stanza)
	local id, body = stanza.attr.id, stanza:get_child_text("body") or "";
	if not id and body == "" then return nil; end
	return sha1(table.concat({ jid_resource(stanza.attr.from) or "", id or "", body }, "\0"));
end

local function forget_oldest(memory)
	local key = memory[memory.first];
	memory[memory.first] = nil;
	memory.first = memory.first + 1;
	-- of two with the same key the later one goes too: better repeated than lost
	local count = key:byte() == ("o"):byte() and memory.at[key] or 1;
	memory.at[key] = count and count > 1 and count - 1 or nil;
end

local function memory_of(room)
	local memory = room.fmuc.authority:own("shown");
	if not memory.at then memory.first, memory.last, memory.at = 1, 0, {}; end
	return memory;
end

local function put(room, key, value)
	local memory = memory_of(room);
	memory.last = memory.last + 1;
	memory[memory.last] = key;
	memory.at[key] = value;
	while memory.last - memory.first >= max_seen do forget_oldest(memory); end
end

local function get(room, kind, key)
	return key and memory_of(room).at[kind .. key] or nil;
end

-- add(room, stanza): local users see a groupchat message of the master now
function shown.add(room, stanza)
	local id, hash = claimed_id(room, stanza), content(stanza);
	if id then put(room, key_of_id(id), hash or true); end
	if hash and not shown.id(room, stanza) then put(room, "m" .. hash, os.time()); end
end

-- add_own(room, stanza, [id]): a message of a local user is shown before the master has it. id: the stanza-id that the master will give it, if
-- known
function shown.add_own(room, stanza, id)
	local hash = content(stanza);
	if hash then put(room, "m" .. hash, os.time()); end
	if id then
		put(room, key_of_id(id), hash or true);
	elseif hash then
		put(room, "o" .. hash, (get(room, "o", hash) or 0) + 1);
	end
end

-- confirm(room, stanza): the master has sent back a message of add_own()
function shown.confirm(room, stanza)
	local id, hash = shown.id(room, stanza), content(stanza);
	local count = get(room, "o", hash);
	if not id or not count or get(room, "", key_of_id(id)) then return; end
	memory_of(room).at["o" .. hash] = count > 1 and count - 1 or nil;
	put(room, key_of_id(id), hash or true);
end

-- has(room, stanza, [stamp]) -> "id", "own", "text" or nil: how it is known that the message has been shown. "id": by its stanza-id. "own": a local
-- user said it, see add_own. stamp: when the master says it was sent (XEP-0082)
function shown.has(room, stanza, stamp)
	local id, hash = shown.id(room, stanza), content(stanza);
	if id then return get(room, "", key_of_id(id)) and "id" or get(room, "o", hash) and "own" or nil; end
	local at = get(room, "m", hash);
	if not at or stanza.attr.id then return at and "text"; end
	local sent = stamp and datetime.parse(stamp);
	return sent ~= nil and math.abs(at - sent) <= same_time and "text" or nil;
end

-- is_same(room, stanza) -> whether a message with the same stanza-id and content has been shown: it came twice. If a master gives one id to two
-- different messages, users see both.
function shown.is_same(room, stanza)
	local id = shown.id(room, stanza);
	local hash = id and get(room, "", key_of_id(id));
	return hash ~= nil and hash == content(stanza);
end

return shown;
