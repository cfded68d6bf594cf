-- SPDX-License-Identifier: MIT
-- Several Lua states in one process, and states that run out of memory.

local lu = require "luaunit";
local other_state = require "other_state";

local TestStates = {};

local function new_state()
	local state = other_state.new();
	lu.assertTrue(state:run(([[
		package.path, package.cpath = %q, %q;
		local _ = pcall(require, "prosody.loader") or pcall(require, "loader");
		-- Prosody's own keeps ICU's tables in a static of the process. It loses them when the next state opens its own.
		local function same(s) return s; end
		package.loaded["util.encodings"] = {
			utf8 = { valid = utf8.len }; stringprep = { nodeprep = same; nameprep = same; resourceprep = same };
		};
		jid, jat, fanout = require "prosody_relay.jid", require "prosody_relay.jat", require "prosody_relay.fanout";
		native = require "prosody_relay.stanza".native;
		st = require "util.stanza";
	]]):format(package.path, package.cpath)));
	return state;
end

local function run(state, code)
	local ok, result = state:run(code);
	lu.assertTrue(ok, result);
	return result;
end

TestStates["test (A11) states do not see each other"] = function ()
	local a, b = new_state(), new_state();
	run(a, [[
		list, codec = fanout.new(), jat.new(("a"):rep(16));
		list:add("juliet@capulet.lit/balcony", "Juliet", "link");
		-- everything of this state that another one could share
		getmetatable(list).__index.count = function () return "changed"; end;
		getmetatable(codec).__index.encode = function () return "changed"; end;
		require "prosody_relay.jid_c".escape = nil;
		jid.escape = nil;
	]]);
	local in_b = [[
		list, codec = list or fanout.new(), codec or jat.new(("b"):rep(16));
		return table.concat({ list:count(), list:count_group("link"), jid.escape("a b"), codec:decode(codec:encode("x")),
			tostring(fanout.view(st.message({ to = "t" }))), tostring(jat.new(("a"):rep(16)):encode("x")) }, " ");
	]];
	local result = run(b, in_b);
	lu.assertStrContains(result, "0 0 a\\20b x <message to='t'/> @");
	lu.assertStrContains(result, require "prosody_relay.jat".new(("a"):rep(16)):encode("x"));
	lu.assertEquals(run(a, "return list:count()"), "changed");
	-- and the end of one is nothing to the other
	a:close();
	lu.assertEquals(run(b, in_b), result);
	b:close();
	lu.assertEquals(require "prosody_relay.jid".escape("a b"), "a\\20b");
end;

-- Lets `attempt` run out of memory after each number of allocations in turn, until there is enough. In between, `check` must find
-- everything as it was before; after success, as `attempt` left it. Returns how often memory ran out.
local function exhaust(state, prepare, attempt, check)
	run(state, ("function attempt() %s end"):format(attempt));
	run(state, ("function check(succeeded) %s end"):format(check));
	run(state, prepare);
	local failures = 0;
	while true do
		state:fail_after(failures);
		local ok, message = state:run("attempt()");
		state:fail_after(nil);
		if ok then break; end
		lu.assertStrContains(message, "not enough memory");
		run(state, "check(false)");
		failures = failures + 1;
		lu.assertTrue(failures < 1000, "never enough memory");
	end
	run(state, "check(true)");
	return failures;
end

TestStates["test (A10) adding without memory changes nothing"] = function ()
	-- the sizes at which tables and the block grow, and others
	for _, size in ipairs { 0, 1, 3, 4, 8, 9, 15, 16, 24, 33, 100 } do
		for _, group in ipairs { "nil", "'old'", "'new'" } do
			local state = new_state();
			local failures = exhaust(state, ([[
				list, size, group = fanout.new(), %d, %s;
				list:add("first", "nick", "old");
				for i = 1, size do list:add("jid" .. i, "nick", i %% 3 == 0 and "link" .. i or nil); end
				before = list:count_group("old");
			]]):format(size, group), [[
				list:add("another", "nick", group);
			]], [[
				local extra = succeeded and 1 or 0;
				assert(list:count() == size + 1 + extra, "count");
				local there = {};
				for _, jid in ipairs(list:by_nick("nick")) do there[jid] = true; end
				assert((there.another ~= nil) == succeeded, "lookup");
				assert(there.first and (size == 0 or there["jid" .. size]), "others");
				assert(list:add("first", "other") == nil, "found");
				assert(#list:by_nick("nick") == size + 1 + extra, "nick");
				assert(list:count_group("new") == (group == "new" and extra or 0), "new link");
				assert(list:count_group("old") == before + (group == "old" and extra or 0), "old link");
				local visits = 0;
				for jid, nick in list:each() do
					assert(type(jid) == "string" and nick == "nick", "visit");
					visits = visits + 1;
				end
				assert(visits == size + 1 + (group == "old" and 0 or extra), "visits");
			]]);
			if size >= 15 and group == "'new'" then lu.assertTrue(failures > 0); end
			state:close();
		end
	end
end;

TestStates["test (A10) iterating removing and looking up without memory"] = function ()
	local state = new_state();
	lu.assertTrue(exhaust(state, [[
		list = fanout.new();
		for i = 1, 40 do list:add("jid" .. i, "nick", i % 2 == 0 and "link" or nil); end
	]], [[
		for _ in list:each("link") do end
		list:by_nick("nick");
		list:remove("jid40");
	]], [[
		assert(list:count() == (succeeded and 39 or 40));
		assert(#list:by_nick("nick") == list:count());
	]]) > 0);
	state:close();
end;

TestStates["test (A10) strings without memory"] = function ()
	local state = new_state();
	lu.assertTrue(exhaust(state, [[
		stanza = st.message({ id = "1" }, ("text "):rep(2000));
		long = ("@"):rep(5000);
		codec = jat.new(("k"):rep(16));
	]], [[
		jid.escape(long);
		jid.unescape(long .. "\\20");
		codec:decode(codec:encode(("j"):rep(700)));
		local view = fanout.view(stanza);
		for i = 1, 3 do tostring(view); end
		tostring(native(stanza));
		fanout.new();
	]], [[
		assert(stanza.attr.to == nil and stanza.attr.from == nil, "attributes");
		assert(jid.escape("a b") == "a\\20b");
	]]) > 10);
	state:close();
end;

return TestStates;
