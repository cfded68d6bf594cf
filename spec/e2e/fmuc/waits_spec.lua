-- SPDX-License-Identifier: MIT
-- mod_fmuc beside modules whose handlers wait in the middle of a stanza's way (util.async), while other stanzas go theirs. The waiting is
-- that of spec/support/bed/plugins/mod_bed_waits.lua.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local join, say, enter = federation.join, federation.say, federation.enter;
local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local master_host, mirror_host = "talk.example.com", "mirror.remote.example.com";

local master_config = federation.master_config:gsub('"fmuc"', '"fmuc", "bed_waits"');
local mirror_config = federation.mirror_config .. "\tmodules_enabled = { \"bed_waits\" }\n";

-- holder(node, host) -> functions of the plugin on that host
local function holder(s, node, host)
	local plugin = {};
	local function call(text) return node:eval(("return module:shared(\"/%s/bed_waits/api\").%s"):format(host, text)); end
	function plugin.hold(event, pattern) call(("hold(%q, %q)"):format(event, pattern)); end
	function plugin.release(event) call(("release(%q)"):format(event)); end
	function plugin.inject(stanza) call(("inject(%q)"):format(tostring(stanza))); end
	function plugin.expect(event, count)
		s:wait_until(function () return call(("waiting(%q)"):format(event)) == (count or 1); end, 15, "somebody who waits in " .. event);
	end
	return plugin;
end

-- join of a user as the mirror of f.remote sends it
local function mirrored_join(nick, real_jid, id)
	return st.presence({ from = mirror_room; to = master_room .. "/" .. nick; id = id })
		:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = real_jid }):up();
end

local function mirrored_part(nick)
	return st.presence({ from = mirror_room; to = master_room .. "/" .. nick; type = "unavailable" });
end

