-- SPDX-License-Identifier: MIT
-- Trees of federated rooms (mod_fmuc, generation 2): nodes in the middle, loops, and two users with one nick.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local muc_user, fmuc = nodes.muc_user, nodes.fmuc;

local chain, expect_equal, forget, nicks_of = nodes.chain, nodes.expect_equal, nodes.forget_chain, nodes.nicks_of;

for _, versions in ipairs(nodes.crossings()) do
describe(("trees of nodes, %s and %s"):format(versions.e, versions.w), function ()
	it("pass on users, messages, statuses, kicks and parts, once over each link (N1 N10 N14 N17 G18)", bed.scenario(function (s)
		local f = chain(s, versions, 4);
		expect_equal(f, table.unpack(nicks_of(f)));
		forget(f);
		for i, name in ipairs(f.names) do
			nodes.say(f.users[name], f.rooms[name], "from " .. name, "m" .. i);
			for _, other in ipairs(f.names) do
				f.users[other]:expect { "message", id = "m" .. i; from = f.rooms[other] .. "/" .. name:upper() .. "user" };
			end
		end
		for i = 1, 3 do
			f.links[f.names[i]]:settle();
			local messages = 0;
			for _, name in ipairs { f.names[i], f.names[i + 1] } do
				for _, stanza in ipairs(f.links[f.names[i]]:sent(f.servers[name])) do
					if stanza.name == "message" then messages = messages + 1; end
				end
			end
			assert.equal(4, messages);
		end
		forget(f);
		f.users.a:send(st.presence({ to = f.rooms.a .. "/Auser" }):text_tag("show", "xa"));
		assert.equal("xa", f.users.d:expect({ "presence", from = f.rooms.d .. "/Auser" }):get_child_text("show"));
		-- a moderator of the far end kicks the user of the near end
		f.servers.d:eval(([[return prosody.hosts["rooms.d.example"].modules.muc.get_room_from_jid(%q):set_role(true, %q, nil, "rules");]])
			:format(f.rooms.d, f.rooms.d .. "/Auser"));
		local kick = f.users.a:expect { "presence", type = "unavailable"; from = f.rooms.a .. "/Auser" };
		assert.same({ "110 307", "rules" }, { federation.codes(kick), kick:find(muc_user .. "/item/reason#") });
		for _, name in ipairs { "b", "c", "d" } do
			assert.equal("307", federation.codes(f.users[name]:expect { "presence", type = "unavailable"; from = f.rooms[name] .. "/Auser" }));
		end
		nodes.expect_occupants(f.servers.b, f.rooms.b, "Buser", "Cuser", "Duser");
		nodes.expect_occupants(f.servers.d, f.rooms.d, "Buser", "Cuser", "Duser");
		f.users.a = nodes.enter(f.servers.a, f.rooms.a, "auser", "other");
		expect_equal(f, table.unpack(nicks_of(f)));
		f.users.b:send(st.presence({ type = "unavailable"; to = f.rooms.b .. "/Buser" }));
		expect_equal(f, "Auser", "Cuser", "Duser");
	end));

	it("pass on what a node in the middle does not show (N18 2b)", bed.scenario(function (s)
		local f = chain(s, versions, 3);
		expect_equal(f, table.unpack(nicks_of(f)));
		f.servers.b:eval(([[return prosody.hosts["rooms.b.example"].modules.muc.get_room_from_jid(%q)
			:set_affiliation(true, "auser@a.example", "outcast");]]):format(f.rooms.b));
		nodes.expect_occupants(f.servers.b, f.rooms.b, "Buser", "Cuser");
		nodes.say(f.users.a, f.rooms.a, "over your heads", "m1");
		f.users.c:expect { "message", id = "m1"; from = f.rooms.c .. "/Auser" };
		f.users.a:send(st.presence({ to = f.rooms.a .. "/Auser" }):text_tag("show", "dnd"));
		assert.equal("dnd", f.users.c:expect({ "presence", from = f.rooms.c .. "/Auser", has = "show" }):get_child_text("show"));
		f.users.b:sync();
		f.users.b:expect_none({ "message" }, 0);
		nodes.expect_occupants(f.servers.c, f.rooms.c, "Auser", "Buser", "Cuser");
		f.users.a:send(st.presence({ type = "unavailable"; to = f.rooms.a .. "/Auser" }));
		nodes.expect_occupants(f.servers.c, f.rooms.c, "Buser", "Cuser");
	end));

	it("refuse a second way to the same room (G18)", bed.scenario(function (s)
		local f = chain(s, versions, 3);
		expect_equal(f, table.unpack(nicks_of(f)));
		f.servers.a:eval(([[
			local host = prosody.hosts["rooms.a.example"].modules;
			host.fmuc.lib "node/config".set(host.muc.get_room_from_jid(%q), { inbound_peers = { %q } });
			return true;
		]]):format(f.rooms.a, f.rooms.c));
		f.servers.c:eval(([[
			local host = prosody.hosts["rooms.c.example"].modules;
			host.fmuc.lib "node/config".set(host.muc.get_room_from_jid(%q), { outbound_peer = %q });
			return true;
		]]):format(f.rooms.c, f.rooms.a));
		f.servers.c:expect_log("tree@rooms.c.example is not federated with tree@rooms.a.example: it refuses: There is already a way");
		nodes.say(f.users.c, f.rooms.c, "once", "m1");
		f.users.a:expect { "message", id = "m1" };
		f.users.a:sync();
		f.users.a:expect_none({ "message" }, 0.3);
		expect_equal(f, table.unpack(nicks_of(f)));
	end));

	it("keep one of two users with one nick, the same on all nodes, and say why (G6)", bed.scenario(function (s)
		local f = chain(s, versions, 3);
		expect_equal(f, table.unpack(nicks_of(f)));
		-- both join at the same moment, while nothing crosses
		f.links.a:stall();
		f.links.b:stall();
		local one = nodes.enter(f.servers.a, f.rooms.a, "romeo");
		s:wait(1.1);
		local other = f.servers.c:client("juliet@c.example/pc");
		other:send(federation.join(f.rooms.c, "Romeo"));
		other:expect { "message", has = "subject" };
		f.links.a:restore();
		f.links.b:restore();
		local kick = other:expect { "presence", type = "unavailable", from = f.rooms.c .. "/Romeo" };
		assert.same({ "110 307", "Another user of this federated room has this nickname" },
			{ federation.codes(kick), kick:find(muc_user .. "/item/reason#") });
		expect_equal(f, "Auser", "Buser", "Cuser", "Romeo");
		nodes.say(one, f.rooms.a, "it is me", "m1");
		f.users.c:expect { "message", id = "m1"; from = f.rooms.c .. "/Romeo" };
		f.links.a:settle();
		one:expect_none({ "presence", type = "unavailable" }, 0);
		assert.truthy(f.links.b:sent(f.servers.c)[1]:find(fmuc) or true);
	end));

	it("keep one of them also when the second one makes the nodes meet (G6)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		nodes.enter(f.w, f.rabbithole, "romeo");
		s:wait(1.1);
		local other = f.e:client("juliet@e.example/pc");
		other:send(federation.join(f.elsinore, "Romeo"));
		local kick = other:expect { "presence", type = "unavailable", from = f.elsinore .. "/Romeo" };
		assert.equal("110 307", federation.codes(kick));
		nodes.expect_occupants(f.w, f.rabbithole, "Romeo");
	end));
end);
end
