-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2): each room's own rules decide whom it shows and who may speak in it, wherever the user is.

local bed = require "bed";
local federation = require "federation";
local nodes = require "nodes";
local st = require "util.stanza";

local fmuc = nodes.fmuc;
local elsinore, rabbithole = "elsinore@rooms.e.example", "rabbithole@rooms.w.example";

-- Runs code in e with `room`
local function at_e(f, code)
	f.e:eval(([[local room = prosody.hosts["rooms.e.example"].modules.muc.get_room_from_jid(%q); %s]]):format(elsinore, code));
end

-- Hamlet and alice say something. The rules of hamlet's room keep her from being heard there, and from nothing else.
local function expect_only_here(f, id)
	nodes.say(f.alice, rabbithole, "can you hear me?", id .. "a");
	f.alice:expect { "message", id = id .. "a" };
	nodes.say(f.hamlet, elsinore, "is somebody there?", id .. "h");
	f.alice:expect { "message", from = rabbithole .. "/Hamlet", id = id .. "h" };
	f.link:settle();
	f.hamlet:sync();
	f.hamlet:expect_none({ "message", id = id .. "a" }, 0);
end

local function say_and_be_heard(f, id)
	nodes.say(f.alice, rabbithole, "now?", id);
	f.hamlet:expect { "message", from = elsinore .. "/Alice", id = id };
end

-- A server whose rooms a component plays
local function server_of_peer(s, versions)
	return s:node { version = versions.w; config = [[
		VirtualHost "p.example"
		Component "rooms.p.example"
			component_secret = "hush"
	]] };
end

for _, versions in ipairs(nodes.crossings()) do
describe(("rules of federated rooms, %s joins %s"):format(versions.e, versions.w), function ()
	it("hold for users of other nodes from the moment when they change (2b G22 N18)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		-- members only: mod_muc removes who is no member, and tells nobody who stays
		at_e(f, [[room:set_affiliation(true, "hamlet@e.example", "member"); room:set_members_only(true)]]);
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		expect_only_here(f, "members");
		at_e(f, [[room:set_affiliation(true, "alice@w.example", "member")]]);
		local shown = f.hamlet:expect { "presence", type = false; from = elsinore .. "/Alice" };
		assert.equal("member", shown:find(nodes.muc_user .. "/item@affiliation"));
		say_and_be_heard(f, "member");
		-- no voice
		at_e(f, [[room:set_moderated(true); room:set_affiliation(true, "alice@w.example", nil); room:set_members_only(false)]]);
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		at_e(f, [[room:set_affiliation(true, "alice@w.example", "outcast"); room:set_affiliation(true, "alice@w.example", nil)]]);
		shown = f.hamlet:expect { "presence", type = false; from = elsinore .. "/Alice" };
		assert.equal("visitor", shown:find(nodes.muc_user .. "/item@role"));
		expect_only_here(f, "visitor");
		at_e(f, [[room:set_role(true, room.jid .. "/Alice", "participant")]]);
		f.hamlet:expect { "presence", type = false; from = elsinore .. "/Alice" };
		say_and_be_heard(f, "voice");
		nodes.expect_occupants(f.w, rabbithole, "Alice", "Hamlet");
	end));

	it("keep out whom the room does not let in, until it does (2b G22)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		at_e(f, [[room:set_password("cauldron"); room:set_affiliation(true, "hamlet@e.example", "owner")]]);
		f.alice = nodes.enter(f.w, rabbithole, "alice");
		f.hamlet = f.e:client("hamlet@e.example/pc");
		f.hamlet:send(st.presence({ to = elsinore .. "/Hamlet" }):tag("x", { xmlns = "http://jabber.org/protocol/muc" })
			:text_tag("password", "cauldron"));
		f.hamlet:expect { "message", has = "subject" };
		f.alice:expect { "presence", type = false; from = rabbithole .. "/Hamlet" };
		expect_only_here(f, "password");
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		f.hamlet:send(st.iq({ type = "set"; id = "conf"; to = elsinore }):tag("query", { xmlns = "http://jabber.org/protocol/muc#owner" })
			:tag("x", { xmlns = "jabber:x:data"; type = "submit" })
			:tag("field", { var = "FORM_TYPE" }):text_tag("value", "http://jabber.org/protocol/muc#roomconfig"):up()
			:tag("field", { var = "muc#roomconfig_roomsecret" }):text_tag("value", ""):up());
		f.hamlet:expect { "iq", type = "result"; id = "conf" };
		f.hamlet:expect { "presence", type = false; from = elsinore .. "/Alice" };
		say_and_be_heard(f, "open");
	end));

	it("keep nicks for those who have registered them, and a user only under the own one (G6 2b)", bed.scenario(function (s)
		local f = nodes.pair(s, versions);
		at_e(f, [[room:set_affiliation(true, "ophelia@e.example", "member", nil, { reserved_nickname = "Alice" })]]);
		f.alice = nodes.enter(f.w, rabbithole, "alice");
		f.hamlet = nodes.enter(f.e, elsinore, "hamlet");
		f.alice:expect { "presence", type = false; from = rabbithole .. "/Hamlet" };
		expect_only_here(f, "reserved");
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		f.alice:send(st.presence({ to = rabbithole .. "/Queen" }));
		f.hamlet:expect { "presence", type = false; from = elsinore .. "/Queen" };
		f.hamlet:expect_none({ "presence", from = elsinore .. "/Alice" }, 0);
	end));
