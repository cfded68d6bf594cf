-- SPDX-License-Identifier: MIT
-- mod_fmuc and users who do not wait for the answer to their join: they leave, join again, change their status, or speak at once. The outcome is
-- that of a room that answers at once.

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local join, say, error_condition = federation.join, federation.say, federation.error_condition;
local master_room, mirror_room, muc_user = federation.master_room, federation.mirror_room, federation.muc_user;

local room, mirror = fake_master.room, fake_master.mirror;
local features = { "http://isode.com/protocol/fmuc" };

local function unavailable(to)
	return st.presence({ type = "unavailable"; to = to });
end

local function with_password(to, nick, password, id)
	local stanza = join(to, nick);
	stanza.attr.id = id;
	stanza:get_child("x", "http://jabber.org/protocol/muc"):text_tag("password", password);
	return stanza;
end

for version in bed.versions() do
describe("fmuc and hasty users, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };
	local believing = federation.believing_config;

	for what, to in pairs { ["the room"] = mirror; ["another nick"] = mirror .. "/Other" } do
		it(("takes a join back when the user leaves by a presence to %s (M12)"):format(what), bed.scenario(function (s)
			local f = fake_master.new(s, versions);
			fake_master.admit(f, f.kev, "Kev");
			local bob = f.remote:client("bob@remote.example.com/Gajim");
			local id = fake_master.ask(f, bob, "Bob").attr.id;
			bob:send(unavailable(to));
			f.fake:expect { "presence", type = "unavailable", to = room .. "/Bob" };
			f.fake:send(fake_master.presence("Bob", id));
			f.fake:send(fake_master.message("Alice", "secret"));
			f.kev:expect { "message", body = "secret" };
			bob:sync();
			bob:expect_none({}, 0); -- nothing at all
		end));

		it(("does so for a join that waits for the description, sent twice, by a presence to %s (M12)"):format(what), bed.scenario(function (s)
			local f = fake_master.new(s, versions, federation.mirror_config);
			for _ = 1, 2 do f.kev:send(join(mirror, "Kev")); end
			f.kev:send(unavailable(to));
			f.kev:sync();
			fake_master.describe(f, features);
			f.fake:sync();
			f.kev:sync();
			f.fake:expect_none({ "presence" }, 0.5);
			f.kev:expect_none({ "presence" }, 0);
		end));
	end

	it("takes a new presence on that is sent to the room while the join waits (M16)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing);
		fake_master.admit(f, f.kev, "Kev");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		local id = fake_master.ask(f, bob, "Bob").attr.id;
		bob:send(st.presence({ to = mirror }):text_tag("show", "dnd"));
		bob:sync();
		f.fake:send(fake_master.presence("Bob", id));
		f.fake:expect { "presence", to = room .. "/Bob", has = "show" };
		bob:expect { "presence", from = mirror .. "/Bob", has = muc_user .. "/status" };
		bob:expect_none({ "presence", type = "error" }, 0);
	end));

	it("answers a join with a wrong password, and then the one with the right password (G22 M8)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		federation.configure(f, [[room:set_password("right");]]);
		for _, first in ipairs { true, false } do -- the first user of the mirror, and a later one
			local client = first and f.kev or f.remote:client("bob@remote.example.com/Gajim");
			local nick = first and "Kev" or "Bob";
			client:send(tostring(with_password(mirror_room, nick, "wrong", "one")) .. tostring(with_password(mirror_room, nick, "right", "two")));
			local refusal = client:expect { "presence", type = "error", id = "one" };
			assert.equal("not-authorized", error_condition(refusal));
			client:expect { "presence", type = false, from = mirror_room .. "/" .. nick, has = muc_user .. "/status" };
			client:sync();
			client:expect_none({ "presence", type = "error" }, 0);
		end
	end));

	it("answers each of two joins of a banned user (M8)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		federation.configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "outcast");]]);
		f.kev:send(tostring(with_password(mirror_room, "Kev", "", "one")) .. tostring(with_password(mirror_room, "Kev", "", "two")));
		for _, id in ipairs { "one", "two" } do
			assert.equal("forbidden", error_condition(f.kev:expect { "presence", type = "error", id = id }));
		end
		f.kev:sync();
		f.kev:expect_none({ "presence" }, 0);
	end));

	it("sends what a user says together with the join, in order, and refuses it with the join (M20 M8)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local function hello(nick)
			local text = tostring(join(mirror_room, nick));
			for i = 1, 3 do
				text = text .. ("<message type='groupchat' id='m%d' to='%s'><body>%s %d</body></message>"):format(i, mirror_room, nick, i);
			end
			return text;
		end
		for _, name in ipairs { "kev", "bob" } do -- the first user of the mirror, and a later one
			local client = name == "kev" and f.kev or f.remote:client("bob@remote.example.com/Gajim");
			client:send(hello(name));
			for i = 1, 3 do
				f.curtis:expect { "message", body = name .. " " .. i };
				assert.equal(name .. " " .. i, client:expect({ "message", has = "body"; from = mirror_room .. "/" .. name }):get_child_text("body"));
			end
			client:expect_none({ "message", type = "error" }, 0);
		end
		federation.configure(f, [[room:set_affiliation(true, "eve@remote.example.com", "outcast");]]);
		local eve = f.remote:client("eve@remote.example.com/Psi");
		eve:send(hello("eve"));
		eve:expect { "presence", type = "error" };
		for i = 1, 3 do assert.equal("not-acceptable", error_condition(eve:expect { "message", type = "error", id = "m" .. i })); end
		say(f.curtis, master_room, "end");
		f.kev:expect { "message", body = "end" };
	end));

	it("keeps what was said for the join that counts (M8 M20 M27)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing);
		fake_master.admit(f, f.kev, "Kev");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		local id = fake_master.ask(f, bob, "Bob").attr.id;
		say(bob, mirror, "hello", "m1");
		bob:send(join(mirror, "Robert")); -- refused here
		bob:expect { "presence", type = "error", from = mirror .. "/Robert" };
		f.fake:send(fake_master.presence("Bob", id));
		f.fake:expect { "message", body = "hello" };
		-- refused there, and then admitted
		federation.configure(f, [[room:set_password("right");]]);
		local eve = f.remote:client("eve@remote.example.com/Psi");
		eve:send(tostring(with_password(mirror_room, "Eve", "wrong", "one")) .. tostring(with_password(mirror_room, "Eve", "wrong", "two"))
			.. tostring(with_password(mirror_room, "Eve", "right", "three"))
			.. ("<message type='groupchat' id='m1' to='%s'><body>hi</body></message>"):format(mirror_room));
		for _, refused in ipairs { "one", "two" } do eve:expect { "presence", type = "error", id = refused }; end
		f.curtis:expect { "message", body = "hi" };
		eve:expect_none({ "message", type = "error" }, 0);
	end));

	it("returns what was said with a join that the master does not answer, at once (M20 G13)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing);
		fake_master.admit(f, f.kev, "Kev");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake_master.ask(f, bob, "Bob");
		say(bob, mirror, "hello", "m1");
		bob:sync();
		federation.expire(f.remote, "mirror.remote.example.com", "joins");
		bob:expect({ "presence", type = "error", from = mirror .. "/Bob" }, 10);
		bob:sync();
		assert.equal("not-acceptable", error_condition(bob:expect({ "message", type = "error", id = "m1" }, 0)));
	end));

	it("returns what was said with a join that is taken back, and does not send it with the next (M12 M20)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing);
		fake_master.admit(f, f.kev, "Kev");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake_master.ask(f, bob, "Bob");
		say(bob, mirror, "hello", "m1");
		bob:send(unavailable(mirror .. "/Bob"));
		assert.equal("not-acceptable", error_condition(bob:expect { "message", type = "error", id = "m1" }));
		fake_master.admit(f, bob, "Bob");
		bob:sync();
		f.fake:sync();
		f.fake:expect_none({ "message" }, 0);
	end));

	it("sends a second join after the leave for one that may not have arrived (M8 F1)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, believing);
		local sent = fake_master.ask(f, f.kev, "Kev");
		f.kev:send(with_password(mirror, "Kev", "", "two"));
		f.kev:sync();
		-- mod_smacks answers for a stanza that a broken stream left unacknowledged
		f.remote:eval(([[
			local st = require "util.stanza";
			local failed = st.presence({ type = "error"; id = %q; from = %q; to = %q }):tag("error", { type = "cancel" })
				:tag("recipient-unavailable", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):reset();
			local module = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module;
			module:fire_event("presence/bare", { origin = { type = "s2sout"; send = function () end }; stanza = failed });
		]]):format(sent.attr.id, room .. "/Kev", mirror));
		f.fake:expect { "presence", type = "unavailable", to = room .. "/Kev" };
		local again = f.fake:expect { "presence", type = false, to = room .. "/Kev" };
		f.fake:send(fake_master.presence("Kev", again.attr.id));
		f.fake:send(fake_master.subject());
		f.kev:expect { "presence", type = false, from = mirror .. "/Kev", has = muc_user .. "/status" };
		f.fake:sync();
		f.fake:expect_none({ "presence", type = "unavailable" }, 0);
	end));
end);
end
