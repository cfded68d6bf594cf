-- SPDX-License-Identifier: MIT
-- mod_fmuc after an outage that hid the outcome of something: what the room has heard is not said again, and who was sent away stays away.

local bed = require "bed";
local datetime = require "util.datetime";
local fake_master = require "fake_master";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local say = federation.say;
local xmlns_chatstates = "http://jabber.org/protocol/chatstates";
local fmuc, muc_user = federation.fmuc, federation.muc_user;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local function subject(text, id)
	return st.message({ type = "groupchat"; id = id or "subject-" .. text }):text_tag("subject", text);
end

local function send(client, room_jid, stanza)
	stanza.attr.to = room_jid;
	client:send(stanza);
end

-- lose_answer(s, f, act, heard): act() makes the room hear that pattern, and before the mirror knows the link breaks
local function lose_answer(s, f, act, heard)
	f.link:cut_after(f.talk, 1);
	act();
	f.curtis:expect(heard);
	s:wait_until(function () return f.link.refusing; end);
	f.link:expect_broken();
end

-- miss(s, f, client, text): that client misses a message of Curtis in an outage, and gets it afterwards
local function miss(s, f, client, text)
	f.link:cut();
	say(f.curtis, master_room, text);
	f.curtis:expect { "message", body = text };
	f.link:expect_broken(); -- or the server delivers it as soon as there is a connection again
	s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
	f.link:restore();
	client:expect({ "message", body = text }, 20);
	outages.wait_until_live(s, f);
end

-- restart_mirror(f, names) -> clients by name. They join after a restart of the mirror, in that order, before the master answers any of them.
local function restart_mirror(f, names)
	f.remote:kill();
	f.remote:start();
	f.link:forget();
	f.link:stall();
	local clients = {};
	for _, name in ipairs(names) do
		clients[name] = f.remote:client(name:lower() .. "@remote.example.com/again");
		clients[name]:send(federation.join(mirror_room, name));
		clients[name]:sync();
	end
	f.link:restore();
	return clients;
end

local function is_welcome(client, name, others)
	client:expect({ "presence", from = mirror_room .. "/" .. name, has = muc_user .. "/status" }, 15);
	client:expect { "message", body = "before" };
	client:expect { "message", has = "subject" };
	for _, other in ipairs(others) do client:expect { "presence", from = mirror_room .. "/" .. other }; end
end

