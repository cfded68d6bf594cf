-- SPDX-License-Identifier: MIT
-- mod_fmuc: the same message and the same person have the same identifiers at both ends of a link (G9, G10). This is true live, in the history
-- and in the archives (G8). So replies, reactions, corrections, retractions and moderation resolve for everybody.

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local enter, say, meet, query = federation.enter, federation.say, federation.meet, federation.archive;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local stanza_ids = federation.stanza_ids;

local xmlns_sid, xmlns_occupant_id = "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0";

local archiving_master = federation.master_config:gsub("\"fmuc\"", "%0, \"muc_mam\"");
local archiving_mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n";
local archives = { master = archiving_master; mirror = archiving_mirror };

-- occupant_id(stanza) -> the one and only, or nil
local function occupant_id(stanza)
	local id;
	for child in stanza:childtags("occupant-id", xmlns_occupant_id) do
		assert.is_nil(id);
		id = child.attr.id;
	end
	return id;
end

local function with(text, id, ...)
	local message = st.message({ type = "groupchat"; id = id }):text_tag("body", text);
	for _, child in ipairs { ... } do message:add_child(child); end
	return message;
end

local function send(client, room_jid, message)
	message.attr.to = room_jid;
	client:send(message);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc identifiers, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("makes what refers to messages resolve on both sides, also from history and archive (G8 G9 G10)", bed.scenario(function (s)
		local f = meet(s, versions, archives);
		-- at(text or id): the message as Kev and as Curtis got it, with the same identifiers
		local function at(id)
			local here, there = f.kev:expect { "message", id = id }, f.curtis:expect { "message", id = id };
			local ids, others = stanza_ids(here), stanza_ids(there);
			assert.truthy(others[master_room]);
			assert.same({ [master_room] = others[master_room] }, others);
			assert.same({ [master_room] = others[master_room], [mirror_room] = others[master_room] }, ids);
			assert.truthy(occupant_id(here));
			assert.equal(occupant_id(there), occupant_id(here));
			return ids[mirror_room], occupant_id(here), here, there;
		end
		say(f.curtis, master_room, "one", "m1");
		local one, curtis = at("m1");
		say(f.kev, mirror_room, "two", "m2");
		local two, kev = at("m2");
		assert.not_equal(curtis, kev);
		local refers = {
			{ f.kev, mirror_room, with("> one\nyes", "m3", st.stanza("reply", { xmlns = "urn:xmpp:reply:0"; to = mirror_room .. "/Curtis"; id = one })) };
			{ f.curtis, master_room, with("", "m4", st.stanza("reactions", { xmlns = "urn:xmpp:reactions:0"; id = two }):text_tag("reaction", "👋"),
				st.stanza("store", { xmlns = "urn:xmpp:hints" })) };
			{ f.kev, mirror_room, with("two!", "m5", st.stanza("replace", { xmlns = "urn:xmpp:message-correct:0"; id = "m2" })) };
			{ f.kev, mirror_room, with("retracted", "m6", st.stanza("retract", { xmlns = "urn:xmpp:message-retract:1"; id = two })) };
		};
		local ids = { one .. " one"; two .. " two" };
		for _, reference in ipairs(refers) do
			local client, room, message = table.unpack(reference);
			send(client, room, message);
			local id, author, here, there = at(message.attr.id);
			assert.equal(client == f.kev and kev or curtis, author);
			for _, copy in ipairs { here, there } do
				local child = message.tags[2];
				assert.equal(child.attr.id, copy:get_child(child.name, child.attr.xmlns).attr.id);
			end
			ids[#ids + 1] = id .. " " .. message:get_child_text("body");
		end
		federation.configure(f, ([[
			local st = require "util.stanza";
			room:broadcast_message(st.message({ type = "groupchat"; from = room.jid; id = "m7" })
				:tag("retract", { xmlns = "urn:xmpp:message-retract:1"; id = %q })
					:tag("moderated", { xmlns = "urn:xmpp:message-moderate:1"; by = room.jid .. "/Curtis" }):up()
					:text_tag("reason", "off topic"):up()
				:tag("store", { xmlns = "urn:xmpp:hints" }):up());
		]]):format(one));
		local moderation, same = f.kev:expect { "message", id = "m7", from = mirror_room }, f.curtis:expect { "message", id = "m7" };
		assert.equal(one, moderation:find("{urn:xmpp:message-retract:1}retract@id"));
		assert.truthy(moderation:find("{urn:xmpp:message-retract:1}retract/{urn:xmpp:message-moderate:1}moderated"));
		assert.equal(stanza_ids(same)[master_room], stanza_ids(moderation)[mirror_room]);
		ids[#ids + 1] = stanza_ids(same)[master_room] .. " retract";

		f.kev:sync();
		assert.same(ids, query(f.kev, mirror_room));
		assert.same(ids, query(f.curtis, master_room));
		-- history: of the mirror, and of the master for a mirror that begins
		local carol = f.remote:client("carol@remote.example.com/x");
		enter(carol, "Carol");
		carol:expect { "message", has = "subject" };
		assert.equal(two, stanza_ids(carol:expect { "message", id = "m2" })[mirror_room]);
		for _, client in ipairs { f.kev, f.bob, carol } do
			client:send(("<presence type='unavailable' to='%s/x'/>"):format(mirror_room));
			client:expect { "presence", type = "unavailable", has = federation.muc_user .. "/status" };
		end
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Carol" };
		enter(f.kev, "Kev");
		local again = f.kev:expect { "message", id = "m2", has = "{urn:xmpp:delay}delay" };
		assert.same({ [mirror_room] = two, [master_room] = two }, stanza_ids(again));
		assert.equal(kev, occupant_id(again));
		f.kev:expect { "message", has = "subject" };
		assert.same(ids, query(f.kev, mirror_room));
	end));

	it("archives what it delivered, once, and neither private nor refused messages (G8)", bed.scenario(function (s)
		local f = meet(s, versions, { master = archiving_master; mirror = archiving_mirror .. "\tmuc_log_all_rooms = true\n" });
		say(f.curtis, master_room, "one");
		f.kev:expect { "message", body = "one" };
		f.kev:send(("<message type='chat' to='%s/Bob'><body>secret</body></message>"):format(mirror_room));
		f.kev:send(("<message type='chat' to='%s/Curtis'><body>secret</body></message>"):format(mirror_room));
		f.curtis:expect { "message", type = "chat" };
		federation.configure(f, [[room:set_role(true, room.jid .. "/Bob", "visitor")]]);
		f.bob:expect { "presence", from = mirror_room .. "/Bob", has = federation.muc_user .. "/status" };
		say(f.bob, mirror_room, "refused");
		f.bob:expect { "message", type = "error" };
		say(f.kev, mirror_room, "two");
		f.kev:expect { "message", body = "two" };
		local list = query(f.kev, mirror_room);
		for i, entry in ipairs(list) do list[i] = entry:match(" (.*)"); end
		assert.same({ "one", "two" }, list);
	end));

	it("begins an archive with the room, and bounds it (G8)", bed.scenario(function (s)
		local f = meet(s, versions, { master = archiving_master; mirror = archiving_mirror .. "\tstorage_archive_item_limit = 100\n" });
		say(f.curtis, master_room, "lost");
		f.kev:expect { "message", body = "lost" };
		f.remote:kill();
		f.remote:start();
		f.curtis:send(("<presence to='%s/Curtis'><show>away</show></presence>"):format(master_room));
		local kev = f.remote:client("kev@remote.example.com/Swift");
		enter(kev, "Kev");
		kev:expect({ "message", has = "subject" }, 20);
		kev:sync();
		assert.equal(1, #query(kev, mirror_room)); -- from the history, once
		local function broadcast(first, last)
			f.remote:eval(([[
				local muc = prosody.hosts["mirror.remote.example.com"].modules.muc;
				local room, st = muc.get_room_from_jid(%q), require "util.stanza";
				for i = %d, %d do
					room:broadcast_message(st.message({ type = "groupchat"; from = room.jid .. "/Curtis"; id = "m" .. i }):text_tag("body", "m" .. i)
						:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = %q; id = "id" .. i }):up());
				end
			]]):format(mirror_room, first, last, master_room));
		end
		broadcast(1, 500);
		f.remote:reload("fmuc", "mirror.remote.example.com");
		broadcast(501, 1000);
		kev:expect { "message", body = "m1000" };
		local count = f.remote:eval(([[
			local module = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module;
			local count = 0;
			for _ in module:open_store("muc_log", "archive"):find(require "util.jid".node(%q), {}) do count = count + 1; end
			return count;
		]]):format(mirror_room));
		assert.is_true(count <= 200, count);
	end));

	it("completes the archive after a gap, with the same identifiers (G8 G9)", bed.scenario(function (s)
		local f = meet(s, versions, archives);
		say(f.curtis, master_room, "before");
		f.kev:expect { "message", body = "before" };
		f.talk:eval(([[ -- the mirror has been there for longer
			prosody.hosts["talk.example.com"].modules.fmuc.module.save().journals[%q].since = 0;
		]]):format(master_room));
		f.link:cut();
		for i = 1, 25 do say(f.curtis, master_room, "missed " .. i); end -- more than the room's history has
		f.curtis:send(([[<iq type='set' id='cfg' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
			<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
			<field var='muc#roomconfig_roomname'><value>New name</value></field></x></query></iq>]]):format(master_room));
		f.curtis:expect { "message", body = "missed 25" };
		f.link:expect_broken();
		f.link:restore();
		local late = f.kev:expect({ "message", body = "missed 25", has = "{urn:xmpp:delay}delay" }, 30);
		local list = query(f.curtis, master_room);
		assert.equal(26, #list);
		assert.equal(list[26], stanza_ids(late)[mirror_room] .. " missed 25");
		say(f.curtis, master_room, "after");
		f.kev:expect { "message", body = "after" };
		assert.same(query(f.curtis, master_room), query(f.kev, mirror_room));
		-- what the room is called now has been missed as well
		s:wait_until(function ()
			f.kev:send(("<iq type='get' id='d' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror_room));
			local info = f.kev:expect { "iq", id = "d" };
			return info:find("{http://jabber.org/protocol/disco#info}query/identity@name") == "New name";
		end, 5, "the new name");
	end));

	it("archives what was said while the mirror was alone, once the master has it (G8)", bed.scenario(function (s)
		local f = meet(s, versions, { master = archiving_master;
			mirror = archiving_mirror .. "\tfmuc_grace_period = 1; fmuc_outage_policy = \"autonomous\"\n" });
		f.link:cut();
		say(f.kev, mirror_room, "alone");
		f.bob:expect({ "message", body = "alone" }, 15);
		say(f.bob, mirror_room, "indeed");
		f.kev:expect { "message", body = "indeed" };
		f.link:restore();
		f.curtis:expect({ "message", body = "indeed" }, 30);
		say(f.curtis, master_room, "welcome back");
		f.kev:expect({ "message", body = "welcome back" }, 20);
		local list = query(f.curtis, master_room);
		assert.equal(3, #list);
		assert.same(list, query(f.kev, mirror_room));
	end));

	it("shows and archives once what a master returns that it should not (G8 M22)", bed.scenario(function (s)
		local f = fake.new(s, versions, archiving_mirror .. "\tfmuc_nomirror = true\n");
		fake.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", xmlns_sid });
		say(f.kev, fake.mirror, "hello", "m1");
		local shown = f.kev:expect { "message", body = "hello" };
		f.fake:expect { "message", body = "hello" };
		f.fake:send(fake.message("Kev", "hello", "m1"):tag("stanza-id", { xmlns = xmlns_sid; by = fake.room; id = "theirs" }):up());
		f.fake:send(fake.message("Alice", "next"):tag("stanza-id", { xmlns = xmlns_sid; by = fake.room; id = "next" }):up());
		f.kev:expect { "message", body = "next" };
		f.kev:expect_none({ "message" }, 0);
		assert.same({ stanza_ids(shown)[fake.mirror] .. " hello", "next next" }, query(f.kev, fake.mirror));
	end));

	for what, mirror_config in pairs { ["an archive"] = archiving_mirror; ["no archive"] = federation.mirror_config } do
	it("shows no identifier that a client made up, with " .. what .. " (G9 G10)", bed.scenario(function (s)
		local f = meet(s, versions, { master = archiving_master; mirror = mirror_config });
		local function forged(text)
			local message = with(text, text);
			for _, by in ipairs { master_room, mirror_room, "JABBERCHAT@talk.example.com" } do
				message:tag("stanza-id", { xmlns = xmlns_sid; by = by; id = "forged" }):up();
			end
			return message:tag("occupant-id", { xmlns = xmlns_occupant_id; id = "forged" }):up();
		end
		send(f.curtis, master_room, forged("from curtis"));
		send(f.kev, mirror_room, forged("from kev"));
		for _, client in ipairs { f.kev, f.bob } do
			for _, text in ipairs { "from curtis", "from kev" } do
				assert.is_nil(tostring(client:expect { "message", body = text }):find("forged"));
			end
		end
		assert.is_nil(tostring(f.curtis:expect { "message", body = "from kev" }):find("forged"));
		f.kev:send(("<presence to='%s/Kev'><show>dnd</show><occupant-id xmlns='%s' id='forged'/></presence>"):format(mirror_room, xmlns_occupant_id));
		for _, client in ipairs { f.bob, f.curtis } do
			local seen = client:expect { "presence", where = function (p) return p:get_child_text("show") == "dnd"; end };
			assert.is_nil(tostring(seen):find("forged"));
			assert.truthy(occupant_id(seen));
		end
		assert.is_nil(tostring(f.link:expect(f.remote, { "presence" })):find("forged"));
	end));
	end

	it("believes no identifiers of a master that does not take care of them (G9 G10)", bed.scenario(function (s)
		local f = meet(s, versions, { master = federation.master_config .. "\tmuc_occupant_id = false\n"; mirror = archiving_mirror });
		send(f.curtis, master_room, with("hello", "h")
			:tag("stanza-id", { xmlns = xmlns_sid; by = master_room; id = "forged" }):up()
			:tag("occupant-id", { xmlns = xmlns_occupant_id; id = "forged" }):up());
		local seen = f.kev:expect { "message", id = "h" };
		assert.is_nil(occupant_id(seen));
		assert.is_nil(tostring(seen):find("forged"));
		-- the archive is the mirror's alone then, with ids of its own
		assert.same({ stanza_ids(seen)[mirror_room] .. " hello" }, query(f.kev, mirror_room));
		f.kev:send(("<iq type='get' id='d' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(mirror_room));
		local info = tostring(f.kev:expect { "iq", id = "d", type = "result" });
		assert.is_nil(info:find(xmlns_occupant_id, 1, true));
		assert.truthy(info:find(xmlns_sid, 1, true));
	end));

	it("gives messages that do not come back the same identifiers (G9 M21)", bed.scenario(function (s)
		local f = meet(s, versions, { master = archiving_master; mirror = archiving_mirror .. "\tfmuc_nomirror = true\n" });
		send(f.kev, mirror_room, with("quick", "q"):tag("occupant-id", { xmlns = xmlns_occupant_id; id = "forged" }):up()
			:tag("stanza-id", { xmlns = xmlns_sid; by = mirror_room; id = "forged" }):up()
			:tag("stanza-id", { xmlns = xmlns_sid; by = master_room; id = "forged" }):up());
		local here, there = f.bob:expect { "message", id = "q" }, f.curtis:expect { "message", id = "q" };
		local id = stanza_ids(here)[mirror_room];
		assert.truthy(id);
		assert.is_nil((tostring(here) .. tostring(there)):find("forged"));
		assert.same({ [master_room] = id }, stanza_ids(there));
		assert.equal(occupant_id(there), occupant_id(here));
		assert.same({ id .. " quick" }, query(f.bob, mirror_room));
		assert.same({ id .. " quick" }, query(f.curtis, master_room));
		-- an id that is taken makes nobody lose a message
		local link = f.talk:eval(([[
			local room = prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q);
			return next(room.fmuc.links);
		]]):format(master_room));
		assert.equal(mirror_room, link);
		f.remote:eval(([[
			local st = require "util.stanza";
			prosody.hosts["mirror.remote.example.com"].modules.fmuc.module:send(
				st.message({ type = "groupchat"; from = %q .. "/Kev"; to = %q; id = "again" }):text_tag("body", "again")
					:tag("nomirror", { xmlns = "http://isode.com/protocol/fmuc" }):up()
					:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = %q; id = %q }):up());
		]]):format(mirror_room, master_room, mirror_room, id));
		local other = stanza_ids(f.curtis:expect { "message", id = "again" })[master_room];
		assert.not_equal(id, other);
		assert.same({ id .. " quick", other .. " again" }, query(f.curtis, master_room));
	end));
end);
end
