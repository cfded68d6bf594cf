-- SPDX-License-Identifier: MIT
-- prosody_relay.fair_cache: who fills it loses its own entries (G29, F18).

local lu = require "luaunit";
local fair_cache = require "prosody_relay.fair_cache";

local TestFairCache = {};

TestFairCache["test (G29 F18) a domain that fills the cache loses its own oldest entries"] = function ()
	local cache = fair_cache.new(10);
	cache:set("a", "room@good.example", 1);
	for i = 1, 100 do cache:set("bad" .. i, "room" .. i .. "@bad.example", i); end
	lu.assertEquals(cache:get("a"), 1);
	lu.assertEquals(cache:get("bad100"), 100);
	lu.assertNil(cache:get("bad1"));
	local count = 0;
	for i = 1, 100 do count = count + (cache:get("bad" .. i) and 1 or 0); end
	lu.assertTrue(count >= 4 and count <= 5, count);
	-- and newcomers find a place, whoever is there
	for i = 1, 100 do
		cache:set("new" .. i, "new" .. i .. ".example", i);
		lu.assertEquals(cache:get("new" .. i), i);
	end
	local all = 0;
	for key in pairs(cache.domain_of) do all = all + (cache:get(key) and 1 or 0); end
	lu.assertEquals(all, 10);
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
	lu.assertEquals({ next(cache.domains), next(cache.domain_of), cache.shares.used }, { nil, nil, 0 });
end;

return TestFairCache;
