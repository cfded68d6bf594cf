-- SPDX-License-Identifier: MIT
-- mod_delegation's client mode without a server: the question and its answer, challenges, limits and the allowlist.

local st = require "util.stanza";
local parse = require "util.xml".parse;
local config = dofile "lua/mod_delegation/config.lib.lua";
local consent = dofile "lua/mod_delegation/client/consent.lib.lua";
local display = dofile "lua/mod_delegation/display.lib.lua";
local namespaces = dofile "lua/mod_delegation/client/namespaces.lib.lua";
local challenges = dofile "lua/mod_delegation/client/challenges.lib.lua";
local rates = dofile "lua/mod_delegation/client/rates.lib.lua";
local new_throttle = require "util.throttle".create;
local time = require "util.time";

-- A module whose timers are run by hand, and whose clock is set
local function fake_module()
	local fake = { timers = {} };
	function fake:add_timer(_, callback) self.timers[#self.timers + 1] = callback; end
	function fake:run()
		local timers = self.timers;
		self.timers = {};
		for _, callback in ipairs(timers) do
			if callback() then self.timers[#self.timers + 1] = callback; end
		end
	end
	return fake;
end

-- Loaded code has its own reference to the clock, as an upvalue
local function set_clock(functions, name, clock)
	for _, f in ipairs(functions) do
		for i = 1, 20 do
			local upvalue = debug.getupvalue(f, i);
			if upvalue == name then debug.setupvalue(f, i, clock); end
		end
	end
end

local function answer(content)
	return consent.read(parse("<message><x xmlns='jabber:x:data' "..content.."</x></message>"));
end

describe("delegation's question to a user", function ()
	local request = { user = "juliet", entity = "pubsub.montague.lit", namespaces = { "urn:x:a", "urn:x:b" }, secret = "s3cret", message_id = "m1" };

	it("is a form as in the XEP, and kept out of archives (D33, C9)", function ()
		local message = consent.ask("capulet.lit", request, namespaces.label, display.address, false);
		assert.same({ "capulet.lit", "juliet@capulet.lit", "normal", "m1" },
			{ message.attr.from, message.attr.to, message.attr.type, message.attr.id });
		assert.truthy(message:get_child("no-permanent-store", "urn:xmpp:hints"));
		assert.truthy(message:get_child("no-copy", "urn:xmpp:hints"));
		local vars = {};
		for field in message:get_child("x", "jabber:x:data"):childtags("field") do vars[#vars + 1] = field.attr.var; end
		assert.same({ "challenge", "FORM_TYPE", "urn:x:a", "urn:x:b" }, vars);
		message = consent.ask("capulet.lit", request, namespaces.label, display.address, true);
		assert.truthy(tostring(message):find("var='persist'", 1, true));
	end);

	it("takes 1 for yes and all else for no (C12)", function ()
		local function granted(content) return consent.granted(request, answer(content)); end
		local function field(var, ...)
			local values = {};
			for i, value in ipairs { ... } do values[i] = "<value>"..value.."</value>"; end
			return ("<field var='%s'>%s</field>"):format(var, table.concat(values));
		end
		assert.same({ "urn:x:a" }, (granted("type='submit'>"..field("urn:x:a", "1")..field("urn:x:c", "1"))));
		assert.same({ "urn:x:a", "urn:x:b" }, (granted("type='submit'>"..field("urn:x:b", "1")..field("urn:x:a", "1"))));
		for _, fields in ipairs { "", field("urn:x:a"), field("urn:x:a", ""), field("urn:x:a", "0"), field("urn:x:a", "true"), field("urn:x:a", "1", "1"),
				field("urn:x:a", "1")..field("urn:x:a", "1"), field("urn:x:a", "0")..field("urn:x:a", "1")..field("urn:x:a", "1") } do
			assert.same({}, (granted("type='submit'>"..fields)));
		end
		assert.same({}, (granted("type='cancel'>"..field("urn:x:a", "1"))));
		assert.is_true(select(2, granted("type='submit'>"..field("persist", "1"))));
		assert.is_false(select(2, granted("type='submit'>"..field("persist", "0"))));
	end);

	it("is answered with FORM_TYPE missing, empty or right (C11)", function ()
		local function is_ours(form_type) return consent.is_ours(answer("type='submit'>"..form_type)); end
		assert.is_true(is_ours "");
		assert.is_true(is_ours "<field var='FORM_TYPE'/>");
		assert.is_true(is_ours "<field var='FORM_TYPE'><value/></field>");
		assert.is_true(is_ours "<field var='FORM_TYPE'><value>urn:xmpp:delegation:2</value></field>");
		assert.is_false(is_ours "<field var='FORM_TYPE'><value>urn:xmpp:captcha</value></field>");
		assert.is_nil(answer "type='form'>");
		assert.is_nil(answer "type='result'>");
		assert.is_nil(consent.read(st.message()));
	end);
end);

describe("delegation's challenges", function ()
	it("are random, bound to the user, and good for once (C10, C13)", function ()
		local asked = challenges.new(fake_module());
		local seen = {};
		for i = 1, 500 do
			local secret = asked:add("user"..i, "e", { "n" }).secret;
			assert.is_nil(seen[secret]);
			assert.truthy(#secret * 6 >= 128);
			seen[secret] = true;
		end
		local request = asked:add("juliet", "e", { "n" });
		assert.is_nil(asked:find("romeo", request.secret));
		assert.is_nil(asked:find("user1", request.secret));
		assert.is_nil(asked:find("juliet", request.secret:sub(1, -2)));
		assert.is_nil(asked:find("juliet", ""));
		local key, found = asked:find("juliet", request.secret);
		assert.equal(request, found);
		asked:remove(key);
		assert.is_nil(asked:find("juliet", request.secret));
	end);

	it("are one for each entity and user, few for each user, and limited in all (C8)", function ()
		local asked = challenges.new(fake_module());
		local first = asked:add("juliet", "e1", { "n" });
		assert.is_true(asked:is_asked("juliet", "e1", { "n" }));
		assert.is_false(asked:is_asked("juliet", "e1", { "n", "o" }));
		assert.is_false(asked:is_asked("juliet", "e2", { "n" }));
		assert.is_false(asked:is_asked("romeo", "e1", { "n" }));
		local second = asked:add("juliet", "e1", { "n", "o" });
		assert.is_nil(asked:find("juliet", first.secret));
		assert.truthy(asked:find("juliet", second.secret));
		for i = 2, 10 do asked:add("juliet", "e"..i, { "n" }); end
		assert.truthy(asked:find("juliet", second.secret));
		asked:add("juliet", "e5", { "o" });
		assert.truthy(asked:find("juliet", second.secret));
		asked:add("juliet", "e11", { "n" });
		assert.is_nil(asked:find("juliet", second.secret));
		assert.equal(10, asked.pending:count());
		asked:forget("juliet");
		assert.equal(0, asked.pending:count());
		local oldest = asked:add("user1", "e", { "n" });
		local later = asked:add("user2", "e", { "n" });
		for i = 3, 5001 do asked:add("user"..i, "e", { "n" }); end
		assert.equal(5000, asked.pending:count());
		assert.is_nil(asked:find("user1", oldest.secret));
		assert.truthy(asked:find("user2", later.secret));
		asked = challenges.new(fake_module(), asked:save());
		asked:add("user", "e", { "n" });
		assert.is_nil(asked:find("user2", later.secret));
		assert.equal(5000, asked.pending:count());
	end);

	it("of one domain take no room from those of others, of one user or of all (C8, E5, G29)", function ()
		local asked = challenges.new(fake_module());
		local kept = asked:add("juliet", "kind.lit", { "n" });
		for i = 1, 20 do asked:add("juliet", i.."@evil.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		assert.equal(6, asked.pending:count()); -- and half of what that leaves
		local newcomer = asked:add("juliet", "new.lit", { "n" });
		for i = 1, 20 do asked:add("juliet", i.."@worse.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		assert.truthy(asked:find("juliet", newcomer.secret));
		-- many domains get the places of all in the end, but not one by itself
		for i = 1, 20000 do asked:add("user"..i, (i % 3).."evil.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		assert.is_true(asked.pending:count() <= 10000);
		asked = challenges.new(fake_module(), asked:save());
		for i = 1, 10000 do asked:add("user"..i, "evil.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		for i = 1, 6000 do asked:add("user"..i, "d"..i..".lit", { "n" }); end
		assert.equal(10000, asked.pending:count());
		assert.truthy(asked:find("juliet", kept.secret));
		-- who fills them together makes room for one who comes later, and takes none from others
		asked = challenges.new(fake_module());
		kept = asked:add("juliet", "kind.lit", { "n" });
		local domains, i = 0, 0;
		while asked.pending:count() < 10000 do
			domains = domains + 1;
			while not asked.shares:refusal(domains..".lit") do
				i = i + 1;
				asked:add("user"..i, domains..".lit", { "n" });
			end
		end
		assert.is_true(domains < 20, domains);
		newcomer = asked:add("juliet", "new.lit", { "n" });
		assert.truthy(asked:find("juliet", kept.secret));
		assert.truthy(asked:find("juliet", newcomer.secret));
		asked:forget("juliet");
		for user = 1, 10000 do asked:forget("user"..user); end
		assert.same({ 0, 0 }, { asked.pending:count(), asked.shares.used });
		assert.is_nil(next(asked.by_host));
	end);

	it("of any number of subdomains take no more room than those of a few domains (C8, E5, G29)", function ()
		local asked = challenges.new(fake_module());
		local kept = asked:add("juliet", "kind.lit", { "n" });
		local of_sibling = {};
		for i = 1, 3 do of_sibling[i] = asked:add("juliet", i.."@kind.evil.lit", { "n" }); end
		for i = 1, 20 do asked:add("juliet", i.."@other.evil.lit", { "n" }); end
		for i = 1, 3 do assert.truthy(asked:find("juliet", of_sibling[i].secret)); end
		assert.equal(7, asked.pending:count());
		for i = 1, 20 do asked:add("juliet", "d"..i..".evil.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		assert.equal(8, asked.pending:count());
		local large = asked:add("romeo", "large.lit", { "n" });
		for i = 1, 6000 do asked:add("user"..i, "large.lit", { "n" }); end
		asked:add("romeo", "large.lit", { "n" });
		local of_large = asked.shares:held_by("large.lit");
		for i = 1, 3000 do asked:add("user"..i, "d"..i..".evil.lit", { "n" }); end
		assert.truthy(asked:find("juliet", kept.secret));
		assert.is_nil(asked:find("romeo", large.secret));
		assert.equal(of_large, asked.shares:held_by("large.lit"));
		assert.is_true(asked.pending:count() < 7510, asked.pending:count());
		assert.truthy(next(asked.by_user.user3000));
	end);

	it("count by the bytes of the address (G29)", function ()
		local asked = challenges.new(fake_module());
		for i = 1, 2500 do asked:add("user"..i, ("x"):rep(900).."@"..("y"):rep(1000)..".lit/"..("z"):rep(1000 - #tostring(i))..i, { "n" }); end
		assert.is_true(asked.pending:count() < 2000, asked.pending:count());
	end);

	it("end after a day, and leave nothing behind, also over a module reload (C10)", function ()
		local now = time.monotonic();
		local fake = fake_module();
		local asked = challenges.new(fake);
		local request = asked:add("juliet", "e", { "n" });
		local other = fake_module();
		asked = challenges.new(other, asked:save());
		assert.truthy(asked:find("juliet", request.secret));
		local _, tick = debug.getupvalue(other.timers[1], 1);
		set_clock({ tick }, "now", function () return now + 24 * 3600 - 60; end);
		other:run();
		assert.truthy(asked:find("juliet", request.secret));
		set_clock({ tick }, "now", function () return now + 24 * 3600 + 3; end);
		other:run();
		set_clock({ tick }, "now", time.monotonic);
		assert.is_nil(asked:find("juliet", request.secret));
		assert.is_nil(next(asked.by_user));
		assert.equal(0, asked.pending:count());
	end);
end);

describe("delegation's limits", function ()
	-- the clock stands still
	local with_clock = { new_throttle, getmetatable(new_throttle(1, 1)).__index.update };
	setup(function () set_clock(with_clock, "gettime", function () return 1000; end); end);
	teardown(function () set_clock(with_clock, "gettime", time.now); end);

	local function count(allow)
		for i = 1, 1000 do
			if not allow(i) then return i - 1; end
		end
	end

	it("let an entity ask one user, a user be asked, and a domain ask so often (C8)", function ()
		local limits = rates.new(fake_module());
		assert.equal(20, count(function () return limits:allow("bot@a.lit", "a.lit", "juliet"); end));
		-- what was refused did not count for others
		for _ = 1, 100 do limits:allow("bot@a.lit", "a.lit", "juliet"); end
		assert.equal(10, count(function (i) return limits:allow("bot"..i.."@b.lit", "b.lit", "juliet"); end));
		assert.equal(40, count(function (i) return limits:allow("bot@a.lit", "a.lit", "user"..i); end));
		assert.equal(60, count(function (i) return limits:allow("bot"..i.."@a.lit", "a.lit", "other"..i); end));
		assert.is_true(limits:allow("bot@c.lit", "c.lit", "romeo"));
	end);

	it("let a domain use no more of a user's questions than it leaves to others, whatever names it has (E5, G29)", function ()
		local limits = rates.new(fake_module());
		assert.equal(20, count(function (i) return limits:allow(i.."@evil.lit", "evil.lit", "juliet"); end));
		assert.is_true(limits:allow("kind.lit", "kind.lit", "juliet"));
		assert.is_false(limits:allow("another@evil.lit", "evil.lit", "juliet"));
		assert.is_true(limits:allow("kind.lit", "kind.lit", "juliet"));
	end);

	it("let subdomains use no more of them than a few domains (E5, G29)", function ()
		local limits = rates.new(fake_module());
		local function ask(domain) return limits:allow(domain, domain, "juliet"); end
		assert.equal(20, count(function () return ask "evil.co.lit"; end));
		assert.equal(10, count(function () return ask "kind.co.lit"; end));
		for i = 1, 100 do ask("d"..i..".co.lit"); end
		assert.equal(5, count(function () return ask "kind.lit"; end));
		assert.is_false(ask "new.co.lit");
		assert.is_false(ask "co.lit");
	end);

	it("end after an hour, and leave nothing behind (C8)", function ()
		local now, fake = time.monotonic(), fake_module();
		local limits = rates.new(fake);
		for i = 1, 20 do limits:allow(i.."@evil.lit", "evil.lit", "juliet"); end
		assert.is_false(limits:allow("x@evil.lit", "evil.lit", "juliet"));
		local _, tick = debug.getupvalue(fake.timers[1], 1);
		set_clock({ tick }, "now", function () return now + 3603; end);
		fake:run();
		set_clock({ tick }, "now", time.monotonic);
		assert.is_nil(next(limits.of_user));
		assert.same({ 0, 0 }, { limits.asked:count(), limits.of_all.used });
		assert.is_true(limits:allow("x@evil.lit", "evil.lit", "juliet"));
	end);

	it("let others ask, and do not grow without end, whoever asks without end (C8, D32, G29)", function ()
		local limits = rates.new(fake_module());
		for i = 1, 20000 do limits:allow("bot@a.lit", "a.lit", "a"..i); end
		assert.is_true(limits:allow("bot@b.lit", "b.lit", "juliet"));
		-- who is over the limit leaves nothing behind
		assert.equal(61, limits.asked:count());
		collectgarbage(); collectgarbage();
		local before = collectgarbage("count");
		local long = ("x"):rep(900);
		for i = 1, 25000 do limits:allow(long..i.."@"..long.."d"..i, long.."d"..i, long.."u"..i); end
		collectgarbage(); collectgarbage();
		assert.is_true(collectgarbage("count") - before < 40 * 1024, collectgarbage("count") - before);
		for _, kind in ipairs { "domain", "entity" } do assert.equal(5000, limits[kind]:count()); end
		assert.equal(20000, limits.asked:count());
	end);
end);

describe("delegation's way to show an address", function ()
	local address = display.address;

	it("quotes it, and sets a resource apart (E5)", function ()
		assert.equal('"ent.capulet.lit"', address "ent.capulet.lit");
		assert.equal('"bot@bot.evil.net" (resource "official example.com backup. Y…")',
			address "bot@bot.evil.net/official example.com backup. Your administrator has approved this");
		assert.equal('"jürgen@bücher.example"', address "jürgen@bücher.example");
	end);

	it("shows the end of a long domain, and the start of a long name (E5)", function ()
		local shown = address("a.friend.of.your.administrator.who.has.approved.this@"..("official-example-com."):rep(40).."evil.net");
		assert.matches('^"a%.friend%.of%.your%.administrator…@….*evil%.net"$', shown);
		assert.is_true(utf8.len(shown) < 100);
	end);

	it("has no characters that hide, steer, break lines or end the quotation (E5)", function ()
		for _, code in ipairs { 0x0A, 0x0D, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x180E, 0x2003, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202E,
				0x2060, 0x2066, 0x2067, 0x2069, 0x206F, 0x2800, 0x3000, 0x3164, 0xE000, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFFD, 0xE0041, 0x10FFFF, 0x22, 0x201C, 0x201D,
				0xFF02 } do
			for _, jid in ipairs { "a%sb@c.lit", "b@c%sd.lit", "b@c.lit/x%sy" } do
				local shown = address(jid:format(utf8.char(code)));
				assert.is_nil(shown:find(utf8.char(code), code == 0x22 and 100 or 1, true), ("U+%04X in %s"):format(code, jid));
				assert.equal(jid:find("/") and 4 or 2, select(2, shown:gsub('"', "")));
			end
		end
	end);
end);

describe("delegation's allowlist", function ()
	it("has what the operator lists, but never what locks users out (C5, D30)", function ()
		local bad = { "http://jabber.org/protocol/commands", "jabber:iq:auth", "jabber:iq:register", "urn:ietf:params:xml:ns:xmpp-bind",
			"urn:ietf:params:xml:ns:xmpp-session", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2", "urn:xmpp:carbons:2", "urn:xmpp:push:0",
			"urn:xmpp:blocking", "urn:xmpp:bind2:1", "urn:xmpp:cam:0", "xmpp:prosody.im/protocol/manage-clients", "urn:xmpp:privilege:2",
			"urn:xmpp:pars:0", "urn:xmpp:ibr-token:0", "urn:xmpp:delegation:2", "urn:xmpp:delegation:1", "challenge", "FORM_TYPE", "persist", "" };
		local list = { "urn:x:a", "vcard-temp", "urn:xmpp:delegation:2:bare:disco#info:*", "http://jabber.org/protocol/disco#items:*" };
		local set, problems = namespaces.parse(table.move(bad, 1, #bad, #list + 1, list), config.canonical);
		assert.same({ ["urn:x:a"] = true; ["vcard-temp"] = true; ["urn:xmpp:delegation:2:bare:disco#info:*"] = true;
			["urn:xmpp:delegation:2:bare:disco#items:*"] = true }, set);
		assert.equal(#bad, #problems);
		for i, problem in ipairs(problems) do
			assert.matches("^Option 'delegation_client_namespaces', entry \""..bad[i]:gsub("%p", "%%%0").."\": .*; this entry is skipped$", problem);
		end
	end);

	it("names namespaces for people, with the namespace itself (D33)", function ()
		assert.equal("Manage message archive (urn:xmpp:mam:2)", namespaces.label("urn:xmpp:mam:2"));
		assert.equal("Manage urn:x:a", namespaces.label("urn:x:a"));
	end);
end);
