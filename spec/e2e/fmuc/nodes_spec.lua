-- SPDX-License-Identifier: MIT
-- mod_fmuc and rooms of other servers that join as nodes of generation 2 without being configured, as Openfire does.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_fmuc, xmlns_muc = "http://isode.com/protocol/fmuc", "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local reject_text = "{" .. xmlns_fmuc .. "}fmuc/reject#";

local with_peer = federation.mirror_config .. [[
Component "conference.remote.example.com"
	component_secret = "hush"
]];
local verona = "verona@conference.remote.example.com";

-- what the room verona's user Romeo does there, as its server tells another room: the forms are Openfire's
local function romeo(stanza, to)
	stanza.attr.from, stanza.attr.to = verona .. "/Romeo", to;
	return stanza:tag("fmuc", { xmlns = xmlns_fmuc; from = "romeo@remote.example.com/pc" }):up();
end

-- what the room itself tells
local function of_room(stanza, to, child)
	stanza.attr.from, stanza.attr.to = verona, to;
	stanza:tag("fmuc", { xmlns = xmlns_fmuc; from = not child and verona or nil });
	if child then stanza:text_tag(child, "", nil); end
	return stanza:up();
end

local function item(stanza, role)
	return stanza:tag("x", { xmlns = xmlns_muc_user }):tag("item", { affiliation = "none"; role = role or "participant" }):up():up();
end

local function node_join(to)
	return romeo(item(st.presence():tag("x", { xmlns = xmlns_muc }):up()), to);
end

-- all that may follow, in the belief that the join was accepted
local function later_stanzas(room, other)
	local occupant = room .. "/Romeo";
	return {
		romeo(item(st.presence()), occupant);
		romeo(item(st.presence():text_tag("show", "away")), room);
		romeo(item(st.presence()), room .. "/" .. other);
		romeo(st.message({ type = "groupchat"; id = "n1" }):text_tag("body", "to the occupant"), occupant);
		romeo(st.message({ type = "groupchat"; id = "n2" }):text_tag("body", "to the room"), room);
		romeo(st.message({ type = "groupchat"; id = "n3" }):text_tag("subject", "a subject"), room);
		romeo(st.message({ type = "chat"; id = "n4" }):text_tag("body", "private"), room .. "/" .. other);
		of_room(item(st.presence(), "visitor"), room);
		of_room(item(st.presence({ type = "unavailable" }), "none"), room);
		of_room(st.message({ type = "groupchat"; id = "n5" }):text_tag("subject", "of the room"), room);
		of_room(st.presence(), room, "left");
		of_room(st.presence(), room .. "/" .. other, "reject");
		romeo(item(st.presence({ type = "unavailable" }), "none"), occupant);
		romeo(item(st.presence({ type = "unavailable" }), "none"), room .. "/" .. other);
	};
end

