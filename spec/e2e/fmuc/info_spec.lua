-- SPDX-License-Identifier: MIT
-- mod_fmuc: what clients learn of a mirrored room, answered at the mirror from what the master was asked once (G8, G13; XEP-0045 section 6).

local bed = require "bed";
local federation = require "federation";
local fake = require "fake_master";
local st = require "util.stanza";

local enter, meet, error_condition = federation.enter, federation.meet, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_info, xmlns_items = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items";
local info_query = ("<query xmlns='%s'/>"):format(xmlns_info);
local vcard = "<vCard xmlns='vcard-temp'/>";

local ids = 0;
local function ask(client, to, payload)
	ids = ids + 1;
	client:send(("<iq type='get' id='q%d' to='%s'>%s</iq>"):format(ids, to, payload));
	return "q" .. ids;
end

local function answer(client, id)
	return client:expect { "iq", id = id };
end

-- info(client, room_jid) -> set of features, name, form field -> value
local function info(client, room_jid)
	local query = answer(client, ask(client, room_jid, info_query)):get_child("query", xmlns_info);
	local features, fields = {}, {};
	for feature in query:childtags("feature") do
		assert.is_nil(features[feature.attr.var]);
		features[feature.attr.var] = true;
	end
	local form = query:get_child("x", "jabber:x:data");
	for field in (form or st.stanza("x")):childtags("field") do fields[field.attr.var] = field:get_child_text("value"); end
	return features, query:find("identity@name"), fields;
end

