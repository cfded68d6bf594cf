-- SPDX-License-Identifier: MIT
-- mod_fmuc and stream management between servers (XEP-0198, case F1): when a stream breaks, mod_smacks answers what was not acknowledged with an
-- error in the other server's name. What it answers so may have arrived. Everything is said once, and nobody is told what is not true.

local bed = require "bed";
local federation = require "federation";
local outages = require "outages";

local join, say, enter = federation.join, federation.say, federation.enter;
local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;
local is_away, said, settle, wait_until_live = outages.is_away, outages.said, outages.settle, outages.wait_until_live;

local master_host, mirror_host = "talk.example.com", "mirror.remote.example.com";

-- resend: mod_smacks sends what was not acknowledged again instead
local function meet(s, versions, resend, more)
	more = more or {};
	local f = federation.meet(s, versions, {
		master = federation.master_config .. "\tmuc_room_default_persistent = true\n\t" .. (more.master or "") .. "\n";
		mirror = federation.mirror_config .. "\t" .. (more.mirror or "") .. "\n";
		global = resend and "smacks_s2s_resend = true" or nil;
	});
	f.link:settle();
	return f;
end

-- up(s, f, count), down(s, f, count): so many stanzas from the mirror, or to it, are on their way and not acknowledged
local function up(s, f, count)
	s:wait_until(function () return f.remote:unacknowledged(mirror_host, master_host) >= count; end, 5, "unacknowledged stanzas");
end
local function down(s, f, count)
	s:wait_until(function () return f.talk:unacknowledged(master_host, mirror_host) >= count; end, 5, "unacknowledged stanzas");
end

-- From now on the streams to that host are read, and nothing is acknowledged
local function lose_acknowledgements(node, host)
	node:eval(([[
		for session in pairs(prosody.incoming_s2s) do
			if session.to_host == %q and session.sends2s then
				local send = session.sends2s;
				session.sends2s = function (stanza) return type(stanza) == "table" and stanza.name == "a" or send(stanza); end;
			end
		end
	]]):format(host));
end

-- A message in each direction, which everybody sees and neither server acknowledges
local function say_unacknowledged(s, f)
	lose_acknowledgements(f.talk, master_host);
	lose_acknowledgements(f.remote, mirror_host);
	say(f.kev, mirror_room, "up");
	say(f.curtis, master_room, "down");
	for _, text in ipairs { "up", "down" } do
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect { "message", body = text }; end
	end
	up(s, f, 1);
	down(s, f, 2);
end

local function break_link(s, f)
	f.link:cut();
	s:wait_until(function () return outages.phase(f) ~= "live"; end, 10, "outage");
	f.link:restore();
	wait_until_live(s, f);
end

local function come_back(f, client, name)
	f[name] = f.talk:client(client);
	f[name]:send(join(master_room, "Curtis"));
	f[name]:expect { "presence", from = master_room .. "/Curtis", has = muc_user .. "/status" };
	f[name]:expect { "message", has = "subject" };
end

