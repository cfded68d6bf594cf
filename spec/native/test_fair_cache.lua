-- SPDX-License-Identifier: MIT
-- prosody_relay.fair_cache: who fills it loses its own entries (G29, F18).

local lu = require "luaunit";
local time = require "util.time";

local monotonic, clock = time.monotonic, 1000;
time.monotonic = function () return clock; end;
package.loaded["prosody_relay.fair_cache"] = nil;
local fair_cache = require "prosody_relay.fair_cache";
time.monotonic = monotonic;
package.loaded["prosody_relay.fair_cache"] = nil;

local TestFairCache = {};

-- how many of the keys with these numbers are there
local function count(cache, pattern, from, to)
	local found = 0;
	for i = from, to do
		if cache:get(pattern:format(i)) then found = found + 1; end
	end
	return found;
end

TestFairCache["test (G29 F18) a domain that fills the cache loses its own oldest entries"] = function ()
	local cache = fair_cache.new(10);
	cache:set("a", "room@good.example", 1);
	for i = 1, 100 do cache:set("bad" .. i, "room" .. i .. "@bad.example", i); end
	lu.assertEquals(cache:get("a"), 1);
	lu.assertEquals(cache:get("bad100"), 100);
	lu.assertNil(cache:get("bad1"));
	local bad = count(cache, "bad%d", 1, 100);
	lu.assertTrue(bad >= 4 and bad <= 5, bad);
	-- and newcomers find a place, whoever is there
	for i = 1, 100 do
		cache:set("new" .. i, "new" .. i .. ".example", i);
		lu.assertEquals(cache:get("new" .. i), i);
	end
	lu.assertEquals(cache:count(), 10);
end;

TestFairCache["test (G29) an entry changes and goes"] = function ()
	local cache = fair_cache.new(2);
	cache:set("a", "x@one.example", 1);
	cache:set("a", "x@one.example", 2);
	lu.assertEquals(cache:get("a"), 2);
	cache:set("a", "x@two.example", 3);
	lu.assertEquals(cache:get("a"), 3);
	cache:set("a", "x@two.example", nil);
	cache:set("b", "x@two.example", nil);
	lu.assertNil(cache:get("a"));
	lu.assertEquals({ next(cache.keys), cache:count(), cache.shares.used }, { nil, 0, 0 });
end;

TestFairCache["test (G29) an account has a share of its own, and costs its domain no more"] = function ()
	local cache = fair_cache.new(100, 10);
	for i = 1, 200 do cache:set("flood" .. i, "flood@x/" .. i, true); end
	lu.assertEquals({ count(cache, "flood%d", 1, 10), cache:count() }, { 10, 10 });
	for i = 1, 200 do cache:set("x" .. i, i .. "@x", true); end
	for i = 1, 10 do cache:set("flood" .. i, "flood@x", true); end
	lu.assertEquals({ count(cache, "flood%d", 1, 10), count(cache, "x%d", 161, 200), cache:count() }, { 10, 40, 50 });
	lu.assertNil(cache:set("flood", "flood@x", true));
	lu.assertEquals({ count(cache, "flood%d", 1, 10), count(cache, "x%d", 161, 200) }, { 10, 40 });
	-- what is larger than that has no place, and takes none
	lu.assertNil(cache:set("large", "a@z", true, 11));
	lu.assertEquals(cache:count(), 50);
	lu.assertTrue(cache:set("large", "a@z", true, 10));
end;

TestFairCache["test (G29) domains have half of what is free, and a newcomer a place of the largest"] = function ()
	local cache = fair_cache.new(100);
	for domain = 1, 6 do
		for i = 1, 200 do cache:set(domain .. "key" .. i, i .. "@" .. domain, true); end
	end
	lu.assertEquals({ count(cache, "1key%d", 151, 200), count(cache, "2key%d", 176, 200), cache:count() }, { 50, 25, 99 });
	for i = 1, 20 do lu.assertTrue(cache:set("new" .. i, "new" .. i, true)); end
	lu.assertEquals({ count(cache, "new%d", 1, 20), count(cache, "1key%d", 170, 200), count(cache, "2key%d", 176, 200) }, { 20, 31, 25 });
	lu.assertEquals(cache:count(), 100);
