-- SPDX-License-Identifier: MIT
-- Rooms without links on a service with mod_fmuc: stanzas are serialised once, and other modules notice nothing. What they add for one recipient, to
-- all or for a session reaches whom it reaches on a service without mod_fmuc.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local config = [[
	VirtualHost "example.com"
	Component "rooms.plain.example.com" "muc"
		modules_enabled = { "bed_meddles" }
	Component "rooms.ours.example.com" "muc"
		modules_enabled = { "bed_meddles", "fmuc" }
]];

local names = { "alice", "bob", "carol" };

local function start(s, version)
	return s:node { version = version; config = config; modules = { "bed_meddles", "csi_simple", "carbons" } };
end

local function enter(client, room, nick, ...)
	client:send(federation.join(room, nick, ...));
	client:expect { "presence", from = room .. "/" .. nick; type = false; has = federation.muc_user .. "/status@code" };
	client:expect { "message", has = "subject" };
end

local function open(client, room)
	client:send(("<iq type='set' id='open' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
		.. "<x xmlns='jabber:x:data' type='submit'/></query></iq>"):format(room));
	client:expect { "iq", type = "result", id = "open" };
end

-- The elements by which bed_meddles has marked what a client got: name of the stanza, sender, whom they name
local function marks(stanzas, host)
	local list = {};
	for _, stanza in ipairs(stanzas) do
		for mark in stanza:childtags("meddled", "urn:test:meddled") do
			local line = ("%s from %s for %s"):format(stanza.name, stanza.attr.from, mark.attr.to or "all");
			list[#list + 1] = line:gsub(host:gsub("%p", "%%%0"), "HOST");
		end
	end
	table.sort(list); -- the occupants are listed in any order
	return list;
end

-- What each user is shown of a short life of a room, while bed_meddles works at that place
local function live(s, version, place, host)
	local node = start(s, version);
	local room = "hall@" .. host;
	local clients, got = {}, {};
	node:eval(([[module:context("*"):shared("/*/bed_meddles/api").active = %q]]):format(place));
	for _, name in ipairs(names) do
		local client = node:client(name .. "@example.com/pc");
		clients[name], got[name] = client, {};
		client.on_stanza = function (stanza) table.insert(got[name], stanza); end;
		enter(client, room, name);
		if name == "alice" then open(client, room); end
	end
	clients.alice:send(st.message({ type = "groupchat"; to = room; id = "m1" }):text_tag("body", "one"));
	for _, name in ipairs(names) do clients[name]:expect { "message", id = "m1" }; end
	clients.bob:send(st.presence({ to = room .. "/bob" }):text_tag("show", "away"));
	clients.bob:send(st.presence({ type = "unavailable"; to = room .. "/bob" }));
	for _, name in ipairs(names) do clients[name]:expect { "presence", type = "unavailable"; from = room .. "/bob" }; end
	enter(clients.bob, room, "bob"); -- gets the history
	local result = {};
	for _, name in ipairs(names) do
		clients[name]:sync();
		result[name] = marks(got[name], host);
		for _, stanza in ipairs(got[name]) do assert.equal(name .. "@example.com/pc", stanza.attr.to); end
	end
	node:stop();
	return result;
end

for version in bed.versions() do
describe("rooms without links, Prosody " .. version, function ()
	for _, place in ipairs { "message/full", "presence/full", "muc-broadcast-message", "muc-broadcast-presence", "muc-build-occupant-presence",
		"muc-occupant-groupchat", "stanzas/out" } do
		it("show what another module adds at " .. place, bed.scenario(function (s)
			local expected = live(s, version, place, "rooms.plain.example.com");
			assert.truthy(expected.carol[1]);
			assert.same(expected, live(s, version, place, "rooms.ours.example.com"));
		end));
	end

	it("make the presence of an occupant once for all newcomers, and anew for one with hats", bed.scenario(function (s)
		local node = s:node { version = version; config = config:gsub("\"bed_meddles\", ", "") }; -- whose hooks would forbid that
		local room = "hall@rooms.ours.example.com";
		local function eval(code)
			return node:eval(([[
				local muc = prosody.hosts["rooms.ours.example.com"].modules.muc;
				local class, room = muc.room_mt.__index, muc.get_room_from_jid(%q);
				local shared = module:shared "counts";
				%s
			]]):format(room, code));
		end
		local clients = {};
		local function join(name)
			clients[name] = node:client(name .. "@example.com/pc");
			enter(clients[name], room, name);
		end
		join "alice";
		open(clients.alice, room);
		eval [[
			local build = class.build_item_list;
			shared.built = 0;
			function class.build_item_list(...)
				shared.built = shared.built + 1;
				return build(...);
			end
		]];
		local counts = {};
		for i = 1, 8 do
			local before = eval "return shared.built";
			join("user" .. i);
			counts[i] = eval "return shared.built" - before;
		end
		assert.equal(counts[4], counts[8]); -- however many are there
		local function hats_seen(name)
			local client = node:client(name .. "@example.com/pc");
			client:send(federation.join(room, name));
			local presence = client:expect { "presence", from = room .. "/user1" };
			return presence:find((version == "0.12" and "{xmpp:prosody.im/protocol/hats:1}" or "{urn:xmpp:hats:0}") .. "hats/hat@title");
		end
		for i, is_active in ipairs { true, false } do
			eval(([[
				room:set_affiliation(true, "user1@example.com", "member");
				room:set_affiliation_data("user1@example.com", "hats", { ["urn:test:hat"] = { title = "Teacher"; active = %s } });
			]]):format(tostring(is_active)));
			assert.equal(is_active and "Teacher" or "none", hats_seen("late" .. i) or "none");
		end
	end));

	it("give a resumed session what it has missed, each stanza once", bed.scenario(function (s)
		local node = start(s, version);
		local room = "hall@rooms.ours.example.com";
		local alice, bob = node:client("alice@example.com/pc"), node:client("bob@example.com/pc");
		enter(alice, room, "alice");
		open(alice, room);
		bob:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
		local id = bob:expect({ "enabled" }).attr.id;
		enter(bob, room, "bob");
		bob:sync();
		bob:kill();
		for i = 1, 3 do
			alice:send(st.message({ type = "groupchat"; to = room; id = "m" .. i }):text_tag("body", "word " .. i));
			alice:expect { "message", id = "m" .. i };
		end
		bob = node:resume("bob@example.com/pc", id, 0);
		for i = 1, 3 do bob:expect { "message", id = "m" .. i; to = "bob@example.com/pc"; body = "word " .. i }; end
		bob:sync();
		bob:expect_none({ "message", has = "body" }, 0);
	end));

	it("hold back statuses for an inactive client, which gets the last one", bed.scenario(function (s)
		local node = start(s, version);
		local room = "hall@rooms.ours.example.com";
		local alice, bob = node:client("alice@example.com/pc"), node:client("bob@example.com/pc");
		enter(alice, room, "alice");
		open(alice, room);
		enter(bob, room, "bob");
		bob:sync();
		bob:drain();
		bob:send "<inactive xmlns='urn:xmpp:csi:0'/>";
		s:wait_until(function () return node:eval "return prosody.full_sessions['bob@example.com/pc'].state" == "inactive"; end);
		alice:send(st.presence({ to = room .. "/alice" }):text_tag("show", "away"));
		alice:expect { "presence", from = room .. "/alice"; has = "show" };
		bob:expect_none({ "presence" }, 0.3);
		alice:send(st.message({ type = "groupchat"; to = room; id = "m1" }):text_tag("body", "bob: hello"));
		bob:expect { "presence", from = room .. "/alice"; has = "show" };
		bob:expect { "message", id = "m1" };
	end));

	it("are mod_muc's own again when mod_fmuc is gone", bed.scenario(function (s)
		local node = start(s, version);
		local room = "hall@rooms.ours.example.com";
		local function method_files()
			return node:eval([[
				local class = prosody.hosts["rooms.ours.example.com"].modules.muc.room_mt.__index;
				local list = {};
				for _, name in ipairs { "broadcast", "publicise_occupant_status", "route_to_occupant", "send_history", "send_occupant_list" } do
					list[#list + 1] = debug.getinfo(class[name], "S").source:match("([^/]+)%.lib%.lua$");
				end
				return table.concat(list, " ");
			]]);
		end
		assert.equal("every_room every_room every_room every_room every_room", method_files());
		node:reload("fmuc", "rooms.ours.example.com");
		assert.equal("every_room every_room every_room every_room every_room", method_files());
		node:eval [[return require "core.modulemanager".unload("rooms.ours.example.com", "fmuc");]];
		assert.equal("muc muc muc history muc", method_files());
		local alice, bob = node:client("alice@example.com/pc"), node:client("bob@example.com/pc");
		enter(alice, room, "alice");
		open(alice, room);
		enter(bob, room, "bob");
		alice:expect { "presence", from = room .. "/bob" };
	end));
end);
end
