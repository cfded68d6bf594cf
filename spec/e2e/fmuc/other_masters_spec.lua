-- SPDX-License-Identifier: MIT
-- mod_fmuc in an outage with a master of another implementation (G1, G3, section 2b). This master knows nothing of our extensions. It does not
-- count stanzas, and does not say whose users it has. It may lose ids, and may repeat any stanza.

local bed = require "bed";
local federation = require "federation";
local fake_master = require "fake_master";
local st = require "util.stanza";

local say = federation.say;
local fmuc, muc_user = federation.fmuc, federation.muc_user;
local room, mirror = fake_master.room, fake_master.mirror;
local presence, message = fake_master.presence, fake_master.message;

local function delayed(stanza)
	return stanza:tag("delay", { xmlns = "urn:xmpp:delay"; from = room; stamp = require "util.datetime".datetime() }):up();
end

local function subject(text)
	return st.message({ from = room; to = mirror; type = "groupchat" }):text_tag("subject", text or "");
end

-- the connection breaks; the mirror asks what has become of the room, and is not understood
local function interrupt(f)
	f.link:settle(); -- the fake master would hear of each stanza that nobody acknowledged
	f.link:cut();
	f.link:restore();
	local question = f.fake:expect({ "iq", type = "get", from = mirror, has = "{urn:xmpp:ping}ping" }, 20);
	f.fake:send(st.error_reply(question, "cancel", "service-unavailable"));
end