for _, versions in ipairs(federation.crossings()) do
for _, resend in ipairs { false, true } do
local kind = resend and "stream management that sends again" or "stream management";
describe(("fmuc with %s, master %s, mirror %s"):format(kind, versions.master, versions.mirror), function ()
	it("says once what a master's server had not read when it was killed (G1 G3, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		f.talk:freeze();
		say(f.bob, mirror_room, "kept", "m1");
		up(s, f, 1);
		f.talk:kill();
		f.talk:start();
		come_back(f, "curtis@example.com/Swift", "curtis");
		wait_until_live(s, f);
		f.curtis:drain();
		settle(f);
		for _, client in ipairs { f.bob, f.kev } do
			client:expect { "message", body = "kept", from = mirror_room .. "/Bob", id = "m1" };
			client:expect_none({ "message" }, 0);
			client:expect_none({ "presence", has = muc_user .. "/status" }, 0);
		end
	end));

	it("keeps the users of a mirror whose server was killed (G2, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		f.remote:freeze();
		say(f.curtis, master_room, "missed");
		down(s, f, 1);
		f.remote:kill();
		f.talk:expect_log("does not reach the mirror");
		f.remote:start();
		for name, resource in pairs { kev = "Swift", bob = "Gajim" } do
			f[name] = f.remote:client(name .. "@remote.example.com/" .. resource);
			enter(f[name], name:sub(1, 1):upper() .. name:sub(2));
			f[name]:expect { "message", body = "missed" };
		end
		assert.same({ "missed" }, said(f.curtis)); -- and nobody left
	end));

	it("says everything once when the link breaks in the middle (G3, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		f.link:stall();
		say(f.kev, mirror_room, "up 1");
		say(f.bob, mirror_room, "up 2");
		say(f.curtis, master_room, "down 1");
		say(f.curtis, master_room, "down 2");
		up(s, f, 2);
		down(s, f, 2);
		break_link(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do
			local list = said(client);
			table.sort(list);
			assert.same({ "down 1", "down 2", "up 1", "up 2" }, list);
		end
	end));

	it("says everything once when only acknowledgements are lost (G3, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		say_unacknowledged(s, f);
		break_link(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({}, said(client)); end
	end));

	it("shows once what arrives twice over a connection that is there again at once (G3 G12, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		local asked = { [f.kev] = mirror_room .. "/Curtis"; [f.curtis] = master_room .. "/Kev" };
		for client, to in pairs(asked) do client:send(("<message type='chat' to='%s'><body>hello</body></message>"):format(to)); end
		for client in pairs(asked) do client:expect { "message", body = "hello" }; end
		f.link:settle();
		lose_acknowledgements(f.talk, master_host);
		lose_acknowledgements(f.remote, mirror_host);
		say(f.kev, mirror_room, "up");
		say(f.curtis, master_room, "down");
		for client, to in pairs(asked) do client:send(("<message type='chat' id='c1' to='%s'><body>psst</body></message>"):format(to)); end
		for client in pairs(asked) do client:expect { "message", body = "psst" }; end
		for _, text in ipairs { "up", "down" } do
			for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect { "message", body = text }; end
		end
		up(s, f, 2);
		down(s, f, 3);
		f.link:cut();
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
		for client in pairs(asked) do
			if not resend then
				assert.matches("may not have arrived", (select(3, client:expect({ "message", type = "error", id = "c1" }):get_error())));
			end
		end
		for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({}, said(client)); end
	end));

	it("says once what the master heard when neither acknowledgement nor copy came back (G3 G16, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		lose_acknowledgements(f.talk, master_host);
		f.talk:eval(([[
			local session = prosody.hosts[%q].s2sout[%q];
			local send = session.sends2s;
			session.sends2s = function (stanza)
				if type(stanza) ~= "table" or stanza.name ~= "message" then return send(stanza); end
				session.outgoing_stanza_queue:push(stanza); -- sent, as far as mod_smacks knows
				return true;
			end
		]]):format(master_host, mirror_host));
		say(f.kev, mirror_room, "heard", "m1");
		f.curtis:expect { "message", body = "heard" };
		up(s, f, 1);
		f.kev:expect_none({ "message" }, 0.2);
		break_link(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob } do
			client:expect { "message", body = "heard", id = "m1" };
			assert.same({}, said(client));
		end
		assert.same({}, said(f.curtis));
	end));

	it("lets in, out and away who was on his way (M4 M12 M16, F1)", bed.scenario(function (s)
		local f = meet(s, versions, resend);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		f.link:stall();
		f.kev:send(("<presence to='%s/Kev'><show>away</show></presence>"):format(mirror_room));
		eve:send(join(mirror_room, "Eve"));
		f.bob:send(("<presence type='unavailable' to='%s/Bob'/>"):format(mirror_room));
		up(s, f, 3);
		break_link(s, f);
		eve:expect { "presence", from = mirror_room .. "/Eve", has = muc_user .. "/status" };
		eve:expect { "message", has = "subject" };
		f.curtis:expect { "presence", type = false, from = master_room .. "/Eve" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		f.curtis:expect { "presence", from = master_room .. "/Kev", where = is_away };
		f.kev:expect { "presence", from = mirror_room .. "/Kev", where = is_away };
		eve:sync();
		eve:expect_none({ "presence", type = "error" }, 0);
		eve:expect_none({ "presence", from = mirror_room .. "/Bob", type = false }, 0);
	end));
end);
end

