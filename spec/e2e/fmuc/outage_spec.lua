-- SPDX-License-Identifier: MIT
-- mod_fmuc when the link between mirror and master fails for a while: users notice a pause, or what the policy says, and nothing is lost,
-- shown twice or left behind.

local bed = require "bed";
local federation = require "federation";
local outages = require "outages";

local join, say, enter, words = federation.join, federation.say, federation.enter, federation.words;
local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local fmuc, muc_user = federation.fmuc, federation.muc_user;
local is_away, phase, said, settle = outages.is_away, outages.phase, outages.said, outages.settle;
local wait_until_live = outages.wait_until_live;

-- as mod_s2s does with connections that nobody uses any more
local function close_in_order(node, other)
	node:eval(([[
		for _, host in pairs(prosody.hosts) do
			local session = host.s2sout and host.s2sout[%q];
			if session then session:close(); end
		end
	]]):format(other));
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc in an outage, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("shows nothing but a pause when the link is cut, and delivers everything once, in order (G1 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		say(f.curtis, master_room, "missed 1");
		say(f.curtis, master_room, "missed 2");
		f.curtis:send(("<presence to='%s/Curtis'><show>away</show></presence>"):format(master_room));
		for i = 1, 3 do say(f.kev, mirror_room, "kept " .. i); end
		f.kev:sync(); -- or Bob may be heard first
		say(f.bob, mirror_room, "kept 4");
		f.kev:sync();
		f.bob:sync();
		f.link:expect_broken();
		assert.same({}, words(f.kev, mirror_room));
		assert.same({}, words(f.bob, mirror_room));
		f.link:restore();
		f.bob:expect({ "presence", from = mirror_room .. "/Curtis", where = is_away }, 20);
		f.kev:expect { "presence", from = mirror_room .. "/Curtis" };
		local missed = f.kev:expect { "message", body = "missed 1" };
		assert.equal(mirror_room, missed:find("{urn:xmpp:delay}delay@from"));
		wait_until_live(s, f);
		settle(f);
		assert.same({ "missed 2", "kept 1", "kept 2", "kept 3", "kept 4" }, said(f.kev));
		assert.same({ "missed 1", "missed 2", "kept 1", "kept 2", "kept 3", "kept 4" }, said(f.bob));
		-- users at the master saw neither part nor join
		assert.same({ "missed 1", "missed 2", "kept 1", "kept 2", "kept 3", "kept 4" },
			(function () f.curtis:expect { "presence", from = master_room .. "/Curtis" }; return said(f.curtis); end)());
		-- one user asked for what was missing, from shortly before the gap on
		local asked = f.link:expect(f.remote, { "presence", has = fmuc .. "/history@since" });
		assert.equal(mirror_room, asked.attr.from);
		f.link:expect_none(f.remote, { "presence", has = fmuc }, 0);
	end));

	it("finds out with one question that nothing was lost (G7)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		say(f.kev, mirror_room, "before");
		f.bob:expect { "message", body = "before" };
		f.link:forget();
		f.link:cut();
		f.link:restore();
		f.link:expect(f.remote, { "iq", type = "get", from = mirror_room, to = master_room, has = "{urn:xmpp:ping}ping" }, 15);
		f.link:expect(f.talk, { "iq", type = "result", to = mirror_room }, 15);
		wait_until_live(s, f);
		f.link:expect_none(f.remote, {}, 0);
		settle(f);
	end));

	it("takes an unused connection that is closed in order for no outage (G1 M2)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		say(f.kev, mirror_room, "before");
		f.bob:expect { "message", body = "before" };
		f.link:settle(); -- nothing is unacknowledged
		f.link:forget();
		close_in_order(f.remote, "talk.example.com");
		close_in_order(f.talk, "mirror.remote.example.com");
		s:wait(1);
		assert.equal("live", phase(f));
		assert.same({}, f.link:sent(f.remote));
		assert.same({}, f.link:sent(f.talk));
		settle(f);
	end));

	it("notices a black hole by a message that does not come back (G1 G16)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_join_timeout = 5" });
		f.link:stall();
		say(f.kev, mirror_room, "swallowed");
		say(f.curtis, master_room, "unheard");
		s:wait_until(function () return phase(f) ~= "live"; end, 10, "outage");
		say(f.bob, mirror_room, "kept");
		local up, down = outages.unacknowledged(f);
		assert.is_true(up >= 1 and down >= 1); -- (F1)
		f.link:cut(); -- what was in it is gone
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
		assert.same({ "unheard", "swallowed", "kept" }, said(f.bob));
		assert.same({ "unheard", "swallowed", "kept" }, said(f.curtis));
	end));

	it("sends what users changed just before the link broke again (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:stall();
		-- one of them joins again for all, and says how he is
		for nick, client in pairs { Kev = f.kev, Bob = f.bob } do
			client:send(("<presence to='%s/%s'><show>away</show></presence>"):format(mirror_room, nick));
			f.link:expect(f.remote, { "presence", to = master_room .. "/" .. nick, where = is_away });
		end
		assert.is_true(outages.unacknowledged(f) >= 2); -- (F1)
		f.link:cut(); -- what was in it is gone
		f.link:restore();
		for _, nick in ipairs { "Kev", "Bob" } do
			f.curtis:expect({ "presence", from = master_room .. "/" .. nick, where = is_away }, 20);
			f.kev:expect { "presence", from = mirror_room .. "/" .. nick, where = is_away };
		end
	end));

	it("notices a black hole when nobody says anything, by a question (G7)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_join_timeout = 4; fmuc_grace_period = 1" });
		f.link:stall();
		f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" }, 15);
	end));

	it("notices a connection that the master has replaced (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		-- half of it is dead: the master gives the stream up, the mirror does not notice
		f.talk:eval [[
			local session = prosody.hosts["talk.example.com"].s2sout["mirror.remote.example.com"];
			prosody.hosts["talk.example.com"].s2sout["mirror.remote.example.com"] = nil;
			session.sends2s = function () return true end;
		]];
		federation.with_link(f.talk, master_room, "link:count_sent()"); -- one was lost on the old stream
		settle(f);
		f.link:expect(f.remote, { "presence", has = fmuc .. "/history@since" }, 15);
		wait_until_live(s, f);
		settle(f);
	end));

	it("sends local users back to join when the grace period is over, with their messages (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 2" });
		f.link:cut();
		say(f.kev, mirror_room, "kept", "k1");
		f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Curtis", lacks = muc_user .. "/status" }, 10);
		local lost = f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
		local codes = {};
		for status in lost:get_child("x", "http://jabber.org/protocol/muc#user"):childtags("status") do codes[status.attr.code] = true; end
		assert.same({ ["110"] = true; ["333"] = true }, codes);
		assert.equal("remote-server-timeout", error_condition(f.kev:expect { "message", type = "error", id = "k1", from = mirror_room }));
		f.kev:sync();
		f.kev:expect_none({ "message" }, 0);
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		f.link:restore();
		enter(f.kev, "Kev");
		say(f.kev, mirror_room, "back");
		f.curtis:expect { "message", body = "back", from = master_room .. "/Kev" };
		f.curtis:expect_none({ "message", body = "kept" }, 0);
	end));

	it("lets local users carry on alone when it may (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 2; fmuc_outage_policy = \"autonomous\"" });
		f.link:cut();
		say(f.kev, mirror_room, "kept");
		for _, client in ipairs { f.kev, f.bob } do
			local gone = client:expect({ "presence", type = "unavailable", from = mirror_room .. "/Curtis" }, 10);
			assert.equal("333", gone:find(muc_user .. "/status@code"));
			client:expect { "message", body = "kept", from = mirror_room .. "/Kev" };
		end
		say(f.curtis, master_room, "over there");
		say(f.bob, mirror_room, "alone");
		s:wait(4);
		f.kev:expect { "message", body = "alone", from = mirror_room .. "/Bob" };
		f.bob:expect { "message", body = "alone" };
		f.bob:send(("<presence to='%s/Bob'><show>away</show></presence>"):format(mirror_room));
		f.kev:expect { "presence", from = mirror_room .. "/Bob", where = is_away };
		f.bob:expect { "presence", from = mirror_room .. "/Bob" };
		f.link:restore();
		for _, client in ipairs { f.kev, f.bob } do
			client:expect({ "presence", type = false, from = mirror_room .. "/Curtis" }, 20);
			client:expect { "message", body = "over there", from = mirror_room .. "/Curtis" };
		end
		wait_until_live(s, f);
		settle(f);
		assert.same({}, said(f.kev));
		assert.same({}, said(f.bob));
		f.curtis:expect { "presence", from = master_room .. "/Bob", where = is_away };
		local kept = f.curtis:expect { "message", body = "kept", from = master_room .. "/Kev" };
		f.curtis:expect { "message", body = "alone", from = master_room .. "/Bob" };
		assert.equal(mirror_room, kept:find("{urn:xmpp:delay}delay@from")); -- it has waited for long
	end));

	it("refuses what does not fit into the queue (G1)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		for i = 1, 101 do say(f.kev, mirror_room, "kept " .. i, "k" .. i); end
		assert.equal("resource-constraint", error_condition(f.kev:expect { "message", type = "error", id = "k101" }));
		f.link:restore();
		f.bob:expect({ "message", body = "kept 100" }, 25);
		f.curtis:expect { "message", body = "kept 100" };
		wait_until_live(s, f);
		settle(f);
		assert.equal(100, #said(f.kev));
		assert.equal(99, #said(f.bob));
	end));

	it("catches up with who came and went on both sides (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		local alice, dora = f.talk:client("alice@example.com/desk"), f.talk:client("dora@example.com/desk");
		alice:send(join(master_room, "Alice"));
		f.kev:expect { "presence", from = mirror_room .. "/Alice" };
		f.bob:expect { "presence", from = mirror_room .. "/Alice" };
		federation.topic(f, "before");
		f.kev:expect { "message", has = "subject" };
		f.bob:expect { "message", has = "subject" };
		f.curtis:drain();
		f.link:cut();
		alice:send(("<presence type='unavailable' to='%s/Alice'/>"):format(master_room));
		dora:send(join(master_room, "Dora"));
		federation.topic(f, "after");
		f.bob:send(("<presence type='unavailable' to='%s/Bob'/>"):format(mirror_room));
		f.kev:send(("<presence to='%s/Kev'><show>dnd</show></presence>"):format(mirror_room));
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		eve:send(join(mirror_room, "Eve"));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		eve:sync();
		eve:expect_none({ "presence" }, 0.5);
		f.link:restore();
		f.kev:expect({ "presence", type = false, from = mirror_room .. "/Dora" }, 20);
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
		f.kev:expect { "message", where = function (m) return m:get_child_text("subject") == "after"; end };
		eve:expect { "presence", type = false, from = mirror_room .. "/Eve", has = muc_user .. "/status" };
		f.kev:expect { "presence", type = false, from = mirror_room .. "/Eve" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		f.curtis:expect { "presence", type = false, from = master_room .. "/Eve" };
		f.curtis:expect { "presence", from = master_room .. "/Kev", where = function (p) return p:get_child_text("show") == "dnd"; end };
		wait_until_live(s, f);
		f.kev:sync();
		f.kev:expect { "presence", from = mirror_room .. "/Kev", where = function (p) return p:get_child_text("show") == "dnd"; end };
		assert.same({}, words(f.kev, mirror_room));
		for _, nick in ipairs { "Curtis", "Dora", "Kev" } do eve:expect { "presence", type = false, from = mirror_room .. "/" .. nick }; end
		eve:expect_none({ "presence" }, 0);
	end));

	-- takes its time: that is what it is about
	it("asks one thing at a time over a slow link (G3 G5)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_join_timeout = 8" });
		for i = 1, 10 do
			f.talk:client("user" .. i .. "@example.com/desk"):send(join(master_room, "User" .. i));
			f.kev:expect { "presence", from = mirror_room .. "/User" .. i };
		end
		f.link:stall();
		say(f.curtis, master_room, "missed");
		f.link:expect(f.talk, { "message", body = "missed" });
		assert.is_true(select(2, outages.unacknowledged(f)) >= 1); -- (F1)
		f.link:cut(); -- what was on its way is lost
		f.link:delay(1);
		f.link:rate(800); -- a connection, and then who is in the room, take ten seconds each
		f.link:forget();
		f.link:restore();
		f.kev:expect({ "message", body = "missed" }, 60);
		wait_until_live(s, f);
		say(f.kev, mirror_room, "here");
		f.curtis:expect({ "message", body = "here" }, 15);
		local count = {};
		for _, stanza in ipairs(f.link:sent(f.remote)) do count[stanza.name] = (count[stanza.name] or 0) + 1; end
		assert.is_true(count.presence <= 2, "a storm of joins"); -- one user, who asks again after eight seconds; the master has the other
		-- up to two whether the master is there, whether that was all, and what the room is like now
		assert.is_true((count.iq or 0) <= 4, "a storm of questions: " .. tostring(count.iq));
		f.kev:expect_none({ "presence" }, 0);
	end));
end);
end