-- how often the master was asked for everything, and how often it sent its subject
local function count_dumps(f)
	local asked, sent = 0, 0;
	for _, stanza in ipairs(f.link:sent(f.remote)) do
		local history = stanza:find(fmuc .. "/history#") and stanza:get_child("fmuc", "http://isode.com/protocol/fmuc"):get_child("history");
		if history and not history.attr.maxstanzas then asked = asked + 1; end
	end
	for _, stanza in ipairs(f.link:sent(f.talk)) do
		if stanza:get_child("subject") then sent = sent + 1; end
	end
	return { asked, sent };
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc after an outage, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	for _, nomirror in ipairs { false, true } do
		local mode = nomirror and " when fired and forgotten" or "";

		it("does not repeat what is not to be stored" .. mode .. " (G3)", bed.scenario(function (s)
			local f = outages.new(s, versions, { mirror = "fmuc_nomirror = " .. tostring(nomirror) });
			local function secret(text)
				return st.message({ type = "groupchat"; id = "id-" .. text }):text_tag("body", text):tag("no-store", { xmlns = "urn:xmpp:hints" }):up();
			end
			lose_answer(s, f, function ()
				send(f.kev, mirror_room, secret "heard");
				if nomirror then say(f.curtis, master_room, "lost"); end -- there is no other answer
			end, { "message", body = "heard" });
			send(f.curtis, master_room, secret "missed");
			f.link:restore();
			f.bob:expect({ "message", body = "heard" }, 20);
			f.bob:expect({ "message", body = "missed" }, 20);
			outages.wait_until_live(s, f);
			outages.settle(f);
			for _, client in ipairs { f.curtis, f.bob } do client:expect_none({ "message", body = "heard" }, 0); end
			-- who comes later is told nothing of it
			local eve = f.remote:client("eve@remote.example.com/Gajim");
			federation.enter(eve, "Eve");
			eve:expect { "message", has = "subject" };
			eve:expect_none({ "message", has = "{urn:xmpp:hints}no-store" }, 0);
		end));
	end

	it("does not lose what was said in the same words as something before (G3 G16)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		say(f.kev, mirror_room, "ok", "first");
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect { "message", body = "ok" }; end
		f.link:stall();
		say(f.kev, mirror_room, "ok", "second");
		f.link:expect(f.remote, { "message", id = "second" });
		assert.is_true(outages.unacknowledged(f) >= 1); -- (F1)
		f.link:cut();
		f.link:expect_broken();
		f.link:restore();
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect({ "message", body = "ok", id = "second" }, 20); end
		outages.wait_until_live(s, f);
		outages.settle(f);
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect_none({ "message", body = "ok" }, 0); end
	end));

	for _, nomirror in ipairs { false, true } do
		it("does not say again that somebody was typing" .. (nomirror and " when fired and forgotten" or "") .. " (G3)", bed.scenario(function (s)
			local f = outages.new(s, versions, { mirror = "fmuc_nomirror = " .. tostring(nomirror) });
			local function state(name)
				return st.message({ type = "groupchat"; id = name }):tag(name, { xmlns = xmlns_chatstates }):up();
			end
			lose_answer(s, f, function ()
				send(f.kev, mirror_room, state "composing");
				if nomirror then say(f.curtis, master_room, "lost"); end -- there is no other answer
			end, { "message", id = "composing" });
			send(f.kev, mirror_room, state "paused");
			f.kev:sync();
			f.link:restore();
			outages.wait_until_live(s, f);
			outages.settle(f);
			f.curtis:expect_none({ "message", has = "{" .. xmlns_chatstates .. "}composing" }, 0);
			f.curtis:expect_none({ "message", has = "{" .. xmlns_chatstates .. "}paused" }, 0);
			f.kev:expect_none({ "message", type = "error" }, 0);
			send(f.kev, mirror_room, state "active");
			f.curtis:expect { "message", id = "active" };
		end));
	end

	it("lets users who are on their own see each other type, and keeps none of it (G1 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 1; fmuc_outage_policy = \"autonomous\"" });
		f.link:cut();
		f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Curtis" }, 10);
		for i = 1, 101 do
			send(f.kev, mirror_room, st.message({ type = "groupchat"; id = "typing-" .. i }):tag("composing", { xmlns = xmlns_chatstates }):up());
		end
		f.bob:expect { "message", id = "typing-101" };
		say(f.kev, mirror_room, "alone");
		f.bob:expect { "message", body = "alone" };
		f.kev:sync();
		f.kev:expect_none({ "message", type = "error" }, 0);
		f.link:restore();
		f.curtis:expect({ "message", body = "alone" }, 25);
		f.curtis:expect_none({ "message", has = "{" .. xmlns_chatstates .. "}composing" }, 0);
	end));

	it("does not set a subject again over one that came later (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		federation.configure(f, "room:set_changesubject(true)");
		federation.forget(f);
		lose_answer(s, f, function () send(f.kev, mirror_room, subject "first"); end, { "message", has = "subject" });
		send(f.curtis, master_room, subject "second");
		f.curtis:expect { "message", where = function (stanza) return stanza:get_child_text("subject") == "second"; end };
		f.link:restore();
		assert.equal("second", f.bob:expect({ "message", has = "subject" }, 20):get_child_text("subject"));
		assert.equal("conflict", federation.error_condition(f.kev:expect { "message", type = "error", id = "subject-first" }));
		outages.wait_until_live(s, f);
		outages.settle(f);
		f.curtis:expect_none({ "message", has = "subject" }, 0);
	end));

	it("asks for everything once after a restart, however many come back (G4 M2)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		say(f.curtis, master_room, "before");
		f.bob:expect { "message", body = "before" };
		local clients = restart_mirror(f, { "Kev", "Bob", "Eve", "Ann" });
		for name, client in pairs(clients) do is_welcome(client, name, { "Curtis" }); end
		assert.same({ 1, 1 }, count_dumps(f));
		outages.settle { kev = clients.Eve; bob = clients.Ann; curtis = f.curtis };
	end));

	it("lets another user ask for everything when the first is refused (G4 M8)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		say(f.curtis, master_room, "before");
		f.bob:expect { "message", body = "before" };
		federation.configure(f, [[room:set_affiliation(true, "ann@remote.example.com", "outcast")]]);
		local clients = restart_mirror(f, { "Ann", "Bob", "Eve" });
		assert.equal("forbidden", federation.error_condition(clients.Ann:expect({ "presence", type = "error" }, 15)));
		for _, name in ipairs { "Bob", "Eve" } do is_welcome(clients[name], name, { "Curtis" }); end
		assert.same({ 2, 1 }, count_dumps(f));
		f.link:expect_none(f.remote, { "iq", has = "{urn:xmpp:ping}ping" }, 0);
	end));

	it("lets another user ask for everything when the first does not wait (G4)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_allow_masters = { \"talk.example.com\" }" });
		say(f.curtis, master_room, "before");
		f.bob:expect { "message", body = "before" };
		f.remote:kill();
		f.remote:start();
		f.link:stall();
		local ann, eve = f.remote:client("ann@remote.example.com/again"), f.remote:client("eve@remote.example.com/again");
		ann:send(federation.join(mirror_room, "Ann"));
		ann:sync();
		eve:send(federation.join(mirror_room, "Eve"));
		eve:sync();
		ann:send(st.presence({ type = "unavailable"; to = mirror_room .. "/Ann" }));
		ann:sync();
		f.link:restore();
		is_welcome(eve, "Eve", { "Curtis" });
		f.link:expect_none(f.remote, { "iq", id = "~^fmuc%-ping", has = "{urn:xmpp:ping}ping" }, 0);
		f.curtis:sync();
		federation.configure(f, [[assert(not room:get_occupant_by_nick(room.jid .. "/Ann"))]]);
	end));

	-- who asks for everything when the mirror is back, and who follows
	for _, both in ipairs { false, true } do
		it("tells " .. (both and "all" or "one") .. " that they were kicked while cut off, and lets nobody back in (G3 G14)", bed.scenario(function (s)
			local f = outages.new(s, versions);
			federation.add(f, "eve");
			f.curtis:expect { "presence", from = master_room .. "/Eve" };
			federation.forget(f);
			f.link:cut();
			local nicks = both and { "Kev", "Bob", "Eve" } or { "Bob" };
			for _, nick in ipairs(nicks) do
				f.curtis:send(([[<iq type='set' to='%s' id='kick-%s'><query xmlns='http://jabber.org/protocol/muc#admin'>
					<item nick='%s' role='none'><reason>Out, %s</reason></item></query></iq>]]):format(master_room, nick, nick, nick));
				f.curtis:expect { "iq", type = "result" };
				f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/" .. nick };
			end
			f.link:restore();
			for _, nick in ipairs(nicks) do
				local out = f[nick:lower()]:expect({ "presence", type = "unavailable", from = mirror_room .. "/" .. nick, has = muc_user .. "/status" }, 25);
				assert.equal("110 307", federation.codes(out));
				assert.equal("Out, " .. nick, out:find(muc_user .. "/item/reason#"));
				assert.equal("Curtis", out:find(muc_user .. "/item/actor@nick"));
				assert.is_nil(out:find(muc_user .. "/item/actor@jid"));
			end
			if both then
				s:wait_until(function () return federation.is_empty(f.remote, "mirror.remote.example.com"); end, 10, "empty mirror");
			else
				f.eve:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
				f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
				outages.wait_until_live(s, f);
				say(f.kev, mirror_room, "here");
				f.eve:expect { "message", body = "here" };
			end
			f.curtis:sync();
			f.curtis:expect_none({ "presence", from = master_room .. "/Bob" }, 0);
			-- they may come back when they like, and the next outage is theirs as well
			f.bob:drain();
			federation.enter(f.bob, "Bob");
			f.bob:expect { "message", has = "subject" };
			f.curtis:expect { "presence", type = false, from = master_room .. "/Bob" };
			miss(s, f, f.bob, "missed");
			say(f.bob, mirror_room, "still here");
			f.curtis:expect { "message", body = "still here" };
			f.curtis:expect_none({ "presence", from = master_room .. "/Bob" }, 0);
		end));
	end

	it("knows whom it kicked after a reload, and lets others have the nick (G3 G14)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", nil, "Out")]]);
		f.talk:reload("fmuc", "talk.example.com");
		local kev = f.talk:client("kev@example.com/Swift"); -- another of that nick
		kev:send(federation.join(master_room, "Kev"));
		kev:expect { "presence", from = master_room .. "/Kev", has = muc_user .. "/status" };
		f.link:restore();
		local out = f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev" }, 25);
		assert.equal("110 307", federation.codes(out));
		f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		f.bob:expect { "presence", type = false, from = mirror_room .. "/Kev" };
		outages.wait_until_live(s, f);
		kev:sync();
		kev:expect_none({ "presence", type = "unavailable" }, 0);
	end));

	it("lets a user in through several mirrors, and tells all sessions when the user is kicked while cut off (G3 G14 G23)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "Component \"other.remote.example.com\" \"fmuc\"\n" });
		federation.add(f, "bob");
		local others = mirror_room:gsub("@mirror", "@other");
		local phone = f.remote:client("kev@remote.example.com/Phone");
		federation.enter(f.kev, "Kev");
		federation.enter(phone, "Kev", others);
		f.link:cut();
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", nil, "Out")]]);
		f.link:expect_broken();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		f.link:restore();
		for client, room_jid in pairs { [f.kev] = mirror_room; [phone] = others } do
			local out = client:expect({ "presence", type = "unavailable", from = room_jid .. "/Kev" }, 25);
			assert.equal("110 307", federation.codes(out));
		end
	end));

	it("does not forget whom it kicked because another mirror's users are kicked, too (G14 M28)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = [[
VirtualHost "remote.example.com"
Component "mirror.remote.example.com"
	component_secret = "hush"
Component "liar.remote.example.com"
	component_secret = "hush"
]] });
		local mirror, liar = f.remote:component("mirror.remote.example.com", "hush"), f.remote:component("liar.remote.example.com", "hush");
		local function bring(service, room_jid, nick, again)
			service:send(st.presence({ from = room_jid; to = master_room .. "/" .. nick; id = "join-" .. nick })
				:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = nick:lower() .. "@remote.example.com/x"; again = again }));
		end
		local function kick_all(reason) federation.configure(f, ([[
			for _, occupant in room:each_occupant() do
				if occupant.bare_jid ~= "curtis@example.com" then room:set_role(true, occupant.nick, nil, %q); end
			end
		]]):format(reason)); end
		bring(mirror, mirror_room, "Kev");
		mirror:expect { "presence", from = master_room .. "/Kev" };
		local reason = ("long "):rep(2000);
		kick_all(reason);
		assert.equal(reason, mirror:expect { "presence", type = "unavailable", from = master_room .. "/Kev" }:find(muc_user .. "/item/reason#"));
		for i = 1, 110 do bring(liar, mirror_room:gsub("@mirror", "@liar"), "Nick" .. i); end
		liar:expect { "presence", from = master_room .. "/Nick110" };
		kick_all("Out");
		bring(mirror, mirror_room, "Kev", "true");
		local again = mirror:expect { "presence", id = "join-Kev", from = master_room .. "/Kev", to = mirror_room .. "/Kev" };
		assert.equal("307", federation.codes(again));
		assert.is_nil(again:find(muc_user .. "/item/reason")); -- nothing that long is kept
		federation.configure(f, "assert(#room._data.fmuc_kicked == 100)");
	end));

	it("takes nobody for kicked when the module was away for a while (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		f.talk:eval [[
			local modulemanager = require "core.modulemanager";
			assert(modulemanager.unload("talk.example.com", "fmuc"));
			return assert(modulemanager.load("talk.example.com", "fmuc")) ~= nil;
		]];
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		f.link:restore();
		f.curtis:expect({ "presence", type = false, from = master_room .. "/Kev" }, 25);
		outages.wait_until_live(s, f);
		outages.settle(f);
		f.kev:expect_none({ "presence", has = muc_user .. "/status" }, 0);
	end));

	it("keeps a user whose nick was that of somebody who was kicked (G3 G14)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		federation.configure(f, [[room:set_role(true, room.jid .. "/Bob", nil, "Out")]]);
		f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		federation.enter(eve, "Bob");
		eve:expect { "message", has = "subject" };
		miss(s, f, eve, "missed");
		say(eve, mirror_room, "still here");
		f.curtis:expect { "message", body = "still here" };
		eve:expect { "message", body = "still here" };
	end));

	it("tells a mirror whose clock is wrong what it missed, from before the master kept anything for mirrors, too (G3)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = [[
VirtualHost "remote.example.com"
Component "mirror.remote.example.com"
	component_secret = "hush"
]] });
		say(f.curtis, master_room, "missed");
		f.curtis:expect { "message", body = "missed" };
		local mirror = f.remote:component("mirror.remote.example.com", "hush");
		mirror:send(st.presence({ from = mirror_room; to = master_room .. "/Kev" })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "kev@remote.example.com/Swift"; again = "true" })
				:tag("history", { since = datetime.datetime(os.time() + 3600); seconds = "100" }));
		mirror:expect { "message", body = "missed" };
		mirror:expect { "message", has = "subject" };
	end));

	it("knows what has become of a room that was changed twice, the second time in an outage (G3 G13)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		local function rename(name)
			f.curtis:send(([[<iq type='set' id='rename' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
				<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
				<field var='muc#roomconfig_roomname'><value>%s</value></field></x></query></iq>]]):format(master_room, name));
			f.curtis:expect { "iq", id = "rename", type = "result" };
		end
		local function is_change(stanza) return federation.codes(stanza) == "104"; end
		rename("first");
		f.kev:expect { "message", where = is_change };
		f.link:expect(f.talk, { "iq", type = "result", has = "{http://jabber.org/protocol/disco#info}query" });
		f.link:cut();
		rename("second");
		f.link:expect_broken();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		f.link:restore();
		f.kev:expect({ "message", where = is_change }, 20);
		outages.wait_until_live(s, f);
		s:wait_until(function ()
			f.kev:send(("<iq type='get' id='info' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror_room));
			return f.kev:expect({ "iq", id = "info" }):find("{http://jabber.org/protocol/disco#info}query/identity@name") == "second";
		end, 10, "the second name");
	end));

	for _, restarted in ipairs { false, true } do
		it("knows what has become of the room" .. (restarted and " when its server was restarted" or "") .. " (G3 G13)", bed.scenario(function (s)
			local f = outages.new(s, versions, { master = "muc_room_default_persistent = true" });
			-- the mirror has been in the room for a while
			f.talk:eval(([[prosody.hosts["talk.example.com"].modules.fmuc.module.save().journals[%q].since = 0]]):format(master_room));
			f.link:cut();
			f.curtis:send(([[<iq type='set' id='config' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>
				<x xmlns='jabber:x:data' type='submit'>
				<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
				<field var='muc#roomconfig_roomname'><value>The other name</value></field></x></query></iq>]]):format(master_room));
			f.curtis:expect { "iq", type = "result", id = "config" };
			f.link:expect_broken();
			if restarted then f.talk:restart(); end
			f.link:restore();
			outages.wait_until_live(s, f);
			f.link:expect(f.talk, { "iq", type = "result", has = "{http://jabber.org/protocol/disco#info}query" });
			f.kev:sync();
			f.kev:send(("<iq type='get' id='after' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror_room));
			local info = f.kev:expect { "iq", id = "after" };
			assert.equal("The other name", info:find("{http://jabber.org/protocol/disco#info}query/identity@name"));
		end));
	end

	it("tries again soon when one outage after the other breaks a resync (G1 G3)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		for i = 1, 4 do
			f.link:cut();
			f.link:expect_broken();
			f.link:restore();
			if i == 1 then
				f.fake:send(st.error_reply(f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 20), "cancel", "service-unavailable"));
			end
			local again = f.fake:expect({ "presence", to = fake_master.room .. "/Kev", has = fmuc .. "/history@since" }, 8);
			f.fake:send(fake_master.presence("Kev", again.attr.id)); -- and not the rest
			f.link:expect(f.talk, { "presence", from = fake_master.room .. "/Kev", id = again.attr.id });
		end
		f.fake:send(fake_master.subject());
		s:wait_until(function ()
			return federation.with_link(f.remote, fake_master.mirror, [[return link.state == "live"]]);
		end, 5, "end of the outage");
	end));

	it("repeats a question that may be lost, however often it is invited to join meanwhile (G1 G4)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		local is_question = { "iq", type = "get", has = "{urn:xmpp:ping}ping" };
		for i = 1, 2 do -- it arrives, and its answer may have met the next outage
			f.link:cut();
			f.link:expect_broken();
			f.link:restore();
			if i == 1 then
				f.fake:expect(is_question, 20);
				f.link:settle(); -- a question that was not acknowledged would be known to be lost
			end
		end
		local invitation = st.presence({ type = "error"; from = fake_master.room; to = fake_master.mirror })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up():up();
		for _ = 1, 5 do
			f.fake:send(invitation);
			s:wait(2);
		end
		f.fake:send(st.error_reply(f.fake:expect(is_question, 0), "cancel", "service-unavailable"));
		local is_join = { "presence", to = fake_master.room .. "/Kev", has = fmuc .. "/history@since" };
		local again = f.fake:expect(is_join, 5);
		f.fake:send(invitation); -- this one has crossed the join
		f.fake:send(fake_master.presence("Kev", again.attr.id));
		f.fake:send(fake_master.subject());
		f.fake:send(fake_master.message("Alice", "back"));
		f.kev:expect { "message", body = "back" };
		f.fake:expect_none(is_join, 3);
	end));

	it("goes on without a user whose return the master ignores (G3 G5)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.believing_config .. "\tfmuc_join_timeout = 2\n");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		f.fake:send(fake_master.presence("Bob", fake_master.ask(f, bob, "Bob").attr.id));
		bob:expect { "message", has = "subject" };
		f.link:cut();
		f.link:expect_broken();
		f.link:restore();
		local is_question = { "iq", type = "get", has = "{urn:xmpp:ping}ping" };
		f.fake:send(st.error_reply(f.fake:expect(is_question, 20), "cancel", "service-unavailable"));
		local again = f.fake:expect({ "presence", has = fmuc .. "/history@since" }, 10);
		local is_kev = again.attr.to == fake_master.room .. "/Kev";
		local one, other, ignored = f.kev, bob, "Bob";
		if not is_kev then one, other, ignored = bob, f.kev, "Kev"; end
		f.fake:send(fake_master.presence(is_kev and "Kev" or "Bob", again.attr.id));
		f.fake:send(fake_master.subject());
		f.fake:expect { "presence", to = fake_master.room .. "/" .. ignored, has = fmuc };
		for _ = 1, 8 do -- the room is busy, so the master is there
			f.fake:send(fake_master.message("Alice", "busy"));
			s:wait(0.5);
		end
		f.fake:send(st.reply(f.fake:expect(is_question)));
		local out = other:expect { "presence", type = "unavailable", from = fake_master.mirror .. "/" .. ignored, has = muc_user .. "/status" };
		assert.equal("110 333", federation.codes(out));
		one:expect { "presence", type = "unavailable", from = fake_master.mirror .. "/" .. ignored };
		say(one, fake_master.mirror, "here");
		f.fake:expect { "message", body = "here" };
	end));
end);
end
