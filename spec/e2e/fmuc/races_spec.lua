-- SPDX-License-Identifier: MIT
-- mod_fmuc when stanzas cross each other on the way, or a master says what it likes: everybody gets one answer, nobody gets another's
-- place, nothing stays behind.

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local join, say, enter, error_condition = federation.join, federation.say, federation.enter, federation.error_condition;
local muc_user = federation.muc_user;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local room, mirror, config, new = fake.room, fake.mirror, fake.config, fake.new;
local ask, admit, subject = fake.ask, fake.admit, fake.subject;

-- presence of an occupant as the master sends it; type and role are optional
local function presence(nick, id, type, role)
	return fake.presence(nick, id, type, nil, role and { affiliation = "none"; role = role });
end

local function message(nick, text)
	return fake.message(nick, text, "id-" .. text);
end

local function part(client, nick)
	client:send(st.presence({ type = "unavailable"; to = mirror .. "/" .. nick }));
end

for version in bed.versions() do
describe("fmuc races, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };

	it("lets nobody wait for two nicks at once, whatever the master makes of it (M27)", bed.scenario(function (s)
		local f = new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		admit(f, bob, "Bob", nil, { "http://isode.com/protocol/fmuc" });
		local first = ask(f, f.kev, "Kev");
		f.kev:send(join(mirror, "Kevin"));
		local refusal = f.kev:expect { "presence", type = "error", from = mirror .. "/Kevin", id = "join-Kevin" };
		assert.equal("not-acceptable", error_condition(refusal));
		f.fake:send(presence("Kev", first.attr.id));
		f.kev:expect { "presence", from = mirror .. "/Kev", has = muc_user .. "/status" };
		f.fake:expect_none({ "presence" }, 0);
		part(f.kev, "Kev");
		bob:expect { "presence", type = "unavailable", from = mirror .. "/Kev" };
	end));

	it("does not take the answer to a join that was taken back for that to the next (M6 M12)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local m = federation.mirror_room;
		local function expect_in_once()
			f.kev:expect { "presence", type = false, from = m .. "/Kev", has = muc_user .. "/status" };
			f.kev:sync();
			f.kev:expect_none({ "presence", from = m .. "/Kev" }, 0.5);
			say(f.kev, m, "here");
			f.kev:expect { "message", body = "here", from = m .. "/Kev" };
			f.curtis:expect { "message", body = "here" };
		end
		local function in_out_in()
			f.kev:send(join(m, "Kev"));
			f.kev:send(st.presence({ type = "unavailable"; to = m .. "/Kev" }));
			f.kev:send(join(m, "Kev"));
		end
		in_out_in(); -- as the first user of the mirror
		expect_in_once();
		f.kev:send(st.presence({ type = "unavailable"; to = m .. "/Kev" }));
		f.kev:expect { "presence", type = "unavailable" };
		enter(f.remote:client("bob@remote.example.com/Gajim"), "Bob");
		in_out_in();
		expect_in_once();
	end));

	it("does not take somebody who was faster for the user who waits (M6 M8)", bed.scenario(function (s)
		local f = new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		admit(f, bob, "Bob");
		local request = ask(f, f.kev, "Alice");
		f.fake:send(presence("Alice", "of-alice"));
		f.fake:send(message("Alice", "hello"));
		bob:expect { "presence", from = mirror .. "/Alice" };
		bob:expect { "message", body = "hello" };
		f.kev:expect_none({}, 0.2);
		f.fake:send(st.error_reply(request, "cancel", "conflict"));
		assert.equal("conflict", error_condition(f.kev:expect { "presence", type = "error", from = mirror .. "/Alice" }));
		bob:sync();
		bob:expect_none({ "presence" }, 0.2);
		local carol = f.remote:client("carol@remote.example.com/Gajim");
		local id = ask(f, carol, "Carol").attr.id;
		f.fake:send(presence("Carol", id));
		carol:expect { "presence", from = mirror .. "/Alice" };
	end));

	it("does not take the refusal of an earlier join for that of the next (M8)", bed.scenario(function (s)
		local f = new(s, versions);
		local first = ask(f, f.kev, "Kev");
		part(f.kev, "Kev");
		local second = ask(f, f.kev, "Kev");
		f.fake:send(st.error_reply(first, "auth", "not-authorized"));
		f.fake:send(presence("Kev", second.attr.id));
		f.fake:send(subject());
		f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
		f.kev:expect_none({ "presence" }, 0.2);
	end));

	it("accepts a master that returns no ids (M6)", bed.scenario(function (s)
		local f = new(s, versions);
		for _, user in ipairs { "bob", "carol" } do
			local client = f.remote:client(user .. "@remote.example.com/Gajim");
			ask(f, client, user);
			f.fake:send(presence(user));
			if user == "bob" then f.fake:send(subject()); else fake.answer_ping(f); end
			client:expect { "presence", type = false, from = mirror .. "/" .. user, has = muc_user .. "/status" };
		end
	end));

	it("shows both to a user who was kicked right after the join (M13)", bed.scenario(function (s)
		local f = new(s, versions);
		local request = ask(f, f.kev, "Kev");
		f.fake:send(presence("Kev", request.attr.id));
		f.fake:send(presence("Kev", nil, "unavailable"));
		f.fake:send(subject());
		f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
		f.kev:expect { "presence", type = "unavailable", from = mirror .. "/Kev", has = muc_user .. "/status" };
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		-- the subject, which nobody is left to see
		f.fake:expect { "message", type = "error" };
	end));

	it("does not take what was meant for users who have left for the end of the history (M5)", bed.scenario(function (s)
		local f = new(s, versions);
		local request = ask(f, f.kev, "Kev");
		f.fake:send(message("Alice", "for others"));
		f.fake:send(presence("Kev", request.attr.id));
		f.fake:send(message("Alice", "old"):tag("delay", { xmlns = "urn:xmpp:delay"; from = room; stamp = "2020-01-01T00:00:00Z" }):up());
		f.fake:send(subject());
		f.kev:expect { "message", has = "subject" };
		local seen = f.kev:drain();
		assert.equal("old", seen[#seen]:get_child_text("body"));
		assert.equal(2, #seen);
	end));

	it("keeps a room whose last user leaves while another waits (M3 M12)", bed.scenario(function (s)
		local f = new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		admit(f, bob, "Bob");
		local request = ask(f, f.kev, "Kev");
		part(bob, "Bob");
		f.fake:expect { "presence", type = "unavailable", to = room .. "/Bob" };
		f.fake:send(presence("Kev", request.attr.id));
		f.fake:send(presence("Bob", nil, "unavailable"));
		f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
		ask(f, bob, "Bob");
		part(f.kev, "Kev");
		f.fake:expect { "presence", type = "unavailable", to = room .. "/Kev" };
		part(bob, "Bob");
		f.fake:expect { "presence", type = "unavailable", to = room .. "/Bob" };
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("answers a join whose room an administrator destroys (M3)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = config; mirror = federation.believing_config .. "\tfmuc_join_timeout = 4" });
		f.fake = f.talk:component("fake.example.com", "hush");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		ask(f, f.kev, "Kev", { "urn:x-prosody-relay:fmuc:private:0" }); -- so that both go out at once
		ask(f, bob, "Bob");
		f.remote:eval(([[prosody.hosts["mirror.remote.example.com"].modules.muc.get_room_from_jid(%q):destroy(); return true]]):format(mirror));
		part(bob, "Bob");
		f.fake:expect { "presence", type = "unavailable", to = room .. "/Bob" };
		f.kev:expect { "presence", type = "error", id = "join-Kev" };
		f.kev:expect_none({ "presence" }, 6); -- nor when its time is up
		admit(f, f.kev, "Kev");
	end));

	it("survives malformed stanzas of a master (M6 M8 M19)", bed.scenario(function (s)
		local f = new(s, versions);
		ask(f, f.kev, "Kev");
		f.fake:send(st.presence({ type = "error"; from = room; to = mirror .. "/Kev" }));
		assert.equal("undefined-condition", error_condition(f.kev:expect { "presence", type = "error", id = "join-Kev" }));
		f.fake:send(presence("Kev", ask(f, f.kev, "Kev").attr.id));
		for _, text in ipairs {
			"<presence from='M' to='R'/>", "<presence from='M' to='R' type='error'/>", "<presence from='M/A' to='R/B'/>",
			"<presence from='M/A' to='R' type='unavailable'/>", "<presence from='M/A' to='R' type='wrong'/>", "<presence from='M/A' to='R' type='probe'/>",
			"<presence from='M' to='R' type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'/></presence>",
			"<message from='M/A' to='R' type='error'/>", "<message from='M/A' to='R/Kev' type='error'/>", "<message from='M/A' to='R/Kev'/>",
			"<message from='M/A' to='R'/>", "<message from='M' to='R' type='groupchat'/>",
			"<message from='M' to='R' type='groupchat'><delay xmlns='urn:xmpp:delay' from='M'/><body>x</body></message>",
			"<message from='M' to='R' type='groupchat'><delay xmlns='urn:xmpp:delay' from='M' stamp='yesterday'/><body>x</body></message>",
			"<message from='M' to='R' type='groupchat'><delay xmlns='urn:xmpp:delay' from='M' stamp='yesterday'/><subject>x</subject></message>",
			"<message from='M/A' to='R/Kev' type='groupchat'><body>x</body></message>",
			"<iq from='M/A' to='R/Kev' type='result' id='1'/>", "<iq from='M' to='R/Kev' type='error' id='1'/>",
			"<iq from='M/A' to='R/Kev' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>",
		} do
			f.fake:send((text:gsub("'M", "'" .. room):gsub("'R", function () return "'" .. mirror; end)));
		end
		f.fake:expect { "iq", id = "2", type = "error" };
		f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
		say(f.kev, mirror, "fine");
		f.fake:expect { "message", body = "fine" };
		f.fake:send(message("Kev", "fine"));
		f.kev:expect { "message", body = "fine", type = "groupchat" };
	end));

	for _, role in ipairs { "wizard", "none", false } do
		it("takes an occupant whose role is " .. tostring(role) .. " for a participant (M6)", bed.scenario(function (s)
			local f = federation.new(s, versions, { master = config; mirror = federation.believing_config .. "\tfmuc_nomirror = true" });
			f.fake = f.talk:component("fake.example.com", "hush");
			for nick, id in pairs { Alice = "a"; Kev = ask(f, f.kev, "Kev").attr.id } do
				local shown = presence(nick, id, nil, role or nil);
				if not role then shown:get_child("x", xmlns_muc_user):remove_children("item"); end
				f.fake:send(shown);
			end
			f.fake:send(subject());
			local own = f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
			assert.equal("participant", own:find(muc_user .. "/item@role"));
			say(f.kev, mirror, "fine");
			f.kev:expect { "message", body = "fine", type = "groupchat" };
			f.fake:expect { "message", body = "fine" };
		end));
	end

	it("tells a user who was kicked meanwhile at once that the message was refused (M13 M17)", bed.scenario(function (s)
		local f = new(s, versions);
		admit(f, f.kev, "Kev");
		for _, others in ipairs { false, true } do -- the room is gone with the user; or not
			if others then
				admit(f, f.remote:client("bob@remote.example.com/Gajim"), "Bob");
				admit(f, f.kev, "Kev");
			end
			say(f.kev, mirror, "well");
			local sent = f.fake:expect { "message", body = "well" };
			f.fake:send(presence("Kev", nil, "unavailable"));
			f.kev:expect { "presence", type = "unavailable", from = mirror .. "/Kev" };
			f.fake:send(st.error_reply(sent, "cancel", "not-acceptable"));
			f.kev:expect { "message", type = "error", id = "id-well", from = mirror };
			f.kev:drain();
		end
	end));

	it("counts a message as delivered whose author left before it came back (M18)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		say(f.kev, federation.mirror_room, "bye");
		f.kev:send(st.presence({ type = "unavailable"; to = federation.mirror_room .. "/Kev" }));
		f.curtis:expect { "message", body = "bye" };
		f.curtis:expect { "presence", type = "unavailable", from = federation.master_room .. "/Kev" };
		-- nothing is left to be reported as lost when its time is up
		s:wait_until(function ()
			return f.remote:eval [[return next(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) == nil]];
		end);
	end));

	it("refuses a join without a nick (M3)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		for _ = 1, 2 do -- without the room, and with it
			f.kev:send(st.presence({ id = "join"; to = federation.mirror_room }):tag("x", { xmlns = "http://jabber.org/protocol/muc" }));
			assert.equal("jid-malformed", error_condition(f.kev:expect { "presence", type = "error", id = "join" }));
			enter(f.remote:client("bob@remote.example.com/Gajim"), "Bob");
		end
	end));

	it("does not answer each stanza for a user who took the join back (M2)", bed.scenario(function (s)
		local f = new(s, versions);
		ask(f, f.kev, "Kev");
		part(f.kev, "Kev");
		f.fake:expect { "presence", type = "unavailable" };
		for i = 1, 50 do f.fake:send(presence("u" .. i, "u" .. i)); end
		for i = 1, 50 do f.fake:send(message("u1", "m" .. i)); end
		assert.equal("item-not-found", error_condition(f.fake:expect { "presence", type = "error" }));
		f.link:settle();
		f.fake:sync();
		assert.is_true(#f.fake:drain() <= 2);
	end));
end);
end
