-- SPDX-License-Identifier: MIT
-- make demo: each module doing its job between real Prosody servers, with the stanzas of every hop. Ends with 0 when every step was seen.

local bed = require "bed";
local nodes = require "nodes";
local st = require "util.stanza";

local colour = os.execute("test -t 1") and not os.getenv("NO_COLOR");

local function paint(code, text)
	return colour and ("\27[%sm%s\27[0m"):format(code, text) or text;
end

local function title(text)
	print("\n" .. paint("1;34", text) .. "\n" .. paint("34", ("="):rep(#text)));
end

local function tell(text, ...)
	print("\n" .. text:format(...));
end

-- A stanza on one line, without what the servers add for themselves
local function shown(stanza)
	local copy = st.clone(stanza);
	copy.attr["xml:lang"] = nil;
	copy:remove_children("occupant-id", "urn:xmpp:occupant-id:0");
	return tostring(copy);
end

local function hop(from, to, stanza)
	print(("  %s %s"):format(paint("32", from .. " --> " .. to), paint("2", shown(stanza))));
end

local function send(client, from, to, stanza)
	client:send(stanza);
	hop(from, to, stanza);
end

local function client_proxy(s, version)
	title("1. mod_client_proxy: a service made of ordinary clients (Prosody " .. version .. ")");
	local node = s:node { version = version; config = [[
		VirtualHost "capulet.example"
		Component "time.capulet.example" "client_proxy"
			target_address = "clock@capulet.example"
	]] };
	tell("Two machines log in to the account clock@capulet.example. The proxy sees them come; nothing has to be approved on one server.");
	node:add_user("clock@capulet.example");
	-- the account is new: let the proxy see it at once instead of in a few seconds
	node:reload("client_proxy", "time.capulet.example");
	local clocks = {};
	for _, resource in ipairs { "north", "south" } do
		local clock = node:client("clock@capulet.example/" .. resource);
		local presence = st.presence();
		send(clock, "clock/" .. resource, "capulet.example", presence);
		clock:sync();
		clocks[resource] = clock;
	end

	tell("Juliet asks the service; she knows nothing of the account behind it. Her requests are spread over the two:");
	local juliet = node:client("juliet@capulet.example/balcony");
	local served = { north = 0; south = 0 };
	local count = 0;
	repeat
		count = count + 1;
		local id = "q" .. count;
		local verbose = count <= 1;
		local ask = st.iq({ type = "get"; id = id; to = "time.capulet.example" }):tag("time", { xmlns = "urn:xmpp:time" }):up();
		juliet:send(ask);
		if verbose then hop("juliet", "time.capulet.example", ask); end
		local arrived, by;
		s:wait_until(function ()
			for resource, clock in pairs(clocks) do
				for i, stanza in ipairs(clock.inbox) do
					if stanza.name == "iq" and stanza.attr.type == "get" then
						arrived, by = table.remove(clock.inbox, i), resource;
						return true;
					end
				end
			end
		end, 5, "request at one of the clocks");
		local answer = st.reply(arrived):tag("time", { xmlns = "urn:xmpp:time" }):text_tag("utc", "2006-12-19T17:58:35Z"):up();
		answer.attr.from = nil;
		clocks[by]:send(answer);
		local result = juliet:expect { "iq", type = "result", id = id, from = "time.capulet.example" };
		served[by] = served[by] + 1;
		if verbose then
			hop("time.capulet.example", "clock/" .. by, arrived);
			hop("clock/" .. by, "time.capulet.example", answer);
			hop("time.capulet.example", "juliet", result);
		end
	until (served.north > 0 and served.south > 0 and count >= 10) or count == 100;
	assert(served.north > 0 and served.south > 0, "one of the resources got nothing");
	tell("%d requests, %d answered by clock/north, %d by clock/south.", count, served.north, served.south);
end

local function delegation(s, version)
	title("2. mod_delegation: a namespace handed to somebody else (Prosody " .. version .. ")");
	local node = s:node { version = version; modules = { "delegation" }; config = [[
		VirtualHost "capulet.example"
			delegations = {
				["http://jabber.org/protocol/pubsub"] = { jid = "pubsub.capulet.example" };
			}
		Component "pubsub.capulet.example"
			component_secret = "hush"
	]] };
	local entity = node:component("pubsub.capulet.example", "hush");
	tell("A component connects. The server tells it which namespace is its to handle:");
	hop("capulet.example", "pubsub.capulet.example", entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation" });

	tell("Juliet publishes her mood to her own server, as she always did. The server forwards the stanza, and the answer comes back:");
	local juliet = node:client("juliet@capulet.example/balcony");
	local publish = st.iq({ type = "set"; id = "pep1" })
		:tag("pubsub", { xmlns = "http://jabber.org/protocol/pubsub" })
			:tag("publish", { node = "http://jabber.org/protocol/mood" })
				:tag("item"):tag("mood", { xmlns = "http://jabber.org/protocol/mood" }):tag("annoyed"):up():up():up():up():up();
	send(juliet, "juliet", "capulet.example", publish);
	local forwarded = entity:expect { "iq", type = "set", has = "{urn:xmpp:delegation:2}delegation" };
	hop("capulet.example", "pubsub.capulet.example", forwarded);
	local inner = forwarded:find("{urn:xmpp:delegation:2}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq");
	local answer = st.iq({ type = "result"; id = forwarded.attr.id; to = forwarded.attr.from; from = "pubsub.capulet.example" })
		:tag("delegation", { xmlns = "urn:xmpp:delegation:2" }):tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
			:tag("iq", { xmlns = "jabber:client"; type = "result"; id = inner.attr.id; to = inner.attr.from })
				:tag("pubsub", { xmlns = "http://jabber.org/protocol/pubsub" }):up():up():up():up();
	send(entity, "pubsub.capulet.example", "capulet.example", answer);
	hop("capulet.example", "juliet", juliet:expect { "iq", type = "result", id = "pep1" });

	tell("The component goes away. Nobody waits for it:");
	entity:close();
	publish.attr.id = "pep2";
	send(juliet, "juliet", "capulet.example", publish);
	local refusal = juliet:expect { "iq", type = "error", id = "pep2" };
	assert(refusal:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"));
	hop("capulet.example", "juliet", refusal);
end

local room, mirror = "jabberchat@talk.example.com", "jabberchat\\40talk.example.com@mirror.remote.example.com";
local crew = { "Kev", "Ann", "Bob", "Cat", "Dan", "Eve" };
local rounds = 5;

local function join(room_jid, nick)
	return st.presence({ to = room_jid .. "/" .. nick }):tag("x", { xmlns = "http://jabber.org/protocol/muc" }):up();
end

local function say(room_jid, text)
	return st.message({ type = "groupchat"; to = room_jid; id = text:gsub("%W", "") }):text_tag("body", text);
end

-- The crew joins, everybody speaks, Curtis answers, the crew leaves; returns the bytes on the link
local function meeting(link, talk, remote, curtis, clients, room_jid)
	link:forget();
	for i, nick in ipairs(crew) do
		clients[i]:send(join(room_jid, nick));
		clients[i]:expect { "presence", from = room_jid .. "/" .. nick, type = false };
	end
	for round = 1, rounds do
		for i, nick in ipairs(crew) do
			local text = ("%s, round %d: is the water rising where you are as well?"):format(nick, round);
			clients[i]:send(say(room_jid, text));
			for _, client in ipairs(clients) do client:expect { "message", body = text }; end
			curtis:expect { "message", body = text };
		end
		local text = ("round %d: it is, and the bridge will not hold for long."):format(round);
		curtis:send(say(room, text));
		for _, client in ipairs(clients) do client:expect { "message", body = text }; end
	end
	for i, nick in ipairs(crew) do
		clients[i]:send(st.presence({ type = "unavailable"; to = room_jid .. "/" .. nick }));
		curtis:expect { "presence", type = "unavailable", from = room .. "/" .. nick };
	end
	link:settle();
	for _, client in ipairs(clients) do client:drain(); end
	return link:bytes(talk) + link:bytes(remote);
end

local function fmuc(s, master_version, mirror_version)
	title(("3. mod_fmuc: a room over a thin link (master on %s, mirror on %s)"):format(master_version, mirror_version));
	local talk = s:node { version = master_version; config = [[
		VirtualHost "example.com"
		Component "talk.example.com" "muc"
			modules_enabled = { "fmuc" }
	]] };
	local remote = s:node { version = mirror_version; config = [[
		VirtualHost "remote.example.com"
		Component "mirror.remote.example.com" "fmuc"
	]] };
	local link = s:link(talk, remote);
	local curtis = talk:client("curtis@example.com/desk");
	curtis:send(join(room, "Curtis"));
	curtis:expect { "presence", from = room .. "/Curtis" };
	curtis:send(st.iq({ type = "set"; id = "open"; to = room }):tag("query", { xmlns = "http://jabber.org/protocol/muc#owner" })
		:tag("x", { xmlns = "jabber:x:data"; type = "submit" }));
	curtis:expect { "iq", type = "result", id = "open" };
	local clients = {};
	for i, nick in ipairs(crew) do clients[i] = remote:client(nick:lower() .. "@remote.example.com/ship"); end
	local kev, ann = clients[1], clients[2];

	tell("Kev joins the room %s through the mirror of his own server.\nThe mirror joins for him, the master accepts:", room);
	send(kev, "kev", "mirror", join(mirror, "Kev"));
	hop("mirror", "talk.example.com", link:expect(remote, { "presence" }));
	hop("talk.example.com", "mirror", link:expect(talk, { "presence", from = room .. "/Kev" }));
	hop("mirror", "kev", kev:expect { "presence", from = mirror .. "/Kev" });
	hop("talk.example.com", "curtis", curtis:expect { "presence", from = room .. "/Kev" });

	tell("Ann joins as well. Kev speaks: one copy goes to the master, one comes back for both:");
	ann:send(join(mirror, "Ann"));
	ann:expect { "presence", from = mirror .. "/Ann" };
	link:settle();
	link:forget();
	send(kev, "kev", "mirror", say(mirror, "It's getting warm in here."));
	hop("mirror", "talk.example.com", link:expect(remote, { "message" }));
	hop("talk.example.com", "curtis", curtis:expect { "message", from = room .. "/Kev" });
	hop("talk.example.com", "mirror", link:expect(talk, { "message" }));
	hop("mirror", "kev", kev:expect { "message", from = mirror .. "/Kev" });
	hop("mirror", "ann", ann:expect { "message", from = mirror .. "/Kev" });
	assert(#link:sent(talk) == 1 and #link:sent(remote) == 1, "more than one copy crossed the link");
	for _, client in ipairs { kev, ann } do client:send(st.presence({ type = "unavailable"; to = mirror .. "/x" })); end
	curtis:expect { "presence", type = "unavailable", from = room .. "/Ann" };
	curtis:expect { "presence", type = "unavailable", from = room .. "/Kev" };
	link:settle();

	tell("A meeting of %d users of remote.example.com with Curtis, %d messages in all, counted on the link:",
		#crew, rounds * (#crew + 1));
	local mirrored = meeting(link, talk, remote, curtis, clients, mirror);
	local direct = meeting(link, talk, remote, curtis, clients, room);
	print(("  each user in the master's room directly  %7d bytes"):format(direct));
	print(("  through the mirror                       %7d bytes"):format(mirrored));
	print("  " .. paint("1;32", ("saved                                    %7d bytes, %d %%"):format(direct - mirrored,
		(direct - mirrored) * 100 // direct)));
	assert(mirrored < direct, "nothing was saved");
end

-- The words of a room, as one client has seen them
local function seen(client, room_jid)
	client:sync();
	local list = {};
	for _, stanza in ipairs(client:drain()) do
		local body = stanza.name == "message" and stanza:get_child_text("body");
		if body then list[#list + 1] = ("%s: %s"):format(stanza.attr.from:sub(#room_jid + 2), body); end
	end
	return list;
end

local function nodes_act(s, e_version, w_version)
	title(("4. mod_fmuc: two rooms that are one, cut and merged (%s and %s)"):format(e_version, w_version));
	local elsinore, rabbithole = "elsinore@rooms.e.example", "rabbithole@rooms.w.example";
	local e, w = nodes.server(s, "e", e_version), nodes.server(s, "w", w_version);
	local link = s:link(e, w);
	nodes.make_room(w, rabbithole, { inbound_peers = { elsinore } });
	nodes.make_room(e, elsinore, { outbound_peer = rabbithole });
	tell("The owner of %s has named %s in its configuration form (fmuc#outbound_peer).\nAlice is in the one room. Hamlet joins the other one. "
		.. "Now the two rooms are one:", elsinore, rabbithole);
	local alice = nodes.enter(w, rabbithole, "alice");
	local hamlet = e:client("hamlet@e.example/pc");
	send(hamlet, "hamlet", "elsinore", join(elsinore, "Hamlet"));
	hop("elsinore", "rabbithole", link:expect(e, { "presence", from = elsinore .. "/Hamlet" }));
	hop("rabbithole", "elsinore", link:expect(w, { "presence", from = rabbithole .. "/Alice" }));
	hop("elsinore", "hamlet", hamlet:expect { "presence", from = elsinore .. "/Alice" });
	hop("rabbithole", "alice", alice:expect { "presence", from = rabbithole .. "/Hamlet" });
	link:settle();
	link:forget();
	tell("Each message crosses once, and does not come back:");
	send(hamlet, "hamlet", "elsinore", say(elsinore, "To be, or not to be?"));
	hop("elsinore", "rabbithole", link:expect(e, { "message" }));
	hop("rabbithole", "alice", alice:expect { "message", from = rabbithole .. "/Hamlet" });
	link:settle();
	assert(#link:sent(e) == 1 and #link:sent(w) == 0, "more than one copy crossed the link");

	tell("The link is cut. Both rooms go on, and both talk:");
	hamlet:sync();
	hamlet:drain();
	link:cut();
	for i = 1, 2 do
		send(hamlet, "hamlet", "elsinore", say(elsinore, "Words, words, " .. i));
		send(alice, "alice", "rabbithole", say(rabbithole, "Curiouser " .. i));
	end
	local ophelia = nodes.enter(e, elsinore, "ophelia");
	tell("Ophelia joins elsinore meanwhile. Then the link is back:");
	link:expect_broken();
	link:restore();
	hop("rabbithole", "alice", alice:expect({ "presence", from = rabbithole .. "/Ophelia" }, 20));
	nodes.expect_occupants(e, elsinore, "Alice", "Hamlet", "Ophelia");
	nodes.expect_occupants(w, rabbithole, "Alice", "Hamlet", "Ophelia");
	link:settle();
	local here, there = seen(hamlet, elsinore), seen(alice, rabbithole);
	tell("Hamlet has read: %s\nAlice has read:  %s", table.concat(here, "; "), table.concat(there, "; "));
	table.sort(here);
	table.sort(there);
	assert(#here == 4 and table.concat(here, ";") == table.concat(there, ";"), "a message was lost or doubled");
	ophelia:sync();
end

local versions = {};
for version in bed.versions() do versions[#versions + 1] = version; end
local old, new = versions[1], versions[#versions];

print(paint("1", "prosody-relay, shown between real Prosody servers on this machine's loopback addresses"));
for _, act in ipairs {
	function (s) client_proxy(s, old); end;
	function (s) delegation(s, new); end;
	function (s) fmuc(s, old, new); end;
	function (s) nodes_act(s, old, new); end;
} do
	local ok, err = pcall(bed.scenario(act));
	if not ok then
		print("\n" .. paint("1;31", "This step was not seen:") .. "\n" .. tostring(err));
		os.exit(1);
	end
end
print("\n" .. paint("1;32", "Every step was seen."));
os.exit(0);
