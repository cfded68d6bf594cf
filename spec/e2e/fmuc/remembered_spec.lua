-- SPDX-License-Identifier: MIT
-- What a mirror remembers of a room and its users: the password that was accepted, what the room is now, and who has a nick after an outage.

local bed = require "bed";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local join, say, error_condition = federation.join, federation.say, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local function with_password(nick, password)
	local request = join(mirror_room, nick);
	request:get_child("x", "http://jabber.org/protocol/muc"):text_tag("password", password);
	return request;
end

local function is_in(client, nick)
	client:expect { "presence", type = false; from = mirror_room .. "/" .. nick; has = muc_user .. "/status@code" };
	client:expect { "message", has = "subject" };
end

local function look(client)
	client:send(("<iq type='get' id='look' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror_room));
	return client:expect { "iq", id = "look" };
end

local function has_feature(answer, var)
	for feature in answer:get_child("query", "http://jabber.org/protocol/disco#info"):childtags("feature") do
		if feature.attr.var == var then return true; end
	end
	return false;
end

for _, versions in ipairs(federation.crossings()) do
describe(("what a mirror remembers, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("comes back after a restart with the password that was accepted, whatever others have tried (F19 G22)", bed.scenario(function (s)
		local f = federation.new(s, versions, {
			master = federation.master_config .. "\tmuc_room_default_persistent = true\n";
		});
		federation.configure(f, [[room:set_password("secret"); room:set_persistent(true); room:save(true)]]);
		f.kev:send(with_password("Kev", "secret"));
		is_in(f.kev, "Kev");
		f.bob = f.remote:client("bob@remote.example.com/Gajim");
		f.bob:send(with_password("Bob", "secret"));
		is_in(f.bob, "Bob");
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		for _, text in ipairs { "wrong", "also wrong" } do
			eve:send(with_password("Eve", text));
			assert.equal("not-authorized", error_condition(eve:expect { "presence", type = "error" }));
		end
		for _, client in ipairs { f.kev, f.bob } do
			client:sync();
			client:drain();
		end
		f.talk:kill();
		f.talk:start();
		say(f.kev, mirror_room, "after the restart");
		f.kev:expect({ "message", body = "after the restart" }, 40);
		f.bob:expect({ "message", body = "after the restart" }, 40);
		outages.wait_until_live(s, f);
		for _, client in ipairs { f.kev, f.bob } do
			client:sync();
			client:expect_none({ "presence", has = muc_user .. "/status" }, 0); -- 333
		end
	end));

	it("does not let what was looked at before decide what holds after a join (F20)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local dora = f.remote:client("dora@remote.example.com/Gajim");
		assert.is_true(has_feature(look(dora), "muc_semianonymous"));
		local alice = f.talk:client("alice@example.com/Gajim");
		alice:send(join(master_room, "Alice"));
		alice:expect { "message", has = "subject" };
		federation.configure(f, [[room:set_whois("anyone"); room:set_name("Renamed"); room:set_historylength(0)]]);
		say(f.curtis, master_room, "before");
		f.kev:send(join(mirror_room, "Kev"));
		f.kev:expect { "presence", from = mirror_room .. "/Alice", has = muc_user .. "/item@jid" };
		local own = f.kev:expect { "presence", from = mirror_room .. "/Kev", has = muc_user .. "/status@code" };
		assert.equal("100 110", federation.codes(own));
		f.kev:expect { "message", has = "subject" };
		-- for who looks and who comes later, too
		local answer = look(dora);
		assert.is_true(has_feature(answer, "muc_nonanonymous"));
		assert.equal("Renamed", answer:find("{http://jabber.org/protocol/disco#info}query/identity@name"));
		say(f.curtis, master_room, "live");
		f.kev:expect { "message", body = "live" };
		dora:send(join(mirror_room, "Dora"));
		dora:expect { "presence", from = mirror_room .. "/Alice", has = muc_user .. "/item@jid" };
		assert.equal("100 110", federation.codes(dora:expect { "presence", from = mirror_room .. "/Dora", has = muc_user .. "/status@code" }));
		dora:expect { "message", where = function (message)
			assert.is_nil(message:get_child("body"), tostring(message));
			return message:get_child("subject") ~= nil;
		end };
	end));

	it("shows who has the nick that a local user waits for, after an outage (F10 G3)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		f.link:cut();
		say(f.kev, mirror_room, "cut");
		s:wait_until(function () return outages.phase(f) == "lost"; end, 20, "the outage");
		local eve = f.talk:client("eve@example.com/Gajim");
		eve:send(join(master_room, "Dora"));
		eve:expect { "message", has = "subject" };
		local dora = f.remote:client("dora@remote.example.com/Gajim");
		dora:send(join(mirror_room, "Dora"));
		dora:sync();
		f.link:restore();
		assert.equal("conflict", error_condition(dora:expect({ "presence", type = "error", from = mirror_room .. "/Dora" }, 40)));
		f.kev:expect({ "presence", type = false, from = mirror_room .. "/Dora" }, 20);
		f.bob:expect { "presence", type = false, from = mirror_room .. "/Dora" };
		outages.wait_until_live(s, f);
		say(eve, master_room, "it is me");
		f.kev:expect { "message", body = "it is me", from = mirror_room .. "/Dora" };
		dora:sync();
		assert.same({}, federation.words(dora, mirror_room));
	end));

	it("shows who has taken the nick of a local user who left in the outage (F10 G3)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = federation.master_config .. "\tfmuc_grace_period = 2\n" });
		local dora = federation.add(f, "dora");
		f.curtis:expect { "presence", from = master_room .. "/Dora" };
		federation.forget(f);
		f.link:cut();
		say(f.kev, mirror_room, "cut");
		s:wait_until(function () return outages.phase(f) == "lost"; end, 20, "the outage");
		dora:send(st.presence({ to = mirror_room .. "/Dora"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Dora" };
		say(f.curtis, master_room, "into the void");
		f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/Dora" }, 40);
		local eve = f.talk:client("eve@example.com/Gajim");
		eve:send(join(master_room, "Dora"));
		eve:expect { "message", has = "subject" };
		f.link:restore();
		f.kev:expect({ "presence", type = false, from = mirror_room .. "/Dora" }, 60);
		f.bob:expect { "presence", type = false, from = mirror_room .. "/Dora" };
		outages.wait_until_live(s, f);
		say(eve, master_room, "it is me");
		f.kev:expect { "message", body = "it is me", from = mirror_room .. "/Dora" };
		eve:sync();
		for _, stanza in ipairs(eve:drain()) do assert.is_not.equal("unavailable", stanza.attr.from == master_room .. "/Dora" and stanza.attr.type); end
	end));
end);
end
