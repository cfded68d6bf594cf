-- SPDX-License-Identifier: MIT
-- mod_client_proxy without a server: how each strategy distributes requests.

local module = {};

local function load_lib(name)
	return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

function module.require(_, name) return load_lib(name); end

describe("strategy of client_proxy", function ()
	local strategies, new_pool = load_lib("strategies"), load_lib("pool").new;
	local pool;

	local function new(name, count, saved)
		math.randomseed(7);
		pool = new_pool(strategies.new(name, saved));
		for i = 1, count do pool:update("impl@example/" .. i, "impl@example", 0); end
	end

	local function number(jid) return math.tointeger(jid:match("/(%d+)$")); end

	local function picked(tries, user)
		local count = {};
		for _ = 1, tries do
			local i = number(pool:pick(user, user));
			count[i] = (count[i] or 0) + 1;
		end
		return count;
	end

	-- within six standard deviations
	local function assert_near(expected, tries, got)
		local p = expected / tries;
		assert.is_true(math.abs(got - expected) <= 6 * math.sqrt(tries * p * (1 - p)), ("%d, not about %d"):format(got, expected));
	end

	it("random: each as often as the others (P5, P5b)", function ()
		new("random", 4);
		local count = picked(4000);
		for i = 1, 4 do assert_near(1000, 4000, count[i]); end
	end);

	it("round-robin: one after the other, exactly", function ()
		new("round-robin", 3);
		assert.same({ 5, 5, 5 }, picked(15));
		local first, second, third = pool:pick(), pool:pick(), pool:pick();
		assert.is_true(first ~= second and second ~= third and first ~= third);
		pool:remove("impl@example/2");
		assert.same({ [1] = 10, [3] = 10 }, picked(20));
	end);

	it("least-pending: who has least to do, by chance among several", function ()
		new("least-pending", 4);
		for i, load in ipairs { 3, 1, 0, 2 } do pool:add_load("impl@example/" .. i, load); end
		local order = {};
		for i = 1, 6 do
			local jid = pool:pick();
			pool:add_load(jid, 1);
			order[i] = number(jid);
		end
		assert.equal(3, order[1]);
		-- one of 2 and 3, then the other, then the three that have two, in some order
		assert.equal(5, order[2] + order[3]);
		assert.equal(9, order[4] + order[5] + order[6]);
		for i = 1, 4 do assert.equal(3, pool:get("impl@example/" .. i).load); end
		local count = picked(4000);
		for i = 1, 4 do assert_near(1000, 4000, count[i]); end
	end);

	it("priority: in proportion to the priority and one", function ()
		new("priority", 0);
		for i, priority in ipairs { 0, 2, 5, -1 } do pool:update("impl@example/" .. i, "impl@example", priority); end
		local count = picked(11000);
		for i, weight in ipairs { 1, 3, 6, 1 } do assert_near(weight * 1000, 11000, count[i]); end
	end);

	it("sticky: a user's requests go to one resource, the users to all", function ()
		new("sticky", 4);
		local home, users = {}, {};
		for i = 1, 4000 do
			local user = "user" .. i .. "@example";
			local jid = pool:pick(user, user);
			assert.equal(jid, pool:pick(user, user));
			home[user] = jid;
			users[number(jid)] = (users[number(jid)] or 0) + 1;
		end
		for i = 1, 4 do assert_near(1000, 4000, users[i]); end
		-- one more comes: all stay. One goes: its users go to all others, the rest stay, also when it returns.
		pool:update("impl@example/5", "impl@example", 0);
		for user, jid in pairs(home) do assert.equal(jid, pool:pick(user, user)); end
		pool:remove("impl@example/1");
		local moved = {};
		for user, jid in pairs(home) do
			local now_at = pool:pick(user, user);
			if number(jid) ~= 1 then
				assert.equal(jid, now_at);
			else
				moved[number(now_at)] = (moved[number(now_at)] or 0) + 1;
				home[user] = now_at;
			end
		end
		for i = 2, 5 do assert.is_true(moved[i] > 100); end
		pool:update("impl@example/1", "impl@example", 0);
		for user, jid in pairs(home) do assert.equal(jid, pool:pick(user, user)); end
		-- over a reload
		new("sticky", 5, pool.strategy:save());
		for user, jid in pairs(home) do assert.equal(jid, pool:pick(user, user)); end
	end);

	it("sticky: does not keep what users write, however long", function ()
		new("sticky", 4);
		local text = ("x"):rep(100000);
		local by_key = {};
		for i = 1, 50 do by_key[i] = pool:pick(text .. i, "user@example"); end
		for i = 1, 50 do assert.equal(by_key[i], pool:pick(text .. i, "user@example")); end
		local seen = {};
		for _, jid in ipairs(by_key) do seen[jid] = true; end
		assert.truthy(next(seen, next(seen)));
		local bytes = 0;
		for _, entry in ipairs(pool.strategy:save()) do bytes = bytes + #entry.key; end
		assert.is_true(bytes < 10000, bytes);
	end);

	it("does not choose who has too many requests in flight", function ()
		for _, name in ipairs(strategies.names) do
			new(name, 3);
			pool:add_load("impl@example/1", 2);
			pool:add_load("impl@example/3", 3);
			for _ = 1, 20 do assert.equal("impl@example/2", pool:pick("user@example", "user@example", nil, 2)); end
			assert.is_nil(pool:pick("user@example", "user@example", { ["impl@example/2"] = true }, 2));
		end
	end);

	it("does not choose who was tried", function ()
		for _, name in ipairs(strategies.names) do
			new(name, 3);
			local tried = { ["impl@example/1"] = true; ["impl@example/3"] = true };
			for _ = 1, 20 do assert.equal("impl@example/2", pool:pick("user@example/a", "user@example/a", tried)); end
			tried["impl@example/2"] = true;
			assert.is_nil(pool:pick("user@example/a", "user@example/a", tried));
		end
		assert.same({ "least-pending", "priority", "random", "round-robin", "sticky" }, strategies.names);
	end);
end);
