-- SPDX-License-Identifier: MIT
-- mod_fmuc against services and clients that lie: what they may not do, what nobody gets to see of it, and what it may cost at most.

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local join, enter, error_condition = federation.join, federation.enter, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_fmuc = "http://isode.com/protocol/fmuc";

-- a service on the remote server that says what it likes
local liar_config = federation.mirror_config .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]];
local believing_liar_config = federation.believing_config .. "Component \"liar.remote.example.com\"\n\tcomponent_secret = \"hush\"\n";
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";

local function claim(user, nick, from)
	return st.presence({ from = from or lair; to = master_room .. "/" .. nick }):tag("fmuc", { xmlns = xmlns_fmuc; from = user }):up();
end

local function expect_refusal(liar, nick, condition, from)
	assert.equal(condition, error_condition(liar:expect { "presence", type = "error", to = (from or lair) .. "/" .. nick }));
end

local function refuses(client, stanza, condition)
	client:send(stanza);
	assert.equal(condition, error_condition(client:expect { "presence", type = "error" }));
end

-- the stanza with what only services may say to each other
local function with_fmuc(stanza)
	return stanza:tag("fmuc", { xmlns = xmlns_fmuc; from = "kev@remote.example.com/Swift"; sent = "0" }):up()
		:tag("nomirror", { xmlns = xmlns_fmuc }):up();
end

local function is_marked(stanza)
	return tostring(stanza):find(xmlns_fmuc, 1, true) ~= nil;
end

local function expect_unmarked(client, pattern)
	local stanza = client:expect(pattern);
	assert.is_false(is_marked(stanza), tostring(stanza));
end

-- how many lines of the node's log that are not for debugging have that text
local function count_lines(node, text)
	local count = 0;
	for line in io.lines(node.dir .. "/prosody.log") do
		if line:find(text, 1, true) and not line:find("\tdebug\t", 1, true) then count = count + 1; end
	end
	return count;
end

