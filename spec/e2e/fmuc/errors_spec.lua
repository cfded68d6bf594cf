-- SPDX-License-Identifier: MIT
-- Whose error it is (G26, cases F1 and F2): what a peer says over its stream is its answer, whatever the condition; what this server says
-- in its name is an outage.

local bed = require "bed";
local federation = require "federation";
local fake_master = require "fake_master";
local st = require "util.stanza";

local say, join = federation.say, federation.join;
local fmuc = federation.fmuc;
local room, mirror = fake_master.room, fake_master.mirror;
local presence, message = fake_master.presence, fake_master.message;
local error_condition = federation.error_condition;

-- type and condition: what this server says of an outage, what mod_smacks says, and what nobody takes for one
local refusals = {
	{ "wait", "resource-constraint" }; { "wait", "remote-server-timeout" }; { "cancel", "remote-server-not-found" };
	{ "cancel", "recipient-unavailable" }; { "cancel", "forbidden" };
};

-- Kev and Bob in the room of a master that says what it is told to
local function meet_fake(s, versions, mirror_config)
	local f = fake_master.new(s, versions, mirror_config);
	f.bob = f.remote:client("bob@remote.example.com/Gajim");
	fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
	fake_master.admit(f, f.bob, "Bob");
	f.fake:send(message("Alice", "begin"));
	for _, client in ipairs { f.kev, f.bob } do
		client:expect { "message", body = "begin" };
		client:drain();
	end
	f.fake:drain();
	return f;
end

