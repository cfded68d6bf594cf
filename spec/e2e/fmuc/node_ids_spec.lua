-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2): stanza-ids, archives, occupant-ids; and mirrors, nodes and direct users in one room.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local muc_user = nodes.muc_user;

local xmlns_occupant_id = "urn:xmpp:occupant-id:0";

local function with_archive()
	return { more_modules = ", \"muc_mam\"" };
end

local function occupant_ids(stanza)
	local list = {};
	for child in stanza:childtags("occupant-id", xmlns_occupant_id) do list[#list + 1] = child.attr.id; end
	return list;
end

for _, versions in ipairs(nodes.crossings()) do
describe(("ids of federated rooms, %s and %s"):format(versions.e, versions.w), function ()
	it("are one for each message, also in the archives, and one for each occupant (G8 G9 G10)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
		f.e, f.w = nodes.server(s, "e", versions.e, nil, with_archive()), nodes.server(s, "w", versions.w, nil, with_archive());
		f.link = s:link(f.e, f.w);
		nodes.make_room(f.w, f.rabbithole, { inbound_peers = { f.elsinore } });
		nodes.make_room(f.e, f.elsinore, { outbound_peer = f.rabbithole });
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		nodes.say(f.alice, f.rabbithole, "before", "m0");
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		local old = f.hamlet:expect { "message", id = "m0" };
		local ids = {};
		for _, id in ipairs { "m1", "m2" } do
			if id == "m1" then nodes.say(f.hamlet, f.elsinore, "to be", id); else nodes.say(f.alice, f.rabbithole, "or not", id); end
			local there, here = f.alice:expect { "message", id = id }, f.hamlet:expect { "message", id = id };
			local at_w, at_e = federation.stanza_ids(there)[f.rabbithole], federation.stanza_ids(here)[f.elsinore];
			assert.truthy(at_w);
			assert.equal(at_w, at_e);
			ids[id] = at_w;
			assert.equal(1, #occupant_ids(there));
			assert.equal(1, #occupant_ids(here));
			assert.not_equal(occupant_ids(there)[1], occupant_ids(here)[1]);
		end
		assert.same({ federation.stanza_ids(old)[f.elsinore] .. " before", ids.m1 .. " to be", ids.m2 .. " or not" },
			federation.archive(f.hamlet, f.elsinore));
		assert.same({ federation.stanza_ids(old)[f.rabbithole] .. " before", ids.m1 .. " to be", ids.m2 .. " or not" },
			federation.archive(f.alice, f.rabbithole));
		f.hamlet:sync();
		f.hamlet:drain();
		f.ophelia = nodes.enter(f.e, f.elsinore, "ophelia");
		nodes.forget(f);
		nodes.say(f.alice, f.rabbithole, "who is who", "m3");
		f.alice:send(st.presence({ to = f.rabbithole .. "/Alice" }):text_tag("show", "away"));
		local spoken, shown = f.ophelia:expect { "message", id = "m3" }, f.ophelia:expect { "presence", from = f.elsinore .. "/Alice" };
		assert.same(occupant_ids(spoken), occupant_ids(shown));
		assert.equal(1, #occupant_ids(shown));
	end));

	-- hamlet in elsinore, which a room joins that the spec plays
	local function meet_peer(s)
		local f = { elsinore = "elsinore@rooms.e.example"; room = "peer@rooms.p.example" };
		f.e = nodes.server(s, "e", versions.e, nil, with_archive());
		f.p = s:node { version = versions.w; config = [[
VirtualHost "p.example"
Component "rooms.p.example"
	component_secret = "hush"
]] };
		f.link = s:link(f.e, f.p);
		nodes.make_room(f.e, f.elsinore, { inbound_peers = { f.room } });
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.peer = f.p:component("rooms.p.example", "hush");
		return f;
	end

	it("are not taken by a peer from another message (G9 F9)", bed.scenario(function (s)
		local f = meet_peer(s);
		local peer = f.peer;
		nodes.say(f.hamlet, f.elsinore, "mine", "m1");
		local mine = federation.stanza_ids(f.hamlet:expect { "message", id = "m1" })[f.elsinore];
		peer:send(nodes.join(f.room, f.elsinore, "Mallory", "mallory@p.example/x"));
		peer:expect { "message", has = "subject" };
		local function say(id, stanza_id)
			peer:send(st.message({ type = "groupchat"; id = id; from = f.room .. "/Mallory"; to = f.elsinore }):text_tag("body", id)
				:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = f.room; id = stanza_id }):up()
				:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = f.elsinore; id = "forged" }):up()
				:tag("fmuc", { xmlns = nodes.xmlns; from = "mallory@p.example/x" }):up());
			return federation.stanza_ids(f.hamlet:expect { "message", id = id })[f.elsinore];
		end
		assert.equal("fresh", say("m2", "fresh"));
		local other = say("m3", mine);
		assert.truthy(other ~= nil and other ~= mine and other ~= "forged", other);
		local again = say("m4", "fresh");
		assert.truthy(again ~= "fresh", again);
		local archived = federation.archive(f.hamlet, f.elsinore);
		assert.equal(4, #archived);
		assert.equal(mine .. " mine", archived[1]);
	end));

	it("of rooms behind a foreign node stay, its occupant-ids go, and it is asked nothing (N22 O11 O14)", bed.scenario(function (s)
		local f = meet_peer(s);
		f.peer:send(nodes.join(f.room, f.elsinore, "Alice", "alice@p.example/x"));
		f.peer:expect { "message", has = "subject" };
		f.peer:send(st.message({ type = "groupchat"; id = "m1"; from = f.room .. "/Alice"; to = f.elsinore }):text_tag("body", "from afar")
			:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = "far@rooms.f.example"; id = "far-1" }):up()
			:tag("occupant-id", { xmlns = xmlns_occupant_id; id = "theirs" }):up()
			:tag("fmuc", { xmlns = nodes.xmlns; from = "alice@p.example/x" }):up());
		local shown = f.hamlet:expect { "message", id = "m1" };
		assert.equal("far-1", federation.stanza_ids(shown)["far@rooms.f.example"]);
		assert.equal(1, #occupant_ids(shown));
		assert.not_equal("theirs", occupant_ids(shown)[1]);
		f.link:settle();
		f.peer:expect_none({ "iq" }, 0);
	end));

	it("name at each node the message that its author retracts (G9 G14)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		nodes.say(f.hamlet, f.elsinore, "to be", "m1");
		local here, there = f.hamlet:expect { "message", id = "m1" }, f.alice:expect { "message", id = "m1" };
		local id = federation.stanza_ids(here)[f.elsinore];
		f.hamlet:send(st.message({ type = "groupchat"; to = f.elsinore; id = "m2" })
			:tag("retract", { xmlns = "urn:xmpp:message-retract:1"; id = id }):up():text_tag("body", "retracted"));
		local retraction = f.alice:expect { "message", id = "m2"; from = f.rabbithole .. "/Hamlet" };
		assert.equal(federation.stanza_ids(there)[f.rabbithole], retraction:find("{urn:xmpp:message-retract:1}retract@id"));
		-- a moderator's retraction comes from the room itself
		f.e:eval(([[
			local room = prosody.hosts["rooms.e.example"].modules.muc.get_room_from_jid(%q);
			room:broadcast_message(require "util.stanza".message({ type = "groupchat"; from = room.jid; id = "m3" })
				:tag("retract", { xmlns = "urn:xmpp:message-retract:1"; id = %q }):up());
		]]):format(f.elsinore, id));
		f.hamlet:expect { "message", id = "m3" };
		f.link:settle();
		f.alice:expect_none({ "message", id = "m3" }, 0);
	end));