end;

TestFairCache["test (G29) subdomains make room for each other, not others for them"] = function ()
	local cache = fair_cache.new(100);
	for i = 1, 200 do cache:set("large" .. i, "large.example", true); end
	for i = 1, 10 do cache:set("kind" .. i, "kind.co.example", true); end
	-- who writes most loses its own
	for i = 1, 200 do cache:set("evil" .. i, "evil.co.example", true); end
	lu.assertEquals({ count(cache, "evil%d", 191, 200), count(cache, "kind%d", 1, 10), cache:count() }, { 10, 10, 80 });
	-- and the family keeps to its share, whatever names it has
	for i = 1, 200 do lu.assertTrue(cache:set("d" .. i, "d" .. i .. ".co.example", true)); end
	lu.assertEquals({ count(cache, "large%d", 151, 200), cache:get("d200"), cache:count() }, { 50, true, 75 });
	for i = 1, 50 do lu.assertTrue(cache:set("new" .. i, "new" .. i .. ".example", true)); end
	lu.assertEquals(count(cache, "new%d", 1, 50), 50);
end;

TestFairCache["test (G29) amounts"] = function ()
	local cache = fair_cache.new(100);
	for i = 1, 10 do cache:set("x" .. i, i .. "@x", true, 20); end
	lu.assertEquals({ count(cache, "x%d", 8, 10), cache:count(), cache.shares.used }, { 3, 3, 60 });
	cache:set("x10", "10@x", true, 1);
	cache:set("x11", "11@x", true, 29);
	lu.assertEquals({ count(cache, "x%d", 9, 11), cache:count(), cache.shares.used }, { 3, 3, 50 });
end;

TestFairCache["test (G29) who is silent makes room, also over a reload"] = function ()
	local cache = fair_cache.new(100, 10, 600);
	for i = 1, 30 do cache:set("x" .. i, i .. "@x", true); end
	for i = 1, 20 do cache:set("y" .. i, i .. "@y", true); end
	for i = 1, 10 do cache:set("flood" .. i, "flood@z", true); end
	clock = clock + 300;
	for i = 1, 10 do cache:set("x" .. i, i .. "@x", true); end
	cache = fair_cache.new(100, 10, 600):restore(cache:save());
	lu.assertEquals(cache:count(), 60);
	clock = clock + 299;
	lu.assertEquals(count(cache, "x%d", 1, 30), 30);
	clock = clock + 1;
	lu.assertEquals({ count(cache, "x%d", 1, 30), count(cache, "y%d", 1, 20) }, { 10, 0 });
	lu.assertTrue(cache:set("flood", "flood@z", true));
	lu.assertEquals(cache:count(), 11);
	lu.assertNil(cache.keys.y);
	for i = 1, 44 do cache:set("z" .. i, i .. "@z", true); end
	lu.assertEquals({ count(cache, "x%d", 1, 10), cache:count() }, { 10, 55 });
	clock = clock + 600;
	cache:set("a", "a@a", nil);
	lu.assertEquals(cache:count(), 0);
end;

TestFairCache["test (G29) what an earlier version kept obeys the limits of this one"] = function ()
	local cache = fair_cache.new(100, 50);
	for i = 1, 60 do cache:set("x" .. i, "a@x/" .. i, true); end
	for i = 1, 30 do cache:set("y" .. i, i .. "@y", true); end
	cache = fair_cache.new(10, 4):restore(cache:save());
	lu.assertEquals({ count(cache, "x%d", 1, 60), count(cache, "y%d", 28, 30), cache:count() }, { 4, 3, 7 });
	for i = 1, 20 do lu.assertTrue(cache:set("z" .. i, i .. "@z", true)); end
	cache = fair_cache.new(1):restore(cache:save());
	lu.assertEquals({ cache:count(), cache:get("z20") }, { 1, true });
end;

return TestFairCache;