local function expect_reject(peer, room)
	local reject = peer:expect { "presence", from = room, to = verona, type = false };
	assert.truthy(#reject:find(reject_text) > 0);
	assert.equal(1, #reject.tags);
end

-- Openfire takes an occupant that it is shown for a user who joins its own room. When its user has left, so that there is no join that
-- could end, it answers each time.
local function play_openfire(peer, most)
	local sent = 0;
	peer.on_stanza = function (stanza)
		local occupant = stanza.attr.from;
		if stanza.name ~= "presence" or stanza.attr.type or not occupant:find("/", 1, true) or sent >= most then return; end
		sent = sent + 2;
		peer:send(st.presence({ from = verona .. "/Romeo"; to = occupant }):tag("x", { xmlns = xmlns_muc_user })
			:tag("item", { jid = occupant; affiliation = "none"; role = "participant" }):up()
			:tag("status", { code = "110" }):up():tag("status", { code = "170" }):up());
		peer:send(st.message({ from = verona; to = occupant; type = "groupchat"; id = "s" .. sent }):tag("subject"));
	end;
end

-- the peer gets no more than what it asks for, and these clients nothing
local function expect_silence(peer, ...)
	peer:send(st.iq({ type = "get"; id = "over"; from = verona; to = "remote.example.com" }):tag("ping", { xmlns = "urn:xmpp:ping" }));
	peer:expect { "iq", id = "over" };
	for _, client in ipairs { ... } do
		client:sync();
		client:expect_none({}, 0);
	end
	peer:expect_none({}, 0.3);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and uninvited nodes, %s peer and %s master"):format(versions.mirror, versions.master), function ()
	it("rejects the join of a node in one stanza, and lets nothing of it into the room (G30 N5 F13)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = with_peer });
		local peer = f.remote:component("conference.remote.example.com", "hush");
		for _ = 1, 2 do -- each join of a user is another attempt
			peer:send(node_join(master_room .. "/Romeo"));
			expect_reject(peer, master_room);
		end
		for _, stanza in ipairs(later_stanzas(master_room, "Curtis")) do peer:send(stanza); end
		peer:send(node_join(master_room .. "/Romeo"));
		expect_reject(peer, master_room); -- all before it has been dealt with
		expect_silence(peer, f.curtis, f.kev, f.bob);
	end));

	it("costs two stanzas for a user of a node who leaves within a round trip, however many are in the room (F13 G30)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = with_peer; master = federation.master_config .. [[
Component "crowd.example.com"
	component_secret = "hush"
]] });
		local crowd, peer = f.talk:component("crowd.example.com", "hush"), f.remote:component("conference.remote.example.com", "hush");
		f.talk:allow_log("Component not connected"); -- those in the room leave one by one while the scenario ends
		for i = 1, 19 do
			local join = federation.join(master_room, "Occupant" .. i);
			join.attr.from = ("user%d@crowd.example.com/x"):format(i);
			crowd:send(join);
		end
		f.curtis:expect { "presence", from = master_room .. "/Occupant19" };
		peer:send(st.iq({ type = "get"; id = "first"; from = verona; to = "talk.example.com" }):tag("ping", { xmlns = "urn:xmpp:ping" }));
		peer:expect { "iq", id = "first" }; -- the streams are there
		f.link:settle();
		f.link:forget();
		f.link:delay(0.3);
		play_openfire(peer, 400);
		peer:send(node_join(master_room .. "/Romeo"));
		expect_reject(peer, master_room);
		f.link:settle();
		local sent = { f.link:sent(f.remote), f.link:sent(f.talk) };
		assert.same({ 1, 1 }, { #sent[1], #sent[2] });
		assert.truthy(sent[2][1]:find(reject_text));
		local bytes = f.link:bytes(f.remote) + f.link:bytes(f.talk);
		assert.is_true(bytes <= 600, bytes); -- 525 with the names of the case
	end));

	it("makes no room for a node, not even an unlocked one (G30 F13)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = with_peer });
		local peer = f.remote:component("conference.remote.example.com", "hush");
		local nowhere = "nowhere@talk.example.com";
		peer:send(node_join(nowhere .. "/Romeo"));
		expect_reject(peer, nowhere);
		for _, stanza in ipairs(later_stanzas(nowhere, "Curtis")) do peer:send(stanza); end
		peer:send(node_join(nowhere .. "/Romeo"));
		expect_reject(peer, nowhere);
		expect_silence(peer, f.curtis);
		assert.is_true(f.talk:eval(([[
			return prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q) == nil;
		]]):format(nowhere)));
	end));

	it("rejects no user, who may say what he likes, and still takes mirrors (G30 G21)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = with_peer });
		local nurse = f.remote:client("nurse@remote.example.com/pc");
		nurse:send(federation.join(master_room, "Direct"));
		f.curtis:expect { "presence", from = master_room .. "/Direct" };
		nurse:send(st.message({ to = master_room; type = "groupchat"; id = "d" }):text_tag("body", "marked")
			:tag("fmuc", { xmlns = xmlns_fmuc; from = "romeo@remote.example.com/pc" }):up());
		assert.is_nil(f.curtis:expect({ "message", id = "d" }):get_child("fmuc", xmlns_fmuc));
	end));

	it("answers so many joins of a flood, and other servers meanwhile (G30 G29)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = with_peer .. [[
Component "other.remote.example.com"
	component_secret = "hush"
]] });
		local peer, other = f.remote:component("conference.remote.example.com", "hush"), f.remote:component("other.remote.example.com", "hush");
		for i = 1, 1000 do peer:send(node_join(master_room .. "/Romeo" .. i)); end
		local join = node_join(master_room .. "/Romeo");
		join.attr.from = "a@other.remote.example.com/Romeo";
		other:send(join);
		other:expect { "presence", from = master_room, to = "a@other.remote.example.com" };
		peer:send(st.iq({ type = "get"; id = "over"; from = verona; to = "talk.example.com" }):tag("ping", { xmlns = "urn:xmpp:ping" }));
		peer:expect { "iq", id = "over" };
		local rejects = #peer:drain();
		assert.is_true(rejects >= 100 and rejects < 1000, rejects);
	end));
end);

describe(("fmuc and uninvited nodes, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("rejects a node at a mirror too, whether the room is open there or not (G30 N5 F13)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = federation.master_config .. [[
Component "conference.remote.example.com"
	component_secret = "hush"
]] });
		local peer = f.talk:component("conference.remote.example.com", "hush");
		local closed = "nowhere\\40talk.example.com@mirror.remote.example.com";
		for _, room in ipairs { mirror_room, closed, "nobody@mirror.remote.example.com" } do
			peer:send(node_join(room .. "/Romeo"));
			expect_reject(peer, room);
			for _, stanza in ipairs(later_stanzas(room, "Kev")) do peer:send(stanza); end
			peer:send(node_join(room .. "/Romeo"));
			expect_reject(peer, room);
		end
		f.kev:sync();
		f.kev:expect_none({}, 0);
		f.bob:expect_none({}, 0);
		f.curtis:expect_none({}, 0);
		peer:expect_none({}, 0.3);
		assert.is_true(f.remote:eval(([[
			return prosody.hosts["mirror.remote.example.com"].modules.muc.get_room_from_jid(%q) == nil;
		]]):format(closed)));
	end));
end);
end
