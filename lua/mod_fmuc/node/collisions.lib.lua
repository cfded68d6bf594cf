-- SPDX-License-Identifier: MIT
-- Two users of different nodes with one nick (G6). All nodes decide alike, without a question: each node names for its users what decides.
-- The user who has registered the nick at the own node wins. Else the user who joined first wins. Else the lower bare JID wins.
--
-- A nick that somebody has registered here is another matter: nobody else is shown here under that nick (a rule of this room).

local datetime = require "util.datetime";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

local collisions = {};

-- [room object][nick] = when a user of this node joined with that nick, as text
local joined = setmetatable({}, { __mode = "k" });

-- handle_joined(event), handle_left(event): somebody has joined or left the room
function collisions.handle_joined(event)
	joined[event.room] = joined[event.room] or {};
	joined[event.room][jid_resource(event.nick)] = datetime.datetime(os.time());
end

function collisions.handle_left(event)
	if joined[event.room] then joined[event.room][jid_resource(event.nick)] = nil; end
end

-- since(room, nick) -> when that user of this node joined, as text; nil: not known
function collisions.since(room, nick)
	return joined[room] and joined[room][nick];
end

-- is_registered(room, nick, real_jid) -> whether that user has registered the nick in this room
function collisions.is_registered(room, nick, real_jid)
	return room:get_registered_jid(nick) == jid_bare(real_jid);
end

-- wins(a, b) -> whether user a keeps the nick that user b has, too. a, b: { real_jid, since, is_registered }
function collisions.wins(a, b)
	if (a.is_registered or false) ~= (b.is_registered or false) then return a.is_registered; end
	local a_since, b_since = datetime.parse(a.since or ""), datetime.parse(b.since or "");
	if a_since and b_since and a_since ~= b_since then return a_since < b_since; end
	return jid_bare(a.real_jid) < jid_bare(b.real_jid);
end

return collisions;
