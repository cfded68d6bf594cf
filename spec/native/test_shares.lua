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
	lu.assertNil(next(shares.by_domain));
	lu.assertNil(next(shares.by_account));
end;

return TestShares;
