-- SPDX-License-Identifier: MIT
-- mod_fmuc when something fails: silent, lost and restarted servers, lost clients, reloads. Everybody gets an answer, nothing stays behind.

local bed = require "bed";
local federation = require "federation";

local join, say, enter, topic = federation.join, federation.say, federation.enter, federation.topic;
local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local function was_lost(client, nick)
	local lost = client:expect { "presence", type = "unavailable"; from = mirror_room .. "/" .. nick; has = muc_user .. "/status" };
	local codes = {};
	for status in lost:get_child("x", "http://jabber.org/protocol/muc#user"):childtags("status") do codes[status.attr.code] = true; end
	assert.is_true(codes["333"] and codes["110"]);
end

for version in bed.versions() do
describe("fmuc under faults, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };

	it("answers a join that the master does not (M9)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tfmuc_join_timeout = 4" });
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		f.link:stall();
		f.kev:send(join(mirror_room, "Kev"));
		local refusal = f.kev:expect { "presence", type = "error", id = "join-Kev", from = mirror_room .. "/Kev" };
		assert.equal("remote-server-timeout", error_condition(refusal));
		f.link:restore();
		-- the master, which heard the join after all, hears of its end too
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		say(f.curtis, master_room, "anyone");
		bob:expect { "message", body = "anyone" };
		f.kev:expect_none({ "message" }, 0);
		enter(f.kev, "Kev");
	end));

	it("says at once that a master cannot be reached (M9)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local nowhere = "room\\40nowhere.example.org@mirror.remote.example.com";
		f.kev:send(join(nowhere, "Kev"));
		local refusal = f.kev:expect { "presence", type = "error", from = nowhere .. "/Kev" };
		assert.equal("remote-server-not-found", error_condition(refusal));
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("does not bring in a user who left before the answer (M11 M12)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.believing_config });
		f.link:stall();
		f.kev:send(join(mirror_room, "Kev"));
		f.kev:sync();
		f.kev:send(("<presence type='unavailable' to='%s/Kev'/>"):format(mirror_room));
		f.kev:sync();
		f.link:restore();
		f.curtis:expect { "presence", from = master_room .. "/Kev", type = false };
		f.curtis:expect { "presence", from = master_room .. "/Kev", type = "unavailable" };
		s:wait_until(function () return federation.is_empty(f.remote, "mirror.remote.example.com"); end);
		f.kev:sync();
		f.kev:expect_none({ "presence" }, 0);
	end));

	it("loses all users of a mirror at once when it is gone, and takes them back (M15 G2)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = federation.master_config .. "\tfmuc_grace_period = 2\n" });
		f.remote:kill();
		f.link:expect_broken();
		say(f.curtis, master_room, "lost?");
		for _, nick in ipairs { "Kev", "Bob" } do
			local gone = f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/" .. nick }, 15);
			assert.equal("333", gone:find(muc_user .. "/status@code"));
		end
		federation.configure(f, [[assert(room.fmuc == nil and room._data.fmuc_links == nil)]]);
		f.remote:start();
		local kev = f.remote:client("kev@remote.example.com/Swift");
		enter(kev, "Kev");
		say(kev, mirror_room, "back");
		f.curtis:expect { "message", body = "back", from = master_room .. "/Kev" };
	end));

	it("starts afresh with a mirror that restarted before anybody noticed (M15)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		f.remote:kill();
		f.remote:start();
		local kev = f.remote:client("kev@remote.example.com/Swift");
		enter(kev, "Kev");
		kev:expect { "presence", from = mirror_room .. "/Curtis" };
		kev:expect { "message", has = "subject" };
		say(f.curtis, master_room, "welcome back");
		kev:expect { "message", body = "welcome back" };
		kev:sync();
		kev:expect_none({ "message" }, 0);
	end));

	it("leaves the master's rooms when the mirror is stopped (M12)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		f.remote:stop();
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));

	it("takes all users of a lost mirror out of the room, though a handler of another module raises for one (G2)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = federation.master_config .. "\tfmuc_grace_period = 2" });
		f.talk:eval [[
			local is_first = true;
			require "core.modulemanager".get_module("talk.example.com", "muc").module:hook("muc-occupant-left", function ()
				if is_first then is_first = false; error("a handler that fails"); end
			end, 1000);
		]];
		for _, text in ipairs { "a handler that fails", "s2s", "Forbidding", "does not reach" } do f.talk:allow_log(text); end
		f.remote:kill();
		for _, nick in ipairs { "Kev", "Bob" } do
			f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/" .. nick }, 15);
		end
		s:wait_until(function () return f.talk:eval [[
			local rooms = require "core.modulemanager".get_module("talk.example.com", "muc");
			local state = rooms.get_room_from_jid("jabberchat@talk.example.com").fmuc;
			return not state or next(state.links) == nil;
		]]; end);
		f.remote:start();
		federation.enter(f.remote:client("kev@remote.example.com/again"), "Kev");
	end));

	it("sends local users back to join when the master restarted and forgot its rooms (M17 G4)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = federation.mirror_config .. "\tfmuc_grace_period = 2" });
		local bob = f.bob;
		f.talk:kill();
		f.talk:start();
		f.curtis = f.talk:client("curtis@example.com/Swift");
		say(f.kev, mirror_room, "still there?", "m1");
		f.kev:expect({ "message", type = "error", id = "m1" }, 15);
		was_lost(f.kev, "Kev");
		was_lost(bob, "Bob");
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		federation.open_room(f, master_room);
		enter(f.kev, "Kev");
	end));

	it("forgets a link of which the room has forgotten everything (G2)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.talk:eval(([[
			local link = prosody.hosts["talk.example.com"].modules.fmuc.lib "link/link".open(%q, "other@mirror.example.net", "down", "generation1");
			link:fire("dumped");
			link:fire("broken");
			local own = link:own("liveness");
			own.since, own.nudges, own.next_nudge = link.heard - 1000, 0, math.huge;
		]]):format(master_room));
		s:wait_until(function ()
			return f.talk:eval(([[
				return prosody.hosts["talk.example.com"].modules.fmuc.lib "link/link".get(%q, "other@mirror.example.net") == nil;
			]]):format(master_room));
		end, 5, "end of the link");
		say(f.curtis, master_room, "on");
		f.kev:expect { "message", body = "on" };
	end));

	it("keeps mirrored users in a room that mod_muc puts aside, on both sides (M5)", bed.scenario(function (s)
		local f = federation.new(s, versions, {
			master = federation.master_config .. "\tmuc_room_cache_size = 1\n";
			mirror = federation.mirror_config .. "\tmuc_room_cache_size = 1\n";
		});
		enter(f.kev, "Kev");
		local other, other_mirror = "other@talk.example.com", "other\\40talk.example.com@mirror.remote.example.com";
		federation.open_room(f, other);
		enter(f.kev, "Kev", other_mirror);
		f.kev:sync();
		f.kev:drain();
		for _, room in ipairs { { master_room, mirror_room }, { other, other_mirror } } do
			say(f.curtis, room[1], "to " .. room[1]);
			f.kev:expect { "message", body = "to " .. room[1], from = room[2] .. "/Curtis" };
			say(f.kev, room[2], "from " .. room[2]);
			f.curtis:expect { "message", body = "from " .. room[2], from = room[1] .. "/Kev" };
			f.kev:expect { "message", body = "from " .. room[2], from = room[2] .. "/Kev" };
		end
	end));

	it("goes on after a reload of the module on either side (M5 M17)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(f.kev, "Kev");
		f.link:stall();
		bob:send(join(mirror_room, "Bob")); -- its answer crosses the reload
		bob:sync();
		f.remote:reload("fmuc", "mirror.remote.example.com");
		f.talk:reload("fmuc", "talk.example.com");
		f.link:restore();
		bob:expect { "presence", from = mirror_room .. "/Bob", has = muc_user .. "/status" };
		f.link:forget();
		say(f.curtis, master_room, "anyone");
		f.kev:expect { "message", body = "anyone" };
		bob:expect { "message", body = "anyone" };
		assert.equal(1, #f.link:sent(f.talk));
		say(f.kev, mirror_room, "yes");
		f.curtis:expect { "message", body = "yes", from = master_room .. "/Kev" };
		bob:expect { "message", body = "yes" };
		for _, client in ipairs { f.kev, bob } do
			client:send(("<presence type='unavailable' to='%s/x'/>"):format(mirror_room));
		end
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		federation.configure(f, [[assert(room.fmuc == nil)]]);
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("ends the stay of mirrored users when the module is unloaded (M13)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:drain();
		f.talk:eval [[assert(require "core.modulemanager".unload("talk.example.com", "fmuc"))]];
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		say(f.curtis, master_room, "alone");
		f.curtis:expect { "message", body = "alone" };
		f.talk:eval [[assert(require "core.modulemanager".load("talk.example.com", "fmuc"))]];
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		f.remote:eval [[assert(require "core.modulemanager".unload("mirror.remote.example.com", "fmuc"))]];
		local told = f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		assert.equal("332", told:find(muc_user .. "/status@code"));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));

	it("serves a user with two clients as one occupant (M4 M12)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.kev:sync();
		f.link:forget();
		local phone = f.remote:client("kev@remote.example.com/phone");
		enter(phone, "Kev");
		phone:expect { "message", has = "subject" };
		assert.same({}, f.link:sent(f.remote));
		say(f.curtis, master_room, "both");
		phone:expect { "message", body = "both" };
		f.kev:expect { "message", body = "both" };
		phone:send(("<presence type='unavailable' to='%s/Kev'/>"):format(mirror_room));
		phone:expect { "presence", type = "unavailable" };
		say(f.kev, mirror_room, "one");
		f.curtis:expect { "message", body = "one" };
		f.kev:kill();
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));

	it("takes rooms and nicks with any characters (M1)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		for room, mirror in pairs {
			["d\\27artagnan@talk.example.com"] = "d\\5c27artagnan\\40talk.example.com@mirror.remote.example.com";
			["þing@talk.example.com"] = "þing\\40talk.example.com@mirror.remote.example.com";
		} do
			federation.open_room(f, room);
			for _, nick in ipairs { "Kev & Co <\"'>", "יוסי", "K" } do
				enter(f.kev, nick, mirror);
				say(f.kev, mirror, "from " .. nick);
				f.curtis:expect { "message", body = "from " .. nick, from = room .. "/" .. nick };
				f.kev:expect { "message", body = "from " .. nick, from = mirror .. "/" .. nick };
				f.kev:send(require "util.stanza".presence { type = "unavailable"; to = mirror .. "/" .. nick });
				f.kev:expect { "presence", type = "unavailable", from = mirror .. "/" .. nick };
				f.curtis:expect { "presence", type = "unavailable", from = room .. "/" .. nick };
			end
		end
		f.kev:send(join("plain@mirror.remote.example.com", "Kev"));
		assert.equal("jid-malformed", error_condition(f.kev:expect { "presence", type = "error" }));
		f.kev:send(join("room\\40mirror.remote.example.com@mirror.remote.example.com", "Kev"));
		assert.equal("jid-malformed", error_condition(f.kev:expect { "presence", type = "error" }));
	end));

	it("goes on after a reload of mod_muc on either side (M5 M17)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.remote:reload("muc", "mirror.remote.example.com");
		f.talk:reload("muc", "talk.example.com");
		f.link:forget();
		say(f.curtis, master_room, "anyone");
		f.kev:expect { "message", body = "anyone" };
		assert.equal(1, #f.link:sent(f.talk));
		say(f.kev, mirror_room, "yes");
		f.kev:expect { "message", body = "yes" };
		f.curtis:expect { "message", body = "yes", from = master_room .. "/Kev" };
	end));

	it("takes a user back who has another resource after a restart of the mirror (M5)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		enter(f.remote:client("bob@remote.example.com/Gajim"), "Bob");
		f.remote:kill();
		f.remote:start();
		local kev = f.remote:client("kev@remote.example.com/other");
		kev:send(join(mirror_room, "Kev"));
		kev:expect { "presence", from = mirror_room .. "/Curtis" };
		kev:expect { "presence", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
		say(kev, mirror_room, "new");
		kev:expect { "message", body = "new" };
		f.curtis:expect { "message", body = "new", from = master_room .. "/Kev" };
		federation.configure(f, [[
			assert(room:get_occupant_jid("kev@remote.example.com/Swift") == nil);
			assert(room.fmuc.link_of["kev@remote.example.com/Swift"] == nil);
		]]);
		-- not when the room does not want the user any more
		f.remote:kill();
		federation.configure(f, [[
			room._affiliations["kev@remote.example.com"] = "outcast"; -- without a kick
		]]);
		f.remote:start();
		kev = f.remote:client("kev@remote.example.com/third");
		kev:send(join(mirror_room, "Kev"));
		assert.equal("forbidden", error_condition(kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" }));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		federation.configure(f, [[assert(next(room.fmuc.link_of, next(room.fmuc.link_of)) == nil)]]); -- Bob's
	end));

	it("shows a nick that a user has both at the master and through the mirror (M10 M12)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(bob, "Bob");
		enter(f.kev, "Kev");
		local phone = f.remote:client("kev@remote.example.com/phone");
		phone:send(join(master_room, "Kev"));
		phone:expect { "presence", type = false, from = master_room .. "/Kev" };
		bob:expect { "presence", from = mirror_room .. "/Kev" };
		say(f.curtis, master_room, "both");
		phone:expect { "message", body = "both" };
		f.kev:expect { "message", body = "both" };
		bob:drain();
		f.kev:send(("<presence type='unavailable' to='%s/Kev'/>"):format(mirror_room));
		f.kev:expect { "presence", type = "unavailable" };
		bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		bob:expect { "presence", type = false, from = mirror_room .. "/Kev" }; -- the phone is still there
		f.kev:sync();
		f.kev:drain();
		enter(f.kev, "Kev");
		say(f.kev, mirror_room, "again");
		for _, client in ipairs { f.kev, bob } do client:expect { "message", body = "again", from = mirror_room .. "/Kev" }; end
		phone:expect { "message", body = "again", from = master_room .. "/Kev" };
		-- one session cannot have it twice
		f.kev:send(join(master_room, "Kev"));
		assert.equal("conflict", error_condition(f.kev:expect { "presence", type = "error", from = master_room .. "/Kev" }));
	end));

	it("shows the room to a newcomer when the master has not noticed a restart of the mirror (M5 G4)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tfmuc_grace_period = 2" });
		topic(f, "Jabber");
		say(f.curtis, master_room, "before");
		enter(f.kev, "Kev");
		f.remote:kill();
		f.remote:start();
		local bob, carol = f.remote:client("bob@remote.example.com/Gajim"), f.remote:client("carol@remote.example.com/Gajim");
		bob:send(join(mirror_room, "Bob"));
		carol:send(join(mirror_room, "Carol"));
		for client, nick in pairs { [bob] = "Bob"; [carol] = "Carol" } do
			client:expect { "presence", from = mirror_room .. "/Curtis" };
			client:expect { "presence", from = mirror_room .. "/" .. nick, has = muc_user .. "/status" };
			client:expect { "message", body = "before" };
			client:expect { "message", where = function (m) return m:get_child_text("subject") == "Jabber"; end };
			client:sync();
			client:expect_none({ "presence", from = mirror_room .. "/Kev" }, 0);
		end
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" }; -- who has not come back within the grace period
		say(bob, mirror_room, "here");
		for _, client in ipairs { bob, carol, f.curtis } do client:expect { "message", body = "here" }; end
	end));

	it("is not upset by a module that fails (M5 M12 M22)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tfmuc_nomirror = true" });
		local function fail_once(node, host, event)
			node:allow_log("deliberate failure");
			node:eval(([[
				local module, failed = prosody.hosts[%q].modules.muc.module, false;
				module:hook(%q, function () if not failed then failed = true; error("deliberate failure"); end end, 100);
			]]):format(host, event));
		end
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		enter(f.kev, "Kev");
		enter(bob, "Bob");
		fail_once(f.talk, "talk.example.com", "muc-occupant-groupchat");
		say(f.kev, mirror_room, "lost");
		f.talk:expect_log("deliberate failure");
		say(f.curtis, master_room, "still there?");
		f.kev:expect { "message", body = "still there?" };

		fail_once(f.talk, "talk.example.com", "muc-broadcast-presence");
		f.curtis:send(("<presence to='%s/Curtis'><show>away</show></presence>"):format(master_room));
		f.curtis:sync();
		f.kev:drain();
		f.curtis:send(("<presence to='%s/Curtis'><show>dnd</show></presence>"):format(master_room));
		f.kev:expect { "presence", from = mirror_room .. "/Curtis" };
		local third = s:node { version = version; config = "VirtualHost \"third.example\"\nComponent \"mirror.third.example\" \"fmuc\"" };
		local tom, mirror = third:client("tom@third.example/x"), "jabberchat\\40talk.example.com@mirror.third.example";
		enter(tom, "Tom", mirror);
		for _, nick in ipairs { "Curtis", "Kev", "Bob" } do tom:expect { "presence", from = mirror .. "/" .. nick }; end

		fail_once(f.remote, "mirror.remote.example.com", "muc-occupant-left");
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", nil)]]);
		f.kev:expect { "presence", type = "unavailable" };
		enter(f.kev, "Kev");
		f.curtis:drain();
		f.kev:send(("<presence type='unavailable' to='%s/Kev'/>"):format(mirror_room));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));
end);
end
