-- SPDX-License-Identifier: MIT
-- mod_fmuc when a server or the module is restarted, a server cannot be found, or a room is gone. Users keep their place on both sides if
-- the server comes back within the grace period. If it does not come back, no user stays behind.

local bed = require "bed";
local federation = require "federation";
local outages = require "outages";

local join, say, enter, words = federation.join, federation.say, federation.enter, federation.words;
local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;
local said, settle, wait_until_live = outages.said, outages.settle, outages.wait_until_live;

-- rooms, and what was said in them, survive a SIGKILL
local persistent = { master = "muc_room_default_persistent = true" };

local function rejoin_directly(f)
	f.curtis = f.talk:client("curtis@example.com/Swift");
	f.curtis:send(join(master_room, "Curtis"));
	f.curtis:expect { "presence", from = master_room .. "/Curtis", has = muc_user .. "/status" };
	f.curtis:expect { "message", has = "subject" };
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc over restarts, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("brings its users back to a master that was killed, one after the other (G4 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions, persistent);
		f.talk:kill();
		say(f.bob, mirror_room, "kept");
		f.talk:start();
		rejoin_directly(f);
		wait_until_live(s, f);
		-- Curtis may have come back after the room was up to date
		f.curtis:drain();
		settle(f);
		for _, nick in ipairs { "Kev", "Bob" } do
			federation.configure(f, ([[assert(room:get_occupant_by_nick(room.jid .. "/%s"))]]):format(nick));
		end
		for _, client in ipairs { f.kev, f.bob } do
			client:expect_none({ "presence", has = muc_user .. "/status" }, 0); -- neither 333 nor another welcome
			client:expect { "message", body = "kept" };
		end
		local joins = {};
		for _, stanza in ipairs(f.link:sent(f.remote)) do
			if stanza:get_child("fmuc", "http://isode.com/protocol/fmuc") then joins[#joins + 1] = stanza.attr.to; end
		end
		table.sort(joins);
		assert.same({ master_room .. "/Bob", master_room .. "/Kev" }, joins);
	end));

	it("keeps the place of users whose mirror was killed, if they come back in time (G4 G2 G7)", bed.scenario(function (s)
		local f = outages.new(s, versions, { master = "fmuc_grace_period = 60"; mirror = "fmuc_grace_period = 10" });
		f.remote:kill();
		say(f.curtis, master_room, "missed");
		f.talk:expect_log("does not reach the mirror", 15);
		s:wait(2.5); -- the master looks after its mirrors once a second
		f.remote:start();
		f.kev = f.remote:client("kev@remote.example.com/Swift");
		say(f.curtis, master_room, "live"); -- reaches a mirror that knows the room only from before
		enter(f.kev, "Kev");
		f.kev:expect { "presence", type = false, from = mirror_room .. "/Curtis" };
		f.kev:expect { "message", body = "missed" };
		f.kev:expect { "message", body = "live" };
		f.kev:expect { "message", has = "subject" };
		f.kev:sync();
		assert.same({}, words(f.kev, mirror_room)); -- Bob is not there any more, though the master thinks so
		assert.same({ "missed", "live" }, said(f.curtis));
		f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/Bob" }, 15); -- has not come back
		say(f.kev, mirror_room, "here");
		f.curtis:expect { "message", body = "here", from = master_room .. "/Kev" };
		f.kev:expect { "message", body = "here" };
		f.curtis:expect_none({ "presence" }, 0);
	end));

	it("takes users whose mirror has forgotten them out of the room after a restart (G4 M2)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 1" });
		f.remote:kill();
		f.remote:start();
		for _, nick in ipairs { "Kev", "Bob" } do
			-- as anybody who leaves, not as one who got lost
			assert.equal("", federation.codes(f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/" .. nick }, 15)));
		end
		federation.configure(f, [[assert(room.fmuc == nil and room._data.fmuc_links == nil)]]);
		f.link:settle();
		f.link:forget();
		say(f.curtis, master_room, "alone");
		f.curtis:expect { "message", body = "alone" };
		f.link:settle();
		assert.same({}, f.link:sent(f.talk));
		assert.same({}, f.link:sent(f.remote));
	end));

	for storage, lines in pairs {
		internal = "";
		sql = "storage = { fmuc_mirrored = \"sql\" }; sql = { driver = \"SQLite3\"; database = \"prosody.sqlite\" }";
	} do
		it("stores each room by itself, whatever its name, with storage " .. storage .. " (G4)", bed.scenario(function (s)
			local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 1; " .. lines });
			local function stored()
				return f.remote:eval [[
					local store, words = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module:open_store("fmuc_mirrored"), {};
					for key in store:users() do
						local record, nicks = store:get(key).record, {};
						for nick in pairs(record.nicks) do nicks[#nicks + 1] = nick; end
						table.sort(nicks);
						words[record.room] = table.concat(nicks, " ");
					end
					return words;
				]];
			end
			assert.same({ [mirror_room] = "Bob Kev" }, stored());
			local other = ("long"):rep(60);
			local mirror_of_other = other .. "\\40talk.example.com@mirror.remote.example.com";
			federation.open_room(f, other .. "@talk.example.com");
			enter(f.kev, "Kev", mirror_of_other);
			assert.same({ [mirror_room] = "Bob Kev"; [mirror_of_other] = "Kev" }, stored());
			f.kev:send(require "util.stanza".presence({ type = "unavailable"; to = mirror_room .. "/Kev" }));
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
			assert.same({ [mirror_room] = "Bob"; [mirror_of_other] = "Kev" }, stored());
			f.remote:kill();
			f.remote:start();
			f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/Bob" }, 15);
			f.curtis:expect({ "presence", type = "unavailable", from = other .. "@talk.example.com/Kev" }, 15);
			assert.same({}, stored());
		end));
	end

	it("starts with what an earlier form of the module has stored (G4)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.remote:eval(([[
			local module = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module;
			local record = { master = %q; generation = 1; nicks = { Tim = true } };
			assert(module:open_store("fmuc_mirrored", "map"):set(nil, %q, record));
			assert(module:open_store("fmuc_mirrored"):set("other", { [%q] = record }));
		]]):format(master_room, mirror_room, mirror_room));
		f.remote:allow_log("'fmuc_mirrored' of other cannot be used");
		f.remote:restart();
		f.remote:eval [[assert(prosody.hosts["mirror.remote.example.com"].modules.fmuc)]];
	end));

	it("finds out that a mirror is gone that nobody talks to, with one question for all its users (G7 G2)", bed.scenario(function (s)
		local f = outages.new(s, versions, { master = "fmuc_grace_period = 4; fmuc_join_timeout = 4" });
		f.remote:freeze(); -- no connection tells of it
		for _, nick in ipairs { "Kev", "Bob" } do
			local gone = f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/" .. nick }, 25);
			assert.equal("333", federation.codes(gone));
		end
		f.remote:thaw();
		local question = f.link:expect(f.talk, { "iq", type = "get", from = master_room });
		assert.equal(mirror_room, question.attr.to);
		f.link:expect_none(f.talk, { "iq", to = "~^bob@" }, 0);
	end));

	it("rides out the loss of all names (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.remote.dns.close();
		f.link:cut();
		f.link:restore();
		say(f.kev, mirror_room, "kept");
		say(f.curtis, master_room, "missed");
		s:wait(2);
		f.kev:expect_none({ "presence" }, 0);
		f.remote.dns = f.remote.serve_dns(f.remote.address, 5353);
		f.curtis:expect({ "message", body = "kept" }, 30);
		wait_until_live(s, f);
		settle(f);
		-- which was first depends on when the mirror notices
		local heard = said(f.bob);
		table.sort(heard);
		assert.same({ "kept", "missed" }, heard);
	end));

	it("tells users whose room was destroyed while it was cut off (G1 G17)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 10" });
		f.link:cut();
		say(f.kev, mirror_room, "into the void", "m1");
		federation.configure(f, [[room:destroy()]]);
		f.link:restore();
		for _, client in ipairs { f.kev, f.bob } do
			-- after three attempts, not when nothing has been heard for the grace period
			client:expect({ "presence", type = "unavailable", from = mirror_room .. "/Curtis" }, 19);
			local nick = client == f.kev and "Kev" or "Bob";
			assert.equal("110 333", federation.codes(client:expect {
				"presence", type = "unavailable", from = mirror_room .. "/" .. nick, has = muc_user .. "/status" }));
		end
		assert.equal("remote-server-timeout", error_condition(f.kev:expect { "message", type = "error", id = "m1" }));
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("tells a user who was banned while cut off, and keeps the others (G3 M8)", bed.scenario(function (s)
		local f = outages.new(s, versions, persistent);
		f.link:cut();
		federation.configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "outcast")]]);
		f.link:restore();
		local out = f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" }, 25);
		assert.equal("110 301", federation.codes(out));
		f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		wait_until_live(s, f);
		say(f.bob, mirror_room, "here");
		f.curtis:expect { "message", body = "here" };
		f.bob:expect { "message", body = "here" };
	end));

	it("goes on after a reload of the module in the middle of an outage, on both sides (G1 G2)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		say(f.kev, mirror_room, "kept");
		say(f.curtis, master_room, "missed");
		f.link:expect_broken();
		f.remote:reload("fmuc", "mirror.remote.example.com");
		f.talk:reload("fmuc", "talk.example.com");
		say(f.bob, mirror_room, "too");
		f.bob:sync();
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({ "missed", "kept", "too" }, said(client)); end
	end));

	it("keeps the link over a stop and a start of the master (G4)", bed.scenario(function (s)
		local f = outages.new(s, versions, persistent);
		f.talk:stop();
		f.link:expect_broken();
		say(f.kev, mirror_room, "kept");
		f.talk:start();
		rejoin_directly(f);
		wait_until_live(s, f);
		say(f.bob, mirror_room, "here");
		f.curtis:expect { "message", body = "here" };
		for _, client in ipairs { f.kev, f.bob } do
			client:expect { "message", body = "here" };
			client:expect { "message", body = "kept" };
			client:expect_none({ "presence", has = muc_user .. "/status" }, 0);
		end
	end));

	for _, case in ipairs {
		{ what = "fmuc_grace_period", lines = "fmuc_grace_period = 0" }; { what = "fmuc_outage_policy", lines = "fmuc_outage_policy = \"stay\"" };
	} do
		it("says what is wrong with " .. case.what .. " (G1)", bed.scenario(function (s)
			local node = s:node { version = versions.mirror; config = federation.mirror_config .. "\t" .. case.lines .. "\n" };
			node:allow_log("Option '" .. case.what .. "': expected");
			node:allow_log("Unable to load module 'fmuc'");
			node:allow_log("Error initializing module 'fmuc'");
			node:expect_log("Option '" .. case.what .. "': expected");
		end));
	end
end);
end
