-- SPDX-License-Identifier: MIT
-- mod_fmuc: mirrored users see what moderators and owners do at the master (G14, G15, G17). The copy of a message may come back changed, or
-- not at all (G16).

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local say, enter, meet = federation.say, federation.enter, federation.meet;
local codes, error_condition = federation.codes, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local function administer(f, item)
	f.curtis:send(("<iq type='set' id='admin' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'>%s</query></iq>"):format(master_room, item));
	f.curtis:expect { "iq", type = "result", id = "admin" };
end

local function configure_room(f, field, value)
	f.curtis:send(([[<iq type='set' id='cfg' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
		<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var='%s'><value>%s</value></field></x>
		</query></iq>]]):format(master_room, field, value));
	f.curtis:expect { "iq", type = "result", id = "cfg" };
end

-- taken_out(f, status, affiliation, [reason]): Kev by status, as he, Bob and the server see it
local function taken_out(f, status, affiliation, reason)
	local own = f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
	assert.equal(status == "" and "110" or "110 " .. status, codes(own));
	assert.equal(affiliation, own:find(muc_user .. "/item@affiliation"));
	assert.equal("none", own:find(muc_user .. "/item@role"));
	assert.equal(reason, own:find(muc_user .. "/item/reason#"));
	if f.bob then
		local seen = f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		assert.equal(status, codes(seen));
	end
	f.link:expect_none(f.remote, { "presence", type = "unavailable" }, 0.2); -- the master knows
	f.curtis:sync();
	f.curtis:drain();
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc moderation, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("shows kicks, bans and other ends with status and reason (G14)", bed.scenario(function (s)
		local f = meet(s, versions);
		administer(f, "<item nick='Kev' role='none'><reason>enough</reason></item>");
		taken_out(f, "307", "none", "enough");
		enter(f.kev, "Kev");
		administer(f, "<item jid='kev@remote.example.com' affiliation='member'/>");
		local promoted = f.kev:expect { "presence", type = false, from = mirror_room .. "/Kev", where = function (presence)
			return presence:find(muc_user .. "/item@affiliation") == "member";
		end };
		assert.equal("110", codes(promoted));
		configure_room(f, "muc#roomconfig_membersonly", "1");
		local removed = f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		assert.equal("110 322", codes(removed));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		f.bob = nil;
		administer(f, "<item jid='kev@remote.example.com' affiliation='none'/>");
		taken_out(f, "321", "none");
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		configure_room(f, "muc#roomconfig_membersonly", "0");
		enter(f.kev, "Kev");
		administer(f, "<item jid='kev@remote.example.com' affiliation='outcast'><reason>spam</reason></item>");
		taken_out(f, "301", "outcast", "spam");
		f.kev:send(federation.join(mirror_room, "Kev"));
		assert.equal("forbidden", error_condition(f.kev:expect { "presence", type = "error", id = "join-Kev", from = mirror_room .. "/Kev" }));
	end));

	it("hands voice on, and what comes of speaking without (G14 G15)", bed.scenario(function (s)
		local f = meet(s, versions);
		local function shown(client, role, status)
			local seen = client:expect { "presence", type = false, from = mirror_room .. "/Kev", where = function (presence)
				return presence:find(muc_user .. "/item@role") == role;
			end };
			assert.equal(status, codes(seen));
		end
		for _, role in ipairs { "visitor", "participant", "moderator" } do
			administer(f, ("<item nick='Kev' role='%s'/>"):format(role));
			shown(f.kev, role, "110");
			shown(f.bob, role, "");
			say(f.kev, mirror_room, "as " .. role, role);
			if role == "visitor" then
				local refusal = f.kev:expect { "message", type = "error", id = "visitor", from = mirror_room };
				assert.equal("forbidden", error_condition(refusal));
			else
				f.bob:expect { "message", body = "as " .. role };
			end
		end
		-- the refused one is not waited for
		assert.is_true(f.remote:eval [[return next(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) == nil]]);
	end));

	local function voice_request(to, nick, allow)
		local fields = { FORM_TYPE = "http://jabber.org/protocol/muc#request"; ["muc#role"] = "participant"; ["muc#roomnick"] = nick;
			["muc#jid"] = nick and "kev@remote.example.com/Swift"; ["muc#request_allow"] = allow };
		local message = st.message({ to = to; id = "voice" }):tag("x", { xmlns = "jabber:x:data"; type = "submit" });
		for name, value in pairs(fields) do message:tag("field", { var = name }):text_tag("value", value):up(); end
		return message;
	end

	it("has the master's moderators grant voice (G15)", bed.scenario(function (s)
		local f = meet(s, versions);
		for nick, role in pairs { Kev = "visitor"; Bob = "moderator" } do administer(f, ("<item nick='%s' role='%s'/>"):format(nick, role)); end
		f.kev:expect { "presence", where = function (p) return p:find(muc_user .. "/item@role") == "visitor"; end };
		f.kev:send(voice_request(mirror_room));
		f.curtis:expect { "message", from = master_room, has = "{jabber:x:data}x" };
		f.curtis:send(voice_request(master_room, "Kev", "true"));
		f.kev:expect { "presence", where = function (p) return p:find(muc_user .. "/item@role") == "participant"; end };
		f.bob:expect { "message", from = mirror_room, has = "{jabber:x:data}x" }; -- who might have granted it, too (F6)
		f.bob:sync();
		f.bob:expect_none({ "message" }, 0);
	end));

	it("says where voice is granted if the master takes no requests (G15 M25)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev", nil, {});
		f.kev:send(voice_request(fake.mirror));
		local refusal = f.kev:expect { "message", type = "error", id = "voice", from = fake.mirror };
		assert.equal("not-allowed", error_condition(refusal));
		assert.matches(fake.room, select(3, refusal:get_error()), 1, true);
	end));

	it("lets the master invite into a room that is not open, by the room's rules (M20)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		federation.configure(f, [[
			room:set_affiliation(true, "kev@remote.example.com", "owner");
			room:set_affiliation(true, "bob@remote.example.com", "member");
			room:set_password("sesame");
			room:set_members_only(true);
			room:set_allow_member_invites(false);
			room:broadcast_message(require "util.stanza".message({ type = "groupchat"; from = room.jid })
				:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("status", { code = "104" }):reset());
		]]);
		local ann = f.remote:client("ann@remote.example.com/Psi");
		ann:send "<presence/>";
		local function invite(client)
			client:send(st.message({ to = mirror_room; id = "invite" }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("invite", { to = "ann@remote.example.com" }):text_tag("reason", "come"):reset());
		end
		s:wait_until(function ()
			return f.remote:eval(([[
				local fmuc = prosody.hosts["mirror.remote.example.com"].modules.fmuc;
				return fmuc.lib "mirror/room_info".has(fmuc.lib "mirror/room".get(%q), "muc_membersonly");
			]]):format(mirror_room));
		end, 10, "the changed description");
		invite(f.bob);
		assert.equal("forbidden", federation.error_condition(f.bob:expect { "message", type = "error", id = "invite" }));
		invite(f.kev);
		local invitation = ann:expect { "message", from = master_room, has = muc_user .. "/invite" };
		assert.equal("sesame", invitation:find(muc_user .. "/password#"));
		federation.configure(f, [[assert(room:get_affiliation("ann@remote.example.com") == "member")]]);
		ann:expect_none({ "message" }, 0);
	end));

	it("refuses invitations into a room that is not open, where the master does not take them (M20)", bed.scenario(function (s)
		for _, feature in ipairs { "muc_membersonly", "muc_passwordprotected" } do
			local f = fake.new(s, versions, federation.mirror_config);
			fake.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", feature });
			local ann = f.remote:client("ann@remote.example.com/Psi");
			ann:send "<presence/>";
			f.kev:send(st.message({ to = fake.mirror; id = "invite" }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("invite", { to = "ann@remote.example.com" }):reset());
			local refusal = f.kev:expect { "message", type = "error", id = "invite", from = fake.mirror };
			assert.equal("not-allowed", error_condition(refusal));
			ann:sync();
			ann:expect_none({ "message" }, 0);
			f.talk:stop();
			f.remote:stop();
		end
	end));

	it("invites into the mirrored room who may use it, others into the master's (M20)", bed.scenario(function (s)
		local f = meet(s, versions);
		local dora, carol = f.talk:client("dora@example.com/x"), f.remote:client("carol@remote.example.com/x");
		for client, room in pairs { [dora] = master_room; [carol] = mirror_room } do
			client:send("<presence/>");
			f.kev:send(st.message({ to = mirror_room }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("invite", { to = client.jid:match("^[^/]+") }):text_tag("reason", "come"));
			assert.equal("come", client:expect({ "message", from = room, has = muc_user .. "/invite" }):find(muc_user .. "/invite/reason#"));
		end
		dora:send(st.message({ to = master_room }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("decline", { to = "kev@remote.example.com/Swift" }):text_tag("reason", "no"));
		assert.equal("no", f.kev:expect({ "message", from = mirror_room, has = muc_user .. "/decline" }):find(muc_user .. "/decline/reason#"));
	end));

	it("keeps the codes of every end, for its user with 110 (G14)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake.admit(f, bob, "Bob");
		for _, code in ipairs { "301", "307", "321", "322", "332", "333" } do
			fake.admit(f, f.kev, "Kev");
			f.fake:send(fake.presence("Kev", nil, "unavailable", { code }));
			local own = f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev" };
			assert.equal("110 " .. code, codes(own));
			assert.equal(code, codes(bob:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev" }));
		end
	end));

	it("finds whom a presence without a nick is about (G14)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		for _, case in ipairs { { jid = "kev@remote.example.com/Swift" }, { fmuc = "kev@remote.example.com/Swift" },
			{ jid = "kev@remote.example.com/Swift"; fmuc = "bob@remote.example.com/Gajim" } } do
			fake.admit(f, bob, "Bob");
			fake.admit(f, f.kev, "Kev");
			local kick = fake.presence(nil, nil, "unavailable", { "307" }, { affiliation = "none"; role = "none"; jid = case.jid });
			if case.fmuc then kick:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = case.fmuc }):up(); end
			f.fake:send(kick);
			local own = f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev" };
			assert.equal("110 307", codes(own));
			bob:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev" };
			bob:send(st.presence { type = "unavailable"; to = fake.mirror .. "/Bob" });
			f.fake:expect { "presence", type = "unavailable", to = fake.room .. "/Bob" };
			f.kev:drain();
			bob:sync();
			bob:drain();
		end
	end));

	it("tells everybody when the room is destroyed, and forgets it (G17)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.curtis:send(([[<iq type='set' id='end' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>
			<destroy jid='other@talk.example.com'><reason>Moved</reason></destroy></query></iq>]]):format(master_room));
		for client, nick in pairs { [f.kev] = "Kev"; [f.bob] = "Bob" } do
			local own = client:expect { "presence", type = "unavailable", from = mirror_room .. "/" .. nick, has = muc_user .. "/status" };
			assert.equal("110", codes(own));
			assert.equal("other@talk.example.com", own:find(muc_user .. "/destroy@jid"));
			assert.equal("Moved", own:find(muc_user .. "/destroy/reason#"));
			client:sync();
			client:expect_none({ "presence", from = mirror_room .. "/" .. nick }, 0);
		end
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		f.link:expect_none(f.remote, {}, 0.2);
	end));

	it("ends the wait of who was about to enter a room that is destroyed (G17)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		bob:send(federation.join(fake.mirror, "Bob"));
		f.fake:expect { "presence", to = fake.room .. "/Bob" };
		local ended = fake.presence("Kev", nil, "unavailable");
		ended:get_child("x", "http://jabber.org/protocol/muc#user"):tag("destroy"):text_tag("reason", "Over"):up();
		f.fake:send(ended);
		assert.equal("gone", error_condition(bob:expect { "presence", type = "error", id = "join-Bob", from = fake.mirror .. "/Bob" }));
		f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev", has = muc_user .. "/destroy" };
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("tells copies apart whose ids are missing, equal or lost (G16)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev");
		local function sent(body)
			return f.fake:expect { "message", body = body }.attr.id;
		end
		f.kev:send(st.message({ type = "groupchat"; to = fake.mirror }):text_tag("body", "without"));
		local id = sent("without");
		assert.truthy(id);
		f.fake:send(fake.message("Kev", "without", id));
		f.kev:expect { "message", body = "without", id = id };
		-- two with one id
		say(f.kev, fake.mirror, "first", "same");
		say(f.kev, fake.mirror, "second", "same");
		local first, second = sent("first"), sent("second");
		assert.equal("same", first);
		assert.not_equal(first, second);
		f.fake:send(fake.message("Kev", "first", first));
		f.kev:expect { "message", body = "first", id = "same" };
		f.fake:send(st.error_reply(st.message { type = "groupchat"; from = fake.mirror .. "/Kev"; to = fake.room; id = second }, "auth", "forbidden"));
		assert.equal("forbidden", error_condition(f.kev:expect { "message", type = "error", id = "same", from = fake.mirror }));
		-- a master that returns no ids
		say(f.kev, fake.mirror, "idle", "mine");
		sent("idle");
		f.fake:send(fake.message("Kev", "idle"));
		f.kev:expect { "message", body = "idle", id = "mine", type = "groupchat" };
	end));

	it("tells the author of a message that never comes back (G16)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev");
		say(f.kev, fake.mirror, "swallowed", "m1");
		f.fake:expect { "message", body = "swallowed" };
		f.remote:eval [[ -- a minute passes
			for _, box in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do
				for _, entry in ipairs(box) do entry.at = entry.at - 60; end
			end
		]];
		local refusal = f.kev:expect { "message", type = "error", id = "m1", from = fake.mirror };
		assert.equal("remote-server-timeout", error_condition(refusal));
		f.kev:expect_none({ "message", type = "error" }, 2.2);
	end));

	it("lets nobody have more than a hundred messages on their way (G16)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev");
		for i = 1, 101 do say(f.kev, fake.mirror, "m" .. i, "m" .. i); end
		local refusal = f.kev:expect { "message", type = "error", from = fake.mirror };
		assert.equal("m101", refusal.attr.id);
		assert.equal("resource-constraint", error_condition(refusal));
		f.fake:expect { "message", body = "m100" };
		f.fake:send(fake.message("Kev", "m1", "m1"));
		f.kev:expect { "message", body = "m1" };
		say(f.kev, fake.mirror, "m102", "m102");
		f.fake:expect { "message", body = "m102" };
	end));
end);
end
