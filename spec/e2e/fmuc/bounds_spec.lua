-- SPDX-License-Identifier: MIT
-- The bounds of mod_fmuc (README, "Trust: bounds"): each row of the table fills one bound by stanzas. The memory in use stays within the bound,
-- and somebody else is still served (F8, F18, G29).

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local join, enter, error_condition = federation.join, federation.enter, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local MB = 1024 * 1024;
local private = "urn:x-prosody-relay:fmuc:private:0";
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";
local patience = 60;

-- The stanza with n empty elements, which take 75 times as much memory as they have bytes on the wire: 3 MB for 10,000
local function stuffed(stanza, n)
	for _ = 1, n or 10000 do stanza:add_direct_child(st.stanza("a")); end
	return tostring(stanza:reset());
end

-- bytes of the server's heap that are in use
local function heap(node)
	return node:eval [[ collectgarbage() collectgarbage() return collectgarbage("count") * 1024 ]];
end

local function expect_growth(node, before, limit)
	local growth = heap(node) - before;
	assert.is_true(growth < limit, ("%.1f MB, more than %.1f MB"):format(growth / MB, limit / MB));
end

-- Another user comes through the mirror into another server's room, and speaks there
local function expect_service(f, name)
	local client = f.remote:client((name or "dora") .. "@remote.example.com/x");
	enter(client, "Dora");
	federation.say(client, mirror_room, "served");
	client:expect({ "message", type = "groupchat", body = "served" }, patience);
end

local function fill(count, send)
	for i = 1, count do send(i); end
end

local function question(to, id)
	return st.iq({ type = "get"; id = id; to = to }):tag("vCard", { xmlns = "vcard-temp" });
end

local rows = {};

rows["what is said in a room that has mirrors"] = function (s, versions)
	local f = federation.meet(s, versions);
	local before = heap(f.talk);
	fill(12, function (i)
		f.curtis:send(stuffed(st.message({ type = "groupchat"; to = master_room; id = "m" .. i })
			:text_tag("body", "x"):tag("no-store", { xmlns = "urn:xmpp:hints" }):up()));
		f.bob:expect({ "message", id = "m" .. i }, patience);
		for _, client in ipairs { f.curtis, f.kev, f.bob } do client:drain(); end
	end);
	expect_growth(f.talk, before, 12 * MB);
	-- and it is all there for a mirror that comes back
	assert.equal(12, f.talk:eval [[
		local journal = select(2, next(prosody.hosts["talk.example.com"].modules.fmuc.module.save().journals));
		return journal.last - journal.first + 1;
	]]);
	expect_service(f);
end;

