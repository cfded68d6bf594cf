-- SPDX-License-Identifier: MIT
-- mod_fmuc with all kinds of rooms. Several mirrors and direct users are in one room. Other modules know nothing of mod_fmuc.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local join, say, enter, error_condition = federation.join, federation.say, federation.enter, federation.error_condition;
local codes, configure = federation.codes, federation.configure;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local function refused(client, stanza, condition)
	client:send(stanza);
	assert.equal(condition, error_condition(client:expect { "presence", type = "error", from = stanza.attr.to }));
end

local function with_password(stanza, password)
	stanza:get_child("x", "http://jabber.org/protocol/muc"):text_tag("password", password);
	return stanza;
end

local function leave(client, nick)
	client:send(st.presence({ to = mirror_room .. "/" .. nick; type = "unavailable" }));
	client:expect { "presence", type = "unavailable", from = mirror_room .. "/" .. nick };
end

-- Hooks events of mod_muc on that host, as a module would; see events()
local function watch_events(node, host)
	node:eval(([[
		local module = prosody.hosts[%q].modules.muc.module;
		prosody.bed_events = {};
		for _, name in ipairs { "muc-occupant-pre-join", "muc-occupant-joined", "muc-occupant-left", "muc-broadcast-message", "muc-add-history",
			"muc-occupant-groupchat", "muc-occupant-session-new", "muc-room-destroyed", "muc-private-message" } do
			module:hook(name, function (event)
				local occupant, stanza = event.occupant, event.stanza;
				local who = occupant and occupant.bare_jid or stanza and stanza.attr.from or "";
				if stanza and occupant and stanza.attr.from ~= event.occupant.nick then who = stanza.attr.from; end
				table.insert(prosody.bed_events, name:sub(5) .. " " .. who);
			end, 100);
		end
		return true;
	]]):format(host));
end

