-- SPDX-License-Identifier: MIT
-- mod_fmuc and stanzas that are legal, and that nobody expects: of a master, of a mirror, of users. Each costs what it weighs, and has its usual
-- outcome.

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local say, error_condition = federation.say, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local long = ("x"):rep(20000);
-- A newer libexpat waits for as much data again before it reads a start tag that comes in pieces (CVE-2023-52425)
local padding = (" "):rep(100000);

for version in bed.versions() do
describe("fmuc and odd stanzas, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };

	it("applies a rule that a master states many times once (F7)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev");
		f.remote:eval [[
			local mirrored = prosody.hosts["mirror.remote.example.com"].modules.fmuc.lib "mirror/room";
			local hide_real_jids = mirrored.hide_real_jids;
			prosody.bed_passes = 0;
			function mirrored.hide_real_jids(...)
				prosody.bed_passes = prosody.bed_passes + 1;
				return hide_real_jids(...);
			end
		]];
		for _, code in ipairs { "172", "173" } do
			for i = 1, 3 do
				local message = fake_master.message(nil, code .. i):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" });
				for _ = 1, 500 do message:tag("status", { code = code }):up(); end
				f.fake:send(message:reset());
			end
			f.kev:expect { "message", body = code .. "3" };
		end
		assert.equal(1, f.remote:eval "return prosody.bed_passes");
	end));

	it("takes no count that is no number of stanzas (G3 G7)", bed.scenario(function (s)
		for _, sent in ipairs { "1.5", "-1", "1e400", "nan", "0x" } do
			local f = fake_master.new(s, versions, federation.believing_config .. "\tfmuc_grace_period = 2\n\tfmuc_join_timeout = 2\n");
			local answer = fake_master.presence("Kev", fake_master.ask(f, f.kev, "Kev").attr.id)
				:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = f.kev.jid; sent = sent }):up();
			f.fake:send(answer);
			f.fake:send(fake_master.subject());
			f.kev:expect { "message", has = "subject" };
			f.fake:drain();
			-- silence: the mirror asks whether the room is there
			say(f.kev, fake_master.mirror, "lost");
			f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 15);
			f.talk:stop();
			f.remote:stop();
		end
	end));

	it("tells an author once that a message was refused, whatever its id (G15 M21)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", "visitor");]]);
		f.kev:expect { "presence", from = mirror_room .. "/Kev" };
		for _, id in ipairs { "plain", "fmuc-ask-1", "fmuc-fence-1", "fj-1" } do
			say(f.kev, mirror_room, "without a voice", id);
			assert.equal("forbidden", error_condition(f.kev:expect { "message", type = "error", id = id }));
		end
		assert.equal(0, f.remote:eval [[
			local count = 0;
			for _ in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do count = count + 1; end
			return count;
		]]);
		f.kev:sync();
		f.kev:expect_none({ "message" }, 0);
	end));

	it("shows what authors date in the name of a server, as often as they say it (F14)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for i = 1, 4 do
			local client, domain = i % 2 == 0 and f.curtis or f.kev, i <= 2 and "talk.example.com" or "mirror.remote.example.com";
			for _ = 1, 3 do
				client:send(st.message({ type = "groupchat"; to = client == f.curtis and master_room or mirror_room; id = "same" .. i })
					:text_tag("body", domain):tag("delay", { xmlns = "urn:xmpp:delay"; from = domain; stamp = "2020-01-01T00:00:00Z" }):up());
				for _, other in ipairs { f.curtis, f.kev, f.bob } do other:expect { "message", body = domain }; end
			end
		end
		assert.equal("live", federation.with_link(f.remote, mirror_room, "return link.state"));
	end));

	it("tells mirrors the real JIDs once, however often an owner changes the rule (F7 G28)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		f.link:forget();
		for i = 1, 20 do
			federation.configure(f, ([[
				room:set_whois(%q);
				room:broadcast_message(require "util.stanza".message({ type = "groupchat"; from = room.jid })
					:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("status", { code = %q }):reset());
			]]):format(i % 2 == 1 and "anyone" or "moderators", i % 2 == 1 and "172" or "173"));
		end
		say(f.curtis, master_room, "after that");
		f.kev:expect { "message", body = "after that" };
		local count = 0;
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			if stanza.name == "presence" then count = count + 1; end
		end
		assert.equal(3, count);
	end));

	it("tells mirrors no real JIDs of a room object that mod_muc has put aside (M5 G28)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = federation.master_config .. "\tmuc_room_cache_size = 1\n" });
		local alice = f.talk:client("alice@example.com/Gajim");
		alice:send(federation.join(master_room, "Alice"));
		f.kev:expect { "presence", from = mirror_room .. "/Alice" };
		for _ = 1, 2 do -- the second is put off
			federation.configure(f, [[
				room:set_whois("anyone");
				room:broadcast_message(require "util.stanza".message({ type = "groupchat"; from = room.jid })
					:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("status", { code = "172" }):reset());
			]]);
		end
		federation.open_room(f, "other@talk.example.com");
		alice:send(st.presence({ type = "unavailable"; to = master_room .. "/Alice" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
		f.kev:sync();
		f.kev:drain();
		s:wait(11);
		say(f.curtis, master_room, "after that");
		f.kev:expect { "message", body = "after that" };
		f.kev:expect_none({ "presence", from = mirror_room .. "/Alice" }, 0);
	end));

	it("keeps no long attributes of presences, on either side, and shows the rest (F8 G29)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		f.kev:send(st.presence({ to = mirror_room .. "/Kev"; note = long; ["urn:x\1note"] = long }):text_tag("show", "dnd"));
		f.kev:send(padding);
		for _ = 1, 2 do -- once across and back
			f.kev:sync();
			f.curtis:sync();
		end
		for node, room_jid in pairs { [f.talk] = master_room, [f.remote] = mirror_room } do
			local kept = node:eval(([[
				local heap_size, most = require "prosody_relay.stanza".heap_size, 0;
				for jid, occupant in prosody.hosts[%q].modules.muc.get_room_from_jid(%q):each_occupant() do
					if not jid:find("Curtis") then
						for _, presence in occupant:each_session() do most = math.max(most, heap_size(presence)); end
					end
				end
				return most;
			]]):format(room_jid:match("@(.*)$"), room_jid));
			assert.is_true(kept < 16 * 1024, kept);
		end
		f.kev:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "xa"));
		f.curtis:send(st.presence({ to = master_room .. "/Curtis" }):text_tag("show", "chat"));
		for client, room_jid in pairs { [f.curtis] = master_room, [f.bob] = mirror_room, [f.kev] = mirror_room } do
			for nick, show in pairs { Kev = "xa"; Curtis = "chat" } do
				client:expect { "presence", from = room_jid .. "/" .. nick, where = function (stanza) return stanza:get_child_text("show") == show; end };
			end
		end
	end));

	it("drops an IQ without an id, which nobody could answer (G13)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev");
		for _, to in ipairs { fake_master.mirror, fake_master.mirror .. "/Kev", master_room, master_room .. "/Curtis" } do
			for _, type in ipairs { "result", "error", "get", "set" } do
				f.fake:send(("<iq type='%s' from='%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(type, fake_master.room, to));
			end
		end
		f.fake:sync();
		f.fake:send(fake_master.message("Alice", "after that"));
		f.kev:expect { "message", body = "after that" };
	end));
end);
end
