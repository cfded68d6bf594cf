-- SPDX-License-Identifier: MIT
-- Federated rooms in mode primary-replica (mod_fmuc, generation 2): one order, and silence while the primary is away.

local bed = require "bed";
local nodes = require "nodes";
local st = require "util.stanza";

local fmuc = nodes.fmuc;

local function condition(stanza)
	return (select(2, stanza:get_error()));
end

local function meet(s, versions)
	return nodes.meet(s, versions, nil, "primary-replica");
end

-- order(client, room_jid) -> the bodies that the client got, in order
local function order(client)
	local list = {};
	client:sync();
	for _, stanza in ipairs(client:drain()) do
		if stanza.name == "message" and stanza.attr.type == "groupchat" then list[#list + 1] = stanza:get_child_text("body"); end
	end
	return table.concat(list, " ");
end

for _, versions in ipairs(nodes.crossings()) do
describe(("a replica, %s of %s"):format(versions.e, versions.w), function ()
	it("shows what is said when the primary returns it, in the primary's order (N2 N20)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.link:delay(0.3);
		nodes.say(f.hamlet, f.elsinore, "one", "m1");
		f.hamlet:sync();
		f.hamlet:expect_none({ "message" }, 0.2);
		nodes.say(f.alice, f.rabbithole, "two", "m2");
		nodes.say(f.hamlet, f.elsinore, "three", "m3");
		f.alice:expect { "message", id = "m3" };
		f.hamlet:expect { "message", id = "m3"; from = f.elsinore .. "/Hamlet" };
		f.link:delay(0);
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "four", "m4");
		f.hamlet:expect { "message", id = "m4" };
		f.alice:expect { "message", id = "m4" };
		f.hamlet:send(st.message({ type = "groupchat"; to = f.elsinore; id = "s" }):text_tag("subject", "Order"));
		f.hamlet:expect { "message", has = "subject"; from = f.elsinore .. "/Hamlet" };
		f.alice:expect { "message", has = "subject"; from = f.rabbithole .. "/Hamlet" };
		f.link:settle();
		assert.equal("two one", order(f.alice)); -- three and four were taken above
		assert.equal("two one", order(f.hamlet));
		local sent = 0;
		for _, stanza in ipairs(f.link:sent(f.e)) do if stanza.name == "message" then sent = sent + 1; end end
		assert.equal(4, sent); -- three messages and a subject
		assert.truthy(f.link:expect(f.w, { "message", id = "m4"; from = f.rabbithole .. "/Hamlet" }):find(fmuc));
	end));

	it("lets nobody speak while the primary cannot be reached, and loses nothing that was on its way (N2 G1 G15 G16)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.link:stall();
		nodes.say(f.hamlet, f.elsinore, "on its way", "m1");
		f.hamlet:sync();
		f.link:cut();
		f.e:expect_log("is not federated with");
		nodes.say(f.hamlet, f.elsinore, "cut off", "m2");
		local refusal = f.hamlet:expect { "message", type = "error"; id = "m2" };
		assert.same({ "remote-server-timeout", "This room cannot reach rabbithole@rooms.w.example. Nothing can be said here until it does" },
			{ condition(refusal), (select(3, refusal:get_error())) });
		nodes.say(f.alice, f.rabbithole, "the primary goes on", "m3");
		f.alice:expect { "message", id = "m3" };
		f.link:expect_broken();
		f.link:restore();
		f.hamlet:expect({ "message", type = "groupchat"; id = "m3" }, 15);
		f.hamlet:expect({ "message", type = "groupchat"; id = "m1" }, 15);
		f.alice:expect({ "message", id = "m1" }, 15);
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "together", "m4");
		f.hamlet:expect { "message", type = "groupchat"; id = "m4" };
		f.hamlet:sync();
		f.hamlet:expect_none({ "message" }, 0);
	end));

	it("tells who may not speak at the primary (G15)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.w:eval(([[
			local room = prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q);
			return room:set_affiliation(true, "hamlet@e.example", "outcast");
		]]):format(f.rabbithole));
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "muted", "m1");
		assert.equal("forbidden", condition(f.hamlet:expect { "message", type = "error"; id = "m1"; from = f.elsinore }));
		f.link:settle();
		for _, client in ipairs { f.alice, f.hamlet } do
			client:sync();
			client:expect_none({ "message" }, 0);
		end
	end));

	it("answers under any nick what does not come back (N2 G15)", bed.scenario(function (s)
		local f = nodes.meet(s, versions, "\tfmuc_grace_period = 2\n", "primary-replica");
		f.link:stall();
		nodes.say(f.hamlet, f.elsinore, "to be", "m1");
		f.hamlet:send(st.presence { to = f.elsinore .. "/Prince" });
		f.hamlet:expect { "presence", from = f.elsinore .. "/Prince" };
		assert.equal("remote-server-timeout", condition(f.hamlet:expect({ "message", type = "error"; id = "m1" }, 8)));
		f.link:cut();
		f.link:restore();
	end));

	-- auser in a, a replica of b with buser, a replica of c with cuser
	local function meet_in_chain(s, more)
		local f = nodes.chain(s, versions, 3, more, "primary-replica");
		nodes.expect_equal(f, table.unpack(nodes.nicks_of(f)));
		nodes.forget_chain(f);
		return f;
	end

	local function expect_no_more(f)
		for _, name in ipairs(f.names) do
			f.users[name]:sync();
			f.users[name]:expect_none({ "message" }, 0);
		end
	end

	-- auser says that while the link to b is cut
	local function say_cut_off(f, stanza)
		f.links.a:stall();
		f.users.a:send(stanza);
		f.users.a:sync();
		f.links.a:cut();
		f.servers.b:expect_log("is not federated with tree@rooms.a");
		f.links.a:expect_broken();
	end

	it("keeps the primary's order for what waited at a replica behind it (N2 G16)", bed.scenario(function (s)
		local f = meet_in_chain(s);
		say_cut_off(f, st.message({ type = "groupchat"; to = f.rooms.a; id = "m1" }):text_tag("body", "late"));
		f.links.b:stall();
		nodes.say(f.users.c, f.rooms.c, "early", "m2");
		f.users.c:expect { "message", id = "m2" };
		f.links.a:restore();
		f.servers.b:expect_log("is federated with tree@rooms.a%S+ again", 15);
		f.users.b:sync();
		f.users.b:expect_none({ "message" }, 0.5);
		f.links.b:restore();
		for _, name in ipairs(f.names) do
			if name ~= "c" then assert.equal("m2", f.users[name]:expect({ "message", type = "groupchat" }, 15).attr.id); end
			assert.equal("m1", f.users[name]:expect({ "message", type = "groupchat" }, 15).attr.id);
		end
		f.links.a:settle();
		expect_no_more(f);
	end));

	it("refuses at a replica behind it what cannot reach the primary, and shows it nowhere (N2 G15)", bed.scenario(function (s)
		local f = meet_in_chain(s);
		f.links.b:cut();
		f.servers.b:expect_log("is not federated with tree@rooms.c");
		nodes.say(f.users.a, f.rooms.a, "to nobody", "m1");
		local refusal = f.users.a:expect { "message", type = "error"; id = "m1" };
		assert.same({ "remote-server-timeout", "This room cannot reach tree@rooms.c.example. Nothing can be said here until it does" },
			{ condition(refusal), (select(3, refusal:get_error())) });
		f.links.a:settle();
		expect_no_more(f);
	end));

	it("shows everywhere what a user has said who leaves before it comes back (N2 G16)", bed.scenario(function (s)
		local f = meet_in_chain(s);
		f.links.b:delay(0.5);
		nodes.say(f.users.b, f.rooms.b, "from the middle", "m1");
		f.users.b:send(st.presence({ type = "unavailable"; to = f.rooms.b .. "/Buser" }));
		nodes.say(f.users.a, f.rooms.a, "from behind", "m2");
		f.users.a:send(st.presence { to = f.rooms.a .. "/Other" });
		for _, name in ipairs { "a", "c" } do
			for _, id in ipairs { "m1", "m2" } do
				local nick = id == "m1" and "Buser" or "Auser";
				f.users[name]:expect { "message", type = "groupchat"; id = id; from = f.rooms[name] .. "/" .. nick };
			end
		end
		nodes.expect_occupants(f.servers.c, f.rooms.c, "Cuser", "Other");
	end));

	it("shows nothing again when a node in the middle was killed (N2 G3)", bed.scenario(function (s)
		local f = meet_in_chain(s);
		nodes.say(f.users.a, f.rooms.a, "once", "m1");
		for _, name in ipairs(f.names) do f.users[name]:expect { "message", type = "groupchat"; id = "m1" }; end
		f.servers.b:kill();
		f.users.b = nil;
		f.servers.b:start();
		f.servers.a:expect_log("is federated with tree@rooms.b%S+ again", 20);
		for _, name in ipairs(f.names) do nodes.expect_occupants(f.servers[name], f.rooms[name], "Auser", "Cuser"); end
		nodes.say(f.users.a, f.rooms.a, "twice", "m2");
		for _, name in ipairs { "a", "c" } do
			f.users[name]:expect { "message", type = "groupchat"; id = "m2" };
			f.users[name]:expect_none({ "message", id = "m1" }, 0.3);
		end
	end));

	it("shows at the replica what is too much for the link to the primary, also late (N2 G25)", bed.scenario(function (s)
		local f = meet_in_chain(s, function (name) return name == "c" and "\tfmuc_bandwidth = \"messages\"\n" or ""; end);
		say_cut_off(f, st.message({ type = "groupchat"; to = f.rooms.a; id = "m1" }):tag("reactions", { xmlns = "urn:xmpp:reactions:0"; id = "x" })
			:text_tag("reaction", "+"):up());
		f.links.a:restore();
		for _, name in ipairs { "a", "b" } do f.users[name]:expect({ "message", type = "groupchat"; id = "m1" }, 15); end
		f.links.b:settle();
		expect_no_more(f);
	end));

	it("loses nothing of a node behind it that is no replica, and shows it once the primary has it (N2 G1)", bed.scenario(function (s)
		local f = nodes.chain(s, versions, 3, nil, "primary-replica");
		nodes.configure(f.servers.a, f.rooms.a, { outbound_peer = f.rooms.b; mode = "primary-primary" });
		nodes.expect_equal(f, table.unpack(nodes.nicks_of(f)));
		f.links.a:settle();
		nodes.forget_chain(f);
		f.links.b:cut();
		f.servers.b:expect_log("is not federated with tree@rooms.c");
		for i = 1, 60 do
			nodes.say(f.users.a, f.rooms.a, "word " .. i, "m" .. i);
			f.users.a:expect { "message", type = "groupchat"; id = "m" .. i };
		end
		f.links.a:settle();
		f.users.b:sync();
		f.users.b:expect_none({ "message" }, 0);
		f.links.b:expect_broken();
		f.links.b:restore();
		for i = 1, 60 do
			for _, name in ipairs { "b", "c" } do f.users[name]:expect({ "message", type = "groupchat"; id = "m" .. i }, 15); end
		end
		f.links.a:settle();
		expect_no_more(f);
	end));
end);
end