rows["the occupants that a master shows"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev");
	local before = heap(f.remote);
	fill(20, function (i)
		f.fake:send(stuffed(fake_master.presence("N" .. i):text_tag("status", "x")));
		assert.is_nil(f.kev:expect({ "presence", from = fake_master.mirror .. "/N" .. i }, patience):get_child("status"));
	end);
	expect_growth(f.remote, before, 6 * MB);
	expect_service(f);
end;

rows["the messages of a master that cannot be reached"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev");
	fake_master.lose(f);
	local before = heap(f.remote);
	fill(20, function (i) f.fake:send(stuffed(fake_master.message("Alice", "x", "m" .. i))); end);
	f.fake:send(st.iq({ type = "get"; id = "last"; from = "fake.example.com"; to = "mirror.remote.example.com" })
		:tag("ping", { xmlns = "urn:xmpp:ping" }));
	f.fake:expect({ "iq", id = "last" }, patience);
	expect_growth(f.remote, before, 12 * MB);
	expect_service(f);
end;

rows["the history of a mirrored room"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev");
	local before = heap(f.remote);
	fill(12, function (i)
		f.fake:send(stuffed(fake_master.message("Alice", "x", "m" .. i)));
		f.kev:expect({ "message", id = "m" .. i }, patience);
	end);
	f.fake:send(fake_master.message("Alice", "short", "short"));
	f.kev:expect({ "message", id = "short" }, patience);
	expect_growth(f.remote, before, 8 * MB);
	-- who comes later gets what there is place for
	f.fake:send(fake_master.presence("Bob", fake_master.ask(f, f.remote:client("bob@remote.example.com/x"), "Bob").attr.id));
	assert.equal(1, f.remote:eval(([[
		return #prosody.hosts["mirror.remote.example.com"].modules.muc.get_room_from_jid(%q)._history
	]]):format(fake_master.mirror)));
	expect_service(f);
end;

rows["the questions of one user to an occupant who does not answer"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev", nil, { private });
	f.fake:send(fake_master.presence("Alice"));
	f.kev:expect { "presence", from = fake_master.mirror .. "/Alice" };
	fill(101, function (i) f.kev:send(question(fake_master.mirror .. "/Alice", "q" .. i)); end);
	assert.equal("resource-constraint", error_condition(f.kev:expect({ "iq", type = "error", id = "q101" }, patience)));
	f.kev:expect_none({ "iq", type = "error" }, 0);
	-- others ask, and come into rooms
	local bob = f.remote:client("bob@remote.example.com/x");
	fake_master.admit(f, bob, "Bob");
	bob:send(question(fake_master.mirror .. "/Alice", "bobs"));
	f.fake:expect({ "iq", from = fake_master.mirror .. "/Bob", to = fake_master.room .. "/Alice" }, patience);
	expect_service(f);
end;

rows["the rooms that one user is in or waits for"] = function (s, versions)
	local f = fake_master.new(s, versions, federation.believing_config .. "\tfmuc_join_timeout = 600\n");
	local function mirror_of(i) return ("r%d\\40fake.example.com@mirror.remote.example.com"):format(i); end
	local before = heap(f.remote);
	fill(200, function (i) f.kev:send(stuffed(join(mirror_of(i), "Kev"), 1000)); end);
	f.kev:send(join(mirror_of(201), "Kev"));
	assert.equal("resource-constraint", error_condition(f.kev:expect({ "presence", type = "error", from = mirror_of(201) .. "/Kev" }, patience)));
	f.kev:expect_none({ "presence", type = "error" }, 0);
	expect_growth(f.remote, before, 12 * MB);
	expect_service(f);
	-- one room less, one room more
	f.kev:send(st.presence({ to = mirror_of(1) .. "/Kev"; type = "unavailable" }));
	f.kev:send(join(mirror_of(201), "Kev"));
	f.fake:expect({ "presence", type = false; to = "r201@fake.example.com/Kev" }, patience);
end;

rows["what one user says while the copies do not come back"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev");
	local bob = f.remote:client("bob@remote.example.com/x");
	fake_master.admit(f, bob, "Bob");
	local refused;
	for i = 1, 30 do
		f.kev:send(st.message({ type = "groupchat"; to = fake_master.mirror; id = "m" .. i }):text_tag("body", ("x"):rep(100000)));
		f.kev:sync();
		for _, stanza in ipairs(f.kev:drain()) do refused = refused or stanza.attr.type == "error" and error_condition(stanza); end
	end
	assert.equal("resource-constraint", refused);
	f.kev:send(stuffed(st.message({ type = "groupchat"; to = fake_master.mirror; id = "large" }):text_tag("body", "x"), 20000));
	assert.equal("policy-violation", error_condition(f.kev:expect({ "message", type = "error", id = "large" }, patience)));
	bob:send(st.message({ type = "groupchat"; to = fake_master.mirror; id = "bobs" }):text_tag("body", "bobs"));
	f.fake:expect({ "message", body = "bobs" }, patience);
	expect_service(f);
end;

rows["the nicks that have left in an outage"] = function (s, versions)
	local f = federation.meet(s, versions, { mirror = federation.mirror_config .. "\tfmuc_max_occupants = 20\n" });
	local dora = f.remote:client("dora@remote.example.com/x");
	f.link:stall();
	fill(100, function (i) -- the master hears nothing of them
		dora:send(join(mirror_room, "N" .. i));
		dora:send(st.presence({ type = "unavailable"; to = mirror_room .. "/N" .. i }));
	end);
	dora:sync();
	f.link:cut();
	s:wait_until(function () return outages.phase(f) == "lost"; end, patience, "the outage");
	assert.equal(20, federation.with_link(f.remote, mirror_room, [[
		local count = 0;
		for _ in pairs(link:own("changes").parted) do count = count + 1; end
		return count;
	]]));
	f.link:restore();
	outages.wait_until_live(s, f);
	expect_service(f, "eve");
end;

rows["the descriptions of rooms"] = function (s, versions)
	local f = fake_master.new(s, versions, federation.mirror_config);
	local before = heap(f.remote);
	local function ask(client, room)
		client:send(st.iq({ type = "get"; id = room; to = room .. "\\40fake.example.com@mirror.remote.example.com" })
			:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }));
		return st.reply(f.fake:expect({ "iq", type = "get", to = room .. "@fake.example.com" }, patience));
	end
	fill(12, function (i)
		local reply = ask(f.kev, "r" .. i):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" });
		for k = 1, 200 do reply:tag("feature", { var = k .. ("f"):rep(300) }):up(); end
		reply:tag("x", { xmlns = "jabber:x:data"; type = "result" }):tag("field", { var = "FORM_TYPE"; type = "hidden" })
			:text_tag("value", "http://jabber.org/protocol/muc#roominfo"):up();
		for _ = 1, 10000 do reply:tag("a"):up(); end
		f.fake:send(tostring(reply:reset()));
		local answer = f.kev:expect({ "iq", type = "result", id = "r" .. i }, patience);
		assert.is_nil(answer:find("{http://jabber.org/protocol/disco#info}query/{jabber:x:data}x"));
		local refusal = ask(f.kev, "e" .. i);
		refusal.attr.type = "error";
		refusal:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up();
		for _ = 1, 10000 do refusal:tag("a"):up(); end
		f.fake:send(tostring(refusal:reset()));
		assert.equal("item-not-found", error_condition(f.kev:expect({ "iq", type = "error", id = "e" .. i }, patience)));
	end);
	expect_growth(f.remote, before, 8 * MB);
	expect_service(f);
end;

rows["private messages that may come back as errors"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", private });
	local bob = f.remote:client("bob@remote.example.com/x");
	f.fake:send(fake_master.presence("Alice"));
	f.kev:expect { "presence", from = fake_master.mirror .. "/Alice" };
	f.fake:send(fake_master.presence("Bob", fake_master.ask(f, bob, "Bob").attr.id));
	bob:expect { "message", has = "subject" };
	local function whisper(client, id)
		client:send(st.message({ type = "chat"; to = fake_master.mirror .. "/Alice"; id = id }):text_tag("body", "x"));
		f.fake:expect({ "message", type = "chat", id = id }, patience);
	end
	fill(250, function (i) whisper(f.kev, "k" .. i); end);
	whisper(bob, "bobs");
	local function remembered(id)
		return f.remote:eval(([[
			local count, found = 0, false;
			for key in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().private.records) do
				count, found = count + 1, found or key:match("[^%%z]*$") == %q;
			end
			return found and count or -count;
		]]):format(id));
	end
	assert.equal(201, remembered("bobs"));
	assert.equal(201, remembered("k200"));
	assert.equal(-201, remembered("k201"));
	expect_service(f);
end;

rows["the picture of a room"] = function (s, versions)
	local f = fake_master.new(s, versions);
	fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", "vcard-temp" });
	local function announce(hash, n)
		f.fake:send(stuffed(st.presence({ from = fake_master.room; to = fake_master.mirror })
			:tag("x", { xmlns = "vcard-temp:x:update" }):text_tag("photo", hash):reset(), n));
	end
	announce("large", 1000);
	announce("small", 0);
	local seen = f.kev:expect({ "presence", from = fake_master.mirror, has = "{vcard-temp:x:update}x/photo" }, patience);
	assert.equal("small", seen:find("{vcard-temp:x:update}x/photo#"));
	local before = heap(f.remote);
	fill(3, function (i) -- each user gets a large one, which the master is asked for each time
		f.kev:send(question(fake_master.mirror, "v" .. i));
		local reply = st.reply(f.fake:expect({ "iq", type = "get", has = "{vcard-temp}vCard" }, patience)):tag("vCard", { xmlns = "vcard-temp" });
		f.fake:send(stuffed(reply, 3000));
		f.kev:expect({ "iq", type = "result", id = "v" .. i }, patience);
	end);
	f.kev:drain();
	expect_growth(f.remote, before, MB / 2);
	expect_service(f);
end;

local liar_config = federation.mirror_config .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]];

local function bring(liar, name, n)
	liar:send(stuffed(st.presence({ from = lair; to = master_room .. "/" .. name })
		:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = name:lower() .. "@liar.remote.example.com/x" }):up(), n));
	return liar:expect({ "presence", type = false, from = master_room .. "/" .. name }, patience);
