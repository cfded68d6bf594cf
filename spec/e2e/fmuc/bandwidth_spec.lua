-- SPDX-License-Identifier: MIT
-- fmuc_bandwidth: what crosses a link of little bandwidth, and what users see of the rest (G25, section 5 of the requirements).

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user, fmuc = federation.muc_user, federation.fmuc;

local function shows(text)
	return function (presence) return presence:get_child_text("show") == text; end;
end

local function status(client, room, nick, show)
	client:send(st.presence({ to = room .. "/" .. nick }):text_tag("show", show):text_tag("status", "in the " .. show)
		:tag("c", { xmlns = "http://jabber.org/protocol/caps"; hash = "sha-1"; node = "n"; ver = "v" }):up()
		:tag("x", { xmlns = "vcard-temp:x:update" }):text_tag("photo", "abc"):up());
end

-- Kev and Bob are in the room; what follows has nothing before it on the link
local function populate(s, version, level)
	local f = federation.new(s, { master = version; mirror = version }, {
		mirror = federation.mirror_config .. ("\tfmuc_bandwidth = %q"):format(level);
	});
	f.bob = f.remote:client("bob@remote.example.com/Gajim");
	federation.enter(f.bob, "Bob");
	f.kev:send(federation.join(mirror_room, "Kev"):text_tag("show", "chat"):text_tag("status", "new here"));
	f.bob:expect { "presence", from = mirror_room .. "/Kev", where = shows "chat" };
	f.kev:expect { "message", has = "subject" };
	f.bob:sync();
	f.join = f.link:expect(f.remote, { "presence", to = master_room .. "/Kev" });
	f.at_master = f.curtis:expect { "presence", from = master_room .. "/Kev" };
	f.link:settle();
	f.link:forget();
	return f;
end

local function nothing_crossed(f)
	f.link:settle();
	assert.same({ {}, {} }, { f.link:sent(f.remote), f.link:sent(f.talk) });
end

local function message(to, id, name, xmlns, text)
	local stanza = st.message({ type = "groupchat"; to = to; id = id });
	if text then stanza:text_tag("body", text); end
	return stanza:tag(name, { xmlns = xmlns; id = "m1" }):up();
end

local chatstates, markers = "http://jabber.org/protocol/chatstates", "urn:xmpp:chat-markers:0";
local reactions, retraction = "urn:xmpp:reactions:0", "urn:xmpp:message-retract:1";