-- those events since the last look; about: only those with that text
local function events(node, about)
	local list = {};
	for _, text in ipairs(node:eval("local list = prosody.bed_events; prosody.bed_events = {}; return list")) do
		if text:find(about, 1, true) then list[#list + 1] = text; end
	end
	return list;
end

for _, versions in ipairs(federation.crossings()) do
describe("fmuc rooms, master " .. versions.master .. ", mirror " .. versions.mirror, function ()
	it("has several mirrors and direct users in one room, each told once (M5 M10 M19)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local third = s:node { version = versions.master; config = [[
			VirtualHost "third.example"
			Component "mirror.third.example" "fmuc"
		]] };
		local link = s:link(f.talk, third);
		local there = "jabberchat\\40talk.example.com@mirror.third.example";
		local tom, alice = third:client("tom@third.example/x"), f.talk:client("alice@example.com/x");
		enter(f.kev, "Kev");
		enter(tom, "Tom", there);
		alice:send(join(master_room, "Alice"));
		tom:expect { "presence", from = there .. "/Alice" };
		local bob = federation.add(f, "bob");
		tom:expect { "presence", from = there .. "/Bob" };
		enter(third:client("tim@third.example/x"), "Tim", there);
		f.kev:expect { "presence", from = mirror_room .. "/Tim" };
		local rooms = { [f.curtis] = master_room; [alice] = master_room; [f.kev] = mirror_room; [bob] = mirror_room; [tom] = there };
		for client in pairs(rooms) do client:sync(); client:drain(); end
		f.link:forget(); link:forget();
		for speaker, room in pairs(rooms) do
			local id = "by-" .. speaker.jid;
			say(speaker, room, "hello", id);
			for client, its_room in pairs(rooms) do client:expect { "message", id = id; from = "~^" .. its_room:gsub("%p", "%%%0") .. "/" }; end
		end
		for client in pairs(rooms) do
			client:sync();
			client:expect_none({ "message" }, 0);
		end
		for _, path in ipairs { f.link, link } do -- one copy down for each of the five
			local count = 0;
			for _, stanza in ipairs(path:sent(f.talk)) do
				if stanza.name == "message" and stanza:get_child("body") then count = count + 1; end
			end
			assert.equal(5, count);
		end
		f.link:cut();
		tom:sync();
		tom:drain();
		say(f.curtis, master_room, "the other side", "other");
		tom:expect { "message", id = "other" };
	end));

	it("ends all links of a nick that a user has through two mirrors (M13 M15)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config
			.. "Component \"other.remote.example.com\"\n\tcomponent_secret = \"hush\"\n" });
		local other, lair = f.remote:component("other.remote.example.com", "hush"), "jabberchat\\40talk.example.com@other.remote.example.com";
		enter(f.kev, "Kev");
		other:send(st.presence({ from = lair; to = master_room .. "/Kev" })
			:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "kev@remote.example.com/phone" }):up());
		other:expect { "message", has = "subject" };
		f.curtis:send(("<iq type='set' id='kick' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='Kev' role='none'/></query></iq>")
			:format(master_room));
		f.curtis:expect { "iq", id = "kick", type = "result" };
		other:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		say(f.curtis, master_room, "gone");
		f.curtis:expect { "message", body = "gone" };
		assert.is_true(configure(f, [[if room.fmuc then error("still linked"); end]]));
		other:expect_none({ "message", body = "gone" }, 0.3);
	end));

	it("keeps to members-only, passwords, moderation and a full house (M5 G15 G22)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		configure(f, [[room:set_members_only(true); room:set_affiliation(true, "kev@remote.example.com", "member");]]);
		refused(f.kev, join(mirror_room:gsub("chat", "talk"), "Kev"), "item-not-found");
		enter(f.kev, "Kev");
		refused(bob, join(mirror_room, "Bob"), "registration-required");
		configure(f, [[room:set_members_only(false); room:set_password("sesam")]]);
		refused(bob, join(mirror_room, "Bob"), "not-authorized");
		refused(bob, with_password(join(mirror_room, "Bob"), "wrong"), "not-authorized");
		bob:send(with_password(join(mirror_room, "Bob"), "sesam"));
		bob:expect { "presence", from = mirror_room .. "/Bob"; has = muc_user .. "/status" };
		configure(f, [[room:set_password(nil); room:set_moderated(true)]]);
		local ann = f.remote:client("ann@remote.example.com/x");
		assert.equal("visitor", enter(ann, "Ann"):find(muc_user .. "/item@role"));
		say(ann, mirror_room, "may I?", "voice");
		assert.equal("forbidden", error_condition(ann:expect { "message", type = "error", id = "voice" }));
		say(bob, mirror_room, "I may", "i-may");
		ann:expect { "message", id = "i-may" };
		leave(ann, "Ann");
		-- a module that counts
		f.talk:eval([[
			prosody.hosts["talk.example.com"].modules.muc.module:hook("muc-occupant-pre-join", function (event)
				local count = 0;
				for _ in event.room:each_occupant() do count = count + 1; end
				if count < 3 then return; end
				event.origin.send(require "util.stanza".error_reply(event.stanza, "wait", "service-unavailable"));
				return true;
			end, 10);
		]]);
		refused(ann, join(mirror_room, "Ann"), "service-unavailable");
		leave(bob, "Bob");
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		enter(ann, "Ann");
	end));

	it("puts out who is no member when the room closes, with the reason (G14)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		configure(f, [[room:set_affiliation(true, "kev@remote.example.com", "member")]]);
		f.curtis:send(("<iq type='set' id='close' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
			.. "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
			.. "<field var='muc#roomconfig_membersonly'><value>1</value></field></x></query></iq>"):format(master_room));
		assert.equal("110 322", codes(f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" }));
		assert.equal("322", codes(f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" }));
		f.kev:expect_none({ "presence", type = "unavailable" }, 0.2);
	end));

	it("lives as long as a mirrored user does, if it is temporary, and longer if not (M15)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, "Kev");
		f.curtis:send(st.presence({ to = master_room .. "/Curtis"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Curtis" };
		say(f.kev, mirror_room, "alone");
		f.kev:expect { "message", body = "alone" };
		leave(f.kev, "Kev");
		s:wait_until(function () return federation.is_empty(f.talk, "talk.example.com"); end);
		refused(f.kev, join(mirror_room, "Kev"), "item-not-found");
		federation.open_room(f, master_room);
		configure(f, "room:set_persistent(true)");
		s:wait_until(function () -- the answer of before is remembered for a while
			f.kev:send(join(mirror_room, "Kev"));
			return f.kev:expect({ "presence", from = mirror_room .. "/Kev" }).attr.type == nil;
		end);
		f.curtis:send(st.presence({ to = master_room .. "/Curtis"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Curtis" };
		leave(f.kev, "Kev");
		f.curtis:sync();
		assert.is_false(federation.is_empty(f.talk, "talk.example.com"));
	end));

	it("needs no right to create rooms, and gives none (M5)", bed.scenario(function (s)
		local restricted = "\trestrict_room_creation = true\n";
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. restricted;
			master = federation.master_config .. "\trestrict_room_creation = \"local\"\n" });
		refused(f.kev, join("new" .. mirror_room, "Kev"), "item-not-found");
		enter(f.kev, "Kev");
		say(f.kev, mirror_room, "in");
		f.curtis:expect { "message", body = "in" };
	end));

	if versions.master == "13.0" then
		it("shows hats that the master gives, none that a client gives itself (M10)", bed.scenario(function (s)
			local f = federation.meet(s, versions);
			configure(f, [[
				room:set_affiliation(true, "bob@remote.example.com", "member", nil,
					{ hats = { ["urn:hat:host"] = { title = "Host"; active = true } } });
			]]);
			local function hat_of(nick, client)
				local presence = client:expect { "presence", from = mirror_room .. "/" .. nick; has = "show" };
				return presence:find("{urn:xmpp:hats:0}hats/hat@uri");
			end
			local hats = "<hats xmlns='urn:xmpp:hats:0'><hat uri='urn:hat:king' title='King'/></hats>";
			f.bob:send(("<presence to='%s/Bob'><show>away</show>%s</presence>"):format(mirror_room, hats));
			f.kev:send(("<presence to='%s/Kev'><show>away</show>%s</presence>"):format(mirror_room, hats));
			for _, client in ipairs { f.kev, f.bob } do
				assert.equal("urn:hat:host", hat_of("Bob", client));
				assert.is_nil(hat_of("Kev", client));
			end
		end));
	end

	for _, order in ipairs { [["fmuc", "muc_mam"]], [["muc_mam", "fmuc"]] } do
		it("works with an archive, loaded in this order: " .. order .. " (G8 G9)", bed.scenario(function (s)
			local f = federation.meet(s, versions, {
				master = "VirtualHost \"example.com\"\nComponent \"talk.example.com\" \"muc\"\n\tmodules_enabled = { " .. order .. " }\n";
				mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n";
			});
			local path = "{urn:xmpp:sid:0}stanza-id@id";
			for client, room in pairs { [f.curtis] = master_room; [f.kev] = mirror_room } do
				say(client, room, "from " .. room, room);
				local known = f.curtis:expect({ "message", id = room }):find(path);
				assert.is_string(known);
				for _, other in ipairs { f.kev, f.bob } do
					local count = 0;
					for id in other:expect({ "message", id = room }):childtags("stanza-id", "urn:xmpp:sid:0") do
						assert.equal(known, id.attr.id);
						count = count + 1;
					end
					assert.equal(2, count); -- by the master and by the mirror
				end
				f.curtis:send(("<iq type='set' id='q' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(master_room));
				f.curtis:expect { "message", has = "{urn:xmpp:mam:2}result"; where = function (stanza)
					return stanza:find("{urn:xmpp:mam:2}result@id") == known;
				end };
				f.curtis:expect { "iq", id = "q" };
			end
		end));
	end

	it("shows other modules of the master what they expect, with real JIDs (M5)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		watch_events(f.talk, "talk.example.com");
		enter(f.kev, "Kev");
		say(f.kev, mirror_room, "hello");
		f.kev:expect { "message", body = "hello" };
		local real = "kev@remote.example.com/Swift";
		assert.same({ "occupant-pre-join " .. real; "occupant-joined " .. real; "occupant-session-new " .. real; "occupant-groupchat " .. real },
			events(f.talk, real));
		f.kev:send(st.message({ to = mirror_room .. "/Curtis"; type = "chat" }):text_tag("body", "psst"));
		f.curtis:expect { "message", body = "psst" };
		leave(f.kev, "Kev");
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		assert.same({ "private-message " .. master_room .. "/Kev"; "occupant-left " .. real }, events(f.talk, "ev"));
	end));

	it("shows other modules of the mirror its own users, with real JIDs, and all that is said (M20)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		watch_events(f.remote, "mirror.remote.example.com");
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		local real = "kev@remote.example.com/Swift";
		assert.same({ "occupant-pre-join " .. real; "occupant-joined " .. real; "occupant-session-new " .. real }, events(f.remote, real));
		say(f.kev, mirror_room, "hello");
		f.kev:expect { "message", body = "hello" };
		assert.same({ "broadcast-message " .. mirror_room .. "/Kev"; "add-history " .. mirror_room .. "/Kev" }, events(f.remote, ""));
		local alice = f.talk:client("alice@example.com/x");
		alice:send(join(master_room, "Alice"));
		f.kev:expect { "presence", from = mirror_room .. "/Alice" };
		alice:send(st.presence({ to = master_room .. "/Alice"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Alice" };
		assert.same({}, events(f.remote, "")); -- neither that she came nor that she went
		leave(f.kev, "Kev");
		s:wait_until(function () return federation.is_empty(f.remote, "mirror.remote.example.com"); end);
		assert.same({ "occupant-left " .. real; "room-destroyed " }, events(f.remote, ""));
	end));
end);
end