end);

describe(("joins of federated rooms, %s and %s"):format(versions.e, versions.w), function ()
	it("of a node that was here before get what it has missed; one that asks for less gets less (N4 N8)", bed.scenario(function (s)
		local e = nodes.server(s, "e", versions.e);
		local p = server_of_peer(s, versions);
		local link = s:link(e, p);
		nodes.make_room(e, elsinore, { inbound_peers = { "rooms.p.example" } });
		local hamlet = nodes.enter(e, elsinore, "hamlet");
		for i = 1, 5 do
			nodes.say(hamlet, elsinore, "line " .. i, "m" .. i);
			hamlet:expect { "message", id = "m" .. i };
		end
		local peer = p:component("rooms.p.example", "hush");
		local function bodies(room, limiter)
			local join = nodes.join(room, elsinore, "Alice", "alice@p.example/x");
			if limiter then join:get_child("x", "http://jabber.org/protocol/muc"):tag("history", limiter):up(); end
			peer:send(join);
			local list = {};
			while true do
				local message = peer:expect { "message", to = room };
				if message:get_child("subject") then return list; end
				assert.equal(elsinore .. "/Hamlet", message:find(fmuc .. "@from"));
				assert.truthy(message:find("{urn:xmpp:delay}delay@stamp"));
				list[#list + 1] = message:get_child_text("body");
			end
		end
		assert.equal(5, #bodies("all@rooms.p.example"));
		assert.same({ "line 4", "line 5" }, bodies("two@rooms.p.example", { maxstanzas = "2" }));
		assert.same({}, bodies("none@rooms.p.example", { maxstanzas = "0" }));
		assert.equal(5, #bodies("minute@rooms.p.example", { seconds = "600" }));
		assert.same({}, bodies("later@rooms.p.example", { since = "2100-01-01T00:00:00Z" }));
		link:settle();
	end));

	it("bring the history of the other node, in either form of the date, and ask for no more than was missed (N4 N8)", bed.scenario(function (s)
		local e = nodes.server(s, "e", versions.e);
		local p = server_of_peer(s, versions);
		local link = s:link(e, p);
		local peer_room = "peer@rooms.p.example";
		nodes.make_room(e, elsinore, { outbound_peer = peer_room });
		local peer = p:component("rooms.p.example", "hush");
		local hamlet = nodes.enter(e, elsinore, "hamlet");
		local join = peer:expect { "presence", from = elsinore .. "/Hamlet" };
		assert.equal("20", join:find("{http://jabber.org/protocol/muc}x/history@maxstanzas"));
		local function old(id, name, stamp)
			peer:send(st.message({ type = "groupchat"; from = peer_room .. "/Ghost"; to = elsinore; id = id }):text_tag("body", "I am " .. id)
				:tag("fmuc", { xmlns = nodes.xmlns; from = peer_room .. "/Ghost" }):up()
				:tag(name, { xmlns = "urn:xmpp:delay"; from = peer_room; stamp = stamp }):up());
		end
		old("old", "x", "20240101T12:00:00");
		old("older", "delay", "2023-01-01T12:00:00Z");
		old("future", "delay", "2100-01-01T12:00:00Z");
		peer:send(st.message({ type = "groupchat"; from = peer_room; to = elsinore }):text_tag("subject", "")
			:tag("fmuc", { xmlns = nodes.xmlns; from = peer_room }):up());
		assert.equal("2024-01-01T12:00:00Z", hamlet:expect({ "message", id = "old" }):find("{urn:xmpp:delay}delay@stamp"));
		assert.equal("2023-01-01T12:00:00Z", hamlet:expect({ "message", id = "older" }):find("{urn:xmpp:delay}delay@stamp"));
		assert.is_true(hamlet:expect({ "message", id = "future" }):find("{urn:xmpp:delay}delay@stamp") < "2100");
		peer:send(nodes.presence(peer_room, elsinore, "Ghost", "ghost@p.example/x"));
		peer:send(st.message({ type = "groupchat"; from = peer_room .. "/Ghost"; to = elsinore; id = "now" }):text_tag("body", "swear")
			:tag("fmuc", { xmlns = nodes.xmlns; from = "ghost@p.example/x" }):up());
		hamlet:expect { "message", from = elsinore .. "/Ghost", id = "now" };
		-- who joins later gets them in the order of time
		local ophelia = e:client("ophelia@e.example/pc");
		ophelia:send(federation.join(elsinore, "Ophelia"));
		local order = {};
		repeat
			local message = ophelia:expect { "message" };
			order[#order + 1] = message.attr.id;
		until message:get_child("subject");
		assert.same({ "older", "old", "future", "now" }, { table.unpack(order, 1, 4) });
		for _, client in ipairs { hamlet, ophelia } do
			client:send(st.presence({ type = "unavailable"; to = elsinore .. "/X" }));
		end
		peer:send(st.presence({ from = peer_room; to = elsinore }):tag("fmuc", { xmlns = nodes.xmlns }):tag("left"):up():up());
		nodes.expect_occupants(e, elsinore);
		link:settle();
		peer:drain();
		hamlet:send(federation.join(elsinore, "Hamlet"));
		join = peer:expect { "presence", type = false; from = elsinore .. "/Hamlet" };
		local seconds = tonumber(join:find("{http://jabber.org/protocol/muc}x/history@seconds"));
		assert.truthy(seconds and seconds >= 60 and seconds < 300, tostring(join));
	end));

	it("that get no answer, or only a part of one, keep nobody from the own room (G5)", bed.scenario(function (s)
		local e = nodes.server(s, "e", versions.e, "\tfmuc_join_timeout = 2\n");
		local p = server_of_peer(s, versions);
		s:link(e, p);
		local peer_room = "peer@rooms.p.example";
		nodes.make_room(e, elsinore, { outbound_peer = peer_room });
		local peer = p:component("rooms.p.example", "hush");
		local hamlet = nodes.enter(e, elsinore, "hamlet"); -- at once
		peer:expect { "presence", from = elsinore .. "/Hamlet" };
		peer:send(nodes.presence(peer_room, elsinore, "Ghost", "ghost@p.example/x"));
		hamlet:expect { "presence", from = elsinore .. "/Ghost" };
		nodes.say(hamlet, elsinore, "who's there?", "m1");
		hamlet:expect { "message", id = "m1" };
		e:expect_log("elsinore@rooms.e.example is not federated with peer@rooms.p.example: it does not answer");
		local again = peer:expect { "presence", type = false; from = elsinore .. "/Hamlet"; has = "{http://jabber.org/protocol/muc}x" };
		assert.equal(peer_room .. "/Hamlet", again.attr.to);
	end));
end);

describe(("ends of federated rooms, %s and %s"):format(versions.e, versions.w), function ()
	local function expect_no_link(node, host)
		assert.equal(0, node:eval(([[
			local count = 0;
			for _ in prosody.hosts[%q].modules.fmuc.lib "link/link".each("generation2") do count = count + 1; end
			return count;
		]]):format(host)));
	end

	it("are told to the joining node when a room is destroyed, and that one goes on alone (G17)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.w:eval(([[prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q):destroy();]]):format(rabbithole));
		f.alice:expect { "presence", type = "unavailable"; has = nodes.muc_user .. "/destroy" };
		f.hamlet:expect { "presence", type = "unavailable"; from = elsinore .. "/Alice" };
		nodes.say(f.hamlet, elsinore, "alone", "m1");
		f.hamlet:expect { "message", id = "m1" };
		nodes.expect_occupants(f.e, elsinore, "Hamlet");
		expect_no_link(f.w, "rooms.w.example");
	end));

	it("are told to the joined node when a room is destroyed, and that one goes on alone (G17)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		at_e(f, [[room:destroy()]]);
		f.hamlet:expect { "presence", type = "unavailable"; has = nodes.muc_user .. "/destroy" };
		f.alice:expect { "presence", type = "unavailable"; from = rabbithole .. "/Hamlet" };
		nodes.say(f.alice, rabbithole, "alone", "m1");
		f.alice:expect { "message", id = "m1" };
		nodes.expect_occupants(f.w, rabbithole, "Alice");
		f.link:settle();
		expect_no_link(f.e, "rooms.e.example");
		expect_no_link(f.w, "rooms.w.example");
	end));

	it("come with the last client of a user: others send nothing over the link (G23 N16)", bed.scenario(function (s)
		local f = nodes.meet(s, versions);
		f.second = nodes.enter(f.e, elsinore, "hamlet", "pda");
		f.second:send(st.presence({ to = elsinore .. "/Hamlet"; type = "unavailable" }));
		f.second:expect { "presence", type = "unavailable" };
		f.second:sync();
		f.link:settle();
		assert.same({}, f.link:sent(f.e));
		f.second:send(federation.join(elsinore, "Hamlet"));
		f.second:expect { "message", has = "subject" };
		f.hamlet:send(st.presence({ to = elsinore .. "/Hamlet"; type = "unavailable" })); -- the one that the other node knows
		f.hamlet:expect { "presence", type = "unavailable" };
		f.alice:sync();
		f.link:settle();
		f.alice:expect_none({ "presence", type = "unavailable" }, 0);
		nodes.say(f.second, elsinore, "still here", "m1");
		f.alice:expect { "message", from = rabbithole .. "/Hamlet", id = "m1" };
		f.second:send(st.presence({ to = elsinore .. "/Hamlet"; type = "unavailable" }));
		f.alice:expect { "presence", type = "unavailable"; from = rabbithole .. "/Hamlet" };
		f.link:expect(f.w, { "presence", type = false; from = rabbithole; to = elsinore });
	end));
end);
end
