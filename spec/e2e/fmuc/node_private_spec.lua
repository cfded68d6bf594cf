-- SPDX-License-Identifier: MIT
-- Private messages and requests between users of federated rooms (mod_fmuc, generation 2).

local bed = require "bed";
local nodes = require "nodes";
local st = require "util.stanza";

local fmuc, muc_user = nodes.fmuc, nodes.muc_user;

local ping = "<ping xmlns='urn:xmpp:ping'/>";

local function ask(client, to, id, payload)
	client:send(("<iq type='get' id='%s' to='%s'>%s</iq>"):format(id, to, payload));
end

local function write(client, to, text)
	client:send(st.message({ type = "chat"; to = to; id = "id-" .. text }):text_tag("body", text));
end

local function condition(stanza)
	return (select(2, stanza:get_error()));
end

for _, versions in ipairs(nodes.crossings()) do
describe(("private messages of federated rooms, %s and %s"):format(versions.e, versions.w), function ()
	it("go from occupant to occupant over three nodes, and only there (N19 G12 G13)", bed.scenario(function (s)
		local f = nodes.chain(s, versions, 3);
		nodes.expect_all(f);
		nodes.forget_chain(f);
		local a, b, c, rooms = f.users.a, f.users.b, f.users.c, f.rooms;
		write(a, rooms.a .. "/Cuser", "secret");
		local got = c:expect { "message", type = "chat", from = rooms.c .. "/Auser", to = "cuser@c.example/pc" };
		assert.equal("secret", got:get_child_text("body"));
		assert.is_nil(got:find(fmuc));
		assert.truthy(got:find(muc_user));
		local crossed = f.links.a:expect(f.servers.a, { "message", type = "chat" });
		assert.same({ rooms.a .. "/Auser", rooms.b .. "/Cuser", "auser@a.example/pc" },
			{ crossed.attr.from, crossed.attr.to, crossed:find(fmuc .. "@from") });
		write(c, rooms.c .. "/Auser", "answer");
		a:expect { "message", type = "chat", from = rooms.a .. "/Cuser" };
		b:sync();
		b:expect_none({ "message" }, 0);

		ask(a, rooms.a .. "/Cuser", "p1", ping);
		local asked = c:expect { "iq", type = "get", from = rooms.c .. "/Auser" };
		local request = f.links.b:expect(f.servers.b, { "iq", type = "get" });
		assert.is_nil(request:find(fmuc));
		c:send(st.error_reply(asked, "cancel", "not-allowed"));
		assert.equal("not-allowed", condition(a:expect { "iq", type = "error", id = "p1", from = rooms.a .. "/Cuser" }));
	end));

	it("of a foreign node to the real JID come from the room here, without FMUC (O20 N11)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; peer = "verona@conference.p.example" };
		f.e = nodes.server(s, "e", versions.e);
		f.p = s:node { version = versions.w; config = [[
VirtualHost "p.example"
Component "conference.p.example"
	component_secret = "hush"
]] };
		f.link = s:link(f.e, f.p);
		nodes.make_room(f.e, f.elsinore, { inbound_peers = { f.peer } });
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		local peer = f.p:component("conference.p.example", "hush");
		peer:send(nodes.join(f.peer, f.elsinore, "Romeo", "romeo@p.example/pc"));
		peer:expect { "message", has = "subject" };
		f.hamlet:expect { "presence", from = f.elsinore .. "/Romeo" };
		peer:send(st.message({ type = "chat"; id = "p1"; from = f.peer .. "/Romeo"; to = "hamlet@e.example/pc" }):text_tag("body", "psst")
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):up():tag("fmuc", { xmlns = nodes.xmlns; from = "romeo@p.example/pc" }):up());
		local got = f.hamlet:expect { "message", id = "p1", from = f.elsinore .. "/Romeo" };
		assert.is_nil(got:find(fmuc));
		assert.truthy(got:find(muc_user));
		peer:send(nodes.presence(f.peer, "hamlet@e.example/pc", "Hamlet", "hamlet@e.example/pc", { type = "unavailable"; role = "none" }));
		peer:send(st.message({ type = "chat"; id = "p2"; from = f.peer .. "/Other"; to = "hamlet@e.example/pc" }):text_tag("body", "plain"));
		f.hamlet:expect { "message", id = "p2", from = f.peer .. "/Other" }; -- no matter of a node
		f.hamlet:sync();
		f.hamlet:expect_none({ "presence" }, 0);
		write(f.hamlet, f.elsinore .. "/Romeo", "an answer");
		assert.equal("service-unavailable", condition(f.hamlet:expect { "message", type = "error", from = f.elsinore .. "/Romeo" }));
		f.link:settle();
		for _, stanza in ipairs(f.link:sent(f.e)) do assert.not_equal("chat", stanza.attr.type); end
	end));

	it("are answered by the other side, or with an error (G12 G13)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		ask(f.hamlet, f.elsinore .. "/Alice", "p1", ping);
		local asked = f.alice:expect { "iq", type = "get", from = f.rabbithole .. "/Hamlet" };
		f.alice:send(st.reply(asked));
		f.hamlet:expect { "iq", type = "result", id = "p1", from = f.elsinore .. "/Alice" };
		ask(f.hamlet, f.elsinore .. "/Alice", "d1", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
		assert.equal("service-unavailable", condition(f.hamlet:expect { "iq", type = "error", id = "d1" }));
		ask(f.hamlet, f.elsinore .. "/Alice", "v1", "<vCard xmlns='vcard-temp'/>");
		local answer = f.hamlet:expect { "iq", id = "v1", from = f.elsinore .. "/Alice" };
		assert.truthy(answer);
		for _, stanza in ipairs(f.link:sent(f.e)) do assert.is_nil(stanza.attr.to:find("alice@")); end

		f.w:eval(([[
			local room = prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q);
			return room:set_affiliation(true, "hamlet@e.example", "outcast");
		]]):format(f.rabbithole));
		write(f.hamlet, f.elsinore .. "/Alice", "are you there?");
		assert.equal("not-acceptable", condition(f.hamlet:expect { "message", type = "error", from = f.elsinore .. "/Alice" }));
		f.alice:sync();
		f.alice:expect_none({ "message" }, 0);
		f.link:cut();
		nodes.say(f.hamlet, f.elsinore, "cut", "m1");
		f.e:expect_log("is not federated with");
		write(f.hamlet, f.elsinore .. "/Alice", "and now?");
		assert.equal("remote-server-timeout", condition(f.hamlet:expect { "message", type = "error", from = f.elsinore .. "/Alice" }));
	end));
end);
end
