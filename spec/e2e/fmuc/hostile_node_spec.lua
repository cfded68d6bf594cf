-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2): a room of another server that lies. A component plays it, over a real connection between servers.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local xmlns_delay, xmlns_stanzas = "urn:xmpp:delay", "urn:ietf:params:xml:ns:xmpp-stanzas";
local xmlns_muc, xmlns_muc_user = "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user";

local elsinore, peer_room = "elsinore@rooms.e.example", "peer@rooms.p.example";
local second_room = "second@rooms.p.example";
local mallory = "mallory@p.example/x";

local peer_config = [[
VirtualHost "p.example"
Component "rooms.p.example"
	component_secret = "hush"
]];

-- f: e with the room elsinore and hamlet in it; the component f.peer, which plays rooms of p. options: more, more_modules, code (see nodes.server and
-- nodes.make_room), peers (list of inbound_peers), outbound (JID), modules
local function lie(s, versions, options)
	options = options or {};
	local f = {};
	f.e = nodes.server(s, "e", versions.e, options.more, { more_modules = options.more_modules, modules = options.modules });
	f.p = s:node { version = versions.w; config = peer_config };
	f.link = s:link(f.e, f.p);
	nodes.make_room(f.e, elsinore, { inbound_peers = options.peers or { peer_room }; outbound_peer = options.outbound }, options.code);
	f.peer = f.p:component("rooms.p.example", "hush");
	if options.outbound then return f; end
	f.hamlet = nodes.enter(f.e, elsinore, "hamlet");
	return f;
end

local function mark(stanza, attr, rooms)
	local fmuc = stanza:get_child("fmuc", nodes.xmlns);
	for name, value in pairs(attr) do fmuc.attr[name] = value; end
	for _, room in ipairs(rooms or {}) do fmuc:text_tag("room", room, nil); end
	return stanza;
end

-- The peer's room joins with that user. attr: of the mark
local function join(f, nick, real_jid, attr, from)
	local stanza = nodes.join(from or peer_room, elsinore, nick, real_jid);
	if attr then mark(stanza, attr); end
	f.peer:send(stanza);
	local last = f.peer:expect { "message", has = "subject"; to = from or peer_room };
	if attr and attr.link then -- it has no other users
		f.peer:send(mark(st.presence({ from = from or peer_room; to = elsinore }):tag("fmuc", { xmlns = nodes.xmlns }):up(),
			{ link = attr.link; complete = "true"; sent = "0" }));
	end
	return last;
end

local function bring(f, nick, real_jid, attr, from)
	f.peer:send(nodes.presence(from or peer_room, elsinore, nick, real_jid, attr));
end

local function message(nick, real_jid, text, id, from)
	return st.message({ type = "groupchat"; id = id; from = (from or peer_room) .. "/" .. nick; to = elsinore }):text_tag("body", text)
		:tag("fmuc", { xmlns = nodes.xmlns; from = real_jid }):up();
end

local function delayed(stanza, from)
	return stanza:tag("delay", { xmlns = xmlns_delay; from = from or peer_room; stamp = "2020-01-01T00:00:00Z" }):up();
end

-- Waits until everything that the peer has sent has been handled
local function settle(f)
	f.peer:sync();
	f.link:settle();
	f.hamlet:sync();
end

