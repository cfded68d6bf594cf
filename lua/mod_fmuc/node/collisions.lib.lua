-- SPDX-License-Identifier: MIT
-- Two users of different nodes with one nick (G6). All nodes decide alike, without a question: each node names for its users what decides.
-- The user who has registered the nick at the own node wins. Else the user who joined first wins. Else the lower bare JID wins.
--
-- A nick that somebody has registered here is another matter. This room shows nobody else under it.

local datetime = require "util.datetime";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

local collisions = {};

-- [room JID][nick] = when a user of this node joined with that nick, as text
local joined = {};

-- since(room, nick) -> when that user of this node joined, as text; the first question also notes it
function collisions.since(room, nick)
	local of_room = joined[room.jid] or {};
	joined[room.jid] = of_room;
	of_room[nick] = of_room[nick] or datetime.datetime(os.time());
	return of_room[nick];
end

-- handle_joined(event), handle_left(event): somebody has joined or left the room
function collisions.handle_joined(event)
	collisions.since(event.room, jid_resource(event.nick));
end

function collisions.handle_left(event)
	local of_room = joined[event.room.jid];
	if not of_room then return; end
	of_room[jid_resource(event.nick)] = nil;
	if not next(of_room) then joined[event.room.jid] = nil; end
end

-- handle_destroyed(event): the room ends
function collisions.handle_destroyed(event)
	joined[event.room.jid] = nil;
end

-- save() -> data for restore() of the next instance of the module
function collisions.save()
	return joined;
end

function collisions.restore(saved)
	joined = saved or joined;
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
