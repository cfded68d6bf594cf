-- SPDX-License-Identifier: MIT
-- Who may mirror what for whom: mod_fmuc against services that lie, and its configuration.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local join, say, enter, error_condition = federation.join, federation.say, federation.enter, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_fmuc = "http://isode.com/protocol/fmuc";

-- a service on the remote server that says what it likes
local liar_config = federation.mirror_config .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]];
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";

local function claim(user, nick)
	return st.presence({ from = lair; to = master_room .. "/" .. nick }):tag("fmuc", { xmlns = xmlns_fmuc; from = user }):up();
end

for version in bed.versions() do
describe("fmuc trust, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };

	it("lets a service speak for its own host and its parent domain, for nobody else (G19 M28)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		for user, nick in pairs {
			["romeo@montague.example/orchard"] = "Romeo"; -- a third server's
			["curtis@example.com/Swift"] = "Curtis2"; -- the master's own
			["kev@evil-remote.example.com/x"] = "Kev1"; -- merely ends alike
			["kev@sub.remote.example.com/x"] = "Kev2";
		} do
			liar:send(claim(user, nick));
			local refusal = liar:expect { "presence", type = "error", from = master_room, to = lair .. "/" .. nick };
			assert.equal("forbidden", error_condition(refusal));
		end
		for _, user in ipairs { "kev@remote.example.com", "@@", "" } do
			liar:send(claim(user, "Kev"));
			assert.equal("jid-malformed", error_condition(liar:expect { "presence", type = "error", to = lair .. "/Kev" }));
		end
		f.curtis:sync();
		f.curtis:expect_none({ "presence" }, 0);
		for user, nick in pairs { ["kev@remote.example.com/x"] = "Kev"; ["bot@liar.remote.example.com/x"] = "Bot" } do
			liar:send(claim(user, nick));
			f.curtis:expect { "presence", from = master_room .. "/" .. nick };
		end
	end));

	it("takes later stanzas only for nicks the service brought (G19 M17)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		liar:send(claim("imp@liar.remote.example.com/x", "Imp"));
		f.curtis:expect { "presence", from = master_room .. "/Imp" };
		f.curtis:sync();
		f.curtis:drain();

		liar:send(st.message({ from = lair .. "/Kev"; to = master_room; type = "groupchat"; id = "1" }):text_tag("body", "I am Kev"));
		assert.equal("not-acceptable", error_condition(liar:expect { "message", type = "error", id = "1", to = lair .. "/Kev" }));
		liar:send(st.message({ from = lair; to = master_room; type = "groupchat"; id = "2" }):text_tag("body", "I am nobody"));
		assert.equal("not-acceptable", error_condition(liar:expect { "message", type = "error", id = "2" }));
		liar:send(st.presence({ from = lair; to = master_room .. "/Kev"; type = "unavailable" }));
		liar:send(st.presence({ from = lair; to = master_room .. "/Curtis" }):text_tag("show", "dnd"));
		assert.equal("item-not-found", error_condition(liar:expect { "presence", type = "error", to = lair .. "/Curtis" }));
		liar:send(claim("imp2@liar.remote.example.com/x", "Kev"));
		assert.equal("conflict", error_condition(liar:expect { "presence", type = "error", to = lair .. "/Kev" }));
		-- two occupants for one session, which would be a change of nick
		liar:send(claim("imp@liar.remote.example.com/x", "Imp2"));
		assert.equal("not-acceptable", error_condition(liar:expect { "presence", type = "error", to = lair .. "/Imp2" }));
		f.curtis:sync();
		f.curtis:expect_none({}, 0);
		say(f.kev, mirror_room, "I am");
		f.curtis:expect { "message", body = "I am", from = master_room .. "/Kev" };
	end));

	it("does not let a service speak in the mirrored room in the master's place (M19 M20)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config });
		enter(f.kev, "Kev");
		f.kev:sync();
		f.kev:drain();
		local liar = f.remote:component("liar.remote.example.com", "hush");
		liar:send(st.message({ from = lair .. "/Curtis"; to = mirror_room; type = "groupchat"; id = "1" }):text_tag("body", "forged"));
		assert.equal("not-acceptable", error_condition(liar:expect { "message", type = "error", id = "1" }));
		liar:send(st.presence({ from = lair .. "/Ghost"; to = mirror_room }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("item", { affiliation = "none"; role = "participant" }):up():up());
		liar:send(st.presence({ from = lair .. "/Kev"; to = mirror_room; type = "unavailable" }));
		liar:send(st.presence({ from = lair .. "/Kev"; to = mirror_room .. "/Kev"; type = "error" })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
		f.kev:sync();
		f.kev:expect_none({}, 0.2);
	end));

	it("serves the users and masters it is told to, and no others by default (M28)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		f.curtis:send(join(mirror_room, "Curtis"));
		assert.equal("forbidden", error_condition(f.curtis:expect { "presence", type = "error", from = mirror_room .. "/Curtis" }));
		local at_home = "room\\40remote.example.com@mirror.remote.example.com";
		f.kev:send(join(at_home, "Kev"));
		assert.equal("not-allowed", error_condition(f.kev:expect { "presence", type = "error", from = at_home .. "/Kev" }));
		f.remote:reload_config(federation.mirror_config .. [[
	fmuc_allow_users = { "bob@remote.example.com" }
	fmuc_allow_masters = { "talk.example.com" }
]]);
		f.remote:reload("fmuc", "mirror.remote.example.com");
		f.kev:send(join(mirror_room, "Kev"));
		assert.equal("forbidden", error_condition(f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" }));
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		local elsewhere = "room\\40rooms.example.net@mirror.remote.example.com";
		bob:send(join(elsewhere, "Bob"));
		assert.equal("not-allowed", error_condition(bob:expect { "presence", type = "error", from = elsewhere .. "/Bob" }));
	end));

	it("trusts, admits and refuses peers by configuration (G19 M28)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config; master = federation.master_config .. [[
	fmuc_trust = { ["Liar.Remote.Example.com"] = { "Montague.example", "example.com" } }
	fmuc_allow_peers = { "liar.remote.example.com" }
]] });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		liar:send(claim("romeo@montague.example/orchard", "Romeo"));
		f.curtis:expect { "presence", from = master_room .. "/Romeo" };
		liar:send(claim("curtis@example.com/phone", "Curtis2")); -- of this server: never, whatever is configured
		assert.equal("forbidden", error_condition(liar:expect { "presence", type = "error", to = lair .. "/Curtis2" }));
		f.kev:send(join(mirror_room, "Kev"));
		assert.equal("forbidden", error_condition(f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" }));
		f.talk:reload_config(federation.master_config .. "\tfmuc_deny_peers = { \"mirror.remote.example.com\" }");
		f.talk:reload("fmuc", "talk.example.com");
		f.kev:send(join(mirror_room, "Kev"));
		assert.equal("forbidden", error_condition(f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" }));
	end));

	it("names the option that is wrong (G19)", bed.scenario(function (s)
		local node = s:node { version = version; config = [[
			VirtualHost "a.example"
				modules_enabled = { "fmuc" }
			Component "talk1.a.example" "muc"
				modules_enabled = { "fmuc" }
				fmuc_trust = "b.example"
			Component "talk2.a.example" "muc"
				modules_enabled = { "fmuc" }
				fmuc_allow_peers = { "not a domain" }
			Component "mirror1.a.example" "fmuc"
				fmuc_join_timeout = "soon"
			Component "mirror2.a.example" "fmuc"
				fmuc_nomirror = 1
		]] };
		for _, line in ipairs {
			"mod_fmuc works as a component of its own";
			"Option 'fmuc_trust': expected a table .*, got b.example %(string%)";
			"Option 'fmuc_allow_peers': expected a domain name, got not a domain";
			"Option 'fmuc_join_timeout': expected a number of at least 1, got soon %(string%)";
			"Option 'fmuc_nomirror': expected true, false or a list of room JIDs, got 1 %(number%)";
		} do
			node:expect_log("Error initializing module 'fmuc' on .*" .. line);
		end
		node:allow_log("Error initializing module 'fmuc'");
		node:allow_log("Failed to load module fmuc");
	end));

	it("does not show a mirror who kicked somebody by real JID (M13)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		federation.configure(f, [[room:set_affiliation(true, "bob@remote.example.com", "admin")]]); -- may know, others at the mirror may not
		local alice = f.talk:client("alice@example.com/desk");
		alice:send(join(master_room, "Alice"));
		bob:expect { "presence", from = mirror_room .. "/Alice" };
		f.curtis:send(("<iq type='set' id='k' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='Alice' role='none'/></query></iq>")
			:format(master_room));
		local kicked = bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
		assert.equal("Curtis", kicked:find(federation.muc_user .. "/item/actor@nick"));
		assert.is_nil(kicked:find(federation.muc_user .. "/item/actor@jid"));
	end));

	it("has no rooms but mirrored ones (M28)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		for _, client in ipairs { f.kev, f.curtis } do
			client:send(join("mirror.remote.example.com", "Kev"));
			assert.equal("not-allowed", error_condition(client:expect { "presence", type = "error" }));
		end
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("shows its archive to occupants only (M5 M28)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }" });
		say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		enter(f.kev, "Kev");
		f.kev:expect { "message", body = "before" }; -- what the master sent is not in the archive
		say(f.curtis, master_room, "after");
		f.kev:expect { "message", body = "after", has = "{urn:xmpp:sid:0}stanza-id" };
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		for _, client in ipairs { f.curtis, bob } do
			client:send(("<iq type='set' id='q' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(mirror_room));
			assert.equal("forbidden", error_condition(client:expect { "iq", id = "q", type = "error" }));
		end
		enter(bob, "Bob");
		bob:expect { "message", body = "before" };
		bob:expect { "message", body = "after" };
		bob:send(("<iq type='set' id='q2' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(mirror_room));
		bob:expect { "iq", id = "q2", type = "result" };
		local results = 0;
		for _, stanza in ipairs(bob:drain()) do
			if stanza:find("{urn:xmpp:mam:2}result") then results = results + 1; end
		end
		assert.equal(1, results); -- each message once
	end));

	it("sends no errors between occupants across (M2)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.kev:sync();
		f.link:forget();
		f.kev:send(("<message type='error' to='%s/Curtis'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
			:format(mirror_room));
		f.link:expect_none(f.remote, {}, 0.3);
	end));

	it("lets nobody stamp messages in the mirrored room's name (M20)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:send(st.message({ type = "groupchat"; to = master_room; id = "forged" }):text_tag("body", "as ever")
			:tag("delay", { xmlns = "urn:xmpp:delay"; from = mirror_room; stamp = "2001-01-01T00:00:00Z" }):up()
			:tag("x", { xmlns = "jabber:x:delay"; from = mirror_room; stamp = "20010101T00:00:00" }):up()
			:tag("delay", { xmlns = "urn:xmpp:delay"; from = "curtis@example.com"; stamp = "2001-01-01T00:00:00Z" }):up());
		local seen = f.kev:expect { "message", id = "forged" };
		assert.equal("curtis@example.com", seen:find("{urn:xmpp:delay}delay@from"));
		assert.is_nil(seen:find("{jabber:x:delay}x"));
	end));
end);
end
