-- SPDX-License-Identifier: MIT
-- prosody_relay.pending with a clock that the test moves.

local lu = require "luaunit";

local clock = 1000.5;
local time_of_a_look = 0;

-- A fresh copy of the module that reads this clock.
local function load_pending()
	local time = require "util.time";
	package.loaded["util.time"] = { monotonic = function ()
		clock = clock + time_of_a_look;
		return clock;
	end };
	package.loaded["prosody_relay.pending"] = nil;
	local ok, pending = pcall(require, "prosody_relay.pending");
	package.loaded["util.time"], package.loaded["prosody_relay.pending"] = time, nil;
	assert(ok, pending);
	return pending;
end

local pending = load_pending();

local TestPending = {};

-- Prosody's timers as modules see them: a callback returns the seconds to its next call, or nil; an error ends it.
local function new_module()
	local module = { timers = {}; errors = {} };
	function module:add_timer(delay, callback)
		table.insert(self.timers, { at = clock + delay; callback = callback });
	end
	function module:log(level, ...)
		table.insert(self.errors, level .. ": " .. string.format(...));
	end
	function module:advance(seconds)
		local stop = clock + seconds;
		while true do
			local first;
			for i, timer in ipairs(self.timers) do
				if timer.at <= stop and (not first or timer.at < self.timers[first].at) then first = i; end
			end
			if not first then break; end
			local timer = table.remove(self.timers, first);
			clock = math.max(clock, timer.at);
			local ok, again = pcall(timer.callback);
			if ok and again then self:add_timer(again, timer.callback); end
		end
		clock = stop;
	end
	return module;
end

local function new_table(saved)
	local module, expired = new_module(), {};
	local waiting = pending.new(module, function (key, record) table.insert(expired, { key, record }); end, saved);
	return waiting, module, expired;
end

function TestPending.test_add_get_remove()
	local waiting = new_table();
	waiting:add("a", 1, 10);
	waiting:add("b", 2, 20);
	lu.assertEquals({ waiting:get("a"), waiting:get("b"), waiting:get("c"), waiting:count() }, { 1, 2, nil, 2 });
	lu.assertEquals(waiting:remove("a"), 1);
	lu.assertNil(waiting:remove("a"));
	lu.assertNil(waiting:get("a"));
	lu.assertEquals(waiting:count(), 1);
	lu.assertErrorMsgContains("already pending", waiting.add, waiting, "b", 3, 5);
	lu.assertEquals(waiting:get("b"), 2);
end

function TestPending.test_expires_once_within_two_seconds_after_its_time()
	for timeout = 0, 5, 0.25 do
		local waiting, module, expired = new_table();
		waiting:add("a", "record", timeout);
		module:advance(timeout - 0.001);
		lu.assertEquals(expired, {});
		module:advance(2.001);
		lu.assertEquals(expired, { { "a", "record" } });
		lu.assertEquals(waiting:count(), 0);
		module:advance(100);
		lu.assertEquals(#expired, 1);
	end
end

function TestPending.test_removed_entries_do_not_expire()
	local waiting, module, expired = new_table();
	waiting:add("a", 1, 5);
	waiting:add("b", 2, 5);
	waiting:remove("a");
	module:advance(10);
	lu.assertEquals(expired, { { "b", 2 } });
end

function TestPending.test_one_timer_and_none_when_empty()
	local waiting, module = new_table();
	lu.assertEquals(#module.timers, 0);
	for i = 1, 100 do waiting:add(i, i, i / 10); end
	lu.assertEquals(#module.timers, 1);
	module:advance(30);
	lu.assertEquals(#module.timers, 0);
	waiting:add("again", 1, 1);
	lu.assertEquals(#module.timers, 1);
	waiting:remove("again");
	waiting:add("and again", 1, 1);
	lu.assertEquals(#module.timers, 1);
	module:advance(10);
	lu.assertEquals(#module.timers, 0);
end

function TestPending.test_a_callback_may_add_and_remove()
	local module, expired, waiting = new_module(), {}, nil;
	waiting = pending.new(module, function (key)
		table.insert(expired, key);
		if #expired == 1 then
			-- both are due now, in either order; the other one goes and both come back with more time
			waiting:remove(key == "a" and "b" or "a");
			waiting:add("a", "again", 5);
			waiting:add("b", "again", 5);
		end
	end);
	waiting:add("a", 1, 1);
	waiting:add("b", 1, 1);
	module:advance(4);
	lu.assertEquals(#expired, 1);
	module:advance(5);
	lu.assertEquals(#expired, 3);
	lu.assertEquals(waiting:count(), 0);
	lu.assertEquals(#module.timers, 0);
end

-- One request whose answer cannot be made must not keep all others waiting for ever.
function TestPending.test_an_error_in_a_callback_does_not_end_the_clock()
	local module, expired = new_module(), {};
	local waiting = pending.new(module, function (key)
		if key == "bad" then error("cannot answer this one"); end
		table.insert(expired, key);
	end);
	waiting:add("bad", 1, 1);
	waiting:add("good", 1, 1);
	waiting:add("later", 1, 5);
	module:advance(3);
	lu.assertEquals(expired, { "good" });
	module:advance(5);
	lu.assertEquals(expired, { "good", "later" });
	lu.assertEquals(#module.errors, 1);
	lu.assertStrContains(module.errors[1], "cannot answer this one");
	waiting:add("more", 1, 1);
	module:advance(5);
	lu.assertEquals(expired, { "good", "later", "more" });
end

function TestPending.test_survives_a_reload()
	local waiting, old_module = new_table();
	waiting:add("a", 1, 10);
	waiting:add("b", 2, 1);
	local saved = waiting:save();
	old_module.timers = {}; -- they end with the module
	clock = clock + 5;
	local again, module, expired = new_table(saved);
	lu.assertEquals({ again:get("a"), again:get("b"), again:count() }, { 1, 2, 2 });
	module:advance(2); -- its time passed during the reload
	lu.assertEquals(expired, { { "b", 2 } });
	module:advance(2);
	lu.assertEquals(#expired, 1);
	module:advance(4);
	lu.assertEquals(expired[2], { "a", 1 });
end

-- However often it is saved: to round up each time would make an entry last a second longer with every reload.
function TestPending.test_many_reloads_cost_no_time()
	time_of_a_look = 0.000001;
	local waiting, module, expired = new_table();
	for i = 1, 50 do waiting:add(i, i, i / 10); end
	for _ = 1, 100 do waiting, module, expired = new_table(waiting:save()); end
	time_of_a_look = 0;
	module:advance(7);
	lu.assertEquals(#expired, 50);
end

function TestPending.test_each()
	local waiting = new_table();
	for i = 1, 50 do waiting:add("key" .. i, i, 10); end
	local sum = 0;
	for key, record in waiting:each() do
		sum = sum + record;
		waiting:remove(key);
	end
	lu.assertEquals(sum, 50 * 51 / 2);
	lu.assertEquals(waiting:count(), 0);
end

-- A flood that has passed leaves nothing behind.
function TestPending.test_memory_is_given_back()
	local module, expired = new_module(), 0;
	local waiting = pending.new(module, function () expired = expired + 1; end);
	collectgarbage();
	local before = collectgarbage("count");
	for i = 1, 20000 do waiting:add(i, {}, 1 + i % 7); end
	module:advance(20);
	lu.assertEquals(expired, 20000);
	collectgarbage();
	local kept = collectgarbage("count") - before;
	lu.assertTrue(kept < 50, kept .. " KiB are kept");
end

return TestPending;
