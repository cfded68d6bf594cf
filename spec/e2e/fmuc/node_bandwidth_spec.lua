-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2): fmuc_bandwidth of either node counts for both directions.

local bed = require "bed";
local nodes = require "nodes";
local st = require "util.stanza";

local xmlns_chatstates = "http://jabber.org/protocol/chatstates";

-- As nodes.meet(); level: of the joining node, other_level: of the joined one
local function meet(s, versions, level, other_level)
	local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
	f.e = nodes.server(s, "e", versions.e, ("\tfmuc_bandwidth = %q\n"):format(level));
	f.w = nodes.server(s, "w", versions.w, ("\tfmuc_bandwidth = %q\n"):format(other_level));
	f.link = s:link(f.e, f.w);
	nodes.make_room(f.w, f.rabbithole, { inbound_peers = { f.elsinore } });
	nodes.make_room(f.e, f.elsinore, { outbound_peer = f.rabbithole });
	f.alice = nodes.enter(f.w, f.rabbithole, "alice");
	f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
	f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet" };
	f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
	f.link:expect(f.e, { "presence", from = f.elsinore; to = f.rabbithole }); -- the link is up
	f.link:settle();
	nodes.forget(f);
	return f;
end

local function typing(client, room_jid)
	client:send(st.message({ type = "groupchat"; to = room_jid; id = "typing" }):tag("composing", { xmlns = xmlns_chatstates }):up());
	client:expect { "message", id = "typing" };
end

local function go_away(client, room_jid, nick)
	client:send(st.presence({ to = room_jid .. "/" .. nick }):text_tag("show", "away"));
	client:expect { "presence", from = room_jid .. "/" .. nick; has = "show" };
end

local function names(stanzas)
	local list = {};
	for _, stanza in ipairs(stanzas) do list[#list + 1] = stanza.name .. " " .. (stanza.attr.id or ""); end
	return list;
end

for _, versions in ipairs(nodes.crossings()) do
describe(("bandwidth of federated rooms, %s joins %s"):format(versions.e, versions.w), function ()
	for level, other_level in pairs { messages = "full", full = "messages" } do
		it(("%s and %s: messages cross, and nothing else (G25)"):format(level, other_level), bed.scenario(function (s)
			local f = meet(s, versions, level, other_level);
			typing(f.hamlet, f.elsinore);
			typing(f.alice, f.rabbithole);
			go_away(f.hamlet, f.elsinore, "Hamlet");
			go_away(f.alice, f.rabbithole, "Alice");
			for client, room_jid in pairs { [f.hamlet] = f.elsinore, [f.alice] = f.rabbithole } do
				client:send(st.message({ type = "groupchat"; to = room_jid; id = "said" }):text_tag("body", "words")
					:tag("active", { xmlns = xmlns_chatstates }):up());
			end
			f.alice:expect { "message", from = f.rabbithole .. "/Hamlet"; id = "said" };
			f.hamlet:expect { "message", from = f.elsinore .. "/Alice"; id = "said" };
			f.link:settle();
			for _, node in ipairs { f.e, f.w } do
				assert.same({ "message said" }, names(f.link:sent(node)));
				assert.is_nil(f.link:sent(node)[1]:get_child("active", xmlns_chatstates));
			end
			-- private: a message crosses, a request gets an answer
			f.hamlet:send(st.message({ type = "chat"; to = f.elsinore .. "/Alice"; id = "private" }):text_tag("body", "psst"));
			f.alice:expect { "message", from = f.rabbithole .. "/Hamlet"; id = "private" };
			f.hamlet:send(st.message({ type = "chat"; to = f.elsinore .. "/Alice"; id = "busy" }):tag("composing", { xmlns = xmlns_chatstates }):up());
			f.hamlet:send(st.iq({ type = "get"; to = f.elsinore .. "/Alice"; id = "card" }):tag("vCard", { xmlns = "vcard-temp" }):up());
			local answer = f.hamlet:expect { "iq", type = "error"; id = "card" };
			assert.equal("policy-violation", select(2, answer:get_error()));
			f.alice:sync();
			f.alice:expect_none({ "message", id = "busy" }, 0);
			f.hamlet:expect_none({ "message", id = "busy" }, 0);
		end));
	end

	it("no-status: presences only say who is there (G25)", bed.scenario(function (s)
		local f = meet(s, versions, "no-status", "full");
		go_away(f.hamlet, f.elsinore, "Hamlet");
		go_away(f.alice, f.rabbithole, "Alice");
		f.link:settle();
		assert.same({}, f.link:sent(f.e));
		assert.same({}, f.link:sent(f.w));
		typing(f.hamlet, f.elsinore);
		f.alice:expect { "message", id = "typing" };
	end));

	it("messages: what was said during a cut comes as it would have come (G1 G25)", bed.scenario(function (s)
		local f = meet(s, versions, "messages", "full");
		f.link:cut();
		nodes.say(f.hamlet, f.elsinore, "one", "m1");
		typing(f.hamlet, f.elsinore);
		nodes.say(f.alice, f.rabbithole, "two", "m2");
		f.link:restore();
		f.alice:expect({ "message", from = f.rabbithole .. "/Hamlet"; id = "m1" }, 30);
		f.hamlet:expect({ "message", from = f.elsinore .. "/Alice"; id = "m2" }, 30);
		f.alice:sync();
		f.alice:expect_none({ "message", id = "typing" }, 0);
	end));
end);
end
