-- SPDX-License-Identifier: MIT
-- prosody_relay.shares: what each account and domain may hold of a common table (G29).

local lu = require "luaunit";
local new = require "prosody_relay.shares".new;

local TestShares = {};

-- How many entries those JIDs get who take in turn until all are refused
local function fill(shares, ...)
	local counts, refused = {}, 0;
	local jids = { ... };
	while refused < #jids do
		refused = 0;
		for i, jid in ipairs(jids) do
			if shares:take(jid) then counts[i] = (counts[i] or 0) + 1; else refused = refused + 1; end
		end
	end
	return counts;
end

TestShares["test (G29) one domain gets half, two a third each"] = function ()
	lu.assertEquals(fill(new(100), "a@evil.example/x"), { 50 });
	local two = fill(new(99), "a@evil.example", "b@worse.example");
	lu.assertAlmostEquals(two[1], 33, 1);
	lu.assertAlmostEquals(two[2], 33, 1);
end;

TestShares["test (G29) a newcomer finds a place, whatever others hold"] = function ()
	local shares = new(100);
	for i = 1, 5 do fill(shares, "x@evil" .. i .. ".example"); end
	lu.assertTrue(shares:take("juliet@capulet.example"));
end;

TestShares["test (G29) any number of subdomains count as one domain"] = function ()
	for _, pattern in ipairs { "a@d%d.evil.example", "d%d.deep.evil.example/x", "a@[2001:db8::%d]", "a@192.0.2.%d" } do
		local shares = new(100);
		for i = 1, 1000 do shares:take(pattern:format(i)); end
		-- a domain that holds nothing is not what is full
		lu.assertEquals(shares:refusal(pattern:format(2000)), "family");
		lu.assertEquals(shares.used, 50);
		lu.assertEquals(fill(shares, "juliet@capulet.example"), { 25 });
	end
	lu.assertEquals(fill(new(100), "evil.example"), { 50 });
end;

TestShares["test (G29) subdomains that take all they may leave something to others"] = function ()
	local shares, taken = new(160), {};
	for i = 1, 20 do taken[i] = fill(shares, "a@d" .. i .. ".evil.example")[1]; end
	lu.assertEquals(taken, { 80, 40, 20 });
	lu.assertEquals(fill(shares, "juliet@capulet.example"), { 10 });
end;

TestShares["test (G29) a few domains of one suffix are strangers to each other"] = function ()
	local shares = new(90);
	lu.assertEquals(fill(shares, "a@evil.co.example"), { 45 });
	lu.assertEquals(fill(shares, "b@kind.co.example"), { 23 });
	lu.assertTrue(shares:take("c@good.co.example"));
	lu.assertEquals(shares:refusal("d@late.co.example"), "family");
	lu.assertEquals(fill(shares, "juliet@capulet.example"), { 11 });
	lu.assertEquals(shares:largest(), "evil.co.example");
	lu.assertEquals(shares:largest("d@new.co.example"), "evil.co.example");
	lu.assertEquals(shares:largest("new.capulet.example"), "capulet.example");
	lu.assertNil(shares:largest("other.example"));
	shares:give("a@evil.co.example", 45);
	lu.assertEquals(shares:largest("co.example"), "kind.co.example");
	lu.assertTrue(shares:take("d@late.co.example"));
end;

TestShares["test (G29) what subdomains share is found in any name at once"] = function ()
	for name, family in pairs {
		["a@b.c.d.e/f.g.h"] = "d.e"; ["d.e"] = "d.e"; ["localhost"] = "localhost"; ["a@[::1]"] = "["; ["[::ffff:192.0.2.1]"] = "["; [".c.d"] = "c.d";
		["a@192.0.2.1"] = "192.0"; ["a.192.0.2.1"] = "2.1"; ["192.0.2.1.d"] = "1.d";
	} do
		lu.assertEquals(new(1).family_of(name), family);
	end
	-- quadratic time would take minutes
	for _, name in ipairs { ("x"):rep(1000), ("."):rep(1000), ("x."):rep(500), ("x"):rep(998) .. ".y" } do
		for i = 1, 5000 do new(1).family_of(i .. name); end
	end
end;

TestShares["test (G29) the largest domain is found without a look at each name"] = function ()
	local shares, calls = new(100000), 0;
	for i = 1, 1000 do shares:hold("d" .. i .. ".evil" .. i % 10 .. ".example"); end
	shares:hold("d7.evil7.example");
	local family_of = shares.family_of;
	getmetatable(shares).__index.family_of = function (jid)
		calls = calls + 1;
		return family_of(jid);
	end;
	local found = { shares:largest("new.evil7.example"), shares:largest() };
	getmetatable(shares).__index.family_of = family_of;
	lu.assertEquals(found, { "d7.evil7.example", "d7.evil7.example" });
	lu.assertTrue(calls <= 1, calls);
end;

TestShares["test (G29) the smallest table has one place"] = function ()
	local shares = new(1);
	lu.assertTrue(shares:take("a@one.example"));
	lu.assertEquals({ shares:take("a@two.example") }, { nil, "total" });
	shares:give("a@one.example");
	lu.assertTrue(shares:take("a@two.example"));
end;

TestShares["test (G29) an account's resources share its limit"] = function ()
	local shares = new(100, 2);
	lu.assertTrue(shares:take("a@one.example/x"));
	lu.assertTrue(shares:take("a@one.example/y"));
	lu.assertEquals({ shares:take("a@one.example/z") }, { nil, "account" });
	lu.assertTrue(shares:take("b@one.example/x"));
	lu.assertEquals(shares:held_by("a@one.example/other"), 2);
end;

TestShares["test (G29) amounts, and the refusals' reasons"] = function ()
	local shares = new(1000, 400);
	lu.assertTrue(shares:take("a@one.example", 400));
	lu.assertEquals(shares:refusal("a@one.example", 1), "account");
	lu.assertEquals(shares:refusal("b@one.example", 201), "domain");
	lu.assertEquals(shares:refusal("b@two.example", 601), "total");
	lu.assertNil(shares:refusal("b@two.example", 400));
end;

TestShares["test (G29) what was given back leaves nothing behind"] = function ()
	local shares = new(100000);
	for i = 1, 1000 do shares:hold("user" .. i .. "@d" .. i .. ".example"); end
	for i = 1, 1000 do shares:give("user" .. i .. "@d" .. i .. ".example"); end
	lu.assertEquals(shares.used, 0);
	lu.assertNil(next(shares.by_family));
	lu.assertNil(next(shares.members));
	lu.assertNil(next(shares.by_domain));
	lu.assertNil(next(shares.by_account));
end;

return TestShares;