for version in bed.versions() do
describe("fmuc security, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };

	it("takes a top-level domain for nobody's, each name for itself in any spelling, and only users for users (G19 G20)", bed.scenario(function (s)
		local config = [[
VirtualHost "remote.example.com"
Component "liar.lit"
	component_secret = "hush"
Component "mirror.xn--bcher-kva.example"
	component_secret = "hush"
Component "sub.denied.example"
	component_secret = "hush"
]];
		local f = federation.new(s, versions, { mirror = config; master = federation.master_config .. [[
	fmuc_deny_peers = { "mirror.bücher.example", "denied.example" }
	fmuc_trust = { ["bot.example.com"] = { "third.example" } }
Component "bot.example.com"
	component_secret = "hush"
]] });
		local bot, bots = f.talk:component("bot.example.com", "hush"), "jabberchat\\40talk.example.com@bot.example.com"; -- of this server
		for _, user in ipairs { "x@bot.example.com/x", "curtis@example.com/x", "x@talk.example.com/x" } do
			bot:send(claim(user, "Bot", bots));
			expect_refusal(bot, "Bot", "forbidden", bots);
		end
		local lits = "jabberchat\\40talk.example.com@liar.lit";
		local liar = f.remote:component("liar.lit", "hush");
		liar:send(claim("romeo@lit/x", "Romeo", lits));
		expect_refusal(liar, "Romeo", "forbidden", lits);
		for _, user in ipairs { "liar.lit/x", "kev@liar.lit", "@liar.lit/x", "kev@/x", "kev@liar.lit/" } do
			liar:send(claim(user, "Romeo", lits));
			expect_refusal(liar, "Romeo", "jid-malformed", lits);
		end
		liar:send(claim("CURTIS@Example.COM/x", "Curtis2", lits));
		expect_refusal(liar, "Curtis2", "forbidden", lits);
		for _, host in ipairs { "mirror.xn--bcher-kva.example", "sub.denied.example" } do
			local peer, room = f.remote:component(host, "hush"), "jabberchat\\40talk.example.com@" .. host;
			peer:send(claim("bot@" .. host .. "/x", "Bot", room));
			expect_refusal(peer, "Bot", "forbidden", room);
		end
		f.curtis:sync();
		f.curtis:expect_none({ "presence" }, 0);
	end));

	it("takes for a mirror only what has the room's name (M1 G24)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		for _, from in ipairs {
			"kev@liar.remote.example.com"; -- somebody's bare JID
			"liar.remote.example.com";
			"other\\40talk.example.com@liar.remote.example.com";
			"jabberchat\\40talk.example.com\\40liar.remote.example.com@liar.remote.example.com";
		} do
			liar:send(claim("kev@remote.example.com/x", "Kev", from));
			expect_refusal(liar, "Kev", "not-allowed", from);
		end
		f.curtis:sync();
		f.curtis:expect_none({ "presence" }, 0);
	end));

	it("writes one line about a service that is refused again and again, and counts (G20)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config; global = 'statistics = "internal"; statistics_interval = "manual"' });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		for i = 1, 30 do
			liar:send(claim("curtis@example.com/x" .. i, "Nick" .. i));
			expect_refusal(liar, "Nick" .. i, "forbidden");
		end
		assert.equal(1, count_lines(f.talk, "Refused"));
		assert.equal(30, f.talk:eval([[
			local family = require "core.statsmanager".get_metric_registry():get_metric_families()["prosody_mod_fmuc/joins_refused"];
			for labels, metric in family:iter_metrics() do
				for suffix, _, value in metric:iter_samples() do
					if labels[2] == "forbidden" and suffix == "_total" then return value; end
				end
			end
		]]));
	end));

	it("writes few lines about a peer that is there and not there again and again (G20)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing_liar_config);
		fake_master.admit(f, f.kev, "Kev");
		for _ = 1, 15 do
			f.fake:send(st.presence({ type = "error"; from = fake_master.room; to = fake_master.mirror .. "/Kev" })
				:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
			local request = f.fake:expect { "presence", type = false; to = fake_master.room .. "/Kev" };
			f.fake:send(fake_master.presence("Kev", request.attr.id));
			f.fake:send(fake_master.subject());
		end
		local liar = f.remote:component("liar.remote.example.com", "hush");
		for _ = 1, 15 do
			liar:send(claim("imp@liar.remote.example.com/x", "Imp"));
			liar:expect { "presence", type = false; from = master_room .. "/Imp" };
			liar:send(st.presence({ type = "error"; from = lair; to = master_room .. "/Curtis" })
				:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Imp" };
		end
		assert.equal(10, count_lines(f.remote, "may be cut off"));
		assert.equal(10, count_lines(f.talk, "lost the mirror"));
	end));

	it("lets no <fmuc> or <nomirror> of a direct user through (G21 M22)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local eve = f.talk:client("eve@example.com/x");
		eve:send(with_fmuc(join(master_room, "Eve")));
		for _, client in ipairs { f.curtis, eve } do expect_unmarked(client, { "presence", from = master_room .. "/Eve" }); end
		expect_unmarked(f.kev, { "presence", from = mirror_room .. "/Eve" });
		for show, to in pairs { away = master_room .. "/Eve"; xa = master_room } do
			eve:send(with_fmuc(st.presence({ to = to }):text_tag("show", show)));
			expect_unmarked(f.curtis, { "presence", from = master_room .. "/Eve" });
			expect_unmarked(f.kev, { "presence", from = mirror_room .. "/Eve" });
		end
		eve:send(with_fmuc(st.message({ to = master_room; type = "groupchat"; id = "g" }):text_tag("body", "hi")));
		for _, client in ipairs { f.curtis, f.kev, f.bob } do expect_unmarked(client, { "message", id = "g" }); end
		eve:send(with_fmuc(st.message({ to = master_room .. "/Curtis"; type = "chat"; id = "c" }):text_tag("body", "psst")));
		expect_unmarked(f.curtis, { "message", id = "c" });
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			if stanza.name == "message" or stanza.attr.from == master_room .. "/Eve" then assert.is_false(is_marked(stanza), tostring(stanza)); end
		end
		eve:send(with_fmuc(st.presence({ to = master_room .. "/Eve"; type = "unavailable" })));
		expect_unmarked(f.curtis, { "presence", type = "unavailable" });
	end));

	it("lets no <fmuc> or <nomirror> of a mirror or its users through (G21)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = liar_config });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		liar:send(claim("imp@liar.remote.example.com/x", "Imp"));
		expect_unmarked(f.curtis, { "presence", from = master_room .. "/Imp" });
		liar:send(with_fmuc(st.message({ from = lair .. "/Imp"; to = master_room; type = "groupchat"; id = "g" }):text_tag("body", "hi")));
		liar:send(st.presence({ from = lair; to = master_room .. "/Imp" }):tag("fmuc", { xmlns = xmlns_fmuc }):up():text_tag("show", "away"));
		for _, client in ipairs { f.curtis, f.kev } do
			expect_unmarked(client, { "message", id = "g" });
			expect_unmarked(client, { "presence", has = "show" });
		end
		f.kev:send(with_fmuc(st.message({ to = mirror_room; type = "groupchat"; id = "k" }):text_tag("body", "hi")));
		f.kev:send(with_fmuc(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "dnd")));
		f.kev:send(with_fmuc(st.message({ to = mirror_room .. "/Bob"; type = "chat"; id = "p" }):text_tag("body", "psst")));
		for _, client in ipairs { f.curtis, f.kev, f.bob } do
			expect_unmarked(client, { "message", id = "k" });
			expect_unmarked(client, { "presence", has = "show" });
		end
		expect_unmarked(f.bob, { "message", id = "p" });
	end));

	it("lets no <fmuc> of a master through to clients (G21 N11)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev");
		f.fake:send(fake_master.presence("Alice"):tag("nomirror", { xmlns = xmlns_fmuc }):up());
		f.fake:send(with_fmuc(fake_master.presence("Kev"):text_tag("show", "away")));
		f.fake:send(with_fmuc(fake_master.message("Alice", "hi", "g")));
		f.fake:send(with_fmuc(fake_master.presence(nil):tag("x", { xmlns = "vcard-temp:x:update" }):text_tag("photo", "00"):up()));
		f.fake:send(with_fmuc(st.message({ from = fake_master.room .. "/Alice"; to = fake_master.mirror .. "/Kev"; type = "chat"; id = "c" })
			:text_tag("body", "psst")));
		expect_unmarked(f.kev, { "presence", from = fake_master.mirror .. "/Alice" });
		expect_unmarked(f.kev, { "presence", from = fake_master.mirror .. "/Kev"; has = "show" });
		expect_unmarked(f.kev, { "message", id = "g" });
		expect_unmarked(f.kev, { "presence", has = "{vcard-temp:x:update}x" });
		expect_unmarked(f.kev, { "message", id = "c" });
	end));

	it("shows of a master's presence one item, with values that exist, and no code that is another's (G14 G21)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev");
		f.fake:send(fake_master.presence("Alice", nil, nil, { "110", "201" }, { affiliation = "emperor"; role = "none" })
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("status", { code = "110" }):up()
				:tag("item", { affiliation = "owner"; role = "moderator"; jid = "kev@remote.example.com" }):up():up());
		local seen = f.kev:expect { "presence", from = fake_master.mirror .. "/Alice" };
		local elements = 0;
		for x in seen:childtags("x", "http://jabber.org/protocol/muc#user") do
			elements = elements + 1;
			assert.is_nil(x:get_child("status"));
			assert.same({ "none", "participant" }, { x:find("item@affiliation"), x:find("item@role") });
		end
		assert.equal(1, elements);
	end));

	it("takes from a mirror no more users than it may bring, and the next when one leaves (G19)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = liar_config; master = federation.master_config .. "\tfmuc_max_occupants = 3\n" });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		local function bring(i) liar:send(claim("u" .. i .. "@liar.remote.example.com/x", "U" .. i)); end
		for i = 1, 3 do bring(i); end
		for i = 4, 20 do
			bring(i);
			expect_refusal(liar, "U" .. i, "service-unavailable");
		end
		bring(2); -- again: it knows nothing any more
		liar:expect { "presence", type = false; from = master_room .. "/Curtis" };
		liar:send(st.presence({ from = lair; to = master_room .. "/U1"; type = "unavailable" }));
		bring(4);
		liar:expect { "presence", type = false; from = master_room .. "/U4" };
		bring(1);
		expect_refusal(liar, "U1", "service-unavailable");
		assert.equal(1, count_lines(f.talk, "Refused"));
		enter(f.kev, "Kev"); -- others have their own
	end));

	it("shows of a lying master's occupants so many and so much (G19)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.believing_config .. "\tfmuc_max_occupants = 20\n");
		fake_master.admit(f, f.kev, "Kev");
		local long = ("x"):rep(20000);
		f.fake:send(fake_master.presence("Long"):text_tag("status", long));
		assert.is_nil(f.kev:expect({ "presence", from = fake_master.mirror .. "/Long" }):get_child("status"));
		f.fake:send(fake_master.presence("Longer", nil, nil, nil, { affiliation = "none"; role = "participant"; nick = long }));
		for i = 1, 100 do f.fake:send(fake_master.presence("N" .. i)); end
		f.fake:send(fake_master.message(nil, "end", "end"));
		f.kev:expect { "message", id = "end" };
		local shown = 0;
		for _, stanza in ipairs(f.kev:drain()) do
			assert.not_equal(fake_master.mirror .. "/Longer", stanza.attr.from);
			if stanza.name == "presence" then shown = shown + 1; end
		end
		assert.equal(18, shown); -- besides Kev and Long
		f.fake:send(fake_master.presence("N1", nil, "unavailable"));
		f.fake:send(fake_master.presence("Late"));
		f.kev:expect { "presence", type = false; from = fake_master.mirror .. "/Late" };
		f.remote:allow_log("has more than 20 occupants");
		f.remote:allow_log("too long to be kept");
		assert.equal(1, count_lines(f.remote, "has more than 20 occupants"));
	end));

	it("keeps so many bytes of messages for somebody who may miss them (G3 G19)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		local function bytes_kept(node, host, what)
			return node:eval(([[
				local seen = {};
				local function count(value)
					if type(value) == "string" then return #value; end
					if type(value) ~= "table" or seen[value] then return 0; end
					seen[value] = true;
					local sum = 0;
					for k, v in next, value do sum = sum + count(k) + count(v); end
					return sum;
				end
				return count(prosody.hosts[%q].modules.fmuc.module.save()[%q]);
			]]):format(host, what));
		end
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		local long = ("x"):rep(100000);
		for i = 1, 60 do
			federation.say(f.curtis, master_room, long, "long" .. i);
			if i % 10 == 0 then f.kev:expect({ "message", id = "long" .. i }, 20); end
		end
		local kept = bytes_kept(f.talk, "talk.example.com", "journals");
		assert.is_true(kept > 3000000 and kept < 5000000, kept);
		assert.is_true(bytes_kept(f.remote, "mirror.remote.example.com", "links") < 200000);
		-- a master that does so while it cannot be reached
		fake_master.admit(f, f.kev, "Kev");
		fake_master.lose(f);
		for i = 1, 60 do f.fake:send(fake_master.message("Alice", long, "long" .. i)); end
		f.fake:send(st.iq({ type = "get"; id = "last"; from = "fake.example.com"; to = "mirror.remote.example.com" })
			:tag("ping", { xmlns = "urn:xmpp:ping" }));
		f.fake:expect({ "iq", id = "last" }, 20);
		kept = bytes_kept(f.remote, "mirror.remote.example.com", "links");
		assert.is_true(kept > 3000000 and kept < 5000000, kept);
	end));

	it("lets one user not take all places of those who wait for a server (G20)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.mirror_config); -- the room's server says nothing
		for i = 1, 101 do f.kev:send(join(("r%d\\40fake.example.com@mirror.remote.example.com"):format(i), "Kev")); end
		assert.equal("resource-constraint", error_condition(f.kev:expect { "presence", type = "error" }));
		f.kev:expect_none({ "presence" }, 0);
		local bob = f.remote:client("bob@remote.example.com/x");
		bob:send(join(fake_master.mirror, "Bob"));
		bob:sync();
		bob:expect_none({ "presence" }, 0);
		for i = 1, 301 do
			bob:send(st.iq({ type = "get"; id = "q"; to = ("s%d\\40fake.example.com@mirror.remote.example.com"):format(i) })
				:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }));
		end
		assert.equal("resource-constraint", error_condition(bob:expect { "iq", type = "error"; id = "q" }));
		f.kev:send(st.iq({ type = "get"; id = "q"; to = "t\\40fake.example.com@mirror.remote.example.com" })
			:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }));
		f.fake:expect { "iq", to = "t@fake.example.com" };
	end));

	it("has no mirrors of mirrors (G18)", bed.scenario(function (s)
		local listed = federation.mirror_config .. "\tfmuc_allow_masters = { \"mirror.third.example\", \"talk.example.com\" }\n";
		local f = federation.new(s, versions, { mirror = listed });
		local third = s:node { version = version; config = [[
			VirtualHost "third.example"
			Component "mirror.third.example" "fmuc"
				fmuc_allow_masters = { "talk.example.com" }
			Component "mirror2.third.example" "fmuc"
		]] };
		local tom = third:client("tom@third.example/x");
		local inner = "jabberchat\\40talk.example.com@mirror.third.example";
		enter(tom, "Tom", inner);
		local function escape(room) return (room:gsub("\\40", "\\5c40"):gsub("@", "\\40")); end
		local function refused(client, room, condition)
			client:send(join(room, "Nick"));
			assert.equal(condition, error_condition(client:expect { "presence", type = "error", from = room .. "/Nick" }));
		end
		-- the other server has been told that there are rooms
		refused(f.kev, escape(inner) .. "@mirror.remote.example.com", "not-allowed");
		refused(tom, escape(inner) .. "@mirror.third.example", "jid-malformed"); -- itself
		refused(tom, escape(inner) .. "@mirror2.third.example", "not-allowed"); -- this server's
		refused(tom, escape("jabberchat\\40talk.example.com@mirror.remote.example.com") .. "@mirror2.third.example", "feature-not-implemented");
		-- and around in a circle
		local circle = escape(escape("x@mirror.remote.example.com") .. "@mirror.third.example") .. "@mirror.remote.example.com";
		refused(f.kev, circle, "not-allowed");
		tom:sync();
		tom:expect_none({ "presence", from = "~Nick$" }, 0);
	end));

	it("is no relay for others, whatever they ask it for (M28 G20)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. [[
	fmuc_allow_users = { "Remote.Example.COM" }
VirtualHost "sub.remote.example.com"
]] });
		local mallory = f.remote:client("mallory@sub.remote.example.com/x");
		f.link:forget();
		for _, client in ipairs { f.curtis, mallory } do
			refuses(client, join(mirror_room, "M"), "forbidden");
			refuses(client, join(mirror_room:upper():gsub("^%u+", string.lower), "M"), "forbidden");
			for _, payload in ipairs { "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
				"<ping xmlns='urn:xmpp:ping'/>", "<vCard xmlns='vcard-temp'/>" } do
				client:send(("<iq type='get' id='q' to='%s'>%s</iq>"):format(mirror_room, payload));
				assert.equal("forbidden", error_condition(client:expect { "iq", type = "error", id = "q" }));
				client:send(("<iq type='get' id='o' to='%s/Curtis'>%s</iq>"):format(mirror_room, payload));
				assert.equal("not-acceptable", error_condition(client:expect { "iq", type = "error", id = "o" }));
			end
			for to, type in pairs { [mirror_room] = "groupchat"; [mirror_room .. "/Curtis"] = "chat" } do
				client:send(st.message({ to = to; type = type; id = "m" }):text_tag("body", "hi"));
				client:expect { "message", type = "error", id = "m" };
			end
			client:sync();
		end
		for _, stanza in ipairs(f.link:sent(f.remote)) do
			assert.is_nil(stanza.attr.to:find("talk.example.com", 1, true), tostring(stanza));
		end
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		enter(f.kev, "Kev");
	end));
end);
end
