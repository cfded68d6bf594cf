-- SPDX-License-Identifier: MIT
-- mod_fmuc and a real Openfire, whose rooms join as nodes (generation 2). Pending where there is no Openfire.

local bed = require "bed";
local federation = require "federation";
local openfire = require "openfire";

if not openfire.tools then
	pending(openfire.missing);
	return;
end

local park, verona, mantua = "park@talk.example.com", "verona@conference.openfire.example", "mantua@conference.openfire.example";
local reject_text = federation.fmuc .. "/reject#";

-- An Openfire with these rooms, a server with the room park and its owner alice, and the link between the servers
local function meet(s, version, rooms)
	local peer = openfire.new(s, { rooms = rooms });
	local talk = s:node { dialback = { peer }; version = version; config = federation.master_config };
	local link = s:link(peer, talk);
	peer:start();
	local alice = talk:client("alice@example.com/pc");
	federation.enter(alice, "Alice", park);
	alice:expect { "message", has = "subject" };
	return { peer = peer; talk = talk; link = link; alice = alice };
end

-- A new client of this user of the Openfire joins the room there
local function join(o, user, nick, room)
	local client = o.peer:client(user .. "@openfire.example/pc");
	federation.enter(client, nick, room);
	client:expect { "message", has = "subject" };
	return client;
end

-- The user's join at the Openfire's room has crossed, and the answer is that the room is refused
local function expect_reject(o, room, nick)
	o.link:expect(o.peer, { "presence", type = false; from = room .. "/" .. nick; to = park .. "/" .. nick; has = {
		federation.fmuc, "{http://jabber.org/protocol/muc}x" } });
	local reject = o.link:expect(o.talk, { "presence", type = false; from = park; to = room });
	assert.truthy(#reject:find(reject_text) > 0);
	o.peer:expect_log("FMUC join response from '" .. park .. "' with a rejection");
end

-- Both directions' stanzas on the link, without what the services ask each other about their software
local function crossed(o)
	local list = {};
	for _, server in ipairs { o.peer, o.talk } do
		for _, stanza in ipairs(o.link:sent(server)) do
			if stanza.name ~= "iq" then list[#list + 1] = stanza; end
		end
	end
	return list;
end

local function hear(client, text)
	client:expect { "message", type = "groupchat"; body = text };
end

for version in bed.versions() do
describe("mod_fmuc and Openfire on Prosody " .. version, function ()
	it("refuses the room of an Openfire, and each goes on alone (G30 N5 O9)", bed.scenario(function (s)
		local o = meet(s, version, { verona = { joins = park } });
		local romeo = join(o, "romeo", "Romeo", verona);
		expect_reject(o, verona, "Romeo");
		federation.say(romeo, verona, "alone at Openfire");
		hear(romeo, "alone at Openfire");
		federation.say(o.alice, park, "alone at Prosody");
		hear(o.alice, "alone at Prosody");
		o.alice:sync();
		romeo:sync();
		o.alice:expect_none({ where = function (stanza) return (stanza.attr.from or ""):find("Romeo", 1, true); end }, 0);
		romeo:expect_none({ where = function (stanza) return (stanza.attr.from or ""):find("park", 1, true); end }, 0);
		assert.equal(2, #crossed(o));
		-- the next user tries again
		join(o, "juliet", "Juliet", verona);
		expect_reject(o, verona, "Juliet");
		assert.equal(4, #crossed(o));
		assert.same({}, o.peer:errors());
	end));

	it("is left alone by the rooms of an Openfire that join no other", bed.scenario(function (s)
		local o = meet(s, version, { mantua = {}; verona = { joins = park; federates = false } });
		federation.say(join(o, "romeo", "Romeo", mantua), mantua, "hello");
		federation.say(join(o, "juliet", "Juliet", verona), verona, "hello");
		federation.say(o.alice, park, "hello");
		hear(o.alice, "hello");
		s:wait(0.5);
		assert.same({}, crossed(o));
	end));

	it("refuses the room of an Openfire that was stopped or killed and started again (G30)", bed.scenario(function (s)
		local o = meet(s, version, { mantua = { owners = { "romeo@openfire.example" } } });
		join(o, "romeo", "Romeo", mantua);
		o.peer:console("federate", mantua, true, park);
		expect_reject(o, mantua, "Romeo");
		for _, ending in ipairs { "stop", "kill" } do
			o.peer[ending](o.peer);
			o.peer:start();
			o.link:forget();
			join(o, "romeo", "Romeo", mantua);
			expect_reject(o, mantua, "Romeo");
		end
	end));
end);
end