local function occupants(node, host, room_jid)
	local text = node:eval(([[
		local room, nicks = prosody.hosts[%q].modules.muc.get_room_from_jid(%q), {};
		for jid in room:each_occupant() do nicks[#nicks + 1] = jid:match("/(.*)$"); end
		table.sort(nicks);
		return table.concat(nicks, " ");
	]]):format(host, room_jid));
	return text;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and handlers that wait, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	local function new(s, more)
		local f = federation.new(s, versions, { master = master_config .. (more or ""); mirror = mirror_config });
		return f, holder(s, f.talk, master_host), holder(s, f.remote, mirror_host);
	end

	-- a second server with a mirror
	local function third(s, f)
		local server = s:node { version = versions.mirror; config = [[
VirtualHost "far.example.net"
Component "mirror.far.example.net" "fmuc"
]] };
		s:link(f.talk, server);
		return server;
	end

	for _, event in ipairs { "muc-occupant-pre-join", "muc-broadcast-presence", "muc-build-occupant-presence", "muc-get-history" } do
		it(("lets two mirrored joins overlap in %s, and everybody else in after that (F8b)"):format(event), bed.scenario(function (s)
			local f, waits = new(s);
			local server = third(s, f);
			local far_room = "jabberchat\\40talk.example.com@mirror.far.example.net";
			say(f.curtis, master_room, "earlier");
			local juliet = server:client("juliet@far.example.net/Gajim");
			waits.hold(event, "kev@");
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect(event);
			waits.hold(event, "juliet@");
			juliet:send(join(far_room, "Juliet"));
			waits.expect(event, 2);
			-- a direct user comes while both wait
			local alice = f.talk:client("alice@example.com/Gajim");
			alice:send(join(master_room, "Alice"));
			alice:expect { "presence", type = false, from = master_room .. "/Alice", has = muc_user .. "/status" };
			say(f.curtis, master_room, "meanwhile");
			alice:expect { "message", body = "meanwhile" };
			waits.release(event);
			for client, room_jid in pairs { [f.kev] = mirror_room, [juliet] = far_room } do
				local nick = client == juliet and "Juliet" or "Kev";
				client:expect { "presence", type = false, from = room_jid .. "/" .. nick, has = muc_user .. "/status" };
				client:expect { "message", has = "subject" };
				client:sync();
			end
			assert.equal("Alice Curtis Juliet Kev", occupants(f.talk, master_host, master_room));
			-- everybody sees each other, nobody is refused, nothing is dumped a second time
			for client, room_jid in pairs { [f.kev] = mirror_room, [juliet] = far_room, [alice] = master_room } do
				for other, nick in pairs { [f.kev] = "Kev", [juliet] = "Juliet", [alice] = "Alice" } do
					if other ~= client then client:expect { "presence", type = false, from = room_jid .. "/" .. nick }; end
				end
			end
			for _, stanza in ipairs(f.link:sent(f.talk)) do -- and by one copy for the mirror
				if stanza.attr.from == master_room .. "/Juliet" then assert.equal(mirror_room, stanza.attr.to); end
			end
			local dora = f.talk:client("dora@example.com/Gajim");
			dora:send(join(master_room, "Dora"));
			dora:expect { "presence", type = false, from = master_room .. "/Dora", has = muc_user .. "/status" };
			for client, room_jid in pairs { [f.kev] = mirror_room, [juliet] = far_room, [alice] = master_room } do
				client:expect { "presence", from = room_jid .. "/Dora" };
				client:drain();
			end
			federation.add(f, "bob");
			for client, room_jid in pairs { [f.kev] = mirror_room, [juliet] = far_room, [alice] = master_room } do
				client:expect { "presence", from = room_jid .. "/Bob" };
				client:sync();
				assert.same({}, federation.words(client, room_jid));
			end
			say(juliet, far_room, "all well");
			for client, room_jid in pairs { [f.kev] = mirror_room, [juliet] = far_room, [alice] = master_room } do
				client:expect { "message", body = "all well", from = room_jid .. "/Juliet" };
			end
		end));
	end

	it("keeps a fire-and-forget message of one mirror from that mirror alone, while another message waits (M22 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		local server = third(s, f);
		local far_room = "jabberchat\\40talk.example.com@mirror.far.example.net";
		local juliet = server:client("juliet@far.example.net/Gajim");
		enter(f.kev, "Kev");
		enter(juliet, "Juliet", far_room);
		juliet:expect { "message", has = "subject" };
		local message = st.message({ from = mirror_room .. "/Kev"; to = master_room; type = "groupchat"; id = "f1" })
			:text_tag("body", "shown there"):tag("nomirror", { xmlns = "http://isode.com/protocol/fmuc" }):up();
		waits.hold("muc-broadcast-message", "Kev");
		waits.inject(message);
		waits.expect("muc-broadcast-message");
		f.link:forget();
		say(f.curtis, master_room, "to all");
		f.link:expect(f.talk, { "message", body = "to all" });
		juliet:expect { "message", body = "to all" };
		f.kev:expect { "message", body = "to all" };
		waits.release("muc-broadcast-message");
		juliet:expect { "message", body = "shown there" };
		say(f.curtis, master_room, "later");
		f.kev:expect { "message", body = "later" };
		f.kev:expect_none({ "message", body = "shown there" }, 0);
	end));

	it("archives each message under its own id, one of which is given, while they wait (G9 F8b)", bed.scenario(function (s)
		local f = federation.new(s, versions, {
			master = master_config:gsub('"bed_waits"', '"bed_waits", "muc_mam"'); mirror = mirror_config .. "\tfmuc_nomirror = true\n" });
		local waits = holder(s, f.talk, master_host);
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		waits.hold("muc-add-history", "Kev");
		say(f.kev, mirror_room, "with an id");
		local chosen;
		for id in f.kev:expect({ "message", body = "with an id" }):childtags("stanza-id", "urn:xmpp:sid:0") do
			if id.attr.by == mirror_room then chosen = id.attr.id; end
		end
		waits.expect("muc-add-history");
		say(f.curtis, master_room, "meanwhile");
		local other = f.curtis:expect { "message", body = "meanwhile" };
		local id = other:find("{urn:xmpp:sid:0}stanza-id@id");
		assert.is_string(id);
		assert.is_not.equal(chosen, id);
		waits.release("muc-add-history");
		local message = f.curtis:expect { "message", body = "with an id" };
		assert.equal(chosen, message:find("{urn:xmpp:sid:0}stanza-id@id"));
		f.curtis:send(("<iq type='set' id='q' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(master_room));
		local found = {};
		f.curtis:expect { "iq", id = "q" };
		for _, stanza in ipairs(f.curtis:drain()) do
			local result = stanza:get_child("result", "urn:xmpp:mam:2");
			if result then found[result:find("{urn:xmpp:forward:0}forwarded/{jabber:client}message/body#")] = result.attr.id; end
		end
		assert.equal(chosen, found["with an id"]);
		assert.equal(id, found.meanwhile);
		f.curtis:send(join(master_room, "Curtis"));
		f.curtis:expect { "message", body = "with an id" };
	end));

	it("takes a user out who goes while the join waits (M12 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		for _, event in ipairs { "muc-occupant-pre-join", "muc-get-history" } do
			waits.hold(event, "kev@");
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect(event);
			waits.inject(mirrored_part("Kev")); -- on another stream than the join
			waits.release(event);
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			f.curtis:expect { "presence", type = false, from = master_room .. "/Kev" };
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
			assert.equal("Curtis", occupants(f.talk, master_host, master_room));
			assert.is_true(f.talk:eval(([[return prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q).fmuc == nil]]):format(master_room)));
		end
	end));

	it("answers a second join of the same session that comes while the first waits, once each (F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		enter(f.kev, "Kev");
		f.link:forget();
		waits.hold("muc-occupant-pre-join", "bob@");
		waits.inject(mirrored_join("Bob", "bob@remote.example.com/Gajim", "j1"));
		waits.expect("muc-occupant-pre-join");
		waits.hold("muc-occupant-pre-join", "bob@");
		waits.inject(mirrored_join("Bob", "bob@remote.example.com/Gajim", "j2"));
		waits.release("muc-occupant-pre-join");
		f.link:expect(f.talk, { "presence", from = master_room .. "/Bob", id = "j1" });
		f.link:expect(f.talk, { "presence", from = master_room .. "/Bob", id = "j2" });
		assert.equal("Bob Curtis Kev", occupants(f.talk, master_host, master_room));
		f.curtis:sync();
		local count = 0;
		for _, stanza in ipairs(f.curtis:drain()) do
			if stanza.attr.from == master_room .. "/Bob" and stanza.attr.type == nil then count = count + 1; end
		end
		assert.is_true(count >= 1 and count <= 2);
		local alice = f.talk:client("alice@example.com/Gajim");
		alice:send(join(master_room, "Alice"));
		alice:expect { "presence", type = false, from = master_room .. "/Alice", has = muc_user .. "/status" };
	end));

	it("keeps ten presences of a session whose join waits, in order, its part among them, and refuses others (F8b G29)", bed.scenario(function (s)
		local f, waits = new(s);
		enter(f.kev, "Kev");
		waits.hold("muc-occupant-pre-join", "bob@");
		waits.inject(mirrored_join("Bob", "bob@remote.example.com/Gajim", "j1"));
		waits.expect("muc-occupant-pre-join");
		for i = 1, 15 do
			waits.inject(st.presence({ from = mirror_room; to = master_room .. "/Bob" }):text_tag("status", "number " .. i));
		end
		local refusal = f.link:expect(f.talk, { "presence", type = "error", to = mirror_room .. "/Bob" });
		assert.equal("resource-constraint", federation.error_condition(refusal));
		waits.inject(st.presence({ type = "unavailable"; from = mirror_room; to = master_room .. "/Bob" }));
		waits.release("muc-occupant-pre-join");
		for i = 1, 9 do
			f.curtis:expect { "presence", from = master_room .. "/Bob", where = function (presence)
				return presence:get_child_text("status") == "number " .. i;
			end };
		end
		f.curtis:expect { "presence", from = master_room .. "/Bob", type = "unavailable" };
		f.curtis:sync();
		f.curtis:expect_none({ "presence", from = master_room .. "/Bob", has = "status",
			where = function (presence) return presence:get_child_text("status") == "number 11"; end }, 0);
	end));

	it("lets nobody into a room that is destroyed while the join waits, and sends nothing past the mirror (G17 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		for _, event in ipairs { "muc-occupant-pre-join", "muc-get-history" } do
			say(f.curtis, master_room, "history");
			waits.hold(event, "kev@");
			f.link:forget();
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect(event);
			federation.configure(f, [[room:destroy()]]);
			waits.release(event);
			f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
			for _, stanza in ipairs(f.link:sent(f.talk)) do assert.is_not.equal("kev@remote.example.com/Swift", stanza.attr.to); end
			federation.open_room(f, master_room);
			local alice = f.talk:client("alice@example.com/Gajim");
			alice:send(join(master_room, "Alice"));
			alice:expect { "presence", type = false, from = master_room .. "/Alice", has = muc_user .. "/status" };
			assert.equal("Alice Curtis", occupants(f.talk, master_host, master_room));
			alice:send(st.presence({ type = "unavailable"; to = master_room .. "/Alice" }));
			alice:expect { "presence", type = "unavailable" };
		end
	end));

	local function nicks_of(f)
		return f.talk:eval(([[
			local room = prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q);
			return room.fmuc and room.fmuc.links[%q].nicks or {};
		]]):format(master_room, mirror_room));
	end

	local function has_no_links(f)
		return f.talk:eval [[
			return prosody.hosts["talk.example.com"].modules.fmuc.lib "link/link".each()() == nil;
		]];
	end

	-- mod_muc makes another object of the room
	local function put_aside(f, text)
		federation.open_room(f, "other@talk.example.com");
		say(f.curtis, master_room, text);
		f.curtis:expect { "message", body = text };
	end

	it("refuses a join that waits while mod_muc puts the room aside, and takes nobody else out (M5 F8b)", bed.scenario(function (s)
		local f, waits = new(s, "\tmuc_room_cache_size = 1\n");
		federation.add(f, "bob");
		waits.hold("muc-occupant-pre-join", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-occupant-pre-join");
		put_aside(f, "back");
		f.bob:expect { "message", body = "back" };
		waits.inject(mirrored_join("Kev", "eve@remote.example.com/Psi", "j1"));
		f.curtis:expect { "presence", type = false, from = master_room .. "/Kev" };
		waits.release("muc-occupant-pre-join");
		f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
		assert.same({ Bob = "bob@remote.example.com/Gajim"; Kev = "eve@remote.example.com/Psi" }, nicks_of(f));
		say(f.curtis, master_room, "on");
		f.bob:expect { "message", body = "on" };
		waits.inject(mirrored_part("Kev"));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", type = false, from = master_room .. "/Kev" };
	end));

	it("ends a join that has got its history after mod_muc put the room aside (M5 M12 F8b)", bed.scenario(function (s)
		local f, waits = new(s, "\tmuc_room_cache_size = 1\n");
		for _, has_left in ipairs { false, true } do
			waits.hold("muc-get-history", "kev@");
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect("muc-get-history");
			put_aside(f, "aside");
			f.link:forget();
			if has_left then waits.inject(mirrored_part("Kev")); end
			waits.release("muc-get-history");
			f.kev:expect { "presence", type = false, from = mirror_room .. "/Kev", has = muc_user .. "/status" };
			if not has_left then
				f.kev:expect { "message", has = "subject" };
				assert.same({ Kev = f.kev.jid }, nicks_of(f));
				for _, stanza in ipairs(f.link:sent(f.talk)) do assert.equal(mirror_room, stanza.attr.to); end
				f.kev:send(st.presence({ type = "unavailable"; to = mirror_room .. "/Kev" }));
			end
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
			assert.same({}, nicks_of(f));
			assert.is_true(has_no_links(f));
		end
	end));

	it("keeps no link of a mirror whose first join is refused after mod_muc put the room aside (M5 F8b)", bed.scenario(function (s)
		local f, waits = new(s, "\tmuc_room_cache_size = 1\n");
		waits.hold("muc-occupant-pre-join", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-occupant-pre-join");
		put_aside(f, "aside");
		waits.release("muc-occupant-pre-join");
		f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
		assert.is_true(has_no_links(f));
	end));

	it("takes a user out once, and only that user, after mod_muc put the room aside (M5 M12 F8b)", bed.scenario(function (s)
		local f, waits = new(s, "\tmuc_room_cache_size = 1\n");
		federation.add(f, "bob");
		waits.hold("muc-get-history", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-get-history");
		put_aside(f, "aside");
		f.curtis:send(("<iq type='set' id='kick' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='Kev' role='none'/>"
			.. "</query></iq>"):format(master_room));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		-- somebody else gets the nick
		local alice = f.talk:client("alice@example.com/Gajim");
		alice:send(join(master_room, "Kev"));
		for client, room_jid in pairs { [f.curtis] = master_room; [f.bob] = mirror_room } do
			client:expect { "presence", type = false, from = room_jid .. "/Kev"; where = function (presence)
				return presence.attr.id == "join-Kev" or client == f.bob;
			end };
			client:sync();
			client:drain();
		end
		waits.release("muc-get-history");
		f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
		say(alice, master_room, "still here");
		for _, client in ipairs { f.curtis, f.bob } do
			client:expect { "message", body = "still here" };
			client:expect_none({ "presence", type = "unavailable" }, 0);
		end
		-- the room does not take the session for a mirrored one any more
		f.kev:send(join(master_room, "Kevin"));
		f.kev:expect { "presence", type = false, from = master_room .. "/Kevin", has = muc_user .. "/status" };
	end));

	it("keeps everybody in the room when mod_muc is reloaded while a join waits (M5 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		federation.add(f, "bob");
		waits.hold("muc-get-history", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-get-history");
		f.talk:reload("muc", master_host);
		waits.release("muc-get-history");
		assert.equal("Bob Curtis Kev", occupants(f.talk, master_host, master_room));
		say(f.curtis, master_room, "on");
		for _, client in ipairs { f.curtis, f.bob, f.kev } do client:expect { "message", body = "on" }; end
	end));

	it("refuses a join that waits while the module is reloaded, and sends nothing past the mirror (M5 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		federation.add(f, "bob");
		waits.hold("muc-occupant-pre-join", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-occupant-pre-join");
		f.talk:reload("fmuc", master_host);
		f.link:forget();
		waits.release("muc-occupant-pre-join");
		local refusal = f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
		assert.equal("wait", (refusal:get_error()));
		for _, stanza in ipairs(f.link:sent(f.talk)) do assert.is_not.equal(f.kev.jid, stanza.attr.to); end
		assert.equal("Bob Curtis", occupants(f.talk, master_host, master_room));
		enter(f.kev, "Kev");
		say(f.curtis, master_room, "on");
		f.kev:expect { "message", body = "on" };
	end));

	it("gives a nick to the user who got it while the other waited (G6 F8b)", bed.scenario(function (s)
		local f, waits = new(s);
		enter(f.kev, "Kev");
		f.link:forget();
		waits.hold("muc-occupant-pre-join", "bob@");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		bob:send(join(mirror_room, "Dora"));
		waits.expect("muc-occupant-pre-join");
		local dora = f.talk:client("dora@example.com/Gajim");
		dora:send(join(master_room, "Dora"));
		dora:expect { "presence", type = false, from = master_room .. "/Dora", has = muc_user .. "/status" };
		waits.release("muc-occupant-pre-join");
		assert.equal("conflict", federation.error_condition(bob:expect { "presence", type = "error", from = mirror_room .. "/Dora" }));
		say(dora, master_room, "mine");
		f.kev:expect { "message", body = "mine", from = mirror_room .. "/Dora" };
		assert.equal("Curtis Dora Kev", occupants(f.talk, master_host, master_room));
	end));

	for _, event in ipairs { "muc-occupant-pre-join", "muc-get-history" } do
		it(("takes a user out who leaves while the mirror's handler waits in %s (M11 M12 F8b)"):format(event), bed.scenario(function (s)
			local f, _, waits = new(s);
			say(f.curtis, master_room, "earlier");
			waits.hold(event, "kev@");
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect(event);
			f.kev:send(st.presence({ type = "unavailable"; to = mirror_room .. "/Kev" }));
			f.kev:sync();
			waits.release(event);
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
			s:wait_until(function () return federation.is_empty(f.remote, mirror_host); end, 15, "the end of the mirrored room");
			f.kev:drain();
			enter(f.kev, "Kev");
			f.kev:expect { "message", has = "subject" };
		end));

		it(("puts a user out whom the master kicks while the mirror's handler waits in %s (G14 F8b)"):format(event), bed.scenario(function (s)
			local f, _, waits = new(s);
			federation.add(f, "bob");
			waits.hold(event, "kev@");
			f.kev:send(join(mirror_room, "Kev"));
			waits.expect(event);
			waits.inject(st.presence({ type = "unavailable"; from = master_room .. "/Kev"; to = mirror_room })
				:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("item", { affiliation = "none"; role = "none" }):up()
					:tag("status", { code = "307" }):up():up());
			waits.release(event);
			f.kev:expect { "presence", type = false, from = mirror_room .. "/Kev", has = muc_user .. "/status" };
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev", has = muc_user .. "/status" };
			f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			assert.is_nil(occupants(f.remote, mirror_host, mirror_room):find("Kev"));
		end));
	end

	it("lets a second client in that comes while the first one enters, and takes its status on (G23 F8b)", bed.scenario(function (s)
		local f, _, waits = new(s);
		waits.hold("muc-occupant-pre-join", "kev@");
		f.kev:send(join(mirror_room, "Kev"));
		waits.expect("muc-occupant-pre-join");
		local phone = f.remote:client("kev@remote.example.com/Phone");
		phone:send(join(mirror_room, "Kev"));
		phone:sync();
		f.kev:send(st.presence({ to = mirror_room .. "/Kev" }):text_tag("show", "away")); -- which is to count, too
		f.kev:sync();
		waits.release("muc-occupant-pre-join");
		for _, client in ipairs { f.kev, phone } do
			client:expect { "presence", type = false, from = mirror_room .. "/Kev", has = muc_user .. "/status" };
			client:expect { "message", has = "subject" };
		end
		f.curtis:expect { "presence", from = master_room .. "/Kev", has = "show" };
		say(phone, mirror_room, "both are in");
		f.kev:expect { "message", body = "both are in" };
	end));

	it("gives each message its own id at a mirror where one waits (M21 F8b)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = master_config:gsub('"bed_waits"', '"bed_waits", "muc_mam"');
			mirror = mirror_config .. "\tfmuc_nomirror = true\n" });
		local waits = holder(s, f.remote, mirror_host);
		enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		federation.add(f, "bob");
		local function id_of(message)
			for id in message:childtags("stanza-id", "urn:xmpp:sid:0") do
				if id.attr.by == message.attr.from:match("^[^/]*") then return id.attr.id; end
			end
		end
		waits.hold("muc-broadcast-message", "Kev");
		say(f.kev, mirror_room, "first");
		waits.expect("muc-broadcast-message");
		say(f.bob, mirror_room, "second");
		local second = id_of(f.bob:expect { "message", body = "second" });
		say(f.curtis, master_room, "third");
		local of_master = id_of(f.bob:expect { "message", body = "third" });
		waits.release("muc-broadcast-message");
		local first = id_of(f.bob:expect { "message", body = "first" });
		assert.is_string(first);
		assert.is_not.equal(first, second);
		local at_master = {};
		for _, text in ipairs { "first", "second", "third" } do at_master[text] = id_of(f.curtis:expect { "message", body = text }); end
		assert.same({ first = first; second = second; third = of_master }, at_master);
	end));
end);
end
