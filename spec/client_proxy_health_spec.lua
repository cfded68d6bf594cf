-- SPDX-License-Identifier: MIT
-- mod_client_proxy without a server: admission of resources and their ejection, which take time or many answers.

local function load_lib(name, module)
	return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

describe("health of client_proxy", function ()
	local a, b = "impl@example/a", "impl@example/b";
	local pool, health, timers, module;

	before_each(function ()
		timers = {};
		module = { log = function () end };
		function module.add_timer(_, seconds, callback) timers[#timers + 1] = { seconds = seconds; callback = callback }; end
		pool = load_lib("pool").new(nil);
		for _, jid in ipairs { a, b } do pool:update(jid, "impl@example", 0); end
		health = load_lib("health", module).new(pool, 3, 30);
	end);

	local function fail(jid, times)
		for _ = 1, times do health:answered(jid, "urn:x", "feature-not-implemented"); end
	end
	local function is_out(jid) return pool:get(jid).ejected ~= nil; end

	it("ejects after failures in a row, of what others can (P5c)", function ()
		fail(b, 9);
		assert.is_false(is_out(b)); -- nobody has shown that it can be done
		health:answered(a, "urn:x");
		fail(b, 2);
		health:answered(b, "urn:x", "item-not-found"); -- an answer
		fail(b, 2);
		health:answered(b, "urn:y", "service-unavailable"); -- another namespace
		assert.is_false(is_out(b));
		health:answered(b, "urn:x", "service-unavailable");
		assert.is_true(is_out(b));
		assert.equal(30, timers[1].seconds);
		assert.equal(1, #timers);
	end);

	it("ejects who keeps silent, but not the last one (P5c)", function ()
		for _ = 1, 3 do health:silent(a); end
		assert.is_true(is_out(a));
		for _ = 1, 9 do health:silent(b); end
		assert.is_false(is_out(b));
	end);

	it("asks an ejected resource again, on trial and later each time (P5c)", function ()
		health:answered(a, "urn:x");
		fail(b, 3);
		local waited = {};
		for i = 1, 7 do
			assert.is_true(is_out(b));
			health:answered(b, "urn:x"); -- a late answer does not bring it back
			assert.is_true(is_out(b));
			waited[i] = timers[i].seconds;
			timers[i].callback();
			assert.is_false(is_out(b));
			fail(b, 1);
		end
		assert.same({ 30, 60, 120, 240, 480, 600, 600 }, waited);
		timers[8].callback();
		health:answered(b, "urn:x"); -- recovered
		fail(b, 2);
		assert.is_false(is_out(b));
		fail(b, 1);
		assert.equal(30, timers[9].seconds);
	end);

	it("forgets who has gone, and remembers over a reload (P5c, P21)", function ()
		health:answered(a, "urn:x");
		fail(b, 3);
		pool:remove(b);
		health:forget(b);
		pool:update(b, "impl@example", 0);
		timers[1].callback();
		fail(b, 2);
		assert.is_false(is_out(b));
		fail(b, 1);
		pool = load_lib("pool").new(nil, pool:save());
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		assert.is_true(is_out(b));
		timers[3].callback();
		assert.is_false(is_out(b));
	end);

	it("keeps out whom an administrator ejected, until readmitted", function ()
		health:answered(a, "urn:x");
		fail(b, 3);
		assert.is_true(health:hold(b));
		timers[1].callback();
		assert.is_true(is_out(b));
		pool = load_lib("pool").new(nil, pool:save());
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		assert.equal(1, #timers);
		assert.is_true(is_out(b));
		assert.is_true(health:readmit(b));
		assert.is_false(is_out(b));
		assert.is_false(health:readmit(b));
		health:answered(a, "urn:x");
		fail(b, 2);
		assert.is_false(is_out(b));
		assert.is_false(health:hold("impl@example/unknown"));
	end);

	it("puts back who has failed when nobody else is left, but nobody left out by hand (P5c)", function ()
		local was_empty = false;
		pool:watch(function () was_empty = was_empty or pool:count() == 0; end);
		health:answered(a, "urn:x");
		fail(b, 3);
		pool:remove(a);
		assert.is_false(is_out(b));
		assert.equal(1, pool:count());
		assert.is_false(was_empty);
		-- on trial, and the end of the first ejection is not that of the second
		pool:update(a, "impl@example", 0);
		fail(b, 1);
		assert.is_true(is_out(b));
		timers[1].callback();
		assert.is_true(is_out(b));
		pool:bar(a, "show is dnd");
		assert.is_false(is_out(b));
		pool:bar(a, nil);
		health:hold(b);
		pool:remove(a);
		assert.is_true(is_out(b));
		assert.is_true(was_empty);
	end);

	it("ejects nobody when that is switched off (P5c)", function ()
		health = load_lib("health", module).new(pool, 0, 30);
		for _ = 1, 9 do health:silent(a); end
		assert.is_false(is_out(a));
	end);
end);
