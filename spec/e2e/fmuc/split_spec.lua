-- SPDX-License-Identifier: MIT
-- Federated rooms whose link is cut (mod_fmuc, generation 2): both go on, and become one again.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local hasty = "\tfmuc_grace_period = 2\n\tfmuc_join_timeout = 5\n";

-- bodies(client) -> what the client got of messages since the last look: list of "nick body"
local function bodies(client)
	local list = {};
	client:sync();
	for _, stanza in ipairs(client:drain()) do
		local body = stanza.name == "message" and stanza:get_child_text("body");
		if body then list[#list + 1] = stanza.attr.from:match("/(.*)") .. " " .. body; end
	end
	return list;
end

local function sorted(list)
	table.sort(list);
	return list;
end

for _, versions in ipairs(nodes.crossings()) do
describe(("a split of federated rooms, %s joined %s"):format(versions.e, versions.w), function ()
	it("loses and doubles no message, keeps the order of each sender, and ends with equal rooms (G1 G3 G26 N2 N20)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.hatter = nodes.enter(f.w, f.rabbithole, "hatter");
		f.hamlet:expect { "presence", from = f.elsinore .. "/Hatter" };
		f.ophelia = nodes.enter(f.e, f.elsinore, "ophelia");
		f.alice:expect { "presence", from = f.rabbithole .. "/Ophelia" };
		f.link:settle();
		nodes.forget(f);
		f.link:cut();
		for i = 1, 5 do
			nodes.say(f.hamlet, f.elsinore, "e" .. i, "e" .. i);
			nodes.say(f.alice, f.rabbithole, "w" .. i, "w" .. i);
		end
		f.hamlet:send(st.message({ type = "groupchat"; to = f.elsinore; id = "cs" }):tag("composing", { xmlns = "http://jabber.org/protocol/chatstates" }));
		f.hatter:send(st.presence({ type = "unavailable"; to = f.rabbithole .. "/Hatter" }));
		f.laertes = nodes.enter(f.e, f.elsinore, "laertes");
		nodes.say(f.laertes, f.elsinore, "e6", "e6");
		f.link:expect_broken();
		f.link:restore();
		nodes.expect_occupants(f.e, f.elsinore, "Alice", "Hamlet", "Laertes", "Ophelia");
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Hamlet", "Laertes", "Ophelia");
		nodes.say(f.hamlet, f.elsinore, "e7", "e7");
		nodes.say(f.alice, f.rabbithole, "w6", "w6");
		f.alice:expect({ "message", id = "e7" });
		f.hamlet:expect({ "message", id = "w6" });
		f.link:settle();
		local at_e, at_w = bodies(f.ophelia), bodies(f.alice);
		local function of(list, nick)
			local said = {};
			for _, text in ipairs(list) do if text:find("^" .. nick) then said[#said + 1] = text:match(" (.*)"); end end
			return table.concat(said, " ");
		end
		assert.equal("e1 e2 e3 e4 e5 e7", of(at_e, "Hamlet"));
		assert.equal("w1 w2 w3 w4 w5 w6", of(at_e, "Alice"));
		assert.equal("e1 e2 e3 e4 e5", of(at_w, "Hamlet")); -- e7 was taken above
		assert.equal("w1 w2 w3 w4 w5 w6", of(at_w, "Alice"));
		assert.equal("e6", of(at_w, "Laertes"));
		assert.equal(#sorted(at_e), 13);
	end));

	it("takes users of the other side away after the grace period, and brings them back (G1 G7)", bed.scenario(function (s)
		local f = nodes.pair(s, versions, hasty);
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
		f.link:settle();
		f.link:cut();
		nodes.say(f.hamlet, f.elsinore, "anybody?", "m1");
		local gone = f.hamlet:expect({ "presence", type = "unavailable"; from = f.elsinore .. "/Alice" }, 12);
		assert.equal("333", federation.codes(gone));
		gone = f.alice:expect({ "presence", type = "unavailable"; from = f.rabbithole .. "/Hamlet" }, 12);
		assert.equal("333", federation.codes(gone));
		nodes.say(f.alice, f.rabbithole, "alone", "m2");
		f.alice:expect { "message", id = "m2" };
		f.link:restore();
		f.hamlet:expect({ "presence", type = false; from = f.elsinore .. "/Alice" }, 12);
		f.alice:expect({ "presence", type = false; from = f.rabbithole .. "/Hamlet" }, 12);
		f.alice:expect { "message", id = "m1" };
		f.hamlet:expect { "message", id = "m2" };
	end));

	it("is noticed though nobody says anything, and after a restart of either side (G4 G7)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.w:kill();
		f.w:start();
		f.hamlet:expect({ "presence", type = "unavailable"; from = f.elsinore .. "/Alice" }, 20);
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		f.hamlet:expect({ "presence", type = false; from = f.elsinore .. "/Alice" }, 20);
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Hamlet");
		f.e:restart();
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		nodes.expect_occupants(f.e, f.elsinore, "Alice", "Hamlet");
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Hamlet");
		nodes.say(f.hamlet, f.elsinore, "back", "m1");
		f.alice:expect { "message", id = "m1" };
		f.link:settle();
		nodes.forget(f);
		f.w:restart(); -- w keeps hamlet, whom e brings back
		nodes.expect_occupants(f.e, f.elsinore, "Hamlet");
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Hamlet");
		f.hamlet:expect({ "presence", type = false; from = f.elsinore .. "/Alice" }, 20);
		f.link:settle();
		nodes.say(f.alice, f.rabbithole, "here", "m2");
		f.hamlet:expect { "message", id = "m2"; from = f.elsinore .. "/Alice" };
		nodes.say(f.hamlet, f.elsinore, "there", "m3");
		f.alice:expect { "message", id = "m3"; from = f.rabbithole .. "/Hamlet" };
		for _, stanza in ipairs(f.link:sent(f.w)) do assert.is_nil(stanza.attr.to:find("/pc")); end
	end));

	it("keeps what was under way when a server stops, and goes on after a server was killed (G1 G4)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.w:allow_log("Failed to receive a stream close response");
		f.e:allow_log("Failed to receive a stream close response");
		f.link:stall();
		nodes.say(f.hamlet, f.elsinore, "under way", "m1");
		f.hamlet:expect { "message", id = "m1" };
		f.e:stop();
		f.link:cut();
		f.link:restore();
		f.e:start();
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.alice:expect({ "message", id = "m1"; from = f.rabbithole .. "/Hamlet" }, 20);
		for i = 2, 4 do
			nodes.say(f.hamlet, f.elsinore, "again", "m" .. i);
			f.alice:expect { "message", id = "m" .. i };
		end
		f.e:kill();
		f.e:start();
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.hamlet:expect({ "presence", type = false; from = f.elsinore .. "/Alice" }, 20);
		nodes.say(f.hamlet, f.elsinore, "killed", "m5");
		f.alice:expect { "message", id = "m5" };
		nodes.say(f.alice, f.rabbithole, "killed", "m6");
		f.hamlet:expect { "message", id = "m6" };
		f.alice:sync();
		for i = 1, 4 do f.alice:expect_none({ "message", id = "m" .. i }, 0); end
		-- w keeps hamlet, who changes the status meanwhile
		f.hamlet:send(st.presence({ to = f.elsinore .. "/Hamlet" }):text_tag("show", "away"));
		f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet"; has = "show" };
		f.w:stop();
		f.hamlet:send(st.presence({ to = f.elsinore .. "/Hamlet" }));
		f.w:start();
		s:wait_until(function ()
			return f.w:eval(([[
				local room = prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q);
				local occupant = room:get_occupant_by_nick(room.jid .. "/Hamlet");
				return occupant and not occupant:get_presence():get_child("show");
			]]):format(f.rabbithole));
		end, 20, "Hamlet to be back at the computer");
	end));

	it("does not follow because the first user leaves while the nodes meet (N16)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		f.link:stall();
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		for _, name in ipairs { "ophelia", "gertrude", "laertes" } do f[name] = nodes.enter(f.e, f.elsinore, name); end
		f.hamlet:send(st.presence({ type = "unavailable"; to = f.elsinore .. "/Hamlet" }));
		f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Hamlet" };
		f.link:restore();
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Gertrude", "Laertes", "Ophelia");
		f.link:settle();
		for _, stanza in ipairs(f.link:sent(f.w)) do assert.is_nil(stanza:find(nodes.fmuc .. "/left")); end
	end));

	it("does not bring back what was shown before the link ended, and the room has forgotten (G3)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		nodes.say(f.hamlet, f.elsinore, "once", "m1");
		f.alice:expect { "message", id = "m1" };
		nodes.say(f.alice, f.rabbithole, "yes", "last");
		f.hamlet:expect { "message", id = "last" };
		f.w:reload("muc", "rooms.w.example"); -- its history is gone, but the last message
		f.link:stall();
		f.hamlet:send(st.presence({ type = "unavailable"; to = f.elsinore .. "/Hamlet" }));
		f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Hamlet" };
		f.hamlet:send(federation.join(f.elsinore, "Hamlet"));
		f.hamlet:expect { "message", has = "subject" };
		f.link:restore();
		f.alice:expect { "presence", type = "unavailable"; from = f.rabbithole .. "/Hamlet" };
		f.alice:expect({ "presence", type = false; from = f.rabbithole .. "/Hamlet" }, 20);
		nodes.say(f.hamlet, f.elsinore, "twice", "m2");
		f.alice:expect { "message", id = "m2" };
		f.alice:expect_none({ "message", id = "m1" }, 0);
	end));

	it("is over after a reload of the module as if nothing had happened (U6)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.w:reload("fmuc", "rooms.w.example");
		f.e:reload("fmuc", "rooms.e.example");
		f.link:settle();
		assert.same({ 0, 0 }, { #f.link:sent(f.e), #f.link:sent(f.w) });
		nodes.say(f.hamlet, f.elsinore, "there", "m1");
		f.alice:expect { "message", id = "m1" };
		nodes.say(f.alice, f.rabbithole, "here", "m2");
		f.hamlet:expect { "message", id = "m2" };
		f.w:reload("muc", "rooms.w.example");
		nodes.say(f.alice, f.rabbithole, "here", "m3");
		f.hamlet:expect { "message", id = "m3" };
		nodes.say(f.hamlet, f.elsinore, "there", "m4");
		f.alice:expect { "message", id = "m4" };
		f.link:settle();
		assert.same({ 2, 2 }, { #f.link:sent(f.e), #f.link:sent(f.w) });
	end));
end);
end