-- nothing but messages crosses, and nobody was told anything: there was no outage
local function assert_in_step(f)
	f.fake:send(message("Alice", "end"));
	for _, client in ipairs { f.kev, f.bob } do
		client:expect { "message", body = "end" };
		client:sync();
		assert.same({}, client:drain());
	end
	for _, stanza in ipairs(f.fake:drain()) do error("the master got what it should not: " .. tostring(stanza)); end
	assert.equal("live", federation.with_link(f.remote, mirror, "return link.state"));
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc errors, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("tells the author once what the master refuses, whatever the condition (G15 G16 G26, F2)", bed.scenario(function (s)
		local f = meet_fake(s, versions);
		for _, refusal in ipairs(refusals) do
			local text = table.concat(refusal, " ");
			say(f.kev, mirror, text, "m1");
			f.fake:send(st.error_reply(f.fake:expect { "message", body = text }, refusal[1], refusal[2], "Too fast"));
			local returned = f.kev:expect { "message", type = "error", id = "m1", from = mirror };
			assert.same({ refusal[1], refusal[2], "Too fast" }, { returned:get_error() });
		end
		s:wait(2.5); -- an attempt to come back would be made within two seconds
		assert_in_step(f);
	end));

	it("tells who looks at a room, and who wants to join, what the master says to the first question (M8 G13 G26, F2)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.mirror_config); -- which asks whether a room can be mirrored
		f.bob = f.remote:client("bob@remote.example.com/Gajim");
		local function refuse_question(refusal, text)
			local question = f.fake:expect { "iq", type = "get", to = room, has = "{http://jabber.org/protocol/disco#info}query" };
			f.fake:send(st.error_reply(question, refusal[1], refusal[2], text));
		end
		local function expect_refused_joins(...)
			for client, nick in pairs { [f.kev] = "Kev"; [f.bob] = "Bob" } do
				assert.same({ ... }, { client:expect({ "presence", type = "error", from = mirror .. "/" .. nick, id = "join-" .. nick }):get_error() });
			end
		end
		local function send_joins()
			f.kev:send(join(mirror, "Kev"));
			f.bob:send(join(mirror, "Bob"));
			for _, client in ipairs { f.kev, f.bob } do client:sync(); end
		end
		for i, refusal in ipairs(refusals) do
			local is_passing = i <= 3; -- the others say that this is no room to mirror
			send_joins();
			refuse_question(refusal);
			if is_passing then
				expect_refused_joins(refusal[1], refusal[2], "The server of " .. room .. " cannot reach it now");
			else
				expect_refused_joins("cancel", "feature-not-implemented",
					"The server of " .. room .. " does not support mirrors. Join " .. room .. " itself.");
			end
			f.kev:send(("<iq type='get' id='d1' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror));
			assert.same(refusal, { f.kev:expect({ "iq", type = "error", id = "d1", from = mirror }):get_error() });
			send_joins(); -- what failed may succeed now
			refuse_question(refusal, "Too fast");
			if is_passing then
				expect_refused_joins(refusal[1], refusal[2], "Too fast");
			else
				expect_refused_joins("cancel", "feature-not-implemented",
					"The server of " .. room .. " does not support mirrors. Join " .. room .. " itself.");
			end
		end
		for _, client in ipairs { f.kev, f.bob } do
			client:sync();
			assert.same({}, client:drain());
		end
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
	end));

	it("joins again once for a message whose author the master does not know (G4 G15 G26)", bed.scenario(function (s)
		local f = meet_fake(s, versions);
		say(f.kev, mirror, "who?", "m1");
		f.fake:send(st.error_reply(f.fake:expect { "message", body = "who?" }, "cancel", "not-acceptable"));
		local first = f.fake:expect { "presence", type = false, has = fmuc .. "/history@since" };
		f.fake:send(presence(first.attr.to:match("/(.*)$"), first.attr.id));
		f.fake:send(fake_master.subject());
		local second = f.fake:expect { "presence", type = false, has = fmuc .. "/history@maxstanzas" };
		f.fake:send(presence(second.attr.to:match("/(.*)$"), second.attr.id));
		f.fake:send(st.error_reply(f.fake:expect { "message", body = "who?" }, "cancel", "not-acceptable"));
		assert.equal("not-acceptable", error_condition(f.kev:expect { "message", type = "error", id = "m1" }));
	end));

	it("gives a joining user the master's refusal, whatever the condition (M8 G26, F2)", bed.scenario(function (s)
		local f = meet_fake(s, versions);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		for _, refusal in ipairs(refusals) do
			local asked = fake_master.ask(f, eve, "Eve");
			f.fake:send(st.presence({ type = "error"; from = room; to = mirror .. "/Eve"; id = asked.attr.id })
				:add_child(st.error_reply(asked, refusal[1], refusal[2]):get_child("error")));
			local returned = eve:expect { "presence", type = "error", from = mirror .. "/Eve", id = "join-Eve" };
			assert.same({ refusal[1], refusal[2] }, { returned:get_error() });
		end
		s:wait(2.5);
		assert_in_step(f);
	end));

	it("tells a user that the master refuses a new presence (M16 G26, F2)", bed.scenario(function (s)
		local f = meet_fake(s, versions);
		for _, refusal in ipairs(refusals) do
			f.kev:send(("<presence id='p1' to='%s/Kev'><show>away</show></presence>"):format(mirror));
			f.fake:send(st.error_reply(f.fake:expect { "presence", type = false, to = room .. "/Kev" }, refusal[1], refusal[2]));
			local returned = f.kev:expect { "presence", type = "error", from = mirror .. "/Kev", id = "p1" };
			assert.same({ refusal[1], refusal[2] }, { returned:get_error() });
		end
		s:wait(2.5);
		assert_in_step(f);
	end));

	it("takes any error of the master to a ping for a sign of life (G7 G26, F2)", bed.scenario(function (s)
		local f = meet_fake(s, versions);
		for _, refusal in ipairs(refusals) do
			s:wait_until(function ()
				return federation.with_link(f.remote, mirror, [[
					if link.asked then return false; end
					link.heard = link.heard - 301;
					return true;
				]]);
			end, 10, "an answer to the question before");
			f.fake:send(st.error_reply(f.fake:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" }, refusal[1], refusal[2]));
		end
		s:wait(2.5);
		assert_in_step(f);
	end));

	for _, policy in ipairs { "replica", "autonomous" } do
		it("waits for a master whose server says that it is not there for the moment, policy " .. policy .. " (G1 G4 G26)", bed.scenario(function (s)
			local f = meet_fake(s, versions, ("%s\tfmuc_grace_period = 4; fmuc_outage_policy = %q\n"):format(federation.believing_config, policy));
			f.link:cut();
			f.link:expect_broken();
			f.fake:close(); -- its server answers for it from now on
			f.talk:allow_log("Component not connected");
			f.link:restore();
			f.link:expect(f.talk, { "presence", type = "error" }, 20);
			f.kev:expect_none({ "presence" }, 0.5);
			if policy == "replica" then
				f.kev:expect({ "presence", type = "unavailable", from = mirror .. "/Kev", has = federation.muc_user .. "/status" }, 20);
				return;
			end
			s:wait_until(function ()
				return federation.with_link(f.remote, mirror, "return link.alone == true");
			end, 20, "end of the grace period");
			say(f.kev, mirror, "alone");
			f.bob:expect { "message", body = "alone" };
		end));
	end

	it("hands on what the master says of a picture or a private message, whatever the condition (G12 G13 G26)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		f.bob = f.remote:client("bob@remote.example.com/Gajim");
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", "urn:x-prosody-relay:fmuc:private:0", "vcard-temp" });
		fake_master.admit(f, f.bob, "Bob");
		f.fake:send(presence("Alice"));
		f.kev:expect { "presence", from = mirror .. "/Alice" };
		for i, refusal in ipairs(refusals) do
			f.kev:send(("<message type='chat' id='c%d' to='%s/Alice'><body>psst</body></message>"):format(i, mirror));
			f.fake:send(st.error_reply(f.fake:expect { "message", type = "chat" }, refusal[1], refusal[2]));
			assert.same(refusal, { f.kev:expect({ "message", type = "error", id = "c" .. i }):get_error() });
			f.kev:send(("<iq type='get' id='i%d' to='%s'><vCard xmlns='vcard-temp'/></iq>"):format(i, mirror));
			f.fake:send(st.error_reply(f.fake:expect { "iq", type = "get", has = "{vcard-temp}vCard" }, refusal[1], refusal[2]));
			assert.same(refusal, { f.kev:expect({ "iq", type = "error", id = "i" .. i }):get_error() });
		end
		for _, client in ipairs { f.kev, f.bob } do client:sync(); client:drain(); end
		assert_in_step(f);
	end));

	it("does not lose the users of a mirror that refuses something (G2 G26, F2)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = [[
			VirtualHost "remote.example.com"
			Component "mirror.remote.example.com"
				component_secret = "hush"
		]] });
		local fake = f.remote:component("mirror.remote.example.com", "hush");
		fake:send(st.presence({ from = federation.mirror_room; to = federation.master_room .. "/Kev" })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "kev@remote.example.com/Swift" }));
		fake:expect { "message", has = "subject" };
		for _, refusal in ipairs { refusals[1], refusals[5] } do
			say(f.curtis, federation.master_room, "hello");
			fake:send(st.error_reply(fake:expect { "message", body = "hello" }, refusal[1], refusal[2]));
		end
		for _, refusal in ipairs(refusals) do
			s:wait_until(function ()
				return federation.with_link(f.talk, federation.master_room, [[
					if link.asked then return false; end
					link.heard = link.heard - 400;
					return true;
				]]);
			end, 10, "an answer to the question before");
			fake:send(st.error_reply(fake:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" }, refusal[1], refusal[2]));
		end
		fake:sync();
		say(f.curtis, federation.master_room, "still there");
		fake:expect { "message", body = "still there" };
		f.curtis:sync();
		f.curtis:expect_none({ "presence", type = "unavailable" }, 0);
		-- its server says that it is not there for the moment, and then that it is not there
		say(f.curtis, federation.master_room, "away?");
		fake:send(st.error_reply(fake:expect { "message", body = "away?" }, "wait", "remote-server-timeout"));
		fake:expect { "presence", type = "error", from = federation.master_room }; -- which asks it to come back
		f.curtis:sync();
		f.curtis:expect_none({ "presence", type = "unavailable" }, 0);
		fake:send(st.presence({ from = federation.mirror_room; to = federation.master_room .. "/Kev" })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "kev@remote.example.com/Swift" }));
		fake:expect { "message", has = "subject" };
		say(f.curtis, federation.master_room, "gone?");
		fake:send(st.error_reply(fake:expect { "message", body = "gone?" }, "cancel", "remote-server-not-found"));
		f.curtis:expect { "presence", type = "unavailable", from = federation.master_room .. "/Kev" };
	end));

	it("gives the author of a private message the mirror's refusal, whatever the condition (G2 G12 G26, F2)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = [[
			VirtualHost "remote.example.com"
			Component "mirror.remote.example.com"
				component_secret = "hush"
		]] });
		local fake, kev = f.remote:component("mirror.remote.example.com", "hush"), federation.master_room .. "/Kev";
		fake:send(st.presence({ from = federation.mirror_room; to = kev })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "kev@remote.example.com/Swift" }));
		fake:expect { "message", has = "subject" };
		f.curtis:expect { "presence", from = kev };
		fake:drain();
		f.curtis:drain();
		for i, refusal in ipairs(refusals) do
			f.curtis:send(("<message type='chat' id='c%d' to='%s'><body>psst</body></message>"):format(i, kev));
			if i == 1 then
				fake:send(st.reply(fake:expect { "iq", type = "get", to = "mirror.remote.example.com" })
					:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }):tag("feature", { var = "urn:x-prosody-relay:fmuc:private:0" }));
			end
			fake:send(st.error_reply(fake:expect { "message", type = "chat" }, refusal[1], refusal[2]));
			assert.same(refusal, { f.curtis:expect({ "message", type = "error", id = "c" .. i, from = kev }):get_error() });
		end
		-- nobody is taken for absent, nor the mirror
		say(f.curtis, federation.master_room, "still there");
		f.curtis:expect { "message", body = "still there" };
		fake:expect { "message", body = "still there" };
		fake:sync();
		assert.same({}, fake:drain());
		f.curtis:sync();
		assert.same({}, f.curtis:drain());
	end));

	it("believes a master of the same server, which has no stream (G15 G26, F2)", bed.scenario(function (s)
		local config = federation.master_config .. federation.mirror_config .. "\tfmuc_allow_masters = { \"talk.example.com\" }\n"
			.. "\tfmuc_allow_users = { \"remote.example.com\", \"example.com\" }\n";
		local node = s:node { version = versions.master; config = config };
		local f = { talk = node; remote = node; curtis = node:client("curtis@example.com/Swift") };
		f.kev = node:client("kev@remote.example.com/Swift");
		node:eval [[
			local st = require "util.stanza";
			prosody.hosts["talk.example.com"].modules.muc.module:hook("iq-get/bare/http://jabber.org/protocol/disco#info:query", function (event)
				event.origin.send(st.error_reply(event.stanza, "wait", "resource-constraint"));
				return true;
			end, 1000);
		]];
		f.kev:send(("<iq type='get' id='i1' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(federation.mirror_room));
		assert.same({ "wait", "resource-constraint" }, { f.kev:expect({ "iq", type = "error", id = "i1" }):get_error() });
		federation.open_room(f, federation.master_room);
		f.kev:send(join(federation.mirror_room, "Kev"));
		local refused = f.kev:expect { "presence", type = "error", from = federation.mirror_room .. "/Kev" };
		assert.equal("forbidden", error_condition(refused)); -- nobody speaks for this server's own users
	end));
end);
end
