-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2) of a Prosody and a real Openfire, in both roles. Pending where there is no Openfire.

local bed = require "bed";
local example = require "example";
local federation = require "federation";
local loop = require "bed.loop";
local nodes = require "nodes";
local openfire = require "openfire";
local st = require "util.stanza";

if not openfire.tools then
	pending(openfire.missing);
	return;
end

local fmuc, muc_user = nodes.fmuc, nodes.muc_user;
local park, verona = "park@rooms.p.example", "verona@conference.openfire.example";
local xmlns_muc = "http://jabber.org/protocol/muc";

local readme = example.section("With Openfire");
local readme_config = example.blocks(readme, "lua")[1];
local readme_commands = {};
readme_commands.joins, readme_commands.joined = table.unpack(example.blocks(readme, "sh"));

-- Seconds until the rooms are one again: an Openfire starts slowly on a busy machine, and the pauses between attempts grow
local patience = 20;

local hasty = "\tfmuc_grace_period = 5\n\tfmuc_join_timeout = 6\n";

-- Remembers all that a client gets, beside its inbox
local function recorded(client)
	client.got = {};
	client.on_stanza = function (stanza) client.got[#client.got + 1] = stanza; end;
	return client;
end

-- pair(s, version, role, [more]) -> o: an Openfire with room verona, whose owner is romeo; a Prosody with room park, whose owner is alice; the
-- link between them. role: "joins" (park joins verona) or "joined" (verona joins park)
local function pair(s, version, role, more)
	local o = { s = s; role = role; clients = {} };
	-- how many seconds it tries to connect
	o.peer = openfire.new(s, { properties = { ["xmpp.server.session.initialise-timeout"] = "2" };
		rooms = { verona = { joins = role == "joined" and park or nil; owners = { "romeo@openfire.example" } } } });
	o.p = nodes.server(s, "p", version, more or hasty, { dialback = { o.peer } });
	o.link = s:link(o.peer, o.p);
	nodes.make_room(o.p, park, { outbound_peer = role == "joins" and verona or nil; inbound_peers = role == "joined" and { verona } or nil },
		'room:set_affiliation(true, "alice@p.example", "owner");');
	o.peer:start();
	return o;
end

-- A user of the Openfire in verona, of the Prosody in park
local function at_openfire(o, name, resource)
	local client = recorded(o.peer:client(name .. "@openfire.example/" .. (resource or "pc")));
	o.clients[#o.clients + 1] = client;
	local nick = name:sub(1, 1):upper() .. name:sub(2);
	federation.enter(client, nick, verona);
	client:expect { "message", has = "subject" };
	return client;
end

local function at_prosody(o, name, resource)
	local client = recorded(o.p:client(name .. "@p.example/" .. (resource or "pc")));
	o.clients[#o.clients + 1] = client;
	local nick = name:sub(1, 1):upper() .. name:sub(2);
	client:send(federation.join(park, nick));
	client:expect { "presence", type = false; from = park .. "/" .. nick; has = muc_user .. "/status@code" };
	client:expect { "message", has = "subject" };
	return client;
end

local function expect_here(o, ...)
	nodes.expect_occupants(o.p, park, ...);
end

-- items(client, room) -> sorted list of the nicks that are in Openfire's room, as it tells in discovery
local function nicks_there(client)
	client.asked = (client.asked or 0) + 1;
	local id = "items-" .. client.asked;
	client:send(st.iq({ type = "get"; id = id; to = verona }):tag("query", { xmlns = "http://jabber.org/protocol/disco#items" }));
	local list = {};
	for item in client:expect({ "iq", id = id }):find("{http://jabber.org/protocol/disco#items}query"):childtags("item") do
		list[#list + 1] = item.attr.jid:match("/(.*)");
	end
	table.sort(list);
	return list;
end

local function expect_there(client, ...)
	local wanted = table.concat({ ... }, " ");
	local found;
	loop.wait_until(function ()
		found = table.concat(nicks_there(client), " ");
		return found == wanted;
	end, nil, function () return ("verona to have [%s]; it has [%s]"):format(wanted, found); end);
end

-- Both rooms have exactly these nicks. client: of Openfire
local function expect_both(o, client, ...)
	local list = { ... };
	table.sort(list);
	expect_here(o, table.unpack(list));
	expect_there(client, table.unpack(list));
end

local count = 0;
-- The user says something in the own room, and each of these other clients hears it exactly once
local function heard(author, room, ...)
	count = count + 1;
	local text, id = "words " .. count, "m" .. count;
	nodes.say(author, room, text, id);
	author:expect { "message", type = "groupchat"; body = text };
	for _, client in ipairs { ... } do client:expect { "message", type = "groupchat"; body = text }; end
	return text;
end

local function both_talk(o)
	heard(o.romeo, verona, o.alice);
	heard(o.alice, park, o.romeo);
end

-- No client got an element of FMUC from the Prosody, or a message twice
local function check_clients(o)
	for _, client in ipairs(o.clients) do
		local bodies = {};
		for _, stanza in ipairs(client.got) do
			local body = stanza.name == "message" and stanza:get_child_text("body");
			if body then
				bodies[body] = (bodies[body] or 0) + 1;
				if bodies[body] > 1 and not stanza:get_child("delay", "urn:xmpp:delay") then error(client.jid .. " got twice: " .. tostring(stanza)); end
			end
			if client.jid:find("@p.example", 1, true) and stanza.attr.from and stanza.attr.from:find("park@", 1, true) then
				assert.is_nil(stanza:find(fmuc), tostring(stanza));
			end
		end
	end
end

-- What the Prosody has sent to the Openfire's room is nothing that harms it
local function check_wire(o)
	local there = {};
	for _, stanza in ipairs(o.link:sent(o.p)) do
		local nick = (stanza.attr.from or ""):match("^park@[^/]*/(.*)");
		if stanza.name ~= "iq" then
			assert.truthy(stanza:find(fmuc), tostring(stanza));
			local is_opening = stanza:get_child("x", xmlns_muc) ~= nil;
			assert.equal(is_opening and verona .. "/" .. nick or verona, stanza.attr.to, tostring(stanza));
			if stanza.name == "message" then
				assert.equal("groupchat", stanza.attr.type);
				assert.truthy(stanza:find(fmuc .. "@from"));
			elseif not nick then
				assert.truthy(stanza:find(fmuc .. "/left") or stanza:find(fmuc .. "/reject"), tostring(stanza));
				there = {};
			elseif stanza.attr.type == "unavailable" then
				there[nick] = nil;
			else
				assert.is_nil(stanza.attr.type);
				assert.is_nil(stanza:get_child("show"));
				if not is_opening and not o.is_unsure then assert.is_nil(there[nick], "a second presence: " .. tostring(stanza)); end
				there[nick] = true;
			end
		end
	end
end

local function dump(o)
	if not os.getenv("DUMP") then return; end
	for _, server in ipairs { o.p, o.peer } do
		print(server == o.p and "--- prosody sent" or "--- openfire sent");
		for _, stanza in ipairs(o.link:sent(server)) do if stanza.name ~= "iq" then print(stanza); end end
	end
end

-- known: pattern of an error in the log of Openfire that is its own
local function check(o, known)
	dump(o);
	check_wire(o);
	check_clients(o);
	for _, err in ipairs(o.peer:errors()) do
		if not known or not err:find(known) then error(err); end
	end
end

local function scenario(f)
	return bed.scenario(f);
end

local function leave(client, room)
	client:send(st.presence({ type = "unavailable"; to = room .. "/X" }));
end

local function set_subject(client, room, text)
	client:send(st.message({ type = "groupchat"; to = room }):text_tag("subject", text));
end

local function admin(client, room, attr, reason)
	client.admins = (client.admins or 0) + 1;
	local id = "admin-" .. client.admins;
	client:send(st.iq({ type = "set"; id = id; to = room }):tag("query", { xmlns = xmlns_muc .. "#admin" }):tag("item", attr)
		:text_tag("reason", reason or "rules"));
	return client:expect { "iq", id = id };
end

for version in bed.versions() do
for _, role in ipairs { "joins", "joined" } do
describe(("a room of Prosody %s that %s a room of Openfire"):format(version, role == "joins" and "joins" or "is joined by"), function ()
	-- romeo and alice, each in the own room, see each other
	local function meet(s, more)
		local o = pair(s, version, role, more);
		if role == "joins" then
			o.romeo = at_openfire(o, "romeo");
			o.alice = at_prosody(o, "alice");
		else
			o.alice = at_prosody(o, "alice");
			o.romeo = at_openfire(o, "romeo");
		end
		o.romeo:expect { "presence", type = false; from = verona .. "/Alice" };
		o.alice:expect { "presence", type = false; from = park .. "/Romeo" };
		return o;
	end

	it("shares occupants, history, subject, messages, later joins and parts (N6 N8 N9 N12 N13 N14 N15 N16)", scenario(function (s)
		local o = pair(s, version, role);
		local first, second = at_openfire, at_prosody;
		local there, here = verona, park;
		if role == "joined" then first, second, there, here = second, first, park, verona; end
		local one = first(o, role == "joins" and "romeo" or "alice");
		nodes.say(one, there, "said before", "h1");
		set_subject(one, there, "Tea");
		one:expect { "message", has = "subject" };
		local two = second(o, role == "joins" and "alice" or "romeo");
		two:expect { "presence", type = false; from = here .. (role == "joins" and "/Romeo" or "/Alice") };
		one:expect { "presence", type = false; from = there .. (role == "joins" and "/Alice" or "/Romeo") };
		if role == "joins" then
			two:expect { "message", body = "said before"; has = "{urn:xmpp:delay}delay" };
			two:expect { "message", has = "subject"; where = function (m) return m:get_child_text("subject") == "Tea"; end };
		end
		o.romeo, o.alice = role == "joins" and one or two, role == "joins" and two or one;
		local later = at_prosody(o, "bob");
		later:expect { "message", where = function (m) return m:get_child_text("subject") == nil; end, body = "said before" };
		both_talk(o);
		o.romeo:expect { "presence", type = false; from = verona .. "/Bob" };
		local juliet = at_openfire(o, "juliet");
		o.alice:expect { "presence", type = false; from = park .. "/Juliet" };
		later:expect { "presence", type = false; from = park .. "/Juliet" };
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		heard(juliet, verona, o.romeo, o.alice, later);
		heard(later, park, o.romeo, o.alice, juliet);
		-- chat states, subjects, statuses
		o.romeo:send(st.message({ type = "groupchat"; to = verona; id = "cs1" }):tag("composing", { xmlns = "http://jabber.org/protocol/chatstates" }));
		o.alice:expect { "message", id = "cs1"; from = park .. "/Romeo" };
		o.alice:send(st.message({ type = "groupchat"; to = park; id = "cs2" }):tag("composing", { xmlns = "http://jabber.org/protocol/chatstates" }));
		o.romeo:expect { "message", id = "cs2"; from = verona .. "/Alice" };
		set_subject(o.romeo, verona, "from Openfire");
		o.alice:expect { "message", from = park .. "/Romeo"; where = function (m) return m:get_child_text("subject") == "from Openfire"; end };
		set_subject(o.alice, park, "from Prosody");
		o.romeo:expect { "message", from = verona .. "/Alice"; where = function (m) return m:get_child_text("subject") == "from Prosody"; end };
		o.alice:send(st.presence({ to = park .. "/Alice" }):text_tag("show", "away"));
		o.romeo:send(st.presence({ to = verona .. "/Romeo" }):text_tag("show", "xa"));
		o.alice:expect { "presence", from = park .. "/Romeo"; has = "show" };
		-- parts
		leave(juliet, verona);
		o.alice:expect { "presence", type = "unavailable"; from = park .. "/Juliet" };
		leave(later, park);
		o.romeo:expect { "presence", type = "unavailable"; from = verona .. "/Bob" };
		both_talk(o);
		expect_both(o, o.romeo, "Alice", "Romeo");
		-- the last user of the joining side ends it, and begins again
		if role == "joins" then
			leave(o.alice, park);
			o.link:expect(o.peer, { "presence", from = verona; has = fmuc .. "/left" });
			expect_here(o);
			expect_there(o.romeo, "Romeo");
			o.alice = at_prosody(o, "alice", "pda");
		else
			leave(o.romeo, verona);
			o.link:expect(o.p, { "presence", from = park; has = fmuc .. "/left" });
			expect_here(o, "Alice");
			o.romeo = at_openfire(o, "romeo", "pda");
		end
		o.romeo:expect { "presence", type = false; from = verona .. "/Alice" };
		expect_both(o, o.romeo, "Alice", "Romeo");
		both_talk(o);
		check(o);
	end));

	it("follows changes of nicks, also of the only user (O7)", scenario(function (s)
		local o = meet(s);
		o.alice:send(st.presence({ to = park .. "/Queen" }));
		o.romeo:expect { "presence", type = "unavailable"; from = verona .. "/Alice" };
		o.romeo:expect { "presence", type = false; from = verona .. "/Queen" };
		expect_both(o, o.romeo, "Queen", "Romeo");
		both_talk(o);
		expect_both(o, o.romeo, "Queen", "Romeo");
		if role == "joins" then
			o.romeo:send(st.presence({ to = verona .. "/Montague" }));
			o.alice:expect { "presence", type = false; from = park .. "/Montague" };
			expect_both(o, o.romeo, "Montague", "Queen");
			both_talk(o);
		end
		local juliet, bob = at_openfire(o, "juliet"), at_prosody(o, "bob");
		juliet:send(st.presence({ to = verona .. "/Capulet" }));
		bob:expect { "presence", type = false; from = park .. "/Capulet" };
		bob:send(st.presence({ to = park .. "/Bobby" }));
		juliet:expect { "presence", type = false; from = verona .. "/Bobby" };
		expect_both(o, o.romeo, "Bobby", "Capulet", role == "joins" and "Montague" or "Romeo", "Queen");
		both_talk(o);
		check(o);
	end));

	it("follows kicks by either side of users of either side (N17)", scenario(function (s)
		local o = meet(s);
		local juliet, bob;
		at_openfire(o, "juliet");
		bob = at_prosody(o, "bob");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		-- Openfire kicks its own user
		admin(o.romeo, verona, { nick = "Juliet"; role = "none" });
		assert.equal("307", federation.codes(o.alice:expect { "presence", type = "unavailable"; from = park .. "/Juliet" }));
		expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
		-- Openfire kicks a user of the Prosody
		admin(o.romeo, verona, { nick = "Bob"; role = "none" });
		assert.equal("110 307", federation.codes(bob:expect { "presence", type = "unavailable"; from = park .. "/Bob" }));
		expect_both(o, o.romeo, "Alice", "Romeo");
		both_talk(o);
		o.is_unsure = true; -- the user whom Openfire has kicked comes back
		juliet, bob = at_openfire(o, "juliet", "pda"), at_prosody(o, "bob", "pda");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		-- the Prosody kicks its own user
		admin(o.alice, park, { nick = "Bob"; role = "none" });
		o.romeo:expect { "presence", type = "unavailable"; from = verona .. "/Bob" };
		expect_both(o, o.romeo, "Alice", "Juliet", "Romeo");
		-- the Prosody kicks a user of the Openfire
		admin(o.alice, park, { nick = "Juliet"; role = "none" });
		o.romeo:expect { "presence", type = "unavailable"; from = verona .. "/Juliet" };
		expect_both(o, o.romeo, "Alice", "Romeo");
		both_talk(o);
		assert.same({}, { juliet.ended, bob.ended }); -- the connections to the servers stay
		juliet, bob = at_openfire(o, "juliet", "phone"), at_prosody(o, "bob", "phone");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		heard(juliet, verona, bob);
		heard(bob, park, juliet);
		-- by the console
		o.peer:console("kick", verona, "Juliet");
		expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
		o.peer:console("kick", verona, "Bob");
		expect_both(o, o.romeo, "Alice", "Romeo");
		both_talk(o);
		check(o);
	end));

	it("survives changes of roles and affiliations, and bans, on either side (N18)", scenario(function (s)
		local o = meet(s);
		local juliet, bob = at_openfire(o, "juliet"), at_prosody(o, "bob");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		admin(o.romeo, verona, { nick = "Juliet"; role = "visitor" });
		admin(o.romeo, verona, { nick = "Juliet"; role = "participant" });
		admin(o.romeo, verona, { jid = "juliet@openfire.example"; affiliation = "member" });
		o.alice:expect { "presence", type = false; from = park .. "/Juliet"; where = function (presence)
			return presence:find(muc_user .. "/item@affiliation") == "member";
		end };
		admin(o.romeo, verona, { jid = "bob@p.example"; affiliation = "member" });
		admin(o.alice, park, { nick = "Bob"; role = "moderator" });
		admin(o.alice, park, { jid = "bob@p.example"; affiliation = "admin" });
		admin(o.alice, park, { jid = "juliet@openfire.example"; affiliation = "admin" });
		both_talk(o);
		leave(juliet, verona);
		leave(bob, park);
		expect_both(o, o.romeo, "Alice", "Romeo");
		juliet, bob = at_openfire(o, "juliet", "pda"), at_prosody(o, "bob", "pda");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		heard(juliet, verona, bob);
		heard(bob, park, juliet);
		-- bans
		admin(o.romeo, verona, { jid = "juliet@openfire.example"; affiliation = "outcast" });
		expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
		admin(o.romeo, verona, { jid = "juliet@openfire.example"; affiliation = "none" });
		juliet = at_openfire(o, "juliet", "phone");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		admin(o.alice, park, { jid = "juliet@openfire.example"; affiliation = "outcast" });
		expect_here(o, "Alice", "Bob", "Romeo");
		heard(bob, park, juliet);
		heard(bob, park, o.romeo);
		admin(o.alice, park, { jid = "bob@p.example"; affiliation = "outcast" });
		o.romeo:expect { "presence", type = "unavailable"; from = verona .. "/Bob" };
		expect_there(o.romeo, "Alice", "Juliet", "Romeo");
		both_talk(o);
		check(o);
	end));

	it("bears bans of its users by Openfire, and nicks that two have (O8)", scenario(function (s)
		local o = meet(s);
		local bob = at_prosody(o, "bob");
		expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
		admin(o.romeo, verona, { jid = "bob@p.example"; affiliation = "outcast" });
		o.link:expect(o.peer, { "presence", type = "unavailable"; from = verona });
		both_talk(o);
		expect_there(o.romeo, "Alice", "Romeo");
		heard(bob, park, o.alice);
		-- the nick is taken
		local juliet = recorded(o.peer:client("juliet@openfire.example/pc"));
		juliet:send(federation.join(verona, "Alice"));
		assert.equal("conflict", federation.error_condition(juliet:expect { "presence", type = "error" }));
		local carol = recorded(o.p:client("carol@p.example/pc"));
		carol:send(federation.join(park, "Romeo"));
		assert.equal("conflict", federation.error_condition(carol:expect { "presence", type = "error" }));
		-- both at the same moment
		o.link:stall();
		carol:send(federation.join(park, "Twin"));
		carol:expect { "message", has = "subject" };
		juliet:send(federation.join(verona, "Twin"));
		juliet:expect { "message", has = "subject" };
		o.link:restore();
		s:wait(1);
		both_talk(o);
		heard(carol, park, o.alice);
		leave(carol, park);
		leave(juliet, verona);
		leave(bob, park);
		s:wait(1);
		expect_both(o, o.romeo, "Alice", "Romeo");
		both_talk(o);
		check(o, "leave presence of occupant 'carol@p.example/pc'"); -- it has two users with one nick (O8)
	end));

	it("keeps private messages and FMUC from users (N11 N19 O20)", scenario(function (s)
		local o = meet(s);
		o.alice:send(st.message({ type = "chat"; to = park .. "/Romeo"; id = "pm1" }):text_tag("body", "secret"));
		local refusal = o.alice:expect { "message", type = "error"; id = "pm1" };
		assert.equal("service-unavailable", federation.error_condition(refusal));
		o.romeo:send(st.message({ type = "chat"; to = verona .. "/Alice"; id = "pm2" }):text_tag("body", "whisper"));
		-- Openfire's room sends it to the real JID (O20)
		o.alice:expect { "message", type = "chat"; from = park .. "/Romeo"; to = "alice@p.example/pc"; body = "whisper" };
		both_talk(o);
		check(o);
	end));

	it("goes on when either room is destroyed (O10)", scenario(function (s)
		local o = meet(s);
		o.romeo:send(st.iq({ type = "set"; id = "d1"; to = verona }):tag("query", { xmlns = xmlns_muc .. "#owner" }):tag("destroy"));
		o.romeo:expect { "iq", id = "d1" };
		if role == "joins" then o.p:allow_log("park"); end
		expect_here(o, "Alice");
		heard(o.alice, park);
		check(o);
	end));

	it("tells Openfire when its own room is destroyed (O10)", scenario(function (s)
		local o = meet(s);
		local bob = at_prosody(o, "bob");
		expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
		o.alice:send(st.iq({ type = "set"; id = "d1"; to = park }):tag("query", { xmlns = xmlns_muc .. "#owner" }):tag("destroy"));
		o.alice:expect { "iq", id = "d1" };
		bob:expect { "presence", type = "unavailable" };
		expect_there(o.romeo, "Romeo");
		heard(o.romeo, verona);
		check(o);
	end));

	if role == "joins" then
		it("leaves the room of Openfire for good, also with users whom that has kicked (O16)", scenario(function (s)
			local o = meet(s);
			local bob = at_prosody(o, "bob");
			expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
			o.is_unsure = true;
			admin(o.romeo, verona, { nick = "Bob"; role = "none" });
			bob:expect { "presence", type = "unavailable"; from = park .. "/Bob" };
			leave(o.alice, park);
			o.link:expect(o.peer, { "presence", from = verona; has = fmuc .. "/left" });
			expect_here(o);
			expect_there(o.romeo, "Romeo");
			heard(o.romeo, verona);
			-- the only user is kicked
			bob = at_prosody(o, "bob", "pda");
			bob:expect { "presence", type = false; from = park .. "/Romeo" };
			expect_there(o.romeo, "Bob", "Romeo");
			admin(o.romeo, verona, { nick = "Bob"; role = "none" });
			bob:expect { "presence", type = "unavailable"; from = park .. "/Bob" };
			o.link:expect(o.peer, { "presence", from = verona; has = fmuc .. "/left" });
			expect_here(o);
			local text = heard(o.romeo, verona);
			o.alice = at_prosody(o, "alice", "pda");
			o.alice:expect { "presence", type = false; from = park .. "/Romeo" };
			o.alice:expect { "message", body = text; has = "{urn:xmpp:delay}delay" };
			expect_both(o, o.romeo, "Alice", "Romeo");
			both_talk(o);
			-- a crash, with a kicked user
			bob = at_prosody(o, "bob", "phone");
			expect_there(o.romeo, "Alice", "Bob", "Romeo");
			admin(o.romeo, verona, { nick = "Bob"; role = "none" });
			bob:expect { "presence", type = "unavailable"; from = park .. "/Bob" };
			o.p:kill();
			o.p:start();
			o.alice = at_prosody(o, "alice", "third");
			o.alice:expect { "presence", type = false; from = park .. "/Romeo" };
			expect_both(o, o.romeo, "Alice", "Romeo");
			both_talk(o);
			check(o);
		end));

		it("comes back by itself when the administrator of Openfire ends the session (O10)", scenario(function (s)
			local o = meet(s);
			o.peer:console("stop_session", verona, park);
			o.link:expect(o.peer, { "presence", from = verona; has = fmuc .. "/left" });
			o.is_unsure = true;
			expect_both(o, o.romeo, "Alice", "Romeo");
			both_talk(o);
			check(o);
		end));
	end

	-- Both rooms are one, and stay so
	local function expect_one(o, ...)
		o.is_unsure = true; -- after an outage the Prosody may say again who is there
		expect_both(o, o.romeo, ...);
		both_talk(o);
		expect_both(o, o.romeo, ...);
	end

	-- The link is cut, both sides talk, and a user leaves on either side
	local function talk_and_leave_during_cut(o)
		local juliet, bob = at_openfire(o, "juliet"), at_prosody(o, "bob");
		expect_both(o, o.romeo, "Alice", "Bob", "Juliet", "Romeo");
		o.link:cut();
		nodes.say(o.romeo, verona, "lost 1", "l1");
		nodes.say(o.alice, park, "lost 2", "l2");
		leave(juliet, verona);
		leave(bob, park);
	end

	-- ending: "stop" or "kill"
	local function restart_openfire(o, ending)
		at_openfire(o, "juliet");
		expect_here(o, "Alice", "Juliet", "Romeo");
		o.p:allow_log("Session closed by remote with error");
		o.peer[ending](o.peer);
		o.s:wait(0.5);
		o.peer:start();
	end

	it("goes on after a short cut, while both talk (O18 O19)", scenario(function (s)
		local o = meet(s);
		talk_and_leave_during_cut(o);
		s:wait(1);
		o.link:restore();
		expect_one(o, "Alice", "Romeo");
		check(o);
	end));

	it("goes on after a cut that was longer than the grace period, with those who came and left (O18 O19)", scenario(function (s)
		local o = meet(s);
		talk_and_leave_during_cut(o);
		expect_here(o, "Alice");
		s:wait(3);
		local carol = at_prosody(o, "carol");
		o.link:restore();
		s:wait(6);
		both_talk(o);
		heard(carol, park, o.romeo);
		expect_one(o, "Alice", "Carol", "Romeo");
		check(o);
	end));

	for _, ending in ipairs { "stop", "kill" } do
		it(("goes on after Openfire's %s and start"):format(ending), scenario(function (s)
			local o = meet(s);
			restart_openfire(o, ending);
			o.romeo = at_openfire(o, "romeo", "pda");
			o.romeo:expect({ "presence", type = false; from = verona .. "/Alice" }, patience);
			expect_one(o, "Alice", "Romeo");
			check(o);
		end));

		it(("goes on after Openfire's %s and start, when a user of it comes late"):format(ending), scenario(function (s)
			local o = meet(s);
			restart_openfire(o, ending);
			expect_here(o, "Alice");
			heard(o.alice, park);
			o.romeo = at_openfire(o, "romeo", "pda");
			o.romeo:expect({ "presence", type = false; from = verona .. "/Alice" }, patience);
			expect_one(o, "Alice", "Romeo");
			check(o);
		end));

		it(("goes on after a %s and start of its own server (O17)"):format(ending), scenario(function (s)
			local o = meet(s);
			at_prosody(o, "bob");
			expect_both(o, o.romeo, "Alice", "Bob", "Romeo");
			o.p[ending](o.p);
			s:wait(0.5);
			o.p:start();
			expect_there(o.romeo, "Romeo");
			o.alice = at_prosody(o, "alice", "pda");
			heard(o.romeo, verona);
			expect_one(o, "Alice", "Romeo");
			check(o);
		end));
	end
end);
end

describe("a room of Prosody " .. version .. " and rooms of Openfire", function ()
	it("refuse each other when each is set to join the other (N5 O9)", scenario(function (s)
		local o = { s = s; clients = {} };
		o.peer = openfire.new(s, { rooms = { verona = { joins = park } } });
		o.p = nodes.server(s, "p", version, hasty, { dialback = { o.peer } });
		o.link = s:link(o.peer, o.p);
		nodes.make_room(o.p, park, { outbound_peer = verona });
		o.peer:start();
		o.alice = at_prosody(o, "alice");
		o.p:expect_log("park@rooms.p.example is not federated with verona@conference.openfire.example: it refuses");
		o.romeo = at_openfire(o, "romeo");
		o.link:expect(o.p, { "presence", from = park; to = verona; has = fmuc .. "/reject" });
		heard(o.romeo, verona);
		heard(o.alice, park);
		expect_here(o, "Alice");
		expect_there(o.romeo, "Romeo");
		check_clients(o);
		assert.same({}, o.peer:errors());
	end));

	for role, command in pairs(readme_commands) do
		it(("do as the README says, with the certificate that a new Openfire makes itself; park %s (N5)"):format(role), scenario(function (s)
			local o = { s = s; role = role; clients = {} };
			o.peer = openfire.new(s, { properties = { ["xmpp.server.tls.policy"] = "optional" }; -- as without the property
				rooms = { verona = { joins = role == "joined" and park or nil } } });
			local config = readme_config:gsub("modules_enabled = {", "%0 \"bed\",", 1); -- the test bed's probe
			o.p = s:node { version = version; config = config };
			o.p:allow_log("Duplicate option"); -- the test bed has a value of its own before
			o.p:allow_log("Without stream management"); -- Openfire's certificate proves nothing
			o.peer:start();
			o.peer:certify();
			nodes.make_room(o.p, park);
			example.federate(o.p, command);
			o.alice = at_prosody(o, "alice");
			o.romeo = at_openfire(o, "romeo");
			expect_both(o, o.romeo, "Alice", "Romeo");
			both_talk(o);
			check_clients(o);
			assert.same({}, o.peer:errors());
			assert.same({ true, true }, o.p:eval [[
				local session_in, session_out = next(prosody.incoming_s2s), select(2, next(prosody.hosts["rooms.p.example"].s2sout));
				return { session_in.secure == true, session_out.secure == true };
			]]);
		end));
	end

	it("refuse a stranger", scenario(function (s)
		local o = { s = s; clients = {} };
		o.peer = openfire.new(s, { rooms = { verona = { joins = park } } });
		o.p = nodes.server(s, "p", version, hasty, { dialback = { o.peer } });
		o.link = s:link(o.peer, o.p);
		nodes.make_room(o.p, park, { inbound_peers = { "mantua@conference.openfire.example" } });
		o.peer:start();
		o.alice = at_prosody(o, "alice");
		o.romeo = at_openfire(o, "romeo");
		o.link:expect(o.p, { "presence", from = park; to = verona; has = fmuc .. "/reject" });
		expect_here(o, "Alice");
		expect_there(o.romeo, "Romeo");
		check(o);
	end));

	it("are a chain with an Openfire in the middle (N1 O13)", scenario(function (s)
		local lawn = "lawn@rooms.q.example";
		local o = { s = s; clients = {} };
		o.peer = openfire.new(s, { rooms = { verona = { owners = { "romeo@openfire.example" } } } });
		local function trust(domain)
			return hasty .. ('\tfmuc_trust = { ["conference.openfire.example"] = { %q } }\n'):format(domain);
		end
		o.p = nodes.server(s, "p", version, trust("q.example"), { dialback = { o.peer } });
		o.q = nodes.server(s, "q", version, trust("p.example"), { dialback = { o.peer } });
		o.link = s:link(o.peer, o.p);
		local other_link = s:link(o.peer, o.q);
		nodes.make_room(o.p, park, { outbound_peer = verona });
		nodes.make_room(o.q, lawn, { outbound_peer = verona });
		o.peer:start();
		o.romeo = at_openfire(o, "romeo");
		o.alice = at_prosody(o, "alice");
		o.romeo:expect { "presence", type = false; from = verona .. "/Alice" };
		local hamlet = nodes.enter(o.q, lawn, "hamlet");
		o.clients[#o.clients + 1] = recorded(hamlet);
		expect_both(o, o.romeo, "Alice", "Hamlet", "Romeo");
		nodes.expect_occupants(o.q, lawn, "Alice", "Hamlet", "Romeo");
		heard(o.romeo, verona, o.alice, hamlet);
		heard(o.alice, park, o.romeo, hamlet);
		heard(hamlet, lawn, o.romeo, o.alice);
		o.q:eval(([[return prosody.hosts["rooms.q.example"].modules.muc.get_room_from_jid(%q):set_role(true, %q, nil, "rules");]])
			:format(lawn, lawn .. "/Romeo"));
		expect_both(o, o.romeo, "Alice", "Hamlet");
		leave(o.alice, park);
		nodes.expect_occupants(o.q, lawn, "Hamlet");
		local _ = other_link;
		check(o);
	end));
end);
end
