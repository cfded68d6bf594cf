-- SPDX-License-Identifier: MIT
-- Who is let into a mirrored room: whose join the master has answered, and nobody because somebody else's presence has come.

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local join, say, error_condition = federation.join, federation.say, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;
local presence = fake.presence;

-- of a service that can be mirrored, and says nothing else
local plain = { "http://isode.com/protocol/fmuc" };

-- what a client got until now: words for each stanza
local function inbox(client, room_jid)
	client:sync();
	return federation.words(client, room_jid);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc admission, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	for _, nomirror in ipairs { false, true } do
		for reason, rule in pairs {
			conflict = "";
			forbidden = [[room:set_affiliation(true, "bob@remote.example.com", "outcast")]];
			["not-authorized"] = [[room:set_password("secret")]];
		} do
			it(("gives who may not enter (%s) the error and nothing else, whoever has the nick at the master%s (F3 M5 M8 G22)")
				:format(reason, nomirror and ", with fmuc_nomirror" or ""), bed.scenario(function (s)
				local f = federation.new(s, versions, { mirror = federation.believing_config .. (nomirror and "\tfmuc_nomirror = true\n" or "") });
				say(f.curtis, master_room, "not for everybody");
				local eve = f.talk:client("eve@example.com/Gajim");
				eve:send(join(master_room, "Bob"));
				eve:expect { "presence", type = false, from = master_room .. "/Bob", has = muc_user .. "/status" };
				federation.configure(f, rule);
				local bob = f.remote:client("bob@remote.example.com/Gajim");
				f.link:stall();
				local request = join(mirror_room, "Kev");
				request:get_child("x", "http://jabber.org/protocol/muc"):text_tag("password", "secret");
				f.kev:send(request);
				f.kev:sync();
				bob:send(join(mirror_room, "Bob"));
				bob:sync();
				say(bob, mirror_room, "I am not in");
				f.link:restore();
				assert.equal(reason, error_condition(bob:expect { "presence", type = "error", from = mirror_room .. "/Bob", id = "join-Bob" }));
				f.kev:expect { "message", has = "subject" };
				say(eve, master_room, "I am Bob here");
				f.kev:expect { "message", body = "I am Bob here", from = mirror_room .. "/Bob" };
				bob:sync();
				for _, stanza in ipairs(bob:drain()) do assert.equal("error", stanza.attr.type, tostring(stanza)); end
				eve:expect { "message", body = "I am Bob here" };
				eve:expect_none({ "message", body = "I am not in" }, 0);
			end));
		end
	end

	it("lets one user after the other join a master that returns no ids, until the room is here (F3 M6)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake.ask(f, f.kev, "Kev", plain);
		bob:send(join(fake.mirror, "Bob"));
		bob:sync();
		f.fake:expect_none({ "presence" }, 0);
		f.fake:send(presence("Bob")); -- somebody else's
		f.fake:send(presence("Kev"));
		f.fake:send(fake.subject());
		f.kev:expect { "presence", type = false, from = fake.mirror .. "/Kev", has = muc_user .. "/status" };
		local request = f.fake:expect { "presence", type = false, to = fake.room .. "/Bob" };
		f.fake:send(st.error_reply(request, "cancel", "conflict"));
		assert.equal("conflict", error_condition(bob:expect { "presence", type = "error", from = fake.mirror .. "/Bob" }));
		fake.answer_ping(f);
		f.fake:send(fake.message("Bob", "still here"));
		f.kev:expect { "message", body = "still here", from = fake.mirror .. "/Bob" };
		assert.same({}, inbox(bob, fake.mirror));
	end));

	it("does not take who was faster for the user who waits, where no ids are returned (F3 M6 M8)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.ask(f, f.kev, "Kev", plain);
		f.fake:send(presence("Kev"));
		f.fake:send(fake.subject());
		f.kev:expect { "message", has = "subject" };
		f.kev:drain();
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		local request = fake.ask(f, bob, "Bob");
		f.fake:send(presence("Bob"));
		f.fake:send(st.error_reply(request, "auth", "forbidden"));
		fake.answer_ping(f);
		assert.equal("forbidden", error_condition(bob:expect { "presence", type = "error", from = fake.mirror .. "/Bob" }));
		f.kev:expect { "presence", type = false, from = fake.mirror .. "/Bob" };
		assert.same({}, inbox(bob, fake.mirror));
		-- and the user who gets the nick later
		f.fake:send(presence("Bob", nil, "unavailable"));
		f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Bob" };
		fake.ask(f, bob, "Bob");
		f.fake:send(presence("Bob"));
		f.fake:send(presence("Carol")); -- no answer to Bob
		f.kev:expect { "presence", from = fake.mirror .. "/Carol" };
		assert.same({}, inbox(bob, fake.mirror));
		fake.answer_ping(f);
		bob:expect { "presence", type = false, from = fake.mirror .. "/Bob", has = muc_user .. "/status" };
		f.kev:expect { "presence", type = false, from = fake.mirror .. "/Bob" };
	end));

	it("shows both to a user who comes and is put out at once, where no ids are returned (F3 M13)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.ask(f, f.kev, "Kev", plain);
		f.fake:send(presence("Kev"));
		f.fake:send(fake.subject());
		f.kev:expect { "message", has = "subject" };
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake.ask(f, bob, "Bob");
		f.fake:send(presence("Bob"));
		f.fake:send(presence("Bob", nil, "unavailable", { "307" }));
		fake.answer_ping(f);
		bob:expect { "presence", type = false, from = fake.mirror .. "/Bob", has = muc_user .. "/status" };
		bob:expect { "presence", type = "unavailable", from = fake.mirror .. "/Bob" };
		f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Bob" };
	end));

	it("lets the next user join when the first gives up or is refused, where it is not known whether ids come back (F3)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		local carol = f.remote:client("carol@remote.example.com/Gajim");
		fake.ask(f, f.kev, "Kev", plain);
		bob:send(join(fake.mirror, "Bob"));
		bob:sync();
		carol:send(join(fake.mirror, "Carol"));
		carol:sync();
		f.kev:send(st.presence({ type = "unavailable"; to = fake.mirror .. "/Kev" }));
		local request = f.fake:expect { "presence", type = false, to = fake.room .. "/Bob" };
		f.fake:send(st.error_reply(request, "auth", "forbidden"));
		bob:expect { "presence", type = "error" };
		f.fake:expect { "presence", type = false, to = fake.room .. "/Carol" };
		f.fake:send(presence("Carol"));
		f.fake:send(fake.subject());
		carol:expect { "presence", type = false, from = fake.mirror .. "/Carol", has = muc_user .. "/status" };
	end));
end);
end