end

rows["the presences of a mirror's users"] = function (s, versions)
	local f = federation.new(s, versions, { mirror = liar_config });
	local liar = f.remote:component("liar.remote.example.com", "hush");
	local before = heap(f.talk);
	fill(20, function (i) bring(liar, "U" .. i, 8000); end);
	expect_growth(f.talk, before, 8 * MB);
	expect_service(f);
end;

rows["the private messages that wait for what a mirror can do"] = function (s, versions)
	local f = federation.new(s, versions, { mirror = liar_config });
	local liar = f.remote:component("liar.remote.example.com", "hush");
	bring(liar, "Imp", 0);
	local before = heap(f.talk);
	local function whisper(client, id, n)
		client:send(stuffed(st.message({ type = "chat"; to = master_room .. "/Imp"; id = id }):text_tag("body", "x"), n));
	end
	fill(8, function (i) whisper(f.curtis, "p" .. i, 3000); end);
	f.curtis:expect({ "message", type = "error", id = "p8" }, patience);
	expect_growth(f.talk, before, 4 * MB);
	local dave = f.talk:client("dave@example.com/x");
	enter(dave, "Dave", master_room);
	whisper(dave, "daves", 1);
	dave:sync();
	dave:expect_none({ "message", type = "error" }, 0);
	-- the mirror takes them at last
	liar:send(st.reply(liar:expect({ "iq", type = "get", has = "{http://jabber.org/protocol/disco#info}query" }, patience))
		:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }):tag("feature", { var = private }));
	liar:expect({ "message", id = "daves" }, patience);
	whisper(f.curtis, "again", 2000);
	liar:expect({ "message", id = "again" }, patience);
	expect_service(f);
end;

local names = {};
for name in pairs(rows) do names[#names + 1] = name; end
table.sort(names);
for _, name in ipairs(names) do
	for _, versions in ipairs(federation.crossings()) do
		it(("fmuc bounds %s (F8 F18 G29), master %s, mirror %s"):format(name, versions.master, versions.mirror), bed.scenario(function (s)
			rows[name](s, versions);
		end));
	end
end
