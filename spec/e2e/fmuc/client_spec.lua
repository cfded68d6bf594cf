-- SPDX-License-Identifier: MIT
-- mod_fmuc: for a client, a mirrored room is like any other room (XEP-0045): order and status codes, history with limits, subject;
-- errors with the user's id from the right address; a client that asks for everything again.

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local join, say, enter, meet, topic = federation.join, federation.say, federation.enter, federation.meet, federation.topic;
local words, codes, error_condition = federation.words, federation.codes, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local xmlns_muc = "http://jabber.org/protocol/muc";

-- bodies(client) -> the texts that came before the subject, which ends the history
local function bodies(client)
	local list = {};
	client:expect { "message", has = "subject" };
	for _, stanza in ipairs(client:drain()) do list[#list + 1] = stanza:get_child_text("body"); end
	return table.concat(list, " ");
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc for clients, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("tells who enters that the room is not anonymous, and logged (M6 M7)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		-- the last three are no business of a mirror's users
		assert.equal("100 110 170", codes(fake.admit(f, f.kev, "Kev", { "100", "170", "110", "210", "201" })));
		local phone = f.remote:client("kev@remote.example.com/phone");
		assert.equal("100 110 170", codes(enter(phone, "Kev", fake.mirror)));
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		assert.equal("110", codes(fake.admit(f, bob, "Bob", {})));
		for _, seen in ipairs { f.kev:expect { "presence", from = fake.mirror .. "/Bob" }, bob:expect { "presence", from = fake.mirror .. "/Kev" } } do
			assert.equal("", codes(seen));
		end
	end));

	it("knows when the room stops to be anonymous (G13 G23)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.curtis:send(([[<iq type='set' id='cfg' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
			<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
			<field var='muc#roomconfig_whois'><value>anyone</value></field></x></query></iq>]]):format(master_room));
		local notice = f.kev:expect { "message", from = mirror_room, has = muc_user };
		assert.matches("172", codes(notice));
		f.link:expect(f.talk, { "iq", type = "result", to = mirror_room });
		f.kev:sync();
		assert.equal("100 110", codes(enter(f.remote:client("kev@remote.example.com/phone"), "Kev")));
		f.link:forget();
		f.curtis:send(("<presence to='%s/Curtis'><show>away</show></presence>"):format(master_room));
		assert.equal("curtis@example.com/Swift", f.kev:expect({ "presence", from = mirror_room .. "/Curtis" }):find(muc_user .. "/item@jid"));
	end));

	for feature, jid in pairs { muc_semianonymous = false; muc_nonanonymous = "alice@fake.example.com/x" } do
		it("shows real JIDs as the room does, whatever the master sends: " .. feature .. " (G21)", bed.scenario(function (s)
			local f = fake.new(s, versions);
			fake.admit(f, f.kev, "Kev", nil, { feature });
			f.fake:send(fake.presence("Alice", nil, nil, nil, { affiliation = "none"; role = "participant"; jid = "alice@fake.example.com/x" }));
			local seen = f.kev:expect { "presence", from = fake.mirror .. "/Alice" };
			assert.equal(jid or nil, seen:find(muc_user .. "/item@jid"));
			f.fake:send(fake.message("Alice", "hello"):tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "alice@secret.example/x" }):up());
			assert.is_nil(f.kev:expect({ "message", body = "hello" }):find(federation.fmuc));
			local kick = fake.presence("Alice", nil, "unavailable", { "307" });
			kick:get_child("x", "http://jabber.org/protocol/muc#user"):get_child("item"):tag("actor", { jid = "alice@fake.example.com/x" });
			f.fake:send(kick);
			seen = f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Alice" };
			assert.equal(jid or nil, seen:find(muc_user .. "/item/actor@jid"));
		end));
	end

	it("gives as much of the history as the user asks for, from what is here (M6)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		topic(f, "Jabber");
		for _, text in ipairs { "one", "two", "three" } do say(f.curtis, master_room, text); end
		f.curtis:expect { "message", body = "three" };
		enter(f.kev, "Kev");
		assert.equal("one two three", bodies(f.kev));
		say(f.curtis, master_room, "four");
		f.kev:expect { "message", body = "four" };
		f.link:forget();
		local count = 0;
		local function history(limits)
			count = count + 1;
			local client = f.remote:client(("user%d@remote.example.com/x"):format(count));
			local presence = join(mirror_room, "User" .. count);
			presence:get_child("x", xmlns_muc):tag("history", limits);
			client:send(presence);
			return bodies(client);
		end
		assert.equal("", history { maxstanzas = "0" });
		assert.equal("three four", history { maxstanzas = "2" });
		assert.equal("", history { maxchars = "0" });
		assert.equal("four", history { maxchars = "700" });
		assert.equal("one two three four", history { seconds = "600" });
		assert.equal("", history { since = require "util.datetime".datetime(os.time() + 60) });
		assert.equal("one two three four", history { since = "2001-01-01T00:00:00Z" });
		local stamped = f.remote:client("stamp@remote.example.com/x");
		enter(stamped, "Stamp");
		for _, text in ipairs { "one", "four" } do -- from before the mirror was there, and from its time
			local old = stamped:expect { "message", body = text };
			assert.equal(mirror_room, old:find("{urn:xmpp:delay}delay@from"));
			assert.equal(mirror_room .. "/Curtis", old.attr.from);
		end
		for _, stanza in ipairs(f.link:sent(f.talk)) do assert.equal("presence", stanza.name); end -- nothing but who they are
	end));

	it("always ends with the subject, an empty one too, and never in the history (M6)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		assert.equal("", f.kev:expect({ "message", has = "subject", lacks = "body" }):get_child_text("subject"));
		topic(f, "Jabber");
		f.kev:expect { "message", from = mirror_room .. "/Curtis", has = "subject", lacks = "body" };
		topic(f, "");
		f.kev:expect { "message", has = "subject" };
		say(f.curtis, master_room, "last");
		f.kev:expect { "message", body = "last" };
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		bob:expect { "message", has = "subject" };
		bob:sync();
		local seen = words(bob, mirror_room);
		assert.equal("message R/Curtis last", seen[#seen]);
	end));

	it("refuses a subject as the room does, to its author (G15)", bed.scenario(function (s)
		local f = meet(s, versions, { mirror = federation.mirror_config .. "\tfmuc_nomirror = true\n" });
		f.kev:send(("<message type='groupchat' id='s1' to='%s'><subject>mine</subject></message>"):format(mirror_room));
		local refusal = f.kev:expect { "message", type = "error", id = "s1", from = mirror_room };
		assert.equal("forbidden", error_condition(refusal));
		f.bob:sync();
		f.bob:expect_none({ "message" }, 0.2);
		federation.configure(f, [[room:set_changesubject(true)]]);
		f.kev:send(("<message type='groupchat' id='s2' to='%s'><subject>mine</subject></message>"):format(mirror_room));
		for client, room in pairs { [f.kev] = mirror_room; [f.bob] = mirror_room; [f.curtis] = master_room } do
			local seen = client:expect { "message", has = "subject", from = room .. "/Kev" };
			assert.equal("mine", seen:get_child_text("subject"));
			client:sync();
			client:expect_none({ "message" }, 0); -- once, though other messages do not wait for the master
		end
	end));

	it("shows everything again to a client that joins again, and nothing crosses (G3 G23)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		topic(f, "Jabber");
		say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		enter(f.kev, "Kev");
		federation.add(f, "bob");
		federation.forget(f);
		f.kev:send(join(mirror_room, "Kev"));
		f.kev:expect { "message", where = function (m) return m:get_child("subject") and #f.kev.inbox == 5; end };
		f.kev:sync();
		local seen = words(f.kev, mirror_room);
		table.sort(seen, function (a, b) return a < b and a:find("presence") and b:find("presence") and not a:find("110"); end);
		assert.same({ "presence R/Bob", "presence R/Curtis", "presence R/Kev 110", "message R/Curtis before" }, seen);
		assert.same({}, f.link:sent(f.remote));
		assert.same({}, f.link:sent(f.talk));
		f.curtis:sync();
		f.curtis:expect_none({}, 0);
	end));

	it("tells a client that only believes to be in the room (M16)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		for _ = 1, 2 do -- without the room, and with it
			f.kev:send(("<presence to='%s/Kev'><show>away</show></presence>"):format(mirror_room));
			local told = f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			assert.equal("110 307 333", codes(told));
			assert.equal("none", told:find(muc_user .. "/item@role"));
			if not f.bob then federation.add(f, "bob"); end
		end
		-- but not one that has to wait
		f.link:stall();
		f.kev:send(join(mirror_room, "Kev"));
		f.kev:send(("<presence to='%s/Kev'><show>away</show></presence>"):format(mirror_room));
		f.kev:sync();
		f.kev:expect_none({ "presence" }, 0);
		f.link:restore();
		f.kev:expect { "presence", type = false, from = mirror_room .. "/Kev", has = muc_user .. "/status" };
	end));

	it("refuses a message for everybody that is sent to one (M17)", bed.scenario(function (s)
		local f = meet(s, versions);
		for _, nick in ipairs { "Curtis", "Bob" } do
			f.kev:send(st.message({ type = "groupchat"; id = "g" .. nick; to = mirror_room .. "/" .. nick }):text_tag("body", "all"));
			local refusal = f.kev:expect { "message", type = "error", id = "g" .. nick, from = mirror_room .. "/" .. nick };
			assert.equal("bad-request", error_condition(refusal));
		end
		assert.same({}, f.link:sent(f.remote));
	end));

	it("gives a nick to one user, whoever else is where (G6)", bed.scenario(function (s)
		local f = meet(s, versions);
		local function in_conflict(client, room, nick)
			client:send(join(room, nick));
			local refusal = client:expect { "presence", type = "error", id = "join-" .. nick, from = room .. "/" .. nick };
			assert.equal("conflict", error_condition(refusal));
			if room ~= master_room then assert.truthy(refusal:get_child("x", xmlns_muc)); end -- mod_muc does without
		end
		in_conflict(f.remote:client("carol@remote.example.com/x"), mirror_room, "Kev");
		f.link:expect_none(f.remote, {}, 0.1); -- which is known here
		in_conflict(f.remote:client("carol@remote.example.com/y"), mirror_room, "Curtis");
		in_conflict(f.talk:client("dora@example.com/x"), master_room, "Kev");
		local third = s:node { version = versions.mirror; config = "VirtualHost \"third.example\"\nComponent \"mirror.third.example\" \"fmuc\"" };
		in_conflict(third:client("tom@third.example/x"), "jabberchat\\40talk.example.com@mirror.third.example", "Kev");
		enter(f.remote:client("kev@remote.example.com/phone"), "Kev"); -- is the same user
		for _, client in ipairs { f.kev, f.bob, f.curtis } do
			client:sync();
			client:expect_none({ "presence", type = "unavailable" }, 0);
		end
	end));

	it("refuses addresses that are none (G24)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		f.remote:allow_log("invalid destination JID"); -- too long is refused before this module sees it
		for _, node in ipairs { ("x"):rep(1010) .. "\\40talk.example.com", "room\\40talk.example.com\\2fnick", "a\\40b\\40talk.example.com", "nothing" } do
			local room = node .. "@mirror.remote.example.com";
			f.kev:send(st.presence({ to = room .. "/Kev"; id = "j" }):tag("x", { xmlns = xmlns_muc }));
			local refusal = f.kev:expect { "presence", type = "error" };
			assert.equal("jid-malformed", error_condition(refusal), node);
		end
		f.link:expect_none(f.remote, {}, 0.1);
	end));
end);
end
