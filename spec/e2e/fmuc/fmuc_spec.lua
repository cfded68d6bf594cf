-- SPDX-License-Identifier: MIT
-- mod_fmuc, generation 1, stanza by stanza as in ProtoXEP 0.0.1: on the link and at each client. The names are the document's.

local bed = require "bed";
local federation = require "federation";

local join, say, enter, topic, configure = federation.join, federation.say, federation.enter, federation.topic, federation.configure;
local words, error_condition = federation.words, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local master_config, mirror_config = federation.master_config, federation.mirror_config;
local muc_user, fmuc, nomirror = federation.muc_user, federation.fmuc, federation.nomirror;

for _, versions in ipairs(federation.pairings()) do
describe(("fmuc generation 1, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("joins: one copy on the link, XEP-0045 order at the client (M1 M3 M4 M5 M6 M7)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		topic(f, "Jabber");
		say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		f.curtis:sync();
		f.curtis:drain();
		f.link:forget();

		f.kev:send(join(mirror_room, "Kev"));
		f.kev:expect { "presence", from = mirror_room .. "/Curtis" };
		local own = f.kev:expect { "presence", from = mirror_room .. "/Kev" };
		assert.equal("participant", own:find(muc_user .. "/item@role"));
		assert.equal("110", own:find(muc_user .. "/status@code"));
		local history = f.kev:expect { "message", body = "before", from = mirror_room .. "/Curtis" };
		assert.equal(mirror_room, history:find("{urn:xmpp:delay}delay@from"));
		f.kev:expect { "message", from = mirror_room .. "/Curtis", has = "subject" };

		local sent = f.link:sent(f.remote);
		assert.equal(2, #sent);
		assert.truthy(sent[1]:find("{http://jabber.org/protocol/disco#info}query")); -- once for the first user (G13)
		assert.equal(mirror_room, sent[2].attr.from);
		assert.equal(master_room .. "/Kev", sent[2].attr.to);
		assert.equal(1, #sent[2].tags);
		assert.equal("kev@remote.example.com/Swift", sent[2]:find(fmuc .. "@from"));

		local seen = f.curtis:expect { "presence", from = master_room .. "/Kev" };
		assert.equal("kev@remote.example.com/Swift", seen:find(muc_user .. "/item@jid"));
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			assert.equal(mirror_room, stanza.attr.to);
			assert.is_nil(stanza:find(fmuc));
		end
		local accepted = f.link:expect(f.talk, { "presence", from = master_room .. "/Kev" });
		assert.equal("none", accepted:find(muc_user .. "/item@affiliation"));
	end));

	it("greets each user in the order of XEP-0045, the second without asking for more than its own join (M5 M6)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		topic(f, "Jabber");
		say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		f.link:forget();

		local bob = f.remote:client("bob@remote.example.com/Gajim");
		bob:send(join(mirror_room, "Bob"));
		bob:expect { "message", has = "subject"; where = function ()
			local seen = #bob.inbox;
			return seen >= 4;
		end };
		bob:sync();
		local others = { bob.inbox[1], bob.inbox[2] };
		table.sort(others, function (a, b) return a.attr.from < b.attr.from; end);
		assert.equal(mirror_room .. "/Curtis", others[1].attr.from);
		assert.equal(mirror_room .. "/Kev", others[2].attr.from);
		bob.inbox = { table.unpack(bob.inbox, 3) };
		assert.same({ "presence R/Bob 110", "message R/Curtis before" }, words(bob, mirror_room));
		f.kev:expect { "presence", from = mirror_room .. "/Bob", lacks = muc_user .. "/status" };
		assert.equal(1, #f.link:sent(f.remote));
		assert.equal(1, #f.link:sent(f.talk)); -- Bob's presence, for Bob and Kev
	end));

	it("hands a refusal to the user who asked, and forgets the room (M8 M9)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		configure(f, [[room:set_members_only(true)]]);
		f.kev:send(join(mirror_room, "Kev"));
		local refusal = f.kev:expect { "presence", type = "error", id = "join-Kev", from = mirror_room .. "/Kev" };
		assert.truthy(refusal:find("{http://jabber.org/protocol/muc}x"));
		assert.equal("registration-required", error_condition(refusal));
		local crossed = f.link:expect(f.talk, { "presence", type = "error" });
		assert.equal(master_room, crossed.attr.from);
		assert.equal(mirror_room .. "/Kev", crossed.attr.to);
		assert.truthy(crossed:find("{http://jabber.org/protocol/muc}x"));
		assert.equal("auth", crossed:find("error@type"));
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		configure(f, [[assert(room.fmuc == nil)]]);
	end));

	it("refuses what the room refuses: banned, locked nick, wrong password, no room (M5 M26 G22)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = master_config .. "\tenforce_registered_nickname = true" });
		local function refused(nick, condition, room, payload)
			room = room or mirror_room;
			local presence = join(room, nick);
			if payload then presence:get_child("x", "http://jabber.org/protocol/muc"):add_child(payload); end
			f.kev:send(presence);
			local refusal = f.kev:expect { "presence", type = "error", from = room .. "/" .. nick };
			assert.equal(condition, error_condition(refusal));
		end
		refused("Kev", "item-not-found", "no\\40talk.example.com@mirror.remote.example.com");
		refused("Curtis", "conflict");
		configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "outcast")]]);
		refused("Kev", "forbidden");
		configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "member", nil, { reserved_nickname = "Kevin" })]]);
		refused("Kev", "not-acceptable");
		configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "none"); room:set_password("sesame")]]);
		refused("Kev", "not-authorized");
		local with_password = join(mirror_room, "Kev");
		with_password:get_child("x", "http://jabber.org/protocol/muc"):text_tag("password", "sesame");
		f.kev:send(with_password);
		f.kev:expect { "presence", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
	end));

	it("shows who joins, changes status and leaves at the master, one copy a mirror (M10 M16)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local bob = f.bob;
		local alice = f.talk:client("alice@example.com/desk");
		alice:send(join(master_room, "Alice"));
		for _, client in ipairs { f.kev, bob } do
			local seen = client:expect { "presence", from = mirror_room .. "/Alice" };
			assert.equal("participant", seen:find(muc_user .. "/item@role"));
			assert.is_nil(seen:find(muc_user .. "/item@jid")); -- the room is semi-anonymous
		end
		alice:send(("<presence to='%s/Alice'><show>away</show></presence>"):format(master_room));
		for _, client in ipairs { f.kev, bob } do
			client:expect { "presence", from = mirror_room .. "/Alice", where = function (p) return p:get_child_text("show") == "away"; end };
		end
		alice:send(("<presence to='%s/Alice' type='unavailable'><status>bye</status></presence>"):format(master_room));
		for _, client in ipairs { f.kev, bob } do
			local gone = client:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
			assert.equal("bye", gone:get_child_text("status"));
			assert.equal("none", gone:find(muc_user .. "/item@role"));
		end
		assert.equal(3, #f.link:sent(f.talk));
		assert.equal(0, #f.link:sent(f.remote));
	end));

	it("takes status changes of mirrored users across and back once (M16)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local bob = f.bob;
		f.kev:send(("<presence to='%s/Kev'><show>dnd</show></presence>"):format(mirror_room));
		local function is_dnd(presence) return presence:get_child_text("show") == "dnd"; end
		f.curtis:expect { "presence", from = master_room .. "/Kev", where = is_dnd };
		bob:expect { "presence", from = mirror_room .. "/Kev", where = is_dnd };
		assert.equal("110", f.kev:expect({ "presence", from = mirror_room .. "/Kev", where = is_dnd }):find(muc_user .. "/status@code"));
		local update = f.link:expect(f.remote, { "presence" });
		assert.equal(mirror_room, update.attr.from);
		assert.equal(master_room .. "/Kev", update.attr.to);
		assert.is_nil(update:find(fmuc));
		assert.equal(1, #f.link:sent(f.talk));
	end));

	it("parts, and stays silent after the last part (M2 M11 M12 M13 M14 M15)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local bob = f.bob;

		bob:send(("<presence to='%s/Bob' type='unavailable'/>"):format(mirror_room));
		local own = bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		assert.equal("none", own:find(muc_user .. "/item@role"));
		assert.equal("110", own:find(muc_user .. "/status@code"));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob", lacks = muc_user .. "/status" };
		local part = f.link:expect(f.remote, { "presence", type = "unavailable" });
		assert.equal(mirror_room, part.attr.from);
		assert.equal(master_room .. "/Bob", part.attr.to);
		assert.equal(0, #part.tags);
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		local copy = f.link:expect(f.talk, { "presence", type = "unavailable", from = master_room .. "/Bob", to = mirror_room });
		assert.equal("none", copy:find(muc_user .. "/item@role"));

		f.kev:send(("<presence to='%s/Kev' type='unavailable'/>"):format(mirror_room));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		f.curtis:sync();
		f.link:settle();
		f.link:forget();
		say(f.curtis, master_room, "alone");
		topic(f, "Nobody there");
		f.link:settle();
		assert.same({}, f.link:sent(f.talk));
		assert.same({}, f.link:sent(f.remote));
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("parts for a user whose client is lost (M11 M12)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		f.kev:kill();
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));

	it("sends a message once each way, and to local users only as the master's copy (M17 M18 M19 M20)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local bob = f.bob;
		f.link:stall();
		say(f.kev, mirror_room, "warm", "m1");
		bob:expect_none({ "message", body = "warm" }, 0.3);
		f.kev:expect_none({ "message", body = "warm" }, 0);
		f.link:restore();
		for _, client in ipairs { f.kev, bob } do
			client:expect { "message", type = "groupchat", id = "m1", body = "warm", from = mirror_room .. "/Kev" };
		end
		f.curtis:expect { "message", type = "groupchat", id = "m1", body = "warm", from = master_room .. "/Kev" };
		local forth = f.link:expect(f.remote, { "message" });
		assert.equal(mirror_room .. "/Kev", forth.attr.from);
		assert.equal(master_room, forth.attr.to);
		assert.is_nil(forth:find(fmuc));
		assert.is_nil(forth:find(nomirror));
		local back = f.link:expect(f.talk, { "message" });
		assert.equal(master_room .. "/Kev", back.attr.from);
		assert.equal(mirror_room, back.attr.to);

		say(f.curtis, master_room, "indeed");
		for _, client in ipairs { f.kev, bob } do
			client:expect { "message", body = "indeed", from = mirror_room .. "/Curtis" };
			client:sync();
			client:expect_none({ "message", has = "body" }, 0);
		end
		assert.equal(1, #f.link:sent(f.remote));
		assert.equal(2, #f.link:sent(f.talk));
	end));

	it("fires and forgets when it is told to (M21 M22 M23 M24)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = mirror_config .. "\tfmuc_nomirror = true" });
		local bob = f.bob;
		f.link:stall();
		say(f.kev, mirror_room, "warm", "m1");
		for _, client in ipairs { f.kev, bob } do
			client:expect { "message", id = "m1", body = "warm", from = mirror_room .. "/Kev" };
		end
		f.link:restore();
		local at_master = f.curtis:expect { "message", id = "m1", body = "warm", from = master_room .. "/Kev" };
		assert.is_nil(at_master:find(nomirror));
		local forth = f.link:expect(f.remote, { "message" });
		assert.truthy(forth:find(nomirror));
		f.link:settle();
		assert.equal(0, #f.link:sent(f.talk));
		bob:expect_none({ "message", body = "warm" }, 0);

		-- what the master does not want is visible here all the same, and its author is told
		configure(f, [[room._occupants[room.jid .. "/Kev"].role = "visitor"]]);
		say(f.kev, mirror_room, "again", "m2");
		bob:expect { "message", body = "again" };
		local refusal = f.kev:expect { "message", type = "error", id = "m2", from = mirror_room };
		assert.equal("forbidden", error_condition(refusal));
	end));

	it("mirrors only the rooms of its list without an echo (M21)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = mirror_config .. "\tfmuc_nomirror = { \"other@talk.example.com\" }" });
		enter(f.kev, "Kev");
		f.link:forget();
		say(f.kev, mirror_room, "warm", "m1");
		f.kev:expect { "message", id = "m1" };
		assert.is_nil(f.link:expect(f.remote, { "message" }):find(nomirror));
		assert.equal(1, #f.link:sent(f.talk));
	end));

	it("refuses nick changes at the mirror, nothing crosses (M27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.kev:sync();
		f.link:forget();
		f.kev:send(("<presence id='n1' to='%s/Kevin'/>"):format(mirror_room));
		local refusal = f.kev:expect { "presence", type = "error", id = "n1", from = mirror_room .. "/Kevin" };
		assert.equal("not-acceptable", error_condition(refusal));
		f.kev:send(join(mirror_room, "Kevin"));
		f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kevin" };
		f.link:expect_none(f.remote, { "presence" }, 0.2);
		say(f.kev, mirror_room, "still here");
		f.kev:expect { "message", body = "still here", from = mirror_room .. "/Kev" };
	end));

	it("is administered at the master only (M25)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.link:forget();
		for id, query in ipairs { "muc#admin", "muc#owner" } do
			f.kev:send(("<iq type='get' id='%d' to='%s'><query xmlns='http://jabber.org/protocol/%s'/></iq>"):format(id, mirror_room, query));
			local refusal = f.kev:expect { "iq", type = "error", id = tostring(id) };
			assert.equal("not-allowed", error_condition(refusal));
			assert.matches(master_room, refusal:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"), 1, true);
		end
		assert.equal(0, #f.link:sent(f.remote));
	end));

	it("shows kicks and role changes by the master's moderators (M13 M16)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local bob = f.bob;
		local function set_role(nick, role)
			f.curtis:send(("<iq type='set' id='%s' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='%s' role='%s'/></query></iq>")
				:format(role, master_room, nick, role));
			f.curtis:expect { "iq", type = "result", id = role };
		end
		set_role("Kev", "visitor");
		f.kev:expect { "presence", from = mirror_room .. "/Kev", has = muc_user .. "/status", where = function (presence)
			return presence:find(muc_user .. "/item@role") == "visitor";
		end };
		bob:expect { "presence", from = mirror_room .. "/Kev", where = function (presence)
			return presence:find(muc_user .. "/item@role") == "visitor";
		end };
		say(f.kev, mirror_room, "may I", "m1");
		assert.equal("forbidden", error_condition(f.kev:expect({ "message", type = "error", id = "m1" })));
		f.kev:drain();
		set_role("Kev", "none");
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
		say(f.kev, mirror_room, "let me in", "m2");
		assert.equal("not-acceptable", error_condition(f.kev:expect({ "message", type = "error", id = "m2" })));
		enter(f.kev, "Kev");
	end));

	it("changes the subject on both sides, from either (M17 M20)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		configure(f, [[room:set_changesubject(true)]]);
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		topic(f, "one");
		f.kev:expect { "message", where = function (m) return m:get_child_text("subject") == "one"; end };
		f.kev:send(("<message type='groupchat' id='s' to='%s'><subject>two</subject></message>"):format(mirror_room));
		f.curtis:expect { "message", where = function (m) return m:get_child_text("subject") == "two"; end };
		f.kev:expect { "message", where = function (m) return m:get_child_text("subject") == "two"; end };
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		bob:expect { "message", from = mirror_room .. "/Kev", where = function (m) return m:get_child_text("subject") == "two"; end };
	end));
end);
end
