-- SPDX-License-Identifier: MIT
-- mod_fmuc: answers that help the user who gets them. Clients also get what any room of stock Prosody gives them (the small cases).

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local join, error_condition = federation.join, federation.error_condition;
local master_room, mirror_room, muc_user = federation.master_room, federation.mirror_room, federation.muc_user;

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local error_text = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#";
local mirror = "mirror.remote.example.com";

local archives = {
	master = federation.master_config:gsub("\"fmuc\"", "%0, \"muc_mam\"");
	mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n";
};

local function leave(client, status, room_jid)
	client:send(st.presence({ type = "unavailable"; id = "bye"; to = (room_jid or mirror_room) .. "/Kev" }):text_tag("status", status));
end

local function ask_archive(client, id, room_jid)
	client:send(("<iq type='set' id='%s' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(id, room_jid));
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc answers, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("tells who misspells a room what to write, and never in a code (M1 G24)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local function refused(node)
			local room_jid = node .. "@" .. mirror;
			f.kev:send(join(room_jid, "Kev"));
			local refusal = f.kev:expect { "presence", type = "error", from = room_jid .. "/Kev" };
			assert.equal("jid-malformed", error_condition(refusal));
			local text = refusal:find(error_text);
			for _, code in ipairs { "no-mirror", "nested", "invalid-jid", "no-node" } do assert.is_nil(text:find(code, 1, true), text); end
			return text;
		end
		for _, node in ipairs { "jabberchat", "jabberchat\\40talk.example.com.", "jabberchat\\40", "a\\20b\\40talk.example.com" } do
			assert.matches("join room\\40rooms.example.org@" .. mirror, refused(node), 1, true);
		end
		assert.matches("Mirrors of mirrors are not possible", refused("jabberchat\\5c40talk.example.com\\40" .. mirror), 1, true);
	end));

	it("has one link with a mirror, whatever dots and cases its name has (M1 F9)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]] });
		local liar = f.remote:component("liar.remote.example.com", "hush");
		for _, node in ipairs { "jabberchat\\40talk.example.com.", "jabberchat\\5c40talk.example.com", "jabberchat\\40talk.example.com\\2f" } do
			local from = node .. "@liar.remote.example.com";
			liar:send(st.presence({ from = from; to = master_room .. "/Imp" })
				:tag("fmuc", { xmlns = xmlns_fmuc; from = "imp@liar.remote.example.com/x" }):up());
			assert.equal("not-allowed", error_condition(liar:expect { "presence", type = "error", to = from .. "/Imp" }), node);
		end
	end));

	it("tells users their own JID and which presence it answers, as stock rooms do (XEP-0045)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local function expect_self(client, id, type, jid)
			local own = client:expect { "presence", from = mirror_room .. "/Kev", type = type or false, where = function (p)
				return federation.codes(p):find("110") ~= nil;
			end };
			assert.same({ id = id; jid = jid or "kev@remote.example.com/Swift" }, { id = own.attr.id; jid = own:find(muc_user .. "/item@jid") });
		end
		f.kev:send(join(mirror_room, "Kev"));
		expect_self(f.kev, "join-Kev");
		f.kev:expect { "message", has = "subject" };
		local bob = federation.add(f, "bob");
		f.kev:send(st.presence({ id = "away"; to = mirror_room .. "/Kev" }):text_tag("show", "away"));
		expect_self(f.kev, "away");
		local seen = bob:expect { "presence", from = mirror_room .. "/Kev", has = "show" };
		assert.is_nil(seen:find(muc_user .. "/item@jid")); -- the room is semi-anonymous
		local tablet = f.remote:client("kev@remote.example.com/tablet");
		tablet:send(join(mirror_room, "Kev"));
		expect_self(tablet, "join-Kev", nil, "kev@remote.example.com/tablet");
		f.kev:sync();
		f.kev:drain();
		leave(f.kev, "see you");
		expect_self(f.kev, "bye", "unavailable");
	end));

	it("lets the last words of a user cross, as of one who is in the room directly (M12 M13)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		leave(f.kev, "lunch");
		for _, client in ipairs { f.bob, f.curtis } do
			assert.equal("lunch", client:expect({ "presence", type = "unavailable", has = "status" }):get_child_text("status"));
		end
		f.bob:send(st.presence({ type = "unavailable"; to = mirror_room .. "/Bob" }));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		local part = f.link:expect(f.remote, { "presence", type = "unavailable", to = master_room .. "/Bob" });
		assert.equal(0, #part.tags);
	end));

	it("keeps last words here where no status may cross (G25)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = federation.mirror_config .. "\tfmuc_bandwidth = \"no-status\"\n" });
		leave(f.kev, "lunch");
		assert.equal("lunch", f.bob:expect({ "presence", type = "unavailable" }):get_child_text("status"));
		assert.is_nil(f.curtis:expect({ "presence", type = "unavailable" }):get_child("status"));
	end));

	it("lets no <nomirror/> of a client's presence cross (G21 M21)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		f.kev:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "xa"):tag("nomirror", { xmlns = xmlns_fmuc }):up());
		f.curtis:expect { "presence", has = "show" };
		assert.is_nil(f.link:expect(f.remote, { "presence", has = "show" }):find(federation.nomirror));
		local eve = f.remote:client("eve@remote.example.com/x");
		eve:send(join(mirror_room, "Eve"):tag("nomirror", { xmlns = xmlns_fmuc }):up());
		f.curtis:expect { "presence", from = master_room .. "/Eve" };
		assert.is_nil(f.link:expect(f.remote, { "presence", to = master_room .. "/Eve" }):find(federation.nomirror));
	end));

	it("names the nick that a user has registered, when another is refused (M26)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = federation.master_config .. "\tenforce_registered_nickname = true\n" });
		federation.configure(f, [[
			room:set_affiliation(true, "kev@remote.example.com", "member", nil, { reserved_nickname = "Kevin" });
		]]);
		f.kev:send(join(mirror_room, "Kev"));
		local refusal = f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
		assert.equal("not-acceptable", error_condition(refusal));
		assert.matches("registered nickname, Kevin$", refusal:find(error_text));
		federation.enter(f.kev, "Kevin");
	end));

	it("answers a query of the archive that follows a join when the join has ended (G8)", bed.scenario(function (s)
		local f = federation.new(s, versions, archives);
		federation.say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		f.kev:send(join(mirror_room, "Kev")); -- waits at the gate
		ask_archive(f.kev, "early", mirror_room);
		f.kev:expect { "message", has = "{urn:xmpp:mam:2}result" };
		f.kev:expect { "iq", id = "early", type = "result" };
		f.kev:drain();
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		bob:send(join(mirror_room, "Bob")); -- waits for the master, the room is open
		ask_archive(bob, "early", mirror_room);
		bob:expect { "iq", id = "early", type = "result" };
		-- who does not come in, or does not want to, sees nothing
		local eve = f.remote:client("eve@remote.example.com/x");
		ask_archive(eve, "stranger", mirror_room);
		assert.equal("forbidden", error_condition(eve:expect { "iq", id = "stranger" }));
		federation.configure(f, [[room:set_affiliation(true, "eve@remote.example.com", "outcast")]]);
		eve:send(join(mirror_room, "Eve"));
		ask_archive(eve, "banned", mirror_room);
		eve:expect { "presence", type = "error" };
		assert.equal("forbidden", error_condition(eve:expect { "iq", id = "banned" }));
	end));

	it("holds so many early queries of a user, over a reload, and refuses them when the master does not answer (G8 G29)", bed.scenario(function (s)
		local f = fake.new(s, versions, archives.mirror .. "\tfmuc_join_timeout = 600\n");
		local asked = fake.ask(f, f.kev, "Kev", { xmlns_fmuc, "urn:xmpp:sid:0" });
		f.kev:send(("<iq type='set' id='long' to='%s'><query xmlns='urn:xmpp:mam:2'>%s</query></iq>"):format(fake.mirror, ("<a/>"):rep(300)));
		assert.equal("forbidden", error_condition(f.kev:expect { "iq", id = "long" })); -- 1200 bytes, but a hundred times that of heap
		for i = 1, 7 do ask_archive(f.kev, "q" .. i, fake.mirror); end
		for i = 6, 7 do assert.equal("forbidden", error_condition(f.kev:expect { "iq", id = "q" .. i })); end
		f.kev:sync();
		f.kev:expect_none({}, 0);
		f.remote:reload("fmuc", mirror);
		ask_archive(f.kev, "q8", fake.mirror);
		assert.equal("forbidden", error_condition(f.kev:expect { "iq", id = "q8" }));
		f.fake:send(fake.presence("Kev", asked.attr.id));
		f.fake:send(fake.subject());
		for i = 1, 5 do f.kev:expect { "iq", id = "q" .. i, type = "result" }; end
		f.kev:send(st.presence({ type = "unavailable"; to = fake.mirror .. "/Kev" }));
		fake.ask(f, f.kev, "Kev", { xmlns_fmuc, "urn:xmpp:sid:0" });
		ask_archive(f.kev, "late", fake.mirror);
		f.kev:sync();
		federation.expire(f.remote, mirror, "early_stanzas");
		assert.equal("forbidden", error_condition(f.kev:expect { "iq", id = "late" }));
	end));

	it("says at load that it does not do what the admin wants with occupant-ids (G10)", bed.scenario(function (s)
		federation.new(s, versions, { mirror = federation.mirror_config .. "\tmuc_occupant_id = true\n" }).remote
			:expect_log("muc_occupant_id has no effect on a mirror");
	end));
end);
end