local function new(s, versions, mirror_config)
	local f = fake_master.new(s, versions, mirror_config);
	f.bob = f.remote:client("bob@remote.example.com/Gajim");
	fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
	f.fake:send(presence("Alice"));
	f.fake:send(presence("Dora"));
	f.kev:expect { "presence", from = mirror .. "/Dora" };
	fake_master.admit(f, f.bob, "Bob");
	for _, text in ipairs { "one", "two" } do f.fake:send(message("Alice", text, "id-" .. text)); end
	f.fake:send(message("Alice", "without id"));
	for _, client in ipairs { f.kev, f.bob } do
		client:expect { "message", body = "without id" };
		client:drain();
	end
	f.fake:drain();
	return f;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and other masters, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("catches up with a master that knows no extension (G3 section 2b)", bed.scenario(function (s)
		local f = new(s, versions);
		say(f.kev, mirror, "in doubt", "d1");
		say(f.kev, mirror, "arrived", "d2");
		f.fake:expect { "message", body = "arrived" };
		f.fake:expect { "message", body = "in doubt" }; -- which it forgets
		interrupt(f);
		-- one user, and after the whole answer the next
		local first = f.fake:expect { "presence", type = false, has = fmuc .. "/history@since" };
		assert.equal(mirror, first.attr.from);
		assert.is_nil(first:get_child("x", "http://jabber.org/protocol/muc"));
		f.fake:expect_none({ "presence" }, 0.3);
		local first_nick = first.attr.to:match("/(.*)$");
		local second_nick = first_nick == "Kev" and "Bob" or "Kev";
		f.fake:send(presence("Alice"));
		f.fake:send(presence("Fred"));
		f.fake:send(presence(second_nick));
		f.fake:send(presence(first_nick, first.attr.id));
		for _, text in ipairs { "one", "two" } do f.fake:send(delayed(message("Alice", text, "id-" .. text))); end
		f.fake:send(delayed(message("Alice", "without id")));
		f.fake:send(delayed(message("Kev", "arrived", "d2")));
		f.fake:send(delayed(message("Alice", "missed", "id-missed")));
		f.fake:send(subject());
		local second = f.fake:expect { "presence", type = false, to = room .. "/" .. second_nick, has = fmuc };
		f.fake:expect_none({ "message" }, 0.3); -- what waits comes after everybody is back
		f.fake:send(presence(second_nick, second.attr.id));
		-- of the two only the one that is not in the history
		f.fake:send(message("Kev", "in doubt", f.fake:expect({ "message", body = "in doubt" }).attr.id));
		f.fake:expect_none({ "message" }, 0);
		for _, client in ipairs { f.kev, f.bob } do
			client:expect { "message", body = "in doubt", from = mirror .. "/Kev" };
			local seen = {};
			for _, stanza in ipairs(client:drain()) do
				table.insert(seen, stanza:get_child_text("body") or ("%s %s"):format(stanza.attr.type or "available", stanza.attr.from:match("/(.*)$")));
			end
			table.sort(seen);
			assert.same({ "arrived", "available Fred", "missed", "unavailable Dora" }, seen);
		end
	end));

	it("waits for one answer before the next question, however often the connection breaks (G3)", bed.scenario(function (s)
		local f = new(s, versions);
		interrupt(f);
		f.fake:expect { "presence", type = false, has = fmuc };
		for _ = 1, 5 do
			f.link:cut();
			f.link:restore();
			s:wait(0.3);
		end
		s:wait(5);
		assert.is_true(#f.fake:drain() <= 3, "a storm");
	end));

	it("gives a message up only when nothing before it has come back for long either (G16)", bed.scenario(function (s)
		local f = new(s, versions);
		local function age(seconds)
			f.remote:eval(([[
				local boxes = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox;
				for _, entry in ipairs(boxes[%q]) do
					entry.at, entry.preceded = entry.at - %d, entry.preceded and entry.preceded - %d;
				end
			]]):format(mirror, seconds, seconds));
		end
		for _, text in ipairs { "swallowed", "first", "second" } do
			say(f.kev, mirror, text);
			f.fake:expect { "message", body = text };
		end
		age(40);
		f.fake:send(message("Kev", "first", "id-first"));
		f.kev:expect { "message", body = "first" };
		age(40);
		local returned = f.kev:expect { "message", type = "error" };
		assert.equal("id-swallowed", returned.attr.id);
		assert.equal("remote-server-timeout", federation.error_condition(returned));
		f.kev:expect_none({ "message", type = "error" }, 1.5);
		age(40);
		assert.equal("id-second", f.kev:expect({ "message", type = "error" }).attr.id);
	end));

	it("does without a subject, and without an answer to its questions (G3 G5)", bed.scenario(function (s)
		local f = new(s, versions);
		interrupt(f);
		local first = f.fake:expect { "presence", type = false, has = fmuc };
		local nick = first.attr.to:match("/(.*)$");
		f.fake:send(presence("Alice"));
		f.fake:send(presence("Fred"));
		f.fake:send(presence(nick, first.attr.id));
		local question = f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 10);
		f.fake:send(st.error_reply(question, "cancel", "feature-not-implemented"));
		f.kev:expect({ "presence", from = mirror .. "/Fred" }, 10);
		f.kev:expect { "presence", type = "unavailable", from = mirror .. "/Dora" };
		local second = f.fake:expect { "presence", type = false, has = fmuc };
		f.fake:send(presence(second.attr.to:match("/(.*)$"), second.attr.id));
		say(f.kev, mirror, "here");
		f.fake:expect { "message", body = "here" };
	end));

	it("joins again for an answer that may mean it has to, not for one that the master always gives (G7 section 2b)", bed.scenario(function (s)
		local f = new(s, versions);
		local function be_silent(condition)
			f.fake:send(message("Alice", "the last for long"));
			f.kev:expect { "message", body = "the last for long" };
			federation.with_link(f.remote, mirror, "link.heard = link.heard - 301");
			local question = f.fake:expect { "iq", type = "get", from = mirror, has = "{urn:xmpp:ping}ping" };
			f.fake:send(condition and st.error_reply(question, "cancel", condition) or st.reply(question));
		end
		local function come_back()
			for _ = 1, 2 do
				local join = f.fake:expect { "presence", type = false, has = fmuc };
				if join:find(fmuc .. "/history@since") then f.fake:send(presence("Alice")); end
				f.fake:send(presence(join.attr.to:match("/(.*)$"), join.attr.id));
				if join:find(fmuc .. "/history@since") then f.fake:send(subject()); end
			end
		end
		be_silent("not-acceptable");
		come_back();
		for _ = 1, 2 do
			be_silent("not-acceptable");
			f.fake:expect_none({ "presence" }, 1);
		end
		be_silent(nil);
		f.fake:expect_none({ "presence" }, 0.3);
		be_silent("not-acceptable");
		come_back();
	end));

	it("gives up when the master falls silent while users are brought back (G1)", bed.scenario(function (s)
		local f = new(s, versions, federation.believing_config .. "\tfmuc_grace_period = 8; fmuc_join_timeout = 8\n");
		interrupt(f);
		local first = f.fake:expect { "presence", type = false, has = fmuc };
		f.fake:send(presence("Alice"));
		f.fake:send(presence(first.attr.to:match("/(.*)$"), first.attr.id));
		f.fake:send(subject());
		f.fake:expect { "presence", type = false, has = fmuc }; -- the second user, who is not answered, nor is anybody afterwards
		for _, nick in ipairs { "Kev", "Bob" } do
			local out = f[nick:lower()]:expect({ "presence", type = "unavailable", from = mirror .. "/" .. nick, has = muc_user .. "/status" }, 25);
			assert.equal("110 333", federation.codes(out));
		end
	end));

	it("lets in who waits when all others have left before the master answers (G3 G5)", bed.scenario(function (s)
		local f = new(s, versions);
		local eve = f.remote:client("eve@remote.example.com/Gajim");
		f.link:cut();
		f.link:restore();
		local question = f.fake:expect({ "iq", type = "get", from = mirror, has = "{urn:xmpp:ping}ping" }, 20);
		eve:send(federation.join(mirror, "Eve"));
		eve:sync();
		for nick, client in pairs { Kev = f.kev, Bob = f.bob } do
			client:send(st.presence { type = "unavailable"; to = mirror .. "/" .. nick });
			client:sync();
		end
		f.fake:send(st.error_reply(question, "cancel", "service-unavailable"));
		f.fake:send(presence("Eve", f.fake:expect({ "presence", type = false, has = fmuc }, 10).attr.id));
		f.fake:send(subject());
		eve:expect { "message", has = "subject" };
	end));

	it("takes over from somebody else what the master gave away meanwhile (G6 M8)", bed.scenario(function (s)
		local f = new(s, versions);
		interrupt(f);
		local first = f.fake:expect { "presence", type = false, has = fmuc };
		local first_nick = first.attr.to:match("/(.*)$");
		local second_nick = first_nick == "Kev" and "Bob" or "Kev";
		local stays, goes = first_nick == "Kev" and f.kev or f.bob, first_nick == "Kev" and f.bob or f.kev;
		f.fake:send(presence("Alice"));
		f.fake:send(presence("Dora"));
		f.fake:send(presence(second_nick, nil, nil, nil, { affiliation = "member"; role = "participant" }));
		f.fake:send(presence(first_nick, first.attr.id));
		f.fake:send(subject());
		local second = f.fake:expect { "presence", type = false, to = room .. "/" .. second_nick, has = fmuc };
		f.fake:send(st.error_reply(second, "cancel", "conflict"));
		local lost = goes:expect { "presence", type = "unavailable", from = mirror .. "/" .. second_nick, has = muc_user .. "/status" };
		assert.equal("110 333", federation.codes(lost));
		stays:expect { "presence", type = "unavailable", from = mirror .. "/" .. second_nick };
		local other = stays:expect { "presence", type = false, from = mirror .. "/" .. second_nick };
		assert.equal("member", other:find(muc_user .. "/item@affiliation"));
	end));
end);
end