-- What e has sent to users of p, past the peer's room
local function past_the_room(f)
	local list = {};
	for _, stanza in ipairs(f.link:sent(f.e)) do
		if stanza.attr.to and stanza.attr.to:find("@p%.example") then list[#list + 1] = tostring(stanza); end
	end
	return list;
end


-- The other node says that its user has left, with these codes
local function part(nick, real_jid, ...)
	local stanza = nodes.presence(peer_room, elsinore, nick, real_jid, { type = "unavailable"; role = "none" });
	local x = stanza:get_child("x", xmlns_muc_user);
	for _, code in ipairs { ... } do x:tag("status", { code = code }):up(); end
	return stanza;
end

local function subject(nick, real_jid, text)
	return st.message({ type = "groupchat"; from = peer_room .. "/" .. nick; to = elsinore }):text_tag("subject", text)
		:tag("fmuc", { xmlns = nodes.xmlns; from = real_jid }):up();
end

-- What the joined node sends last; link: id that the joining node has chosen
local function last_of_answer(link)
	local stanza = st.message({ type = "groupchat"; from = peer_room; to = elsinore }):text_tag("subject", "Tea")
		:tag("fmuc", { xmlns = nodes.xmlns; from = peer_room }):up();
	return mark(stanza, { link = link });
end

local function word(name)
	return st.presence({ from = peer_room; to = elsinore }):tag("fmuc", { xmlns = nodes.xmlns }):tag(name):up():up();
end

-- Lua code that runs in e, where `room` is the room and `waits` is the interface of mod_bed_waits
local function eval(f, code)
	return f.e:eval(([[
		local host = prosody.hosts["rooms.e.example"].modules;
		local room, fmuc = host.muc.get_room_from_jid(%q), host.fmuc;
		local waits = host.bed_waits and host.bed_waits.module:shared "api";
		%s
	]]):format(elsinore, code));
end

-- Everything that hamlet has got -> list of text
local function got(f)
	settle(f);
	local list = {};
	for _, stanza in ipairs(f.hamlet:drain()) do list[#list + 1] = tostring(stanza); end
	return list;
end

local ban = [[room:set_affiliation(true, "banned@p.example", "outcast");]];

for _, versions in ipairs(nodes.crossings()) do
describe(("a room that lies to %s, at %s"):format(versions.e, versions.w), function ()
	it("speaks for its own users only, also when it says that they spoke before (O13 G19 N21)", bed.scenario(function (s)
		local f = lie(s, versions);
		join(f, "Mallory", mallory, { link = "l1" });
		f.hamlet:expect { "presence", from = elsinore .. "/Mallory" };
		got(f);
		f.peer:send(message("Hamlet", "hamlet@e.example/pc", "1", "x1"));
		f.peer:send(message("Hamlet", mallory, "1", "x2"));
		f.peer:send(message("Mallory", "hamlet@e.example/pc", "1", "x3"));
		f.peer:send(message("Nobody", "nobody@p.example/x", "1", "x4"));
		f.peer:send(message("Third", "third@other.example/x", "1", "x5"));
		f.peer:send(delayed(message("Hamlet", "hamlet@e.example/pc", "1", "x6")));
		f.peer:send(delayed(message("Third", "third@other.example/x", "1", "x7")));
		f.peer:send(delayed(message("Local", "local@e.example/x", "1", "x8")));
		f.peer:send(delayed(message("Nothing", nil, "1", "x9")));
		bring(f, "Local", "local@e.example/x");
		bring(f, "Third", "third@other.example/x");
		bring(f, "Nothing", nil);
		assert.same({}, got(f));
	end));

	it("has no word for those whom this room does not let speak (N17 N18)", bed.scenario(function (s)
		local f = lie(s, versions, { code = "room:set_moderated(true);" .. ban });
		join(f, "Mallory", mallory, { link = "l1" });
		bring(f, "Banned", "banned@p.example/x");
		bring(f, "Hamlet", "zzz@p.example/x");
		got(f);
		f.peer:send(message("Mallory", mallory, "1", "x1"));
		f.peer:send(delayed(message("Mallory", mallory, "1", "x2")));
		f.peer:send(delayed(message("Gone", "gone@p.example/x", "1", "x3")));
		f.peer:send(subject("Mallory", mallory, "no voice"));
		f.peer:send(message("Banned", "banned@p.example/x", "1", "x4"));
		f.peer:send(subject("Banned", "banned@p.example/x", "banned"));
		f.peer:send(subject("Hamlet", "zzz@p.example/x", "as Hamlet"));
		assert.same({}, got(f));
	end));

	it("shows codes of a removal only, and dates nothing in the name of this room (N17 O13)", bed.scenario(function (s)
		local f = lie(s, versions);
		join(f, "Mallory", mallory, { link = "l1" });
		bring(f, "Eve", "eve@p.example/x");
		f.hamlet:expect { "presence", from = elsinore .. "/Eve" };
		f.peer:send(part("Eve", "eve@p.example/x", "307", "110", "100", "170", "172", "201", "210", "x"));
		assert.equal("307", federation.codes(f.hamlet:expect { "presence", type = "unavailable"; from = elsinore .. "/Eve" }));
		f.peer:send(delayed(message("Mallory", mallory, "1", "x1"), elsinore));
		assert.is_nil(f.hamlet:expect({ "message", id = "x1" }):get_child("delay", xmlns_delay));
		f.peer:send(part("Mallory", mallory));
		f.peer:expect { "presence", has = nodes.fmuc .. "/left" };
		settle(f);
		assert.same({}, past_the_room(f));
	end));

	it("returns no errors in the name of others (O13)", bed.scenario(function (s)
		local f = lie(s, versions);
		f.gertrude = nodes.enter(f.e, elsinore, "gertrude");
		join(f, "Mallory", mallory, { link = "l1" });
		got(f);
		f.peer:send(st.message({ type = "error"; from = peer_room .. "/Gertrude"; to = elsinore .. "/Hamlet"; id = "z" }):text_tag("body", "boo")
			:tag("error", { type = "cancel" }):tag("forbidden", { xmlns = xmlns_stanzas }):up():up());
		assert.same({}, got(f));
	end));

	it("has hidden users removed for the nodes behind, too (N17)", bed.scenario(function (s)
		local f = lie(s, versions, { peers = { "rooms.p.example" }; code = ban });
		join(f, "Mallory", mallory, { link = "l1" });
		join(f, "Trent", "trent@p.example/x", { link = "l2" }, second_room);
		bring(f, "Banned", "banned@p.example/x");
		f.peer:expect { "presence", to = second_room; from = elsinore .. "/Banned" };
		f.peer:send(part("Banned", "banned@p.example/x", "307"));
		f.peer:expect { "presence", to = second_room; type = "unavailable"; from = elsinore .. "/Banned" };
	end));

	it("gets what is for its users; they get nothing directly (G21 N17)", bed.scenario(function (s)
		local f = lie(s, versions);
		join(f, "Mallory", mallory, { link = "l1" });
		bring(f, "Eve", "eve@p.example/x");
		bring(f, "Ann", "ann@p.example/x");
		f.hamlet:expect { "presence", from = elsinore .. "/Ann" };
		eval(f, [[room:set_role(true, room.jid .. "/Eve", nil, "x"); room:set_affiliation(true, "ann@p.example", "outcast"); return true;]]);
		settle(f);
		eval(f, "room:destroy(); return true;");
		settle(f);
		assert.same({}, past_the_room(f));
	end));

	it("brings one client over two links, and takes it away over one, or kicks it (G6 N17)", bed.scenario(function (s)
		local f = lie(s, versions, { peers = { "rooms.p.example" } });
		join(f, "Mallory", mallory, { link = "l1" });
		join(f, "Trent", "trent@p.example/x", { link = "l2" }, second_room);
		bring(f, "Eve", "eve@p.example/x");
		bring(f, "Eve", "eve@p.example/x", nil, second_room);
		bring(f, "Ann", "ann@p.example/1");
		bring(f, "Ann", "ann@p.example/2", nil, second_room);
		f.hamlet:expect { "presence", from = elsinore .. "/Ann" };
		bring(f, "Eve", "eve@p.example/x", { type = "unavailable"; role = "none" });
		settle(f);
		nodes.expect_occupants(f.e, elsinore, "Ann", "Eve", "Hamlet", "Mallory", "Trent");
		nodes.say(f.hamlet, elsinore, "who is there?", "h1");
		f.hamlet:expect { "message", id = "h1" };
		eval(f, [[room:set_role(true, room.jid .. "/Ann", nil, "x"); return true;]]);
		f.peer:send(part("Ann", "ann@p.example/1", "307"));
		bring(f, "Ann", "ann@p.example/2", { type = "unavailable"; role = "none" }, second_room);
		bring(f, "Eve", "eve@p.example/x", { type = "unavailable"; role = "none" }, second_room);
		nodes.expect_occupants(f.e, elsinore, "Hamlet", "Mallory", "Trent");
		settle(f);
		assert.same({}, past_the_room(f));
	end));

	it("cannot give a user another nick than the registered one, or put out others for one who may not enter (G6)", bed.scenario(function (s)
		local f = lie(s, versions, { more = "\tenforce_registered_nickname = true\n"; code = ban
			.. [[room:set_affiliation(true, "eve@p.example", "member", nil, { reserved_nickname = "Boss" });]] });
		join(f, "Mallory", mallory, { link = "l1" });
		bring(f, "Eve", "eve@p.example/x");
		f.peer:send(mark(nodes.presence(peer_room, elsinore, "Hamlet", "banned@p.example/x"), { registered = "true"; since = "1990-01-01T00:00:00Z" }));
		settle(f);
		nodes.say(f.hamlet, elsinore, "who is there?", "h1");
		f.hamlet:expect { "message", id = "h1" };
		settle(f);
		nodes.expect_occupants(f.e, elsinore, "Hamlet", "Mallory");
		assert.same({}, past_the_room(f));
	end));

	it("does not get hold of a client that is in the room directly (G6 O17)", bed.scenario(function (s)
		local f = lie(s, versions);
		join(f, "Mallory", mallory, { link = "l1" });
		f.kev = f.p:client("kev@p.example/pc");
		f.kev:send(federation.join(elsinore, "Direct"));
		f.kev:expect { "message", has = "subject" };
		bring(f, "Kev", "kev@p.example/pda");
		f.kev:expect { "presence", from = elsinore .. "/Kev" };
		bring(f, "Kev", "kev@p.example/pc");
		settle(f);
		nodes.expect_occupants(f.e, elsinore, "Direct", "Hamlet", "Mallory");
		nodes.say(f.hamlet, elsinore, "who is there?", "h1");
		f.kev:expect { "message", id = "h1" };
	end));

	it("leaves no ghost when its link ends while a join waits for another module (G1)", bed.scenario(function (s)
		local f = lie(s, versions, { more_modules = ', "bed_waits"' });
		join(f, "Mallory", mallory, { link = "l1" });
		eval(f, [[waits.hold("muc-occupant-pre-join", "eve"); return true;]]);
		bring(f, "Eve", "eve@p.example/x");
		s:wait_until(function () return eval(f, [[return waits.waiting("muc-occupant-pre-join") == 1;]]); end, nil, "the join to wait");
		eval(f, [[fmuc.lib "node/config".set(room, { inbound_peers = {} }); waits.release("muc-occupant-pre-join"); return true;]]);
		nodes.say(f.hamlet, elsinore, "who is there?", "h1");
		f.hamlet:expect { "message", id = "h1" };
		settle(f);
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		assert.same({}, past_the_room(f));
	end));

	it("cannot speak for users of a replica (O13 N20)", bed.scenario(function (s)
		local f = lie(s, versions, { outbound = peer_room; code = "room._data.fmuc_mode = 'primary-replica';" });
		f.hamlet = f.e:client("hamlet@e.example/pc");
		f.hamlet:send(federation.join(elsinore, "Hamlet"));
		local asked = f.peer:expect { "presence", from = elsinore .. "/Hamlet" };
		f.peer:send(last_of_answer(asked:find(nodes.fmuc .. "@link")));
		f.hamlet:expect { "message", has = "subject" };
		f.peer:expect { "presence", from = elsinore }; -- the link is up
		nodes.say(f.hamlet, elsinore, "mine", "m1");
		local said = f.peer:expect { "message", id = "m1" };
		-- as the primary returns it, and what nobody has said
		f.peer:send(message("Hamlet", "hamlet@e.example/pc", "forged", "m0"));
		f.peer:send(message("Hamlet", "hamlet@e.example/pc", said:get_child_text("body"), "m1"));
		f.hamlet:expect { "message", from = elsinore .. "/Hamlet", id = "m1" };
		f.peer:send(message("Hamlet", "hamlet@e.example/pc", "forged", "m2"));
		-- the room has one subject, the primary's. Who has set it is another matter.
		f.peer:send(subject("Hamlet", "hamlet@e.example/pc", "Poison"));
		repeat
			local text = f.hamlet:expect({ "message", from = elsinore; has = "subject" }):get_child_text("subject");
		until text == "Poison";
		settle(f);
		f.hamlet:expect_none({ "message", id = "m0" }, 0);
		f.hamlet:expect_none({ "message", id = "m2" }, 0);
	end));

	it("cannot send without end while a join waits for another module (G29)", bed.scenario(function (s)
		local f = lie(s, versions, { more_modules = ', "bed_waits"' });
		join(f, "Mallory", mallory, { link = "l1" });
		eval(f, [[waits.hold("muc-occupant-pre-join", "eve"); return true;]]);
		bring(f, "Eve", "eve@p.example/x");
		s:wait_until(function () return eval(f, [[return waits.waiting("muc-occupant-pre-join") == 1;]]); end, nil, "the join to wait");
		-- over more streams than one: a stream whose stanza waits is not read
		eval(f, ([[for i = 1, 1100 do waits.inject(%q); end return true;]]):format(tostring(message("Mallory", mallory, "flood", "f"))));
		f.e:expect_log("more stanzas wait than this server keeps");
		f.peer:expect { "presence", type = "error"; from = elsinore; to = peer_room }; -- join again
		eval(f, [[waits.release("muc-occupant-pre-join"); return true;]]);
		join(f, "Mallory", mallory, { link = "l2" });
		bring(f, "Eve", "eve@p.example/x");
		f.peer:send(message("Mallory", mallory, "well", "m1"));
		f.hamlet:expect { "message", from = elsinore .. "/Mallory", id = "m1" };
		nodes.expect_occupants(f.e, elsinore, "Eve", "Hamlet", "Mallory");
	end));

	it("loses all its users after an outage, whatever other modules wait for (G1)", bed.scenario(function (s)
		local f = lie(s, versions, { more_modules = ', "bed_waits"'; more = "\tfmuc_grace_period = 1\n" });
		join(f, "Mallory", mallory, { link = "l1" });
		bring(f, "Eve", "eve@p.example/x");
		f.hamlet:expect { "presence", from = elsinore .. "/Eve" };
		eval(f, [[waits.hold("muc-broadcast-presence", "example"); return true;]]);
		f.peer:send(st.presence({ type = "error"; from = peer_room; to = elsinore })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = xmlns_stanzas }):up():up());
		s:wait_until(function () return eval(f, [[return waits.waiting("muc-broadcast-presence") == 1;]]); end, nil, "the part to wait");
		eval(f, [[waits.release("muc-broadcast-presence"); return true;]]);
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
	end));

	it("makes the room ask no more by <left/>, nor by an old answer (N16)", bed.scenario(function (s)
		local f = lie(s, versions, { outbound = peer_room; peers = {} });
		f.hamlet = nodes.enter(f.e, elsinore, "hamlet");
		local id = f.peer:expect({ "presence", to = peer_room .. "/Hamlet" }):find(nodes.fmuc .. "@link");
		for _ = 1, 20 do f.peer:send(word("left")); end
		f.peer:send(last_of_answer(id));
		f.peer:expect { "presence", has = nodes.fmuc; from = elsinore };
		f.hamlet:send(st.presence({ type = "unavailable"; to = elsinore .. "/Hamlet" }));
		f.peer:expect { "presence", type = "unavailable" };
		f.ophelia = nodes.enter(f.e, elsinore, "ophelia");
		local other_id = f.peer:expect({ "presence", to = peer_room .. "/Ophelia" }):find(nodes.fmuc .. "@link");
		f.peer:send(last_of_answer(id));
		f.peer:send(word("left"));
		f.peer:send(last_of_answer(other_id));
		local complete = f.peer:expect { "presence", from = elsinore };
		assert.same({ other_id, "true" }, { complete:find(nodes.fmuc .. "@link"), complete:find(nodes.fmuc .. "@complete") });
		f.peer:sync();
		f.peer:expect_none({ "presence", to = peer_room .. "/Ophelia" }, 0);
	end));

	it("is told of a user who left before it answered (N15 N16)", bed.scenario(function (s)
		local f = lie(s, versions, { outbound = peer_room; peers = {} });
		f.hamlet = nodes.enter(f.e, elsinore, "hamlet");
		local id = f.peer:expect({ "presence", to = peer_room .. "/Hamlet" }):find(nodes.fmuc .. "@link");
		f.hamlet:send(st.presence({ type = "unavailable"; to = elsinore .. "/Hamlet" }));
		f.hamlet:expect { "presence", type = "unavailable" };
		f.peer:send(last_of_answer(id));
		f.peer:expect { "presence", type = "unavailable"; from = elsinore .. "/Hamlet" };
		s:wait_until(function () return eval(f, "return room.fmuc == nil;"); end, nil, "the link to end");
	end));

	it("may join the room that is to join it (G3 G18)", bed.scenario(function (s)
		local f = lie(s, versions, { outbound = peer_room });
		f.hamlet = nodes.enter(f.e, elsinore, "hamlet");
		f.peer:expect { "presence", to = peer_room .. "/Hamlet" };
		f.peer:send(word("reject"));
		join(f, "Mallory", mallory, { link = "l1" });
		nodes.expect_occupants(f.e, elsinore, "Hamlet", "Mallory");
	end));

	it("ends with the module, and when an admin denies its service (G20 N16)", bed.scenario(function (s)
		local f = lie(s, versions);
		join(f, "Mallory", mallory, { link = "l1" });
		settle(f);
		local usual = f.e.config;
		f.e:reload_config((usual:gsub("muc_room_default_persistent = true", "%0\n\tfmuc_deny_peers = { \"rooms.p.example\" }")));
		f.e:reload("fmuc", "rooms.e.example");
		f.peer:expect { "presence", has = nodes.fmuc .. "/left" };
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		f.e:reload_config(usual);
		f.e:reload("fmuc", "rooms.e.example");
		join(f, "Mallory", mallory, { link = "l1" });
		f.e:eval([[require "core.modulemanager".unload("rooms.e.example", "fmuc"); return true;]]);
		f.peer:expect { "presence", has = nodes.fmuc .. "/left" };
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		f.peer:sync();
		assert.same({}, past_the_room(f));
	end));

	it("cannot make the room keep or send without a bound (G29)", bed.scenario(function (s)
		local f = lie(s, versions, { peers = { "rooms.p.example" }; more = "\tfmuc_max_occupants = 10\n" });
		join(f, "Mallory", mallory, { link = "l1" });
		f.peer:send(message("Mallory", mallory, "1", "x1"));
		f.hamlet:expect { "message", id = "x1" };
		assert.equal(true, eval(f, "return room._data.fmuc_seen == nil;"));
		local rooms = {};
		for i = 1, 5000 do rooms[i] = ("r%d@rooms.p.example"):format(i); end
		f.peer:send(mark(nodes.join(second_room, elsinore, "Trent", "trent@p.example/x"), { link = "l2" }, rooms));
		f.peer:expect { "presence", to = second_room; has = nodes.fmuc .. "/reject" };
		f.peer:send(mark(nodes.presence(peer_room, elsinore, "Old", "old@p.example/x"), { since = ("1"):rep(5000) }));
		for i = 1, 30 do bring(f, "User" .. i, ("user%d@p.example/x"):format(i)); end
		f.e:expect_log("brings more than 10 users");
		assert.equal(11, #nodes.occupants(f.e, elsinore));
		assert.equal(true, eval(f, [[return not next(room.fmuc.nodes) or select(2, next(room.fmuc.nodes)):own("links").brought.Old.since == nil;]]));
		for i = 1, 60 do
			f.peer:send(nodes.join(("r%d@rooms.p.example"):format(i), elsinore, "M" .. i, ("m%d@p.example/x"):format(i)));
			if i % 10 == 0 then f.peer:sync(); end
		end
		local reject = f.peer:expect { "presence", to = "r60@rooms.p.example"; has = nodes.fmuc .. "/reject" };
		assert.equal("Too many rooms have joined this room", reject:find(nodes.fmuc .. "/reject#"));
		f.e:allow_log("brings more than 10 users");
	end));

	it("leaves nothing behind when its link ends (G29 N16)", bed.scenario(function (s)
		local f = lie(s, versions, { code = "room:set_historylength(0);" });
		local function heap() return eval(f, [[collectgarbage(); collectgarbage(); return collectgarbage("count") * 1024;]]); end
		local function visit(round)
			join(f, "Mallory", mallory, round % 2 == 0 and { link = "l" .. round; series = "s" .. round; sent = "0" } or nil);
			for i = 1, 40 do
				local presence = nodes.presence(peer_room, elsinore, "User" .. i, ("user%d@p.example/x%d"):format(i, round));
				f.peer:send(presence:text_tag("status", ("x"):rep(1000)));
			end
			f.peer:send(message("Mallory", mallory, "hello", "m" .. round));
			nodes.say(f.hamlet, elsinore, "good bye", "h" .. round);
			f.peer:expect { "message", id = "h" .. round };
			for i = 1, 40 do f.peer:send(part("User" .. i, ("user%d@p.example/x%d"):format(i, round))); end
			f.peer:send(part("Mallory", mallory));
			f.peer:expect { "presence", from = elsinore; to = peer_room; has = nodes.fmuc .. "/left" };
			settle(f);
			f.peer:drain();
			f.hamlet:drain();
			f.link:forget();
			nodes.expect_occupants(f.e, elsinore, "Hamlet");
		end
		for round = 1, 4 do visit(round); end
		local before = heap();
		for round = 5, 14 do visit(round); end
		local growth = heap() - before;
		assert.is_true(growth < 150 * 1024, ("%.0f kB more after ten visits"):format(growth / 1024));
	end));

	it("causes no fault by nonsense (O13 G24 G29)", bed.scenario(function (s)
		local f = lie(s, versions);
		local limiters = { { seconds = "1e999" }, { seconds = "-1e999" }, { maxstanzas = "1e999" }, { maxstanzas = "-5" }, { maxstanzas = "0.5" },
			{ maxchars = "1e999" }, { maxchars = "-1" }, { since = "0000-00-00T00:00:00Z" }, { since = "9999-12-31T00:00:00Z" }, { seconds = "0x10" } };
		local counts = { "-1", "9223372036854775807", "1e308", "x", "0x7fffffffffffffff", "1e18" };
		for i, attr in ipairs(limiters) do
			local stanza = mark(nodes.join(peer_room, elsinore, "Mallory", mallory), { link = "l" .. i; received = counts[i] });
			stanza:get_child("x", xmlns_muc):tag("history", attr):up();
			f.peer:send(stanza);
			f.peer:expect { "message", has = "subject" };
		end
		local deep = ("<a xmlns='x'>%s%s</a>"):format(("<a>"):rep(5000), ("</a>"):rep(5000));
		local fmuc = ("<fmuc xmlns='%s' from='%s'/>"):format(nodes.xmlns, mallory);
		f.peer:send(("<message type='groupchat' id='deep' from='%s/Mallory' to='%s'><body>x</body>%s%s</message>")
			:format(peer_room, elsinore, fmuc, deep));
		f.peer:send(("<presence from='%s/Mallory' to='%s'>%s%s</presence>"):format(peer_room, elsinore, fmuc, deep));
		for _, nick in ipairs { "a b", ("n"):rep(1023), "hamlet", "HAMLET", "Hamle\204\129t" } do
			bring(f, nick, "odd@p.example/" .. #nick);
			bring(f, nick, "odd@p.example/" .. #nick, { type = "unavailable" });
		end
		for _, jid in ipairs { "", "@", "p.example/x", "p.example", "a@p.example", "a@b@c/d", ("a"):rep(4000) .. "@p.example/x",
			"\226\128\139@p.example/x" } do
			bring(f, "Odd", jid);
			f.peer:send(message("Odd", jid, "x", "odd"));
		end
		for _, name in ipairs { "left", "reject", "complete" } do f.peer:send(word(name)); end
		for _, condition in ipairs { "bad-request", "conflict", "forbidden", "not-acceptable", "undefined-condition", "" } do
			for _, to in ipairs { elsinore, elsinore .. "/Hamlet", elsinore .. "/Nobody" } do
				for _, name in ipairs { "message", "presence", "iq" } do
					f.peer:send(("<%s type='error' id='e' from='%s/Mallory' to='%s'><error type='x'><%s xmlns='%s'/></error></%s>")
						:format(name, peer_room, to, condition == "" and "x" or condition, xmlns_stanzas, name));
				end
			end
		end
		settle(f);
		f.peer:send(message("Mallory", mallory, "still there", "x1"));
		f.hamlet:expect { "message", id = "x1" };
	end));
end);
end
