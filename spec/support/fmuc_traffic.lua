-- SPDX-License-Identifier: MIT
-- What crosses the link for a room with users on both sides of it, in bytes: for the specs, and for the table that `make bytes` prints.

local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local traffic = {};

-- cost(f, act) -> bytes that crossed because of act(): up (from the remote users' server), down (from the room's server)
function traffic.cost(f, act)
	f.link:settle();
	local up, down = f.link:bytes(f.remote), f.link:bytes(f.talk);
	act();
	for _, client in ipairs { f.kev, f.curtis } do client:sync(); end
	f.link:settle();
	return { up = f.link:bytes(f.remote) - up; down = f.link:bytes(f.talk) - down };
end

-- the presence of an ordinary client
local function presence(to, show)
	local stanza = st.presence({ to = to; id = "c3a1f0e2-5b7d-4d6a" });
	if show then stanza:text_tag("show", show):text_tag("status", "back in a while"); end
	return stanza:tag("c", { xmlns = "http://jabber.org/protocol/caps"; hash = "sha-1"; node = "https://conversations.im";
		ver = "QgayPKawpkPSDYmwT/WM94uAlu0=" }):up();
end

local function join(client, occupant_jid)
	client:send(presence(occupant_jid):tag("x", { xmlns = "http://jabber.org/protocol/muc" }):up());
	client:expect({ "presence", type = false; from = occupant_jid; has = federation.muc_user .. "/status@code" }, 15);
end

-- message(to, text) -> as an ordinary client sends it
function traffic.message(to, text)
	local id = "5b7d4d6a-" .. text:gsub("%W", "");
	return st.message({ type = "groupchat"; to = to; id = id }):text_tag("body", text)
		:tag("active", { xmlns = "http://jabber.org/protocol/chatstates" }):up()
		:tag("origin-id", { xmlns = "urn:xmpp:sid:0"; id = id }):up();
end

-- Where the remote users are
local rooms = { direct = federation.master_room; mirror = federation.mirror_room; node = "jabberchat@rooms.remote.example.com" };

local node_config = [[
VirtualHost "remote.example.com"
Component "rooms.remote.example.com" "muc"
	modules_enabled = { "fmuc" }
]];

-- populate(s, versions, count, others, kind, [configs]) -> f with servers, link and users as of federation.new, and with:
--   f.users: `count` clients of the remote server, all in the room;
--   f.room: the address of the room for these clients;
--   f.first_join, f.last_join, f.joins: the cost of the first join, of the last (0 when that is the first), of all joins.
-- `others` users (Curtis is one of them) are at the room's own server.
-- kind: "mirror"; "node" for a room of the remote server that joins the room as a node; or "direct" for the same traffic without either
function traffic.populate(s, versions, count, others, kind, configs)
	local f = federation.new(s, versions, kind == "node" and { mirror = node_config } or configs);
	f.room = rooms[kind];
	if kind == "node" then
		nodes.configure(f.talk, federation.master_room, { inbound_peers = { f.room } });
		nodes.make_room(f.remote, f.room, { outbound_peer = federation.master_room });
	end
	for i = 2, others do
		join(f.talk:client(("user%d@example.com/desk"):format(i)), ("%s/user%d"):format(federation.master_room, i));
	end
	-- the connections between the two services are not what is measured
	local function warm(node, from, to)
		node:eval(([[prosody.core_post_stanza(prosody.hosts[%q], require "util.stanza".iq({ type = "get"; id = "warm"; from = %q; to = %q })
			:tag("ping", { xmlns = "urn:xmpp:ping" }):up()); return true;]]):format(from, from, to));
	end
	for _, host in ipairs { "remote.example.com", kind == "node" and "rooms.remote.example.com" or "mirror.remote.example.com" } do
		warm(f.remote, host, "talk.example.com");
		warm(f.talk, "talk.example.com", host);
	end
	f.users = { f.kev };
	for i = 2, count do f.users[i] = f.remote:client(("user%d@remote.example.com/phone"):format(i)); end
	local function join_all(first, last)
		return traffic.cost(f, function ()
			for i = first, last do join(f.users[i], ("%s/remote%d"):format(f.room, i)); end
		end);
	end
	f.first_join = join_all(1, 1);
	local between = join_all(2, count - 1);
	f.last_join = count > 1 and join_all(count, count) or { up = 0; down = 0 };
	f.joins = { up = f.first_join.up + between.up + f.last_join.up; down = f.first_join.down + between.down + f.last_join.down };
	return f;
end

-- measure(f) -> costs of: own_message (by a remote user); other_message (by a user at the room's server); presence (of a remote user);
-- other_presence; silence (a message and a presence when all remote users have left)
function traffic.measure(f)
	local function cost(act) return traffic.cost(f, act); end
	local function all_get(text)
		for _, user in ipairs(f.users) do user:expect({ "message", body = text }, 15); end
	end
	local costs = {};
	costs.own_message = cost(function ()
		f.kev:send(traffic.message(f.room, "It is quite warm in here"));
		all_get "It is quite warm in here";
	end);
	costs.other_message = cost(function ()
		f.curtis:send(traffic.message(federation.master_room, "Then open a window, Kev!"));
		all_get "Then open a window, Kev!";
	end);
	costs.presence = cost(function () f.kev:send(presence(f.room .. "/remote1", "away")); end);
	costs.other_presence = cost(function () f.curtis:send(presence(federation.master_room .. "/Curtis", "away")); end);
	for i, user in ipairs(f.users) do
		user:send(st.presence({ type = "unavailable"; to = ("%s/remote%d"):format(f.room, i) }));
		user:expect { "presence", type = "unavailable"; from = ("%s/remote%d"):format(f.room, i) };
	end
	costs.silence = cost(function ()
		f.curtis:send(traffic.message(federation.master_room, "Gone, all of them"));
		f.curtis:send(presence(federation.master_room .. "/Curtis"));
		f.curtis:expect { "message", body = "Gone, all of them" };
	end);
	return costs;
end

return traffic;
