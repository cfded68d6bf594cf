-- SPDX-License-Identifier: MIT
-- Users behind a mirror see what the master's room would show them, no more and no less: compared, stanza by stanza, with users who are in
-- the room directly.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local join, say = federation.join, federation.say;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local counter = 0;

-- submit(f, fields): Curtis configures the room
local function submit(f, fields)
	counter = counter + 1;
	local iq = st.iq({ type = "set"; to = master_room; id = "form-" .. counter }):query("http://jabber.org/protocol/muc#owner")
		:tag("x", { xmlns = "jabber:x:data"; type = "submit" })
			:tag("field", { var = "FORM_TYPE"; type = "hidden" }):text_tag("value", "http://jabber.org/protocol/muc#roomconfig"):up();
	for var, values in pairs(fields) do
		iq:tag("field", { var = var });
		for _, value in ipairs(type(values) == "table" and values or { values }) do iq:text_tag("value", value); end
		iq:up();
	end
	f.curtis:send(iq);
	f.curtis:expect { "iq", type = "result", id = "form-" .. counter };
end

-- administer(f, attributes, [reason]): Curtis changes a role or an affiliation
local function administer(f, attributes, reason)
	counter = counter + 1;
	local iq = st.iq({ type = "set"; to = master_room; id = "admin-" .. counter }):query("http://jabber.org/protocol/muc#admin")
		:tag("item", attributes);
	if reason then iq:text_tag("reason", reason); end
	f.curtis:send(iq);
	f.curtis:expect { "iq", type = "result", id = "admin-" .. counter };
end

