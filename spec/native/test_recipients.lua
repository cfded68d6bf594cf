-- SPDX-License-Identifier: MIT
-- prosody_relay.fanout, the recipient list: against a list in plain Lua as the oracle, and what an oracle cannot show.

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local random = require "random_input";
local new_oracle = require "recipients_oracle";

local TestRecipients = {};

local function visits(list, except_group)
	local result = {};
	for jid, nick, group in list:each(except_group) do
		table.insert(result, { jid, nick, group });
	end
	return result;
end

local function sorted(list)
	table.sort(list);
	return list;
end

local function compare(list, oracle, nicks, groups)
	lu.assertEquals(list:count(), oracle:count());
	lu.assertEquals(list:count_group(nil), oracle:count_group(nil));
	for _, nick in ipairs(nicks) do lu.assertEquals(sorted(list:by_nick(nick)), sorted(oracle:by_nick(nick))); end
	for _, group in ipairs(groups) do lu.assertEquals(list:count_group(group), oracle:count_group(group)); end
	lu.assertEquals(visits(list), oracle:visits());
	local group = random.pick(groups);
	lu.assertEquals(visits(list, group), oracle:visits(group));
end

local function names(prefix, count, padding)
	local result = {};
	for i = 1, count do result[i] = prefix .. i .. padding; end
	return result;
end

TestRecipients["test (A8) random operations agree with the oracle"] = function ()
	for round = 1, 12 do
		-- short strings are interned by Lua, long ones are not: equal ones are different objects
		local padding = round % 2 == 0 and "" or ("x"):rep(60);
		local jids, nicks = names("user@host/", round * 6, padding), names("nick", 5, padding);
		local groups = names("link", 4, padding);
		local list, oracle = fanout.new(), new_oracle();
		for _ = 1, 400 do
			local jid, nick = random.pick(jids) .. "", random.pick(nicks);
			if random.integer(5) <= 3 then
				local group = random.integer(2) == 1 and random.pick(groups) or nil;
				lu.assertEquals({ list:add(jid, nick, group) }, { oracle:add(jid, nick, group) });
			else
				lu.assertEquals({ list:remove(jid) }, { oracle:remove(jid) });
			end
			if random.integer(10) == 1 then compare(list, oracle, nicks, groups); end
		end
		compare(list, oracle, nicks, groups);
		for _, jid in ipairs(jids) do lu.assertEquals({ list:remove(jid) }, { oracle:remove(jid) }); end
		compare(list, oracle, nicks, groups);
	end
end;

TestRecipients["test (A8) lookup by jid and nick"] = function ()
	local list = fanout.new();
	lu.assertTrue(list:add("juliet@capulet.lit/balcony", "Juliet"));
	lu.assertTrue(list:add("juliet@capulet.lit/chamber", "Juliet"));
	lu.assertTrue(list:add("romeo@montague.lit/orchard", "Romeo", "mirror.montague.lit"));
	lu.assertNil(list:remove("nurse@capulet.lit/x"));
	lu.assertEquals(sorted(list:by_nick("Juliet")), { "juliet@capulet.lit/balcony", "juliet@capulet.lit/chamber" });
	lu.assertEquals(list:by_nick("Nurse"), {});
	lu.assertEquals({ list:add("romeo@montague.lit/orchard", "Other") }, { nil, "exists" });
	lu.assertEquals(list:by_nick("Other"), {});
	lu.assertEquals({ list:remove("romeo@montague.lit/orchard") }, { "Romeo", "mirror.montague.lit" });
	lu.assertNil(list:remove("romeo@montague.lit/orchard"));
	lu.assertEquals(list:count_group("mirror.montague.lit"), 0);
end;