local function queries(f, node)
	local count = 0;
	for _, stanza in ipairs(f.link:sent(node)) do
		if stanza.attr.type == "get" and stanza:get_child("query", xmlns_info) then count = count + 1; end
	end
	return count;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc room information, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("describes the room from one question, with what is true at the mirror (G8 G10 G11 G13)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = federation.master_config:gsub("\"fmuc\"", "%0, \"muc_mam\"") });
		federation.configure(f, [[room:set_name("Jabber chat"); room:set_description("About it"); room:set_moderated(true)]]);
		enter(f.kev, "Kev");
		federation.add(f, "bob");
		assert.equal(1, queries(f, f.remote));
		federation.forget(f);
		for _, client in ipairs { f.kev, f.bob } do
			local features, name, fields = info(client, mirror_room);
			assert.equal("Jabber chat", name);
			assert.equal("About it", fields["muc#roominfo_description"]);
			assert.equal("3", fields["muc#roominfo_occupants"]);
			for _, feature in ipairs { "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#stable_id", "urn:xmpp:occupant-id:0",
				"http://jabber.org/protocol/muc#self-ping-optimization", "urn:xmpp:sid:0", "muc_moderated", "muc_semianonymous" } do
				assert.is_true(features[feature], feature);
			end
			for _, feature in ipairs { "http://isode.com/protocol/fmuc", "urn:xmpp:mam:2", "http://jabber.org/protocol/muc#request" } do
				assert.is_nil(features[feature], feature);
			end
		end
		assert.same({}, f.link:sent(f.remote));
		-- a change of the configuration
		f.curtis:send(([[<iq type='set' id='cfg' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
			<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
			<field var='muc#roomconfig_roomname'><value>New name</value></field></x></query></iq>]]):format(master_room));
		f.curtis:expect { "iq", id = "cfg", type = "result" };
		f.kev:expect { "message", from = mirror_room, where = function (m) return federation.codes(m) == "104"; end };
		f.link:expect(f.talk, { "iq", type = "result" });
		s:wait_until(function () return select(2, info(f.bob, mirror_room)) == "New name"; end, 5, "the new name");
		assert.equal(1, queries(f, f.remote));
	end));

	it("announces an archive where the mirror has one (G8)", bed.scenario(function (s)
		local f = meet(s, versions, { mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n" });
		assert.is_true(info(f.kev, mirror_room)["urn:xmpp:mam:2"]);
	end));

	it("asks on demand for a user who looks before joining, once (G13)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		federation.configure(f, [[room:set_name("Jabber chat")]]);
		f.link:stall();
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		local first, second = ask(f.kev, mirror_room, info_query), ask(bob, mirror_room, info_query);
		bob:sync();
		f.link:restore();
		for client, id in pairs { [f.kev] = first; [bob] = second } do
			local reply = client:expect { "iq", id = id, type = "result", from = mirror_room };
			assert.equal("Jabber chat", reply:find("{" .. xmlns_info .. "}query/identity@name"));
		end
		info(f.kev, mirror_room);
		assert.equal(1, queries(f, f.remote));
		enter(f.kev, "Kev"); -- which is another question: what was said before may hold no more (F20)
		info(f.kev, mirror_room);
		assert.equal(2, queries(f, f.remote));
		local nowhere = "nowhere\\40talk.example.com@mirror.remote.example.com";
		for _ = 1, 2 do assert.equal("item-not-found", error_condition(answer(f.kev, ask(f.kev, nowhere, info_query)))); end
		assert.equal(3, queries(f, f.remote));
		-- not for everybody, nor about everything
		assert.equal("forbidden", error_condition(answer(f.curtis, ask(f.curtis, mirror_room, info_query))));
		local home = "room\\40remote.example.com@mirror.remote.example.com";
		assert.equal("not-allowed", error_condition(answer(f.kev, ask(f.kev, home, info_query))));
		assert.equal("item-not-found", error_condition(answer(f.kev, ask(f.kev, mirror_room, ("<query xmlns='%s' node='x'/>"):format(xmlns_info)))));
	end));

	it("answers for a master that does not (G13)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local id = ask(f.kev, fake.mirror, info_query);
		f.fake:expect { "iq", type = "get" };
		federation.expire(f.remote, "mirror.remote.example.com", "requests");
		assert.equal("remote-server-timeout", error_condition(answer(f.kev, id)));
	end));

	it("survives a master that answers with nonsense, and claims nothing for it (G13)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		for i, payload in ipairs { "type='result'>", "type='error'>", "type='error'><error/>", "type='result'><query xmlns='urn:wrong'/>" } do
			local room = ("room%d\\40fake.example.com@mirror.remote.example.com"):format(i);
			local id = ask(f.kev, room, info_query);
			local request = f.fake:expect { "iq", type = "get", to = "room" .. i .. "@fake.example.com" };
			f.fake:send(("<iq from='%s' to='%s' id='%s' %s</iq>"):format(request.attr.to, room, request.attr.id, payload));
			assert.equal("remote-server-timeout", error_condition(answer(f.kev, id)));
		end
		local id = ask(f.kev, fake.mirror, info_query);
		fake.describe(f, {});
		assert.equal("result", answer(f.kev, id).attr.type);
		local features = info(f.kev, fake.mirror);
		assert.is_true(features["http://jabber.org/protocol/muc"]);
		for _, feature in ipairs { "http://jabber.org/protocol/muc#stable_id", "urn:xmpp:occupant-id:0", "urn:xmpp:sid:0", "vcard-temp" } do
			assert.is_nil(features[feature]);
		end
	end));

	it("answers items and pings here (G13)", bed.scenario(function (s)
		local f = meet(s, versions);
		local other = "other\\40talk.example.com@mirror.remote.example.com"; -- nobody is there
		local items = answer(f.kev, ask(f.kev, mirror_room, ("<query xmlns='%s'/>"):format(xmlns_items)));
		assert.equal("result", items.attr.type);
		assert.equal(0, #items:get_child("query", xmlns_items).tags);
		assert.equal("result", answer(f.kev, ask(f.kev, mirror_room, "<ping xmlns='urn:xmpp:ping'/>")).attr.type);
		assert.same({}, f.link:sent(f.remote));
		assert.equal("item-not-found", error_condition(answer(f.kev, ask(f.kev, other, "<ping xmlns='urn:xmpp:ping'/>"))));
	end));

	it("fetches the room's vCard once, and hands on which picture it has (G13)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", "vcard-temp" });
		local function picture(hash)
			f.fake:send(st.presence({ from = fake.room; to = fake.mirror }):tag("x", { xmlns = "vcard-temp:x:update" }):text_tag("photo", hash));
		end
		local function sees(client, hash)
			local seen = client:expect { "presence", from = fake.mirror, has = "{vcard-temp:x:update}x/photo" };
			assert.equal(hash, seen:find("{vcard-temp:x:update}x/photo#"));
		end
		picture("one");
		sees(f.kev, "one");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake.admit(f, bob, "Bob");
		sees(bob, "one");
		for round = 1, 2 do
			local asked = { [f.kev] = ask(f.kev, fake.mirror, vcard); [bob] = ask(bob, fake.mirror, vcard) };
			if round == 1 then
				local request = f.fake:expect { "iq", type = "get", has = "{vcard-temp}vCard" };
				assert.equal(fake.mirror, request.attr.from);
				bob:sync();
				f.fake:send(st.reply(request):tag("vCard", { xmlns = "vcard-temp" }):text_tag("FN", "The room"));
			end
			for client, id in pairs(asked) do
				assert.equal("The room", client:expect({ "iq", id = id, from = fake.mirror, type = "result" }):find("{vcard-temp}vCard/FN#"));
			end
		end
		f.fake:expect_none({ "iq" }, 0.2);
		f.kev:send(("<iq type='set' id='set' to='%s'>%s</iq>"):format(fake.mirror, vcard));
		assert.equal("not-allowed", error_condition(answer(f.kev, "set")));
		picture("two");
		sees(f.kev, "two");
		local id = ask(f.kev, fake.mirror, vcard);
		f.fake:send(st.error_reply(f.fake:expect { "iq", type = "get" }, "cancel", "item-not-found"));
		assert.equal("item-not-found", error_condition(answer(f.kev, id)));
	end));

	it("takes the picture that the master's server sends past the room (G13)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		f.talk:eval [[ -- as mod_muc of 13.0 does for a room with a picture
			local module, st = prosody.hosts["talk.example.com"].modules.muc.module, require "util.stanza";
			module:hook("muc-occupant-joined", function (event)
				module:send(st.presence({ to = event.stanza.attr.from; from = event.room.jid })
					:tag("x", { xmlns = "vcard-temp:x:update" }):text_tag("photo", "hash"));
			end);
		]];
		enter(f.kev, "Kev");
		federation.add(f, "bob");
		for _, client in ipairs { f.kev, f.bob } do
			client:expect { "presence", from = mirror_room, has = "{vcard-temp:x:update}x/photo" };
			client:sync();
			client:expect_none({ "presence", from = master_room }, 0);
		end
		local pictures = 0;
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			if stanza:get_child("x", "vcard-temp:x:update") then pictures = pictures + 1; end
			assert.not_equal("remote.example.com", stanza.attr.to:match("@([^/]+)"));
		end
		assert.equal(1, pictures);
	end));

	it("refuses administration of every kind, naming the master (M25 G13)", bed.scenario(function (s)
		local f = meet(s, versions);
		for _, query in ipairs { "<query xmlns='jabber:iq:register'/>", "<query xmlns='http://jabber.org/protocol/muc#admin'/>",
			"<query xmlns='http://jabber.org/protocol/muc#owner'/>", "<moderate xmlns='urn:xmpp:message-moderate:1' id='x'/>" } do
			f.kev:send(("<iq type='set' id='a' to='%s'>%s</iq>"):format(mirror_room, query));
			local refusal = answer(f.kev, "a");
			assert.equal("not-allowed", error_condition(refusal));
			assert.matches(master_room, select(3, refusal:get_error()), 1, true);
		end
		assert.same({}, f.link:sent(f.remote));
	end));
end);
end