-- What a stanza tells its reader, in words that are the same on both sides
local function words_of(stanza, room_jid)
	local words = { stanza.name, stanza.attr.type or "", (stanza.attr.from:gsub(room_jid:gsub("%p", "%%%0"), "R")) };
	for _, name in ipairs { "show", "status", "body", "subject" } do
		local text = stanza:get_child_text(name);
		if text then words[#words + 1] = ("%s=%s"):format(name, text); end
	end
	local x = stanza:get_child("x", "http://jabber.org/protocol/muc#user");
	for _, child in ipairs(x and x.tags or {}) do
		local attributes = {};
		for name, value in pairs(child.attr) do
			if name ~= "xmlns" then attributes[#attributes + 1] = ("%s=%s"):format(name, value); end
		end
		table.sort(attributes);
		words[#words + 1] = ("%s(%s)"):format(child.name, table.concat(attributes, ","));
		for _, grandchild in ipairs(child.tags) do words[#words + 1] = ("%s:%s"):format(grandchild.name, grandchild:get_text() or ""); end
	end
	return table.concat(words, " ");
end

-- seen(client, room_jid, own_nick) -> list of what the client got since the last look, in order; without what is about itself
local function seen(client, room_jid, own_nick)
	local list = {};
	for _, stanza in ipairs(client:drain()) do
		if stanza.attr.from and stanza.attr.from:find(room_jid, 1, true) == 1 and stanza.attr.from ~= room_jid .. "/" .. own_nick then
			list[#list + 1] = words_of(stanza, room_jid);
		end
	end
	return list;
end

-- settle(f, clients): everything that was said before is there
local function settle(f, clients)
	counter = counter + 1;
	local text = "settled " .. counter;
	say(f.curtis, master_room, text);
	f.curtis:expect { "message", body = text };
	for _, client in ipairs(clients) do client:expect { "message", body = text }; end
end

-- enter(client, room_jid, nick) -> the client, which has got everything up to the subject
local function enter(client, room_jid, nick)
	client:send(join(room_jid, nick));
	client:expect { "presence", type = false; from = room_jid .. "/" .. nick; has = muc_user .. "/status@code" };
	client:expect { "message", has = "subject" };
	return client;
end

-- newcomer(client, room_jid, nick) -> sorted list of what a newcomer gets, without what is about the newcomer
local function newcomer(client, room_jid, nick)
	client:send(join(room_jid, nick));
	local list = {};
	repeat
		local stanza = client:expect {};
		local is_own = stanza.attr.from == room_jid .. "/" .. nick;
		if not is_own then list[#list + 1] = words_of(stanza, room_jid); end
	until stanza.name == "message" and stanza:get_child("subject") and not stanza:get_child("body")
	table.sort(list);
	return list;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc shows what the room shows, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	local function client(f, name)
		local server, domain = f.remote, "remote.example.com";
		if name == "alice" or name == "dora" then server, domain = f.talk, "example.com"; end
		return server:client(("%s@%s/Gajim"):format(name, domain));
	end

	it("takes real JIDs away from newcomers when the room becomes semi-anonymous, and gives them back (F4 G21 G28)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		submit(f, { ["muc#roomconfig_whois"] = "anyone" });
		enter(f.kev, mirror_room, "Kev");
		f.alice = enter(client(f, "alice"), master_room, "Alice");
		f.kev:expect { "presence", from = mirror_room .. "/Alice", has = muc_user .. "/item@jid" };
		for round, whois in ipairs { "moderators", "anyone", "moderators" } do
			submit(f, { ["muc#roomconfig_whois"] = whois });
			settle(f, { f.kev, f.alice });
			if whois == "anyone" then f.kev:expect { "presence", from = mirror_room .. "/Alice", has = muc_user .. "/item@jid" }; end
			local bob, dora = client(f, "bob" .. round), f.talk:client("dora" .. round .. "@example.com/Gajim");
			local behind = newcomer(bob, mirror_room, "New");
			f.curtis:drain();
			bob:send(st.presence({ to = mirror_room .. "/New"; type = "unavailable" }));
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/New" };
			local direct = newcomer(dora, master_room, "New");
			assert.same(direct, behind);
			f.kev:drain();
			dora:send(st.presence({ to = master_room .. "/New"; type = "unavailable" }));
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/New" };
			settle(f, { f.kev, f.alice });
		end
	end));

	it("shows the presence of those only whom the room shows (F5 M8 G27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		submit(f, { ["muc#roomconfig_presencebroadcast"] = { "moderator" } });
		enter(f.kev, mirror_room, "Kev");
		local ann, alice = client(f, "ann"), client(f, "alice");
		enter(ann, mirror_room, "Ann");
		enter(alice, master_room, "Alice");
		local function same_for_both(action)
			action();
			settle(f, { ann, alice, f.kev });
			local direct, behind = seen(alice, master_room, "Alice"), seen(ann, mirror_room, "Ann");
			local function about_kev_only(list)
				local kept = {};
				for _, text in ipairs(list) do
					if not text:find("R/Ann", 1, true) and not text:find("R/Alice", 1, true) then kept[#kept + 1] = text; end
				end
				return kept;
			end
			assert.same(about_kev_only(direct), about_kev_only(behind));
			return behind;
		end
		settle(f, { ann, alice, f.kev });
		ann:drain();
		alice:drain();
		assert.same({}, same_for_both(function ()
			f.kev:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "away"));
			f.kev:expect { "presence", from = mirror_room .. "/Kev", has = "show" };
		end));
		assert.equal(1, #same_for_both(function () administer(f, { nick = "Kev"; role = "moderator" }, "he is good"); end));
		assert.equal(1, #same_for_both(function () administer(f, { nick = "Kev"; role = "participant" }); end));
		f.kev:sync();
		for _, stanza in ipairs(f.kev:drain()) do
			if stanza.attr.from == mirror_room .. "/Kev" then assert.is_nil(stanza.attr.type, tostring(stanza)); end
		end
		-- the option changes
		submit(f, { ["muc#roomconfig_presencebroadcast"] = { "moderator", "participant", "visitor" } });
		settle(f, { ann, alice, f.kev });
		ann:expect { "presence", type = false, from = mirror_room .. "/Kev" };
		f.kev:expect { "presence", type = false, from = mirror_room .. "/Ann" };
		submit(f, { ["muc#roomconfig_presencebroadcast"] = { "moderator" } });
		settle(f, { ann, alice, f.kev });
		ann:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Ann" };
		ann:drain();
		alice:drain();
		say(ann, mirror_room, "I am still here");
		f.kev:expect { "message", body = "I am still here", from = mirror_room .. "/Ann" };
		ann:expect { "message", body = "I am still here" };
		alice:expect { "message", body = "I am still here" };
		-- newcomers, and who leaves
		assert.same(newcomer(client(f, "dora"), master_room, "Dora"), newcomer(client(f, "fred"), mirror_room, "Fred"));
		same_for_both(function ()
			f.kev:send(st.presence({ to = mirror_room .. "/Kev"; type = "unavailable" }));
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			enter(f.kev, mirror_room, "Kev");
		end);
		-- one who is put out
		administer(f, { nick = "Kev"; role = "none" });
		local kick = f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		assert.equal("110 307", federation.codes(kick));
		settle(f, { ann, alice });
		assert.same({}, seen(ann, mirror_room, "Ann"));
	end));

	it("brings users back after an outage whom the room shows to nobody (F5 G3)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		submit(f, { ["muc#roomconfig_presencebroadcast"] = { "moderator" } });
		enter(f.kev, mirror_room, "Kev");
		local ann = enter(client(f, "ann"), mirror_room, "Ann");
		settle(f, { f.kev, ann });
		f.kev:drain();
		ann:drain();
		federation.with_link(f.remote, mirror_room, "link:miss()");
		f.link:cut();
		say(f.kev, mirror_room, "waits");
		f.link:expect_broken();
		f.link:restore();
		ann:expect({ "message", body = "waits" }, 25);
		settle(f, { f.kev, ann });
		for nick, stanzas in pairs { Kev = f.kev:drain(); Ann = ann:drain() } do
			for _, stanza in ipairs(stanzas) do
				assert.is_not.equal("unavailable", stanza.attr.type, tostring(stanza));
				if stanza.name == "presence" then assert.equal(mirror_room .. "/" .. nick, stanza.attr.from, tostring(stanza)); end
			end
		end
	end));

	it("tells those behind a mirror of affiliations, whom the room would tell, once (F6 G27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, mirror_room, "Kev");
		local ann, alice, bob = client(f, "ann"), client(f, "alice"), client(f, "bob");
		enter(ann, mirror_room, "Ann");
		enter(bob, mirror_room, "Bob");
		enter(alice, master_room, "Alice");
		administer(f, { nick = "Ann"; role = "moderator" });
		settle(f, { f.kev, ann, bob, alice });
		for _, one in ipairs { f.kev, ann, bob, alice } do one:drain(); end
		for _, whois in ipairs { "moderators", "anyone" } do
			submit(f, { ["muc#roomconfig_whois"] = whois });
			settle(f, { f.kev, ann, bob, alice });
			for _, one in ipairs { f.kev, ann, bob, alice, f.curtis } do one:drain(); end
			f.link:forget();
			administer(f, { jid = "zoe@example.com"; affiliation = whois == "anyone" and "none" or "member" });
			settle(f, { f.kev, ann, bob, alice });
			f.curtis:sync();
			local direct, moderator = seen(alice, master_room, "Alice"), seen(ann, mirror_room, "Ann");
			assert.same(direct, seen(f.kev, mirror_room, "Kev"));
			assert.same(direct, seen(bob, mirror_room, "Bob"));
			assert.equal(1, #moderator);
			assert.truthy(moderator[1]:find("zoe@example.com", 1, true));
			assert.equal(whois == "anyone" and 1 or 0, #direct);
			local crossed = 0;
			for _, stanza in ipairs(f.link:sent(f.talk)) do
				if stanza.name == "message" and stanza.attr.from == master_room and not stanza:get_child("body") then crossed = crossed + 1; end
			end
			assert.equal(1, crossed);
		end
	end));

	it("lets a moderator behind a mirror hear requests for voice, and grant them (F6 G15 G27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		submit(f, { ["muc#roomconfig_moderatedroom"] = "1" });
		enter(f.kev, mirror_room, "Kev");
		local ann, dora = client(f, "ann"), client(f, "dora");
		enter(ann, mirror_room, "Ann");
		enter(dora, master_room, "Dora");
		administer(f, { nick = "Ann"; role = "moderator" });
		settle(f, { ann, dora, f.kev });
		f.kev:drain();
		dora:send(("<message to='%s'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request"
			.. "</value></field><field var='muc#role'><value>participant</value></field></x></message>"):format(master_room));
		local request = ann:expect { "message", from = mirror_room, has = "{jabber:x:data}x" };
		assert.is_not.equal("groupchat", request.attr.type);
		local answer = st.message({ to = mirror_room }):tag("x", { xmlns = "jabber:x:data"; type = "submit" });
		for field in request:get_child("x", "jabber:x:data"):childtags("field") do
			local value = field.attr.var == "muc#request_allow" and "true" or field:get_child_text("value");
			answer:tag("field", { var = field.attr.var; type = field.attr.type }):text_tag("value", value):up();
		end
		ann:send(answer);
		dora:expect { "presence", from = master_room .. "/Dora", has = muc_user .. "/status",
			where = function (presence) return presence:find(muc_user .. "/item@role") == "participant"; end };
		settle(f, { f.kev });
		for _, stanza in ipairs(f.kev:drain()) do assert.is_nil(stanza:get_child("x", "jabber:x:data"), tostring(stanza)); end
	end));

	it("delivers what a module of the room sends to chosen occupants to those alone (F6 G27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, mirror_room, "Kev");
		local ann, bob = client(f, "ann"), client(f, "bob");
		enter(ann, mirror_room, "Ann");
		enter(bob, mirror_room, "Bob");
		settle(f, { f.kev, ann, bob });
		for _, one in ipairs { f.kev, ann, bob } do one:drain(); end
		federation.configure(f, [[
			local st = require "util.stanza";
			local notice = st.message({ type = "groupchat"; from = room.jid; id = "n1" }):text_tag("body", "for two");
			room:broadcast(notice, function (nick) return nick:find("/Ann$") or nick:find("/Bob$"); end);
			local whisper = st.message({ type = "groupchat"; from = room.jid .. "/Curtis"; id = "n2" }):text_tag("body", "for Ann");
			room:route_to_occupant(room:get_occupant_by_nick(room.jid .. "/Ann"), whisper);
			local plain = st.message({ from = room.jid; id = "n3" }):text_tag("body", "welcome");
			room:route_to_occupant(room:get_occupant_by_nick(room.jid .. "/Bob"), plain);
		]]);
		ann:expect { "message", type = "groupchat", body = "for two", from = mirror_room };
		ann:expect { "message", type = "groupchat", body = "for Ann", from = mirror_room .. "/Curtis" };
		bob:expect { "message", type = "groupchat", body = "for two", from = mirror_room };
		bob:expect { "message", body = "welcome", from = mirror_room };
		settle(f, { f.kev, ann, bob });
		for _, one in ipairs { f.kev, ann, bob } do assert.same({}, federation.words(one, mirror_room)); end
	end));

	it("greets a newcomer behind a mirror as the room greets a direct one (F6 G27)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		federation.configure(f, [[
			local st = require "util.stanza";
			prosody.hosts["talk.example.com"].modules.fmuc.module:hook("muc-occupant-joined", function (event)
				local welcome = st.message({ from = room.jid }):text_tag("body", "welcome " .. event.nick:match("/(.*)$"));
				event.room:route_to_occupant(event.occupant, welcome); -- before history and subject
			end);
		]]);
		enter(f.kev, mirror_room, "Kev");
		f.kev:expect { "message", body = "welcome Kev", from = mirror_room };
		local bob = enter(client(f, "bob"), mirror_room, "Bob");
		bob:expect { "message", body = "welcome Bob", from = mirror_room };
		settle(f, { f.kev, bob });
		f.kev:expect_none({ "message", body = "welcome Bob" }, 0);
	end));

	it("gives newcomers the occupants' state, not who changed it, why and when (F11 G28)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		enter(f.kev, mirror_room, "Kev");
		local alice = enter(client(f, "alice"), master_room, "Alice");
		administer(f, { nick = "Kev"; role = "moderator" }, "he is good");
		administer(f, { nick = "Alice"; role = "visitor" }, "she is not");
		administer(f, { jid = "alice@example.com"; affiliation = "member" }, "or is she?");
		local change = f.kev:expect { "presence", from = mirror_room .. "/Kev", has = muc_user .. "/item/reason" };
		assert.equal("he is good", change:find(muc_user .. "/item/reason#"));
		settle(f, { f.kev, alice });
		local behind = newcomer(client(f, "bob"), mirror_room, "Bob");
		for i, text in ipairs(behind) do behind[i] = not text:find("settled") and text or ""; end
		local direct = newcomer(client(f, "dora"), master_room, "Dora");
		for i, text in ipairs(direct) do direct[i] = not text:find("settled") and not text:find("R/Bob") and text or ""; end
		table.sort(behind);
		table.sort(direct);
		local function compact(list) return (table.concat(list, "\n"):gsub("^\n+", "")); end
		assert.equal(compact(direct), compact(behind));
		assert.is_nil(compact(behind):find("reason"));
		assert.is_nil(compact(behind):find("actor"));
	end));

	it("shows the state of a user's first session, and of the next one when that leaves (F21)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		submit(f, { ["muc#roomconfig_whois"] = "anyone" });
		local bob = enter(client(f, "bob"), mirror_room, "Bob");
		enter(f.kev, mirror_room, "Kev");
		local phone = f.remote:client("kev@remote.example.com/Phone");
		local request = join(mirror_room, "Kev");
		phone:send(request:text_tag("show", "xa"));
		phone:expect { "message", has = "subject" };
		phone:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "dnd"));
		phone:expect { "presence", from = mirror_room .. "/Kev", has = "show",
			where = function (presence) return presence:get_child_text("show") == "dnd" and federation.codes(presence) == "110"; end };
		local function show_of_kev()
			settle(f, { bob });
			local show = {};
			for one, room_jid in pairs { [bob] = mirror_room, [f.curtis] = master_room } do
				one:sync();
				for _, stanza in ipairs(one:drain()) do
					if stanza.attr.from == room_jid .. "/Kev" and stanza.name == "presence" then
						show[room_jid] = stanza:get_child_text("show") or stanza.attr.type or "online";
					end
				end
			end
			return show[mirror_room], show[master_room];
		end
		assert.same({ "online", "online" }, { show_of_kev() });
		f.kev:send(st.presence({ to = mirror_room .. "/Kev"; type = "unavailable" }));
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		bob:expect { "presence", type = false, from = mirror_room .. "/Kev", has = "show" };
		f.curtis:expect { "presence", type = false, from = master_room .. "/Kev",
			where = function (presence) return presence:get_child_text("show") == "dnd"; end };
		-- the first session may come to the master's room by itself now
		enter(f.kev, master_room, "Kev");
		phone:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "chat"));
		bob:expect { "presence", from = mirror_room .. "/Kev",
			where = function (presence) return presence:get_child_text("show") == "chat"; end };
	end));

	it("asks the master for the session that is left when the first one goes before the answer (F21)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		local bob = enter(client(f, "bob"), mirror_room, "Bob");
		local phone = f.remote:client("kev@remote.example.com/Phone");
		f.link:stall();
		f.kev:send(join(mirror_room, "Kev"):text_tag("show", "away"));
		f.kev:sync();
		phone:send(join(mirror_room, "Kev"):text_tag("show", "dnd"));
		phone:sync();
		f.kev:send(st.presence({ to = mirror_room .. "/Kev"; type = "unavailable" }));
		f.kev:sync();
		f.link:restore();
		phone:expect { "message", has = "subject" };
		local function is_dnd(presence) return presence:get_child_text("show") == "dnd"; end
		f.curtis:expect { "presence", from = master_room .. "/Kev", where = is_dnd };
		bob:expect { "presence", from = mirror_room .. "/Kev", where = is_dnd };
		assert.equal("kev@remote.example.com/Phone", f.talk:eval(([[
			return prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q):get_occupant_by_nick(%q).jid]])
			:format(master_room, master_room .. "/Kev")));
	end));

	it("gives newcomers as much history as the room does (F22)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n" });
		enter(f.kev, mirror_room, "Kev");
		for i = 1, 6 do say(f.curtis, master_room, "message " .. i); end
		for round, limits in ipairs {
			{ "0", "0" }; { "5", "5" }; { "20", "2" };
		} do
			submit(f, { ["muc#roomconfig_historylength"] = limits[1]; ["muc#roomconfig_defaulthistorymessages"] = limits[2] });
			s:wait_until(function () -- the mirror asks for the description
				return f.remote:eval(([[
					local room = prosody.hosts["mirror.remote.example.com"].modules.muc.get_room_from_jid(%q);
					return room:get_historylength()]]):format(mirror_room)) == tonumber(limits[1]);
			end, 20, "the new limit");
			for i = 1, 6 do say(f.curtis, master_room, ("message %d of round %d"):format(i, round)); end
			f.kev:expect { "message", body = "message 6 of round " .. round };
			local bob, dora = client(f, "bob" .. round), f.talk:client("dora" .. round .. "@example.com/Gajim");
			local behind = newcomer(bob, mirror_room, "New");
			f.curtis:drain();
			bob:send(st.presence({ to = mirror_room .. "/New"; type = "unavailable" }));
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/New" };
			assert.same(newcomer(dora, master_room, "New"), behind);
			f.kev:drain();
			dora:send(st.presence({ to = master_room .. "/New"; type = "unavailable" }));
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/New" };
		end
	end));
end);
end