describe(("fmuc with stream management, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("loses all users of a mirror at once when the grace period is over (G2, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false, { master = "fmuc_grace_period = 3" });
		f.remote:freeze();
		say(f.curtis, master_room, "lost");
		down(s, f, 1);
		f.remote:kill();
		f.talk:expect_log("does not reach the mirror");
		f.curtis:expect_none({ "presence" }, 1);
		for _, nick in ipairs { "Kev", "Bob" } do
			local gone = f.curtis:expect({ "presence", type = "unavailable", from = master_room .. "/" .. nick }, 15);
			assert.equal("333", gone:find(muc_user .. "/status@code"));
		end
	end));

	it("finds out with one question that nothing was lost though nothing was acknowledged (G7, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		say_unacknowledged(s, f);
		f.link:forget();
		f.link:cut();
		f.talk:expect_log("does not reach the mirror");
		f.link:expect_broken();
		f.link:restore();
		f.link:expect(f.remote, { "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 20);
		f.link:expect(f.talk, { "iq", type = "result" });
		wait_until_live(s, f);
		settle(f);
		assert.equal("live", federation.with_link(f.talk, master_room, "return link.state"));
		for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({}, said(client)); end
		f.link:expect_none(f.remote, { "presence" }, 0);
	end));

	it("answers the first to join a room, and brings nobody in who was told no (G5, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		local other, other_mirror = "other@talk.example.com", "other\\40talk.example.com@mirror.remote.example.com";
		federation.open_room(f, other);
		f.link:settle();
		-- the question what the room is
		f.link:stall();
		f.kev:send(join(other_mirror, "Kev"));
		up(s, f, 1);
		f.link:cut();
		local refused = f.kev:expect { "presence", type = "error", from = other_mirror .. "/Kev" };
		assert.equal("remote-server-timeout", error_condition(refused));
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
		-- the join, which the master has heard
		f.link:settle();
		lose_acknowledgements(f.talk, master_host);
		f.talk:eval(([[
			local session = prosody.hosts[%q].s2sout[%q];
			local send = session.sends2s;
			session.sends2s = function (stanza) return type(stanza) == "table" and stanza.name == "presence" or send(stanza); end
		]]):format(master_host, mirror_host));
		f.kev:send(join(other_mirror, "Kev"));
		f.curtis:expect { "presence", from = other .. "/Kev", type = false };
		up(s, f, 1);
		f.link:cut();
		refused = f.kev:expect { "presence", type = "error", from = other_mirror .. "/Kev" };
		assert.equal("remote-server-timeout", error_condition(refused));
		f.link:restore();
		f.curtis:expect { "presence", from = other .. "/Kev", type = "unavailable" };
		wait_until_live(s, f);
		enter(f.kev, "Kev", other_mirror);
	end));

	it("says that a private message or a question may have been lost (G12 G13, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		-- so that both know what the other takes
		for client, room in pairs { [f.kev] = mirror_room .. "/Curtis"; [f.curtis] = master_room .. "/Kev" } do
			client:send(("<message type='chat' to='%s'><body>hello</body></message>"):format(room));
		end
		for _, client in ipairs { f.kev, f.curtis } do client:expect { "message", body = "hello" }; end
		f.link:settle();
		f.link:stall();
		local asked = { [f.kev] = mirror_room .. "/Curtis"; [f.curtis] = master_room .. "/Kev" };
		for client, to in pairs(asked) do
			client:send(("<message type='chat' id='c1' to='%s'><body>psst</body></message>"):format(to));
			client:send(("<iq type='get' id='i1' to='%s'><vCard xmlns='vcard-temp'/></iq>"):format(to));
		end
		f.kev:send(([[<message id='v1' to='%s'><x xmlns='jabber:x:data' type='submit'>
			<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field>
		</x></message>]]):format(mirror_room));
		up(s, f, 3);
		down(s, f, 2);
		f.link:cut();
		assert.equal("remote-server-timeout", error_condition(f.kev:expect { "message", type = "error", id = "v1", from = mirror_room }));
		for client, to in pairs(asked) do
			for name, id in pairs { message = "c1"; iq = "i1" } do
				local returned = client:expect { name, type = "error", id = id, from = to };
				local type, condition, text = returned:get_error();
				assert.same({ "wait", "remote-server-timeout" }, { type, condition });
				assert.matches("may not have arrived", text);
			end
		end
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({}, said(client)); end
	end));

	it("says so when the question was lost whether the other takes private messages (G12, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		f.link:stall();
		f.curtis:send(("<message type='chat' id='c1' to='%s/Kev'><body>psst</body></message>"):format(master_room));
		down(s, f, 1);
		f.link:cut();
		local returned = f.curtis:expect { "message", type = "error", id = "c1", from = master_room .. "/Kev" };
		assert.same({ "wait", "remote-server-timeout" }, { (returned:get_error()), error_condition(returned) });
		f.link:restore();
		wait_until_live(s, f);
		settle(f);
	end));

	for _, is_heard in ipairs { false, true } do
		local what = is_heard and "was heard" or "was lost";
		it("says once what was fired and forgotten and " .. what .. " (M21 M23 G3, F1)", bed.scenario(function (s)
			local f = meet(s, versions, false, { mirror = "fmuc_nomirror = true" });
			if is_heard then lose_acknowledgements(f.talk, master_host); else f.link:stall(); end
			say(f.kev, mirror_room, "up", "m1");
			for _, client in ipairs { f.kev, f.bob } do client:expect { "message", body = "up" }; end
			if is_heard then f.curtis:expect { "message", body = "up" }; end
			up(s, f, 1);
			break_link(s, f);
			settle(f);
			if not is_heard then f.curtis:expect { "message", body = "up", from = master_room .. "/Kev" }; end
			for _, client in ipairs { f.kev, f.bob, f.curtis } do assert.same({}, said(client)); end
		end));
	end

	it("is not confused by answers that were not acknowledged (G7 G13, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		for client, to in pairs { [f.kev] = mirror_room .. "/Curtis"; [f.curtis] = master_room .. "/Kev" } do
			client:send(("<iq type='get' id='i1' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(to));
		end
		local asked = {};
		for _, client in ipairs { f.kev, f.curtis } do asked[client] = client:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" }; end
		f.link:settle();
		f.link:stall();
		for client, question in pairs(asked) do client:send(require "util.stanza".reply(question)); end
		up(s, f, 1);
		down(s, f, 1);
		break_link(s, f);
		settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do
			client:expect_none({ "presence" }, 0);
			client:expect_none({ "message" }, 0);
			client:expect_none({ "iq", type = "error" }, 0); -- nobody has asked for an answer to an answer
		end
	end));

	it("gives a message up that was lost five times, or waits for a quarter of an hour, once (G1 G16, F1)", bed.scenario(function (s)
		local f = meet(s, versions, false);
		-- the master hears everything but that message
		f.talk:eval [[
			prosody.hosts["talk.example.com"].modules.fmuc.module:hook("message/bare", function (event)
				return event.stanza:get_child_text("body") == "lost" or nil;
			end, 1000);
		]];
		say(f.kev, mirror_room, "lost", "m1");
		for i = 1, 5 do
			s:wait_until(function ()
				return f.remote:eval(([[
					local box = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox[%q];
					return box ~= nil and box[1].attempts == %d;
				]]):format(mirror_room, i));
			end, 20, "attempt " .. i);
			f.kev:sync();
			f.kev:expect_none({ "message", type = "error" }, 0);
			f.link:cut();
			s:wait_until(function () return outages.phase(f) ~= "live"; end, 10, "outage");
			f.link:restore();
		end
		local returned = f.kev:expect({ "message", type = "error", id = "m1" }, 20);
		assert.equal("remote-server-timeout", error_condition(returned));
		wait_until_live(s, f);
		settle(f);
		assert.same({}, said(f.kev));
		-- written long ago, sent a moment ago
		f.link:stall();
		say(f.kev, mirror_room, "late", "m2");
		up(s, f, 1);
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		f.remote:eval(([[
			local box = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox[%q];
			box[1].written = box[1].written - 900;
		]]):format(mirror_room));
		assert.equal("remote-server-timeout", error_condition(f.kev:expect { "message", type = "error", id = "m2" }));
	end));
end);
end