for version in bed.versions() do
describe("fmuc_bandwidth, Prosody " .. version, function ()
	it("no-status: show, status and capabilities stay on their side (G25)", bed.scenario(function (s)
		local f = populate(s, version, "no-status");
		assert.equal(1, #f.join.tags);
		assert.equal("no-status", f.join:find(fmuc .. "@bandwidth"));
		assert.is_nil(f.at_master:get_child("show"));
		assert.is_nil(f.at_master:find(fmuc));

		status(f.kev, mirror_room, "Kev", "away");
		f.bob:expect { "presence", from = mirror_room .. "/Kev", where = shows "away", has = "{vcard-temp:x:update}x" };
		f.kev:expect { "presence", from = mirror_room .. "/Kev", where = shows "away", has = muc_user .. "/status@code" };
		status(f.curtis, master_room, "Curtis", "dnd");
		f.curtis:expect { "presence", from = master_room .. "/Curtis", where = shows "dnd" };
		nothing_crossed(f);
		f.talk:reload("fmuc", "talk.example.com");
		status(f.curtis, master_room, "Curtis", "xa");
		f.curtis:expect { "presence", from = master_room .. "/Curtis", where = shows "xa" };
		f.link:settle();
		for _, stanza in ipairs(f.link:sent(f.talk)) do assert.is_nil(stanza:get_child("show")); end

		-- what else the master says of Kev changes nothing in that
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", "visitor")]]);
		local changed = f.bob:expect { "presence", from = mirror_room .. "/Kev", where = shows "away" };
		assert.equal("visitor", changed:find(muc_user .. "/item@role"));
		local ann = f.remote:client("ann@remote.example.com/Dino");
		ann:send(federation.join(mirror_room, "Ann"));
		ann:expect { "presence", from = mirror_room .. "/Kev", where = shows "away" };
		local curtis = ann:expect { "presence", from = mirror_room .. "/Curtis" };
		assert.is_nil(curtis:get_child("show"));
		assert.is_nil(curtis:get_child("c", "http://jabber.org/protocol/caps"));
		-- and messages are not its business
		f.bob:send(message(mirror_room, "typing", "composing", chatstates));
		f.curtis:expect { "message", id = "typing" };
	end));

	it("no-status: who comes, goes and changes role is seen on both sides (G25)", bed.scenario(function (s)
		local f = populate(s, version, "no-status");
		local alice = f.talk:client("alice@example.com/desk");
		alice:send(federation.join(master_room, "Alice"):text_tag("show", "away"));
		assert.is_nil(f.kev:expect({ "presence", from = mirror_room .. "/Alice" }):get_child("show"));
		alice:send(st.presence({ to = master_room .. "/Alice"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
		alice:send(federation.join(master_room, "Alice"):text_tag("show", "away"));
		f.kev:expect { "presence", type = false, from = mirror_room .. "/Alice" };
		f.bob:send(st.presence({ to = mirror_room .. "/Bob"; type = "unavailable" }));
		alice:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
	end));

	it("no-status: an outage brings no status across, and takes none away (G25 G3)", bed.scenario(function (s)
		local f = populate(s, version, "no-status");
		status(f.kev, mirror_room, "Kev", "away");
		f.bob:expect { "presence", from = mirror_room .. "/Kev", where = shows "away" };
		f.bob:drain();
		f.link:cut();
		federation.say(f.curtis, master_room, "meanwhile");
		f.curtis:expect { "message", body = "meanwhile" };
		status(f.curtis, master_room, "Curtis", "dnd");
		status(f.kev, mirror_room, "Kev", "xa");
		f.bob:expect { "presence", from = mirror_room .. "/Kev", where = shows "xa" };
		f.link:expect_broken();
		f.link:restore();
		f.bob:expect({ "message", body = "meanwhile" }, 30);
		federation.say(f.curtis, master_room, "later");
		f.bob:expect({ "message", body = "later" }, 30);
		f.link:settle();
		f.bob:sync();
		f.bob:expect_none({ "presence" }, 0);
		local ann = f.remote:client("ann@remote.example.com/Dino");
		ann:send(federation.join(mirror_room, "Ann"));
		ann:expect({ "presence", from = mirror_room .. "/Kev", where = shows "xa" }, 10);
		status(f.curtis, master_room, "Curtis", "away");
		f.curtis:expect { "presence", from = master_room .. "/Curtis", where = shows "away" };
		for _, node in ipairs { f.remote, f.talk } do
			for _, stanza in ipairs(f.link:sent(node)) do assert.is_nil(stanza:get_child("show")); end
		end
	end));

	it("messages: chat states and markers are for local users, and left out of what crosses (G25)", bed.scenario(function (s)
		local f = populate(s, version, "messages");
		f.kev:send(message(mirror_room, "typing", "composing", chatstates));
		f.bob:expect { "message", id = "typing", from = mirror_room .. "/Kev", has = "{" .. chatstates .. "}composing" };
		f.kev:send(message(mirror_room, "read", "displayed", markers));
		f.bob:expect { "message", id = "read" };
		f.curtis:send(message(master_room, "typing2", "composing", chatstates));
		f.curtis:expect { "message", id = "typing2" };
		nothing_crossed(f);

		f.kev:send(message(mirror_room, "m1", "markable", markers, "hello"));
		f.curtis:expect { "message", id = "m1", body = "hello", from = master_room .. "/Kev", lacks = "{" .. markers .. "}markable" };
		f.bob:expect { "message", id = "m1", body = "hello" };
		f.curtis:send(message(master_room, "m2", "active", chatstates, "hi"));
		f.bob:expect { "message", id = "m2", body = "hi" };
		for _, node in ipairs { f.remote, f.talk } do
			for _, stanza in ipairs(f.link:sent(node)) do
				assert.is_nil(stanza:find("{" .. markers .. "}markable"));
				assert.is_nil(stanza:find("{" .. chatstates .. "}active"));
			end
		end
		-- private ones too
		f.kev:send(st.message({ type = "chat"; id = "pm"; to = mirror_room .. "/Curtis" }):tag("composing", { xmlns = chatstates }):up());
		f.kev:send(st.message({ type = "chat"; id = "pm2"; to = mirror_room .. "/Curtis" }):text_tag("body", "psst"));
		assert.equal("pm2", f.curtis:expect({ "message", type = "chat" }).attr.id);
		f.curtis:send(st.message({ type = "chat"; id = "pm3"; to = master_room .. "/Kev" }):tag("composing", { xmlns = chatstates }):up());
		f.curtis:send(st.message({ type = "chat"; id = "pm4"; to = master_room .. "/Kev" }):text_tag("body", "what?"));
		assert.equal("pm4", f.kev:expect({ "message", type = "chat" }).attr.id);
		f.link:expect_none(f.talk, { "message", id = "pm3" }, 0);
	end));

	it("messages: corrections, retractions and subjects cross; a reaction is refused rather than shown to half of the room (G25)",
	bed.scenario(function (s)
		local f = populate(s, version, "messages");
		f.kev:send(message(mirror_room, "c1", "replace", "urn:xmpp:message-correct:0", "fixed"));
		f.curtis:expect { "message", id = "c1", has = "{urn:xmpp:message-correct:0}replace" };
		f.kev:send(message(mirror_room, "r1", "retract", retraction));
		f.curtis:expect { "message", id = "r1", has = "{" .. retraction .. "}retract" };
		f.curtis:send(message(master_room, "r2", "retract", retraction));
		f.bob:expect { "message", id = "r2", has = "{" .. retraction .. "}retract" };
		federation.topic(f, "Jabber");
		f.bob:expect { "message", where = function (m) return m:get_child_text("subject") == "Jabber"; end };

		f.link:forget();
		f.kev:send(message(mirror_room, "e1", "reactions", reactions, "> hello\n:-)"));
		local refusal = f.kev:expect { "message", type = "error", id = "e1", from = mirror_room };
		assert.equal("policy-violation", federation.error_condition(refusal));
		f.curtis:send(message(master_room, "e2", "reactions", reactions));
		f.curtis:expect { "message", id = "e2" };
		nothing_crossed(f);
		f.bob:sync();
		f.bob:expect_none({ "message", id = "~^e" }, 0);
	end));
end);
end
