-- SPDX-License-Identifier: MIT
-- Two rooms of two servers that are one (mod_fmuc, generation 2): who is there, what is said, who leaves.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local muc_user, fmuc = nodes.muc_user, nodes.fmuc;

for _, versions in ipairs(nodes.crossings()) do
describe(("federated rooms, %s joins %s"):format(versions.e, versions.w), function ()
	it("join in the order of XEP-0045, with the real JID in each stanza, and show users no FMUC (N3 N6 N7 N9 N11)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		nodes.say(f.alice, f.rabbithole, "before", "h1");
		f.alice:send(st.message({ type = "groupchat"; to = f.rabbithole }):text_tag("subject", "Tea"));
		f.alice:expect { "message", has = "subject" };
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");

		local join = f.link:expect(f.e, { "presence", from = f.elsinore .. "/Hamlet", to = f.rabbithole .. "/Hamlet" });
		assert.equal("hamlet@e.example/pc", join:find(fmuc .. "@from"));
		assert.truthy(join:find("{http://jabber.org/protocol/muc}x"));
		assert.same({ "participant", nil }, { join:find(muc_user .. "/item@role"), join:find(muc_user .. "/item@jid") });

		f.hamlet:expect { "message", has = "subject", from = f.elsinore .. "/Alice" };
		f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet" };
		f.link:settle();
		local order = {};
		for _, stanza in ipairs(f.link:sent(f.w)) do
			if stanza.name ~= "iq" then
				assert.equal(f.elsinore, stanza.attr.to);
				local kind = stanza.name == "presence" and stanza.attr.from:match("/(.*)") or stanza:get_child("subject") and "subject" or "history";
				order[#order + 1] = kind;
				assert.truthy(stanza:find(fmuc .. "@from"), tostring(stanza));
			end
		end
		assert.same({ "Alice", "Hamlet", "history", "subject" }, order);
		for _, stanza in ipairs(f.alice:drain()) do assert.is_nil(stanza:find(fmuc)); end
		for _, stanza in ipairs(f.hamlet:drain()) do assert.is_nil(stanza:find(fmuc)); end
	end));

	it("relay each message, status and change of nick once, and nothing back (N10 N12 N13 N14)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		nodes.say(f.hamlet, f.elsinore, "to be", "m1");
		f.alice:expect { "message", from = f.rabbithole .. "/Hamlet", id = "m1" };
		local message = f.link:expect(f.e, { "message", id = "m1" });
		assert.same({ f.elsinore .. "/Hamlet", f.rabbithole, "hamlet@e.example/pc" },
			{ message.attr.from, message.attr.to, message:find(fmuc .. "@from") });
		nodes.say(f.alice, f.rabbithole, "or not", "m2");
		f.hamlet:expect { "message", from = f.elsinore .. "/Alice", id = "m2" };

		f.hamlet:send(st.presence({ to = f.elsinore .. "/Hamlet" }):text_tag("show", "away"));
		assert.equal("away", f.alice:expect({ "presence", from = f.rabbithole .. "/Hamlet" }):get_child_text("show"));
		f.alice:send(st.presence({ to = f.rabbithole .. "/Alice" }):text_tag("show", "dnd"));
		assert.equal("dnd", f.hamlet:expect({ "presence", from = f.elsinore .. "/Alice" }):get_child_text("show"));

		f.hamlet:send(st.presence({ to = f.elsinore .. "/Prince" }));
		local gone = f.alice:expect { "presence", type = "unavailable"; from = f.rabbithole .. "/Hamlet" };
		assert.same({ "303", "Prince" }, { federation.codes(gone), gone:find(muc_user .. "/item@nick") });
		f.alice:expect { "presence", type = false; from = f.rabbithole .. "/Prince" };
		f.alice:send(st.presence({ to = f.rabbithole .. "/Queen" }));
		gone = f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Alice" };
		assert.same({ "303", "Queen" }, { federation.codes(gone), gone:find(muc_user .. "/item@nick") });
		nodes.say(f.hamlet, f.elsinore, "who am I", "m3");
		f.alice:expect { "message", from = f.rabbithole .. "/Prince", id = "m3" };
		f.link:settle();
		local from_e, from_w = {}, {};
		for _, stanza in ipairs(f.link:sent(f.e)) do from_e[#from_e + 1] = stanza.name .. (stanza.attr.type == "unavailable" and "-" or ""); end
		for _, stanza in ipairs(f.link:sent(f.w)) do from_w[#from_w + 1] = stanza.name .. (stanza.attr.type == "unavailable" and "-" or ""); end
		assert.same({ "message", "presence", "presence-", "presence", "message" }, from_e);
		assert.same({ "message", "presence", "presence-", "presence" }, from_w);
	end));

	it("tell of later joins and parts, and the last one ends the link (N14 N15 N16)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.hatter = nodes.enter(f.w, f.rabbithole, "hatter");
		f.hamlet:expect { "presence", from = f.elsinore .. "/Hatter" };
		f.ophelia = nodes.enter(f.e, f.elsinore, "ophelia");
		f.alice:expect { "presence", from = f.rabbithole .. "/Ophelia" };
		f.hatter:send(st.presence({ type = "unavailable"; to = f.rabbithole .. "/Hatter" }):text_tag("status", "tea time"));
		local part = f.hamlet:expect { "presence", type = "unavailable", from = f.elsinore .. "/Hatter" };
		assert.equal("tea time", part:get_child_text("status"));
		local crossed = f.link:expect(f.w, { "presence", type = "unavailable" });
		assert.same({ "none", "hatter@w.example/pc" }, { crossed:find(muc_user .. "/item@role"), crossed:find(fmuc .. "@from") });
		for _, name in ipairs { "hamlet", "ophelia" } do
			f[name]:send(st.presence({ type = "unavailable"; to = f.elsinore .. "/X" }));
		end
		f.alice:expect { "presence", type = "unavailable", from = f.rabbithole .. "/Hamlet" };
		f.alice:expect { "presence", type = "unavailable", from = f.rabbithole .. "/Ophelia" };
		local left = f.link:expect(f.w, { "presence", type = false; from = f.rabbithole; to = f.elsinore });
		assert.truthy(left:find(fmuc .. "/left"));
		f.link:settle();
		f.link:forget();
		nodes.say(f.alice, f.rabbithole, "anybody there?", "m4");
		f.alice:expect { "message", id = "m4" };
		f.link:settle();
		assert.same({}, f.link:sent(f.w));
		nodes.expect_occupants(f.e, f.elsinore);
		nodes.expect_occupants(f.w, f.rabbithole, "Alice");
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet" };
		f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
	end));

	it("kick a user out of all nodes, by the user's own node, and hide a banned one only here (N17 N18 2b)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.hatter = nodes.enter(f.w, f.rabbithole, "hatter");
		f.hamlet:expect { "presence", from = f.elsinore .. "/Hatter" };
		-- by a moderator of the other node
		f.e:eval(([[return prosody.hosts["rooms.e.example"].modules.muc.get_room_from_jid(%q):set_role(true, %q, nil, "rules");]])
			:format(f.elsinore, f.elsinore .. "/Hatter"));
		local kick = f.hatter:expect { "presence", type = "unavailable"; from = f.rabbithole .. "/Hatter" };
		assert.same({ "110 307", "rules" }, { federation.codes(kick), kick:find(muc_user .. "/item/reason#") });
		assert.equal("307", federation.codes(f.alice:expect { "presence", type = "unavailable"; from = f.rabbithole .. "/Hatter" }));
		assert.equal("307", federation.codes(f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Hatter" }));
		f.hatter = nodes.enter(f.w, f.rabbithole, "hatter", "pda");
		f.hamlet:expect { "presence", type = false; from = f.elsinore .. "/Hatter" };
		-- by the own node
		f.w:eval(([[return prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q):set_role(true, %q, nil, "again");]])
			:format(f.rabbithole, f.rabbithole .. "/Hatter"));
		kick = f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Hatter" };
		assert.same({ "307", "again" }, { federation.codes(kick), kick:find(muc_user .. "/item/reason#") });
		-- banned at e only
		f.e:eval(([[return prosody.hosts["rooms.e.example"].modules.muc.get_room_from_jid(%q):set_affiliation(true, "alice@w.example", "outcast");]])
			:format(f.elsinore));
		assert.equal("301", federation.codes(f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Alice" }));
		nodes.say(f.alice, f.rabbithole, "can you hear me?", "m1");
		f.alice:expect { "message", id = "m1" };
		nodes.say(f.hamlet, f.elsinore, "hello?", "m2");
		f.alice:expect { "message", id = "m2" };
		f.link:settle();
		f.hamlet:sync();
		f.hamlet:expect_none({ "message", id = "m1" }, 0);
		nodes.expect_occupants(f.w, f.rabbithole, "Alice", "Hamlet");
		nodes.expect_occupants(f.e, f.elsinore, "Hamlet");
	end));

	it("refuse a room that is not agreed on, and say why (N5 O9)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		nodes.make_room(f.e, "stranger@rooms.e.example", { outbound_peer = f.rabbithole });
		f.alice = nodes.enter(f.w, f.rabbithole, "alice");
		nodes.enter(f.e, "stranger@rooms.e.example", "hamlet");
		local reject = f.link:expect(f.w, { "presence", from = f.rabbithole, to = "stranger@rooms.e.example" });
		assert.equal("This room does not federate with other rooms", reject:find(fmuc .. "/reject#"));
		f.e:expect_log("stranger@rooms.e.example is not federated with rabbithole@rooms.w.example: it refuses: This room does not");
		nodes.expect_occupants(f.w, f.rabbithole, "Alice");
		nodes.expect_occupants(f.e, "stranger@rooms.e.example", "Hamlet");
	end));

	it("leave an ordinary room at once, which takes them for a user (2b)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; hall = "hall@rooms.w.example" };
		f.e = nodes.server(s, "e", versions.e);
		f.w = s:node { version = versions.w; config = [[
			VirtualHost "w.example"
			Component "rooms.w.example" "muc"
		]] };
		f.link = s:link(f.e, f.w);
		nodes.make_room(f.e, f.elsinore, { outbound_peer = f.hall });
		f.alice = f.w:client("alice@w.example/pc");
		f.alice:send(federation.join(f.hall, "Alice"));
		f.alice:expect { "message", has = "subject" };
		f.alice:send(st.iq({ type = "set"; id = "create"; to = f.hall }):tag("query", { xmlns = "http://jabber.org/protocol/muc#owner" })
			:tag("x", { xmlns = "jabber:x:data"; type = "submit" }):up():up());
		f.alice:expect { "iq", id = "create" };
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.alice:expect { "presence", type = false; from = f.hall .. "/Hamlet" };
		f.alice:expect { "presence", type = "unavailable"; from = f.hall .. "/Hamlet" };
		f.e:expect_log("elsinore@rooms.e.example is not federated with hall@rooms.w.example: it is an ordinary room");
		f.link:settle();
		f.alice:sync();
		f.alice:expect_none({ "presence", type = false; from = f.hall .. "/Hamlet" }, 4); -- it does not try again soon
		nodes.expect_occupants(f.e, f.elsinore, "Hamlet");
	end));
end);
end
