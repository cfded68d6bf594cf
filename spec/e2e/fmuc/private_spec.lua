-- SPDX-License-Identifier: MIT
-- mod_fmuc: private messages and IQ between occupants (G12, G13), on either side of the link and across.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local enter, meet, error_condition = federation.enter, federation.meet, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user, fmuc = federation.muc_user, federation.fmuc;

local mirror_host = "mirror.remote.example.com";

local function whisper(client, to, text, id)
	client:send(st.message({ type = "chat"; to = to; id = id or "id-" .. text }):text_tag("body", text));
end

local function ask(client, to, id, payload)
	client:send(("<iq type='get' id='%s' to='%s'>%s</iq>"):format(id, to, payload));
end

local ping = "<ping xmlns='urn:xmpp:ping'/>";
local vcard = "<vCard xmlns='vcard-temp'/>";
local function avatar(node)
	return ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='%s'/></pubsub>"):format(node);
end

-- Real JIDs are nobody's business (G21)
local function shows_no_jid(stanza)
	assert.is_nil(tostring(stanza):gsub("to='[^']*'", ""):find("@remote.example.com", 1, true));
	assert.is_nil(tostring(stanza):gsub("to='[^']*'", ""):find("@example.com", 1, true));
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc private stanzas, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("keeps messages between local users here, marked and without forged identity (G10 G12)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.kev:send(st.message({ type = "chat"; to = mirror_room .. "/Bob"; id = "p1" }):text_tag("body", "psst")
			:tag("occupant-id", { xmlns = "urn:xmpp:occupant-id:0"; id = "forged" }):up());
		local seen = f.bob:expect { "message", type = "chat", from = mirror_room .. "/Kev", id = "p1", body = "psst", has = muc_user };
		local ids = {};
		for child in seen:childtags("occupant-id", "urn:xmpp:occupant-id:0") do ids[#ids + 1] = child.attr.id; end
		assert.equal(1, #ids);
		assert.not_equal("forged", ids[1]);
		federation.say(f.kev, mirror_room, "aloud");
		assert.equal(ids[1], f.bob:expect({ "message", body = "aloud" }):find("{urn:xmpp:occupant-id:0}occupant-id@id"));
		f.link:forget();
		ask(f.kev, mirror_room .. "/Kev", "self", ping);
		f.kev:expect { "iq", type = "result", id = "self", from = mirror_room .. "/Kev" };
		ask(f.kev, mirror_room .. "/Bob", "bob", ping);
		local request = f.bob:expect { "iq", type = "get", from = mirror_room .. "/Kev" };
		f.bob:send(st.reply(request));
		f.kev:expect { "iq", type = "result", id = "bob", from = mirror_room .. "/Bob" };
		assert.same({}, f.link:sent(f.remote));
	end));

	it("carries messages across, from nick to nick, to all sessions, no real JID on the way (G12 G21)", bed.scenario(function (s)
		local f = meet(s, versions);
		local phone = f.remote:client("kev@remote.example.com/phone");
		enter(phone, "Kev");
		phone:expect { "message", has = "subject" };
		whisper(f.kev, mirror_room .. "/Curtis", "there");
		local seen = f.curtis:expect { "message", type = "chat", id = "id-there", from = master_room .. "/Kev", body = "there", has = muc_user };
		assert.truthy(seen:find("{urn:xmpp:occupant-id:0}occupant-id@id"));
		local crossed = f.link:expect(f.remote, { "message" });
		assert.equal(mirror_room .. "/Kev", crossed.attr.from);
		assert.equal(master_room .. "/Curtis", crossed.attr.to);
		assert.equal("chat", crossed.attr.type);
		assert.is_nil(crossed:find(fmuc));
		shows_no_jid(crossed);
		whisper(f.curtis, master_room .. "/Kev", "and back");
		for _, client in ipairs { f.kev, phone } do
			seen = client:expect { "message", type = "chat", id = "id-and back", from = mirror_room .. "/Curtis", body = "and back", has = muc_user };
			assert.truthy(seen:find("{urn:xmpp:occupant-id:0}occupant-id@id"));
		end
		crossed = f.link:expect(f.talk, { "message" });
		assert.equal(master_room .. "/Curtis", crossed.attr.from);
		assert.equal(mirror_room .. "/Kev", crossed.attr.to);
		shows_no_jid(crossed);
		f.bob:sync();
		f.bob:expect_none({ "message" }, 0);
		-- what the mirror can do is asked once
		whisper(f.curtis, master_room .. "/Kev", "again");
		f.kev:expect { "message", body = "again" };
		local queries = 0;
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			if stanza:find("{http://jabber.org/protocol/disco#info}query") and stanza.attr.type == "get" then queries = queries + 1; end
		end
		assert.equal(1, queries);
	end));

	it("returns an error once, to the session that wrote, with its id (G12)", bed.scenario(function (s)
		local f = meet(s, versions);
		local phone = f.remote:client("kev@remote.example.com/phone");
		enter(phone, "Kev");
		local function refuse(client, from, id, type, condition)
			client:send(st.error_reply(client:expect { "message", type = "chat", from = from, id = id }, type, condition));
		end
		-- also with the condition of an outage: it is the user's word (F2). For others of these mod_muc puts the user out.
		for _, refusal in ipairs { { "cancel", "conflict" }; { "wait", "resource-constraint" } } do
			whisper(phone, mirror_room .. "/Curtis", "well");
			refuse(f.curtis, master_room .. "/Kev", "id-well", table.unpack(refusal));
			assert.same(refusal, { phone:expect({ "message", type = "error", id = "id-well", from = mirror_room .. "/Curtis" }):get_error() });
			f.kev:sync();
			f.kev:expect_none({ "message", type = "error" }, 0);
			whisper(f.curtis, master_room .. "/Bob", "well?");
			refuse(f.bob, mirror_room .. "/Curtis", "id-well?", table.unpack(refusal));
			assert.same(refusal, { f.curtis:expect({ "message", type = "error", id = "id-well?", from = master_room .. "/Bob" }):get_error() });
		end
		f.kev:expect_none({ "message", type = "error" }, 0.2);
		-- nobody there
		whisper(f.kev, mirror_room .. "/Nobody", "hello");
		assert.equal("item-not-found", error_condition(f.kev:expect { "message", type = "error", id = "id-hello", from = mirror_room .. "/Nobody" }));
		-- of one who is not in the room
		whisper(f.remote:client("carol@remote.example.com/x"), mirror_room .. "/Curtis", "spam");
		f.curtis:sync();
		f.curtis:expect_none({ "message" }, 0.2);
	end));

	it("keeps no ids of any length (G12 G13)", bed.scenario(function (s)
		local f = meet(s, versions);
		local long = ("x"):rep(2000);
		whisper(f.kev, mirror_room .. "/Curtis", "out", long);
		f.curtis:send(st.error_reply(f.curtis:expect { "message", id = long, body = "out" }, "cancel", "conflict"));
		f.kev:expect { "message", type = "error", id = long, from = mirror_room .. "/Curtis" };
		whisper(f.curtis, master_room .. "/Kev", "in", long);
		f.kev:expect { "message", id = long, body = "in" };
		whisper(f.kev, mirror_room .. "/Curtis", "short", ("x"):rep(256));
		f.curtis:expect { "message", body = "short" };
		local kept = f.remote:eval [[
			local lengths = {};
			for key in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().private.records) do
				lengths[#lengths + 1] = #key:match("[^%z]*$");
			end
			return lengths;
		]];
		assert.same({ 256 }, kept);
		for client, target in pairs { [f.kev] = mirror_room .. "/Curtis"; [f.curtis] = master_room .. "/Kev" } do
			ask(client, target, long, ping);
			assert.equal("service-unavailable", error_condition(client:expect { "iq", type = "error", id = long, from = target }));
		end
	end));

	it("tells who is not in the room (G11)", bed.scenario(function (s)
		local f = meet(s, versions);
		local carol = f.remote:client("carol@remote.example.com/x");
		local function refused(id)
			ask(carol, mirror_room .. "/Carol", id, ping);
			assert.equal("not-acceptable", error_condition(carol:expect { "iq", type = "error", id = id, from = mirror_room .. "/Carol" }));
			whisper(carol, mirror_room .. "/Curtis", id);
			assert.equal("not-acceptable", error_condition(carol:expect { "message", type = "error", id = "id-" .. id }));
			federation.say(carol, mirror_room, id, "say-" .. id);
			assert.equal("not-acceptable", error_condition(carol:expect { "message", type = "error", id = "say-" .. id, from = mirror_room }));
		end
		refused("never");
		enter(carol, "Carol");
		f.link:forget();
		ask(carol, mirror_room .. "/Carol", "here", ping);
		carol:expect { "iq", type = "result", id = "here", from = mirror_room .. "/Carol" };
		assert.same({}, f.link:sent(f.remote));
		federation.configure(f, [[room:set_role(true, room.jid .. "/Carol", nil)]]);
		carol:expect { "presence", type = "unavailable" };
		refused("kicked");
		for _, nick in ipairs { "Kev", "Bob" } do federation.configure(f, ([[room:set_role(true, room.jid .. "/%s", nil)]]):format(nick)); end
		f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		refused("nobody"); -- the room is forgotten
	end));

	it("carries some requests, each answered once, and refuses the others (G13)", bed.scenario(function (s)
		local f = meet(s, versions, {
			master = "VirtualHost \"example.com\"\n\tmodules_enabled = { \"vcard\", \"pep\" }\n" .. federation.master_config:gsub("^[^\n]*\n", "");
			mirror = "VirtualHost \"remote.example.com\"\n\tmodules_enabled = { \"vcard\", \"pep\" }\n"
				.. federation.mirror_config:gsub("^%s*[^\n]*\n", "");
		});
		local function cross(from, to, target, seen_from, own_address)
			ask(from, target, "p1", ping);
			local request = to:expect { "iq", type = "get", from = seen_from, has = "{urn:xmpp:ping}ping" };
			shows_no_jid(request);
			to:send(st.reply(request));
			from:expect { "iq", type = "result", id = "p1", from = target, to = own_address };
			to:send(([[<iq type='set' id='set'><vCard xmlns='vcard-temp'><FN>Somebody</FN></vCard></iq>]]));
			to:expect { "iq", id = "set", type = "result" };
			ask(from, target, "v1", vcard);
			assert.equal("Somebody", from:expect({ "iq", type = "result", id = "v1", from = target }):find("{vcard-temp}vCard/FN#"));
			for _, node in ipairs { "urn:xmpp:avatar:metadata", "urn:xmpp:avatar:data" } do
				ask(from, target, node, avatar(node));
				from:expect { "iq", id = node, from = target }; -- PEP says what it has
			end
			for id, payload in ipairs { "<query xmlns='jabber:iq:version'/>", "<query xmlns='jabber:iq:last'/>", avatar("urn:xmpp:bookmarks:1") } do
				ask(from, target, "no" .. id, payload);
				assert.equal("service-unavailable", error_condition(from:expect { "iq", type = "error", id = "no" .. id, from = target }));
			end
		end
		cross(f.kev, f.curtis, mirror_room .. "/Curtis", master_room .. "/Kev", "kev@remote.example.com/Swift");
		cross(f.curtis, f.kev, master_room .. "/Kev", mirror_room .. "/Curtis", "curtis@example.com/Swift");
		local ids = {};
		for _, node in ipairs { f.remote, f.talk } do
			for _, stanza in ipairs(f.link:sent(node)) do
				assert.is_nil(stanza:find(fmuc));
				shows_no_jid(stanza);
				if stanza.name == "iq" and stanza.attr.type == "get" then
					assert.is_nil(ids[stanza.attr.id]);
					ids[stanza.attr.id] = true;
				end
			end
		end
		assert.is_nil(ids.p1 or ids.v1); -- two users may choose the same
	end));

	it("goes on between users of two mirrors (G12 G13)", bed.scenario(function (s)
		local f = meet(s, versions);
		local third = s:node { version = versions.mirror; config = "VirtualHost \"third.example\"\nComponent \"mirror.third.example\" \"fmuc\"" };
		local tom, mirror = third:client("tom@third.example/x"), "jabberchat\\40talk.example.com@mirror.third.example";
		enter(tom, "Tom", mirror);
		f.kev:expect { "presence", from = mirror_room .. "/Tom" };
		whisper(f.kev, mirror_room .. "/Tom", "far");
		local seen = tom:expect { "message", type = "chat", from = mirror .. "/Kev", body = "far", has = muc_user };
		tom:send(st.error_reply(seen, "cancel", "conflict"));
		assert.equal("conflict", error_condition(f.kev:expect { "message", type = "error", id = "id-far", from = mirror_room .. "/Tom" }));
		ask(tom, mirror .. "/Kev", "p", ping);
		f.kev:send(st.reply(f.kev:expect { "iq", type = "get", from = mirror_room .. "/Tom" }));
		tom:expect { "iq", type = "result", id = "p", from = mirror .. "/Kev" };
	end));

	it("answers at the deadline when nobody else does, also across a reload (G13)", bed.scenario(function (s)
		local f = meet(s, versions);
		for _, way in ipairs {
			{ from = f.kev, to = f.curtis, target = mirror_room .. "/Curtis", node = f.remote, host = mirror_host };
			{ from = f.curtis, to = f.kev, target = master_room .. "/Kev", node = f.talk, host = "talk.example.com" };
		} do
			ask(way.from, way.target, "slow", ping);
			local request = way.to:expect { "iq", type = "get" };
			federation.expire(way.node, way.host, "requests");
			local err = way.from:expect { "iq", type = "error", id = "slow", from = way.target };
			assert.equal("remote-server-timeout", error_condition(err));
			way.to:send(st.reply(request)); -- too late
			way.to:sync();
			way.from:expect_none({ "iq" }, 0.3);
		end
	end));

	it("sends nothing private to a service that has not announced it (G12 G13)", bed.scenario(function (s)
		local f = federation.new(s, versions, {
			master = federation.master_config .. "Component \"fake.example.com\"\n\tcomponent_secret = \"hush\"\n";
			mirror = federation.believing_config .. "Component \"plain.remote.example.com\"\n\tcomponent_secret = \"hush\"\n";
		});
		local fake, plain = f.talk:component("fake.example.com", "hush"), f.remote:component("plain.remote.example.com", "hush");
		local room, mirror = "room@fake.example.com", "room\\40fake.example.com@mirror.remote.example.com";
		f.kev:send(federation.join(mirror, "Kev"));
		fake:send(st.reply(fake:expect { "iq", type = "get" }):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }));
		local function presence(nick, id)
			fake:send(st.presence({ from = room .. "/" .. nick; to = mirror; id = id }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("item", { affiliation = "none"; role = "participant" }):up():up());
		end
		presence("Alice");
		presence("Kev", fake:expect({ "presence" }).attr.id);
		fake:send(st.message({ from = room; to = mirror; type = "groupchat" }):text_tag("subject", ""));
		f.kev:expect { "message", has = "subject" };
		whisper(f.kev, mirror .. "/Alice", "no");
		assert.equal("service-unavailable", error_condition(f.kev:expect { "message", type = "error", id = "id-no", from = mirror .. "/Alice" }));
		ask(f.kev, mirror .. "/Alice", "no", ping);
		assert.equal("service-unavailable", error_condition(f.kev:expect { "iq", type = "error", id = "no", from = mirror .. "/Alice" }));
		fake:expect_none({}, 0.2);

		local link = "jabberchat\\40talk.example.com@plain.remote.example.com";
		plain:send(st.presence({ from = link; to = master_room .. "/Tim" })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "tim@remote.example.com/x" }):up());
		f.curtis:expect { "presence", from = master_room .. "/Tim" };
		whisper(f.curtis, master_room .. "/Tim", "no");
		plain:send(st.error_reply(plain:expect { "iq", type = "get", to = "plain.remote.example.com" }, "cancel", "service-unavailable"));
		assert.equal("service-unavailable", error_condition(f.curtis:expect { "message", type = "error", id = "id-no", from = master_room .. "/Tim" }));
		plain:sync();
		plain:expect_none({ "message", type = "chat" }, 0);
	end));

	it("lets an error for somebody who is not there go, without a traceback (G12)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for client, room in pairs { [f.kev] = mirror_room; [f.curtis] = master_room } do
			client:send(st.message({ type = "error"; id = "stray"; to = room .. "/Nobody" }):tag("error", { type = "wait" })
				:tag("resource-constraint", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
			client:sync();
			client:expect_none({ "message", type = "error" }, 0);
		end
	end));
end);
end
