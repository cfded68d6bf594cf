-- SPDX-License-Identifier: MIT
-- What the specs of federated rooms (mod_fmuc, generation 2) share: servers whose rooms are nodes, and short ways to say what users do.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local nodes = { say = federation.say; muc_user = federation.muc_user; fmuc = federation.fmuc; xmlns = "http://isode.com/protocol/fmuc" };

-- pairings() -> list of { e = version, w = version }: each version in each role
function nodes.pairings()
	local list = {};
	for version in bed.versions() do
		for other in bed.versions() do list[#list + 1] = { e = version; w = other }; end
	end
	return list;
end

-- crossings() -> as pairings(), only the mixed ones where there are two versions
function nodes.crossings()
	local list = {};
	for _, versions in ipairs(nodes.pairings()) do
		if versions.e ~= versions.w then list[#list + 1] = versions; end
	end
	return #list > 0 and list or nodes.pairings();
end

-- server(s, name, version, [more], [options]) -> node with users of NAME.example and rooms of rooms.NAME.example
--   more: text for the section of the component; options: of s:node
function nodes.server(s, name, version, more, options)
	options = options or {};
	options.version = version;
	options.config = ([[
VirtualHost "%s.example"
Component "rooms.%s.example" "muc"
	modules_enabled = { "fmuc"%s }
	muc_room_default_persistent = true
%s]]):format(name, name, options.more_modules or "", more or "");
	options.more_modules = nil;
	return s:node(options);
end

-- make_room(node, room_jid, [settings], [code]): makes a persistent room. settings: { outbound_peer, mode, inbound_peers }; code runs with `room`
function nodes.make_room(node, room_jid, settings, code)
	settings = settings or {};
	local peers = {};
	for i, peer in ipairs(settings.inbound_peers or {}) do peers[i] = ("%q"):format(peer); end
	node:eval(([[
		local host = prosody.hosts[%q].modules;
		local room = assert(host.muc.create_room(%q, { persistent = true }));
		host.fmuc.lib "node/config".set(room, { outbound_peer = %q; mode = %q; inbound_peers = { %s } });
		%s
		room:save(true);
		return true;
	]]):format(room_jid:match("@(.*)$"), room_jid, settings.outbound_peer or "", settings.mode or "primary-primary", table.concat(peers, ", "),
		"room:set_changesubject(true); " .. (code or "")));
end

-- configure(node, room_jid, settings): sets with whom a room federates; settings as for make_room()
function nodes.configure(node, room_jid, settings)
	local peers = {};
	for i, peer in ipairs(settings.inbound_peers or {}) do peers[i] = ("%q"):format(peer); end
	node:eval(([[
		local host = prosody.hosts[%q].modules;
		host.fmuc.lib "node/config".set(host.muc.get_room_from_jid(%q), { outbound_peer = %q; mode = %q; inbound_peers = { %s } });
		return true;
	]]):format(room_jid:match("@(.*)$"), room_jid, settings.outbound_peer or "", settings.mode or "primary-primary", table.concat(peers, ", ")));
end

-- enter(node, room_jid, name, [resource]) -> client NAME@HOST, which has joined the room as Name
function nodes.enter(node, room_jid, name, resource)
	local host = room_jid:match("@rooms%.(.*)$");
	local client = node:client(name .. "@" .. host .. "/" .. (resource or "pc"));
	local nick = name:sub(1, 1):upper() .. name:sub(2);
	client:send(federation.join(room_jid, nick));
	client:expect { "presence", type = false; from = room_jid .. "/" .. nick; has = nodes.muc_user .. "/status@code" };
	client:expect { "message", has = "subject" };
	return client;
end

-- join(room_jid, peer, nick, real_jid) -> the presence with which a room, played by a component, asks another one to federate (N3)
function nodes.join(room_jid, peer, nick, real_jid)
	return nodes.presence(room_jid, peer .. "/" .. nick, nick, real_jid):tag("x", { xmlns = "http://jabber.org/protocol/muc" }):up();
end

-- presence(room_jid, to, nick, real_jid, [attr]) -> the presence of a user of that room
function nodes.presence(room_jid, to, nick, real_jid, attr)
	local presence = st.presence({ from = room_jid .. "/" .. nick; to = to; type = attr and attr.type });
	return presence:tag("fmuc", { xmlns = nodes.xmlns; from = real_jid }):up():tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
		:tag("item", { affiliation = attr and attr.affiliation or "none"; role = attr and attr.role or "participant"; jid = attr and attr.jid }):up():up();
end

-- occupants(node, room_jid) -> sorted list of "nick role" of the room
function nodes.occupants(node, room_jid)
	return node:eval(([[
		local room = prosody.hosts[%q].modules.muc.get_room_from_jid(%q);
		local list = {};
		for jid in room:each_occupant() do list[#list + 1] = jid:match("/(.*)"); end
		table.sort(list);
		return list;
	]]):format(room_jid:match("@(.*)$"), room_jid));
end

-- expect_occupants(node, room_jid, ...): waits until these nicks, and no others, are in the room
function nodes.expect_occupants(node, room_jid, ...)
	local expected = { ... };
	table.sort(expected);
	local wanted = table.concat(expected, " ");
	local found;
	require "bed.loop".wait_until(function ()
		found = table.concat(nodes.occupants(node, room_jid), " ");
		return found == wanted;
	end, nil, function () return ("%s to have [%s]; it has [%s]"):format(room_jid, wanted, found); end);
end

-- pair(s, versions, [more, mode]) -> f: e and w with room elsinore@rooms.e.example, which joins rabbithole@rooms.w.example, and the link between
-- them; mode: of the joining room
function nodes.pair(s, versions, more, mode)
	local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
	f.e, f.w = nodes.server(s, "e", versions.e, more), nodes.server(s, "w", versions.w, more);
	f.link = s:link(f.e, f.w);
	nodes.make_room(f.w, f.rabbithole, { inbound_peers = { f.elsinore } });
	nodes.make_room(f.e, f.elsinore, { outbound_peer = f.rabbithole; mode = mode });
	return f;
end

-- meet(s, versions, [more, mode]) -> as pair(), with hamlet in elsinore and alice in rabbithole, who see each other.
-- What they got until then is forgotten.
function nodes.meet(s, versions, more, mode)
	local f = nodes.pair(s, versions, more, mode);
	f.alice = nodes.enter(f.w, f.rabbithole, "alice");
	f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
	f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet" };
	f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
	f.link:settle();
	nodes.forget(f);
	return f;
end

-- forget(f): what the clients got and what crossed the link until now
function nodes.forget(f)
	for _, client in pairs(f) do
		if type(client) == "table" and client.drain then
			client:sync();
			client:drain();
		end
	end
	f.link:forget();
end

-- chain(s, versions, count, [more, mode]) -> f: f.servers a, b, … with f.rooms.a = "tree@rooms.a.example", …, each of which joins the next; f.links.a
-- is the one between a and b; f.users: a client for each, in its room. Each server trusts each other one for all users.
-- more: text for the section of each component, or more(name) -> text
function nodes.chain(s, versions, count, more, mode)
	local f = { names = {}; rooms = {}; users = {}; links = {}; servers = {} };
	local domains = {};
	for i = 1, count do
		f.names[i] = string.char(96 + i);
		domains[i] = ("%q"):format(f.names[i] .. ".example");
	end
	for i, name in ipairs(f.names) do
		f.rooms[name] = ("tree@rooms.%s.example"):format(name);
		local trust = {};
		for _, other in ipairs(f.names) do
			if other ~= name then
				local list = {};
				for _, domain in ipairs(domains) do
					if domain ~= ("%q"):format(name .. ".example") then list[#list + 1] = domain; end
				end
				trust[#trust + 1] = ("[\"rooms.%s.example\"] = { %s }"):format(other, table.concat(list, ", "));
			end
		end
		f.servers[name] = nodes.server(s, name, i % 2 == 1 and versions.e or versions.w, "\tfmuc_trust = { " .. table.concat(trust, ", ") .. " }\n"
			.. (type(more) == "function" and more(name) or more or ""));
	end
	for i, name in ipairs(f.names) do
		local next_name, former = f.names[i + 1], f.names[i - 1];
		if next_name then f.links[name] = s:link(f.servers[name], f.servers[next_name]); end
		nodes.make_room(f.servers[name], f.rooms[name], { outbound_peer = next_name and f.rooms[next_name]; mode = mode;
			inbound_peers = { former and f.rooms[former] } });
	end
	for i = #f.names, 1, -1 do
		local name = f.names[i];
		f.users[name] = nodes.enter(f.servers[name], f.rooms[name], name .. "user");
	end
	return f;
end

-- nicks_of(f) -> the nicks of these clients
function nodes.nicks_of(f)
	local list = {};
	for i, name in ipairs(f.names) do list[i] = name:upper() .. "user"; end
	return list;
end

-- expect_equal(f, ...): waits until all rooms have these nicks, and no others; expect_all(f): those of nicks_of()
function nodes.expect_equal(f, ...)
	for _, name in ipairs(f.names) do nodes.expect_occupants(f.servers[name], f.rooms[name], ...); end
end

function nodes.expect_all(f)
	nodes.expect_equal(f, table.unpack(nodes.nicks_of(f)));
end

-- forget_chain(f): what the clients got and what crossed the links until now
function nodes.forget_chain(f)
	for _, name in ipairs(f.names) do
		f.users[name]:sync();
		f.users[name]:drain();
		if f.links[name] then f.links[name]:forget(); end
	end
end

return nodes;