TestRecipients["test (A8) a string is jid nick and link at once"] = function ()
	local list = fanout.new();
	list:add("same", "same", "same");
	list:add("other", "same");
	lu.assertEquals(visits(list), { { "other", "same" }, { "same", "same", "same" } });
	lu.assertEquals(#list:by_nick("same"), 2);
	lu.assertEquals(list:count_group("same"), 1);
end;

TestRecipients["test (A8) one copy for each link"] = function ()
	local list = fanout.new();
	list:add("r1@b/x", "r1", "b");
	list:add("l1@a/x", "l1");
	list:add("r2@b/x", "r2", "b");
	list:add("r3@c/x", "r3", "c");
	list:add("l2@a/x", "l2");
	lu.assertEquals(visits(list), { { "l1@a/x", "l1" }, { "l2@a/x", "l2" }, { "r1@b/x", "r1", "b" }, { "r3@c/x", "r3", "c" } });
	lu.assertEquals(visits(list, "b"), { { "l1@a/x", "l1" }, { "l2@a/x", "l2" }, { "r3@c/x", "r3", "c" } });
	lu.assertEquals(visits(list, "nowhere"), visits(list));
	-- without the member who stood for a link the link is still served
	list:remove("r1@b/x");
	lu.assertEquals(visits(list)[3], { "r2@b/x", "r2", "b" });
end;

-- Whatever is removed while iterating, everybody who stays is visited once, and nobody who is gone.
TestRecipients["test (A8) removal while iterating"] = function ()
	for _ = 1, 300 do
		local list, present, jids = fanout.new(), {}, {};
		for i = 1, 12 do
			jids[i] = "jid" .. i;
			present[jids[i]] = random.integer(2) == 1 and "link" .. random.integer(3) or "local";
			list:add(jids[i], "nick", present[jids[i]] ~= "local" and present[jids[i]] or nil);
		end
		local visited = {};
		for jid, _, group in list:each() do
			lu.assertEquals(group or "local", present[jid], "visited after it was removed");
			local key = group or jid;
			lu.assertNil(visited[key], "visited twice");
			visited[key] = true;
			for _ = 1, random.integer(0, 2) do
				local gone = random.pick(jids);
				if present[gone] then
					list:remove(gone);
					present[gone] = nil;
				end
			end
		end
		for jid, group in pairs(present) do
			lu.assertTrue(visited[group ~= "local" and group or jid], "left out");
		end
	end
end;

TestRecipients["test (A8) what is added while iterating is not visited"] = function ()
	local list = fanout.new();
	list:add("a", "a");
	list:add("b", "b", "link");
	local seen = {};
	for jid in list:each() do
		table.insert(seen, jid);
		-- takes the place of the removed one in memory, but is not the one that was to be visited
		list:remove(jid);
		for i = 1, 50 do list:add(jid .. i .. #seen, "new", i % 2 == 0 and "link" .. i or nil); end
	end
	lu.assertEquals(seen, { "a", "b" });
	lu.assertEquals(list:count(), 100);
end;

TestRecipients["test (A8) a link that ends and comes back while iterating is another one"] = function ()
	local list = fanout.new();
	list:add("a", "a");
	list:add("b", "b", "link");
	local seen = {};
	for jid in list:each() do
		table.insert(seen, jid);
		list:remove("b");
		list:add("c", "c", "link");
	end
	lu.assertEquals(seen, { "a" });
end;

TestRecipients["test (A8) the iterator keeps the list alive"] = function ()
	local list = fanout.new();
	for i = 1, 100 do list:add("jid" .. i, "nick" .. i); end
	local iterator = list:each();
	list = nil; -- luacheck: ignore 311
	for i = 1, 100 do
		collectgarbage();
		lu.assertEquals(iterator(), "jid" .. i);
	end
	lu.assertNil(iterator());
	lu.assertNil(iterator());
end;

-- 10^5 recipients; the strings are the caller's.
TestRecipients["test (A8) memory and time at a hundred thousand"] = function ()
	local size = 100000;
	local jids, nicks, links = names("user@example.net/", size, ""), names("nick", size, ""), names("link", 50, "");
	local function memory()
		collectgarbage();
		collectgarbage();
		return collectgarbage("count") * 1024;
	end
	local list, before = fanout.new(), memory();
	for i = 1, size do list:add(jids[i], nicks[i], i % 3 == 0 and links[i % 50 + 1] or nil); end
	local overhead = (memory() - before) / size;
	lu.assertTrue(overhead < 100, overhead .. " bytes each");
	lu.assertEquals(list:count(), size);
	for i = 1, size, 97 do lu.assertEquals(list:by_nick(nicks[i]), { jids[i] }); end
	local count = 0;
	for _ in list:each() do count = count + 1; end
	lu.assertEquals(count, list:count_group(nil) + 50);
	for i = 1, size do list:remove(jids[i]); end
	lu.assertEquals(list:count(), 0);
end;

-- A room whose occupants come and go for weeks takes no more than one with as many who stay.
TestRecipients["test (A8) memory does not grow with those who left"] = function ()
	local list, jids, links = fanout.new(), names("user@example.net/", 20, ""), names("link", 20, "");
	local function come_and_go(times)
		for i = 1, times do
			local jid = jids[i % 20 + 1];
			list:add(jid, "nick", i % 3 == 0 and links[i % 20 + 1] or nil);
			if i % 20 > 3 then list:remove(jid); end
		end
		collectgarbage();
		collectgarbage();
		return collectgarbage("count");
	end
	local before = come_and_go(1000);
	lu.assertTrue(come_and_go(20000) - before < 1);
	local padding = ("x"):rep(1000);
	for i = 1, 1000 do list:add(i .. padding, padding .. i); end
	for i = 1, 1000 do list:remove(i .. padding); end
	collectgarbage();
	lu.assertTrue(collectgarbage("count") - before < 200, "their strings are kept");
end;

TestRecipients["test (A10) wrong arguments are named and change nothing"] = function ()
	local list = fanout.new();
	list:add("jid", "nick");
	for position, arguments in ipairs { { nil, "nick", "link" }, { "jid2", 5, "link" }, { "jid2", "nick", true } } do
		lu.assertErrorMsgContains("bad argument #" .. position + 1, list.add, list, table.unpack(arguments, 1, 3));
	end
	for _, method in ipairs { "remove", "by_nick" } do
		lu.assertErrorMsgContains("bad argument #2", list[method], list, nil);
		lu.assertErrorMsgContains("string expected, got number", list[method], list, 5);
	end
	lu.assertErrorMsgContains("bad argument #2", list.count_group, list, 5);
	lu.assertErrorMsgContains("bad argument #2", list.each, list, {});
	for _, method in ipairs { "add", "remove", "by_nick", "count", "count_group", "each" } do
		lu.assertErrorMsgContains("prosody_relay.recipients expected", list[method], io.stdout, "jid", "nick");
		lu.assertErrorMsgContains("prosody_relay.recipients expected", list[method], nil, "jid", "nick");
	end
	lu.assertEquals(visits(list), { { "jid", "nick" } });
end;

return TestRecipients;