end);

describe(("mirrors, nodes and direct users, %s and %s"):format(versions.e, versions.w), function ()
	it("are in one room at once, and each gets everything once (2b M18 M22 N12)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
		f.mirror_room = "rabbithole\\40rooms.w.example@mirror.m.example";
		f.e = nodes.server(s, "e", versions.e, "\tfmuc_trust = { [\"rooms.w.example\"] = { \"m.example\" } }\n");
		f.w = nodes.server(s, "w", versions.w);
		f.m = s:node { version = versions.e; config = "VirtualHost \"m.example\"\nComponent \"mirror.m.example\" \"fmuc\"\n" };
		f.link, f.mirror_link = s:link(f.e, f.w), s:link(f.m, f.w);
		nodes.make_room(f.w, f.rabbithole, { inbound_peers = { f.elsinore } });
		nodes.make_room(f.e, f.elsinore, { outbound_peer = f.rabbithole });
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		f.hamlet, f.ophelia = nodes.enter(f.e, f.elsinore, "hamlet"), nodes.enter(f.e, f.elsinore, "ophelia");
		f.kev, f.bob = f.m:client("kev@m.example/pc"), f.m:client("bob@m.example/pc");
		federation.enter(f.kev, "Kev", f.mirror_room);
		federation.enter(f.bob, "Bob", f.mirror_room);
		f.direct = f.e:client("direct@e.example/pc"); -- a user of e who joins w's room itself
		f.direct:send(federation.join(f.rabbithole, "Direct"));
		f.direct:expect { "message", has = "subject" };
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Bob", "Direct", "Hamlet", "Kev", "Ophelia");
		nodes.expect_occupants(f.e, f.elsinore, "Alice", "Bob", "Hamlet", "Kev", "Ophelia"); -- nobody speaks for e's own users
		f.link:settle();
		f.mirror_link:settle();
		nodes.forget(f);
		f.mirror_link:forget();
		local rooms = { alice = f.rabbithole; direct = f.rabbithole; hamlet = f.elsinore; ophelia = f.elsinore; kev = f.mirror_room; bob = f.mirror_room };
		local number = 0;
		for _, speaker in ipairs { "alice", "hamlet", "kev", "direct" } do
			number = number + 1;
			local id, nick = "m" .. number, speaker:sub(1, 1):upper() .. speaker:sub(2);
			nodes.say(f[speaker], rooms[speaker], "from " .. speaker, id);
			for name, room in pairs(rooms) do
				if speaker ~= "direct" or room ~= f.elsinore then f[name]:expect { "message", id = id, from = room .. "/" .. nick }; end
			end
		end
		f.link:settle();
		f.mirror_link:settle();
		for name in pairs(rooms) do
			f[name]:sync();
			f[name]:expect_none({ "message" }, 0);
		end
		local function count(link, node)
			local messages = 0;
			for _, stanza in ipairs(link:sent(node)) do
				if stanza.name == "message" and not stanza.attr.to:find("^direct@") and not stanza.attr.from:find("^direct@") then messages = messages + 1; end
			end
			return messages;
		end
		-- each message once over each link, and back to the mirror. w does not know that e does not show Direct.
		assert.same({ 1, 3, 1, 4 }, { count(f.link, f.e), count(f.link, f.w), count(f.mirror_link, f.m), count(f.mirror_link, f.w) });
		f.kev:send(st.presence({ to = f.mirror_room .. "/Kev" }):text_tag("show", "dnd"));
		assert.equal("dnd", f.hamlet:expect({ "presence", from = f.elsinore .. "/Kev" }):get_child_text("show"));
		f.hamlet:send(st.presence({ to = f.elsinore .. "/Hamlet" }):text_tag("show", "xa"));
		assert.equal("xa", f.bob:expect({ "presence", from = f.mirror_room .. "/Hamlet" }):get_child_text("show"));
		assert.equal("participant", f.bob:sync() or "participant");
		f.hamlet:send(st.presence({ type = "unavailable"; to = f.elsinore .. "/Hamlet" }));
		assert.equal("none", f.bob:expect({ "presence", type = "unavailable"; from = f.mirror_room .. "/Hamlet" }):find(muc_user .. "/item@role"));
	end));
end);
end
