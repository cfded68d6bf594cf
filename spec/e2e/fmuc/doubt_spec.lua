-- SPDX-License-Identifier: MIT
-- mod_fmuc where it cannot know what became of a stanza: messages that no copy is expected of, last words, a greeting that broke off.
-- Everything has one outcome, and nothing of it stays behind.

local bed = require "bed";
local federation = require "federation";
local fake_master = require "fake_master";
local outages = require "outages";
local st = require "util.stanza";

local join, say, enter = federation.join, federation.say, federation.enter;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local fmuc, muc_user = federation.fmuc, federation.muc_user;

local function leave(client, nick)
	client:send(("<presence type='unavailable' to='%s/%s'/>"):format(mirror_room, nick));
	client:expect { "presence", type = "unavailable", from = mirror_room .. "/" .. nick };
end

-- how many messages the mirror keeps
local function count_kept(f)
	return f.remote:eval [[
		local count = 0;
		for _, box in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do count = count + #box; end
		return count;
	]];
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc in doubt, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("returns no message that everybody has seen when it gives up (M23 G1)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_nomirror = true; fmuc_grace_period = 2" });
		say(f.kev, mirror_room, "seen");
		f.curtis:expect { "message", body = "seen" };
		f.kev:expect { "message", body = "seen" };
		f.link:cut();
		f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev" }, 10);
		f.kev:sync();
		f.kev:expect_none({ "message" }, 0);
	end));

	it("does not repeat what was fired and forgotten long before an outage (M21 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_nomirror = true" });
		say(f.kev, mirror_room, "once");
		f.curtis:expect { "message", body = "once" };
		-- which was five minutes ago
		f.remote:eval [[
			for _, box in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do
				for _, entry in ipairs(box) do entry.at, entry.written = entry.at - 300, entry.written - 300; end
			end
		]];
		f.talk:eval [[
			for _, entries in pairs(prosody.hosts["talk.example.com"].modules.fmuc.module.save().journals) do
				entries.since = entries.since - 3000;
				for i = entries.first, entries.last do entries[i].time = entries[i].time - 300; end
			end
		]];
		f.link:cut();
		say(f.curtis, master_room, "missed");
		f.curtis:expect { "message", body = "missed" };
		f.link:restore();
		f.bob:expect({ "message", body = "missed" }, 20);
		outages.wait_until_live(s, f);
		outages.settle(f);
		f.curtis:expect_none({ "message", body = "once" }, 0);
		f.bob:expect { "message", body = "once" };
		f.bob:expect_none({ "message", body = "once" }, 0);
	end));

	it("does not repeat the second of two messages with one id (M21 G3 G16)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_nomirror = true" });
		for _, text in ipairs { "one", "two" } do
			say(f.kev, mirror_room, text, "same");
			for _, client in ipairs { f.curtis, f.bob } do client:expect { "message", body = text }; end
		end
		-- after a quarter of an hour the mirror knows only that it has shown these messages
		f.remote:eval [[
			for _, box in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do
				for _, entry in ipairs(box) do entry.written = entry.written - 1000; end
			end
		]];
		s:wait_until(function () return count_kept(f) == 0; end, 5, "end of the wait");
		f.link:cut();
		say(f.curtis, master_room, "missed");
		f.curtis:expect { "message", body = "missed" };
		f.link:expect_broken();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		f.link:restore();
		f.bob:expect({ "message", body = "missed" }, 20);
		outages.wait_until_live(s, f);
		outages.settle(f);
		for _, text in ipairs { "one", "two" } do f.bob:expect_none({ "message", body = text }, 0); end
	end));

	it("shows what is said with the same nick in the same words by a session in the room itself (M21 G16 G23)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_nomirror = true" });
		local desktop = f.remote:client("kev@remote.example.com/Desktop");
		desktop:send(join(master_room, "Kev"));
		desktop:expect { "message", has = "subject" };
		say(f.kev, mirror_room, "ok", "first");
		f.curtis:expect { "message", id = "first" };
		f.bob:expect { "message", id = "first" };
		say(desktop, master_room, "ok", "second");
		for _, client in ipairs { f.curtis, f.bob, f.kev } do client:expect { "message", id = "second" }; end
	end));

	it("keeps nothing of a room that nobody is in (M15 M21)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_nomirror = true" });
		say(f.kev, mirror_room, "bye");
		f.curtis:expect { "message", body = "bye" };
		assert.equal(1, count_kept(f));
		leave(f.kev, "Kev");
		leave(f.bob, "Bob");
		assert.equal(0, count_kept(f));
	end));

	it("returns the last words of users who left during an outage while another waits (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		say(f.kev, mirror_room, "last words", "last");
		eve:send(join(mirror_room, "Eve"));
		eve:sync();
		leave(f.kev, "Kev");
		leave(f.bob, "Bob");
		f.kev:expect({ "message", type = "error", id = "last" }, 10); -- as there is no way to the room
		assert.equal(0, count_kept(f));
	end));

	it("sends what the last user of a room without other occupants said and did during an outage (G1 M12)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		fake_master.lose(f);
		say(f.kev, fake_master.mirror, "last words");
		f.kev:send(st.presence({ type = "unavailable"; to = fake_master.mirror .. "/Kev" }));
		f.fake:expect { "message", body = "last words" };
		f.fake:expect { "presence", type = "unavailable", to = fake_master.room .. "/Kev" };
		f.kev:sync();
		f.kev:expect_none({ "message" }, 0);
	end));

	it("sends a join again that met the next outage (G3)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		local function interrupt()
			f.link:cut();
			f.link:restore();
			f.fake:send(st.error_reply(f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 20), "cancel", "service-unavailable"));
		end
		local function take_back()
			local again = f.fake:expect({ "presence", to = fake_master.room .. "/Kev", has = fmuc .. "/history@since" }, 20);
			f.fake:send(fake_master.presence("Kev", again.attr.id));
			f.fake:send(fake_master.subject());
		end
		f.link:cut();
		f.link:expect_broken();
		eve:send(join(fake_master.mirror, "Eve"));
		eve:sync();
		interrupt();
		take_back();
		f.fake:expect { "presence", to = fake_master.room .. "/Eve", has = fmuc };
		f.link:cut();
		f.link:restore();
		take_back();
		local last = f.fake:expect { "presence", to = fake_master.room .. "/Eve", has = fmuc };
		f.fake:send(fake_master.presence("Eve", last.attr.id));
		eve:expect { "presence", type = false; from = fake_master.mirror .. "/Eve"; has = muc_user .. "/status@code" };
	end));

	it("leaves rooms in peace that mod_muc has put aside (M2)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tmuc_room_cache_size = 2\n" });
		for i = 1, 4 do
			local room = ("room%d@talk.example.com"):format(i);
			federation.open_room(f, room);
			enter(f.kev, "Kev", (room:gsub("@", "\\40", 1)) .. "@mirror.remote.example.com");
		end
		f.kev:sync();
		local restored = f.remote:eval [[
			local module, count = prosody.hosts["mirror.remote.example.com"].modules.muc.module, 0;
			module:hook("muc-room-restored", function () count = count + 1; end);
			prosody.counted = function () return count; end
			return count;
		]];
		assert.equal(0, restored);
		s:wait(3);
		assert.equal(0, f.remote:eval [[ return prosody.counted(); ]]);
	end));

	it("lets somebody in whom the master takes for one of a mirror that it has lost (G3 G4)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		f.link:expect_broken();
		say(f.curtis, master_room, "lost?"); -- the master finds out
		f.curtis:expect { "message", body = "lost?" };
		leave(f.kev, "Kev");
		leave(f.bob, "Bob");
		s:wait_until(function ()
			return federation.with_link(f.talk, master_room, [[return link.state == "lost"]]);
		end, 10, "the master's notice");
		s:wait_until(function ()
			return f.remote:eval [[ return prosody.hosts["mirror.remote.example.com"].s2sout["talk.example.com"] == nil; ]];
		end, 10, "the loss of what the mirror had to say");
		f.link:restore();
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		eve:send(join(mirror_room, "Eve"));
		eve:expect({ "presence", type = false; from = mirror_room .. "/Eve"; has = muc_user .. "/status@code" }, 15);
		eve:expect { "presence", from = mirror_room .. "/Curtis" };
		eve:expect { "message", has = "subject" };
		for _, nick in ipairs { "Kev", "Bob" } do f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/" .. nick }; end
		say(f.curtis, master_room, "welcome");
		eve:expect { "message", body = "welcome" };
	end));

	it("joins once more when what it was greeted with is not complete (G3)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		local asked = fake_master.ask(f, f.kev, "Kev", { "http://isode.com/protocol/fmuc" });
		f.fake:send(fake_master.presence("Kev", asked.attr.id));
		local question = f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 10);
		f.fake:send(st.reply(question):tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; sent = "3"; received = "1" }));
		local again = f.fake:expect { "presence", type = false, has = fmuc .. "/history" };
		assert.is_nil(again:find(fmuc .. "/history@maxstanzas"));
		f.fake:send(fake_master.presence("Alice"));
		f.fake:send(fake_master.presence("Kev", again.attr.id));
		f.fake:send(fake_master.message("Alice", "before"):tag("delay", { xmlns = "urn:xmpp:delay"; from = fake_master.room;
			stamp = "2026-01-01T00:00:00Z" }):up());
		f.fake:send(fake_master.subject());
		f.kev:expect { "presence", from = fake_master.mirror .. "/Alice" };
		f.kev:expect { "message", body = "before" };
		f.kev:expect { "message", has = "subject" };
	end));

	it("keeps nothing of a join that was refused, and counts it at both ends (M8 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		eve:send(join(master_room, "Eve"));
		eve:expect { "presence", from = master_room .. "/Eve" };
		for _, nick in ipairs { "Curtis", "Again" } do
			eve:send(join(mirror_room, nick));
			assert.equal("conflict", federation.error_condition(eve:expect { "presence", type = "error" }));
		end
		assert.equal(2, federation.with_link(f.remote, mirror_room, [[
			local count = 0;
			for _ in pairs(link:own("changes").presences) do count = count + 1; end
			return count;
		]]));
		-- so that the next cut of the connection, which loses nothing, costs one question
		f.link:settle(); -- or the last join may be returned as undelivered
		f.link:forget();
		f.link:cut();
		f.link:restore();
		f.link:expect(f.talk, { "iq", type = "result", to = mirror_room }, 20);
		outages.wait_until_live(s, f);
		f.link:expect_none(f.remote, { "presence" }, 0);
	end));

	it("bounds by bytes what waits for the room (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		local text = ("x"):rep(100000);
		for i = 1, 50 do say(f.kev, mirror_room, text, "m" .. i); end
		local refusal = f.kev:expect { "message", type = "error" };
		assert.equal("resource-constraint", federation.error_condition(refusal));
		assert.equal("m21", refusal.attr.id); -- two megabytes of one user
	end));
end);
end
