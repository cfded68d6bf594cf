-- SPDX-License-Identifier: MIT
-- The parts of mod_client_proxy without a server: what needs many tries, or much time.

local load_lib;
function load_lib(name, module)
	module = module or {};
	module.require = module.require or function (_, other) return load_lib(other, module); end;
	return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

describe("pool of client_proxy", function ()
	local new_pool, random = load_lib("pool").new, load_lib("strategies").new("random");

	local function new(saved) return new_pool(random, saved); end

	local function picked(pool, tries)
		local count = {};
		for _ = 1, tries do
			local jid = pool:pick();
			count[jid] = (count[jid] or 0) + 1;
		end
		return count;
	end

	it("picks among exactly those present, after any comings and goings (P5a)", function ()
		math.randomseed(5);
		local pool, present, size = new(), {}, 0;
		for _ = 1, 5000 do
			local jid = "impl@example/" .. math.random(12);
			local joins = math.random(2) == 1;
			if joins then
				assert.equal(not present[jid], pool:update(jid, "impl@example", 0));
			else
				assert.equal(present[jid] == true, pool:remove(jid));
			end
			size = size + (joins and not present[jid] and 1 or not joins and present[jid] and -1 or 0);
			present[jid] = joins or nil;
			assert.equal(size, pool:count());
			assert.equal(present[jid] == true, pool:has(jid));
			if size == 0 then
				assert.is_nil(pool:pick());
			else
				assert.is_true(present[pool:pick()]);
			end
		end
	end);

	it("picks each as often as the others, after some left (P5a, P5b)", function ()
		math.randomseed(5);
		local pool = new();
		for i = 1, 10 do pool:update("impl@example/" .. i, "impl@example", 0); end
		for _, i in ipairs { 1, 10, 5, 6 } do pool:remove("impl@example/" .. i); end
		local count = picked(pool, 6000);
		for _, i in ipairs { 2, 3, 4, 7, 8, 9 } do
			-- six standard deviations
			assert.is_true(math.abs(count["impl@example/" .. i] - 1000) < 6 * math.sqrt(6000 * 1/6 * 5/6));
		end
	end);

	it("knows the resources of each account", function ()
		local pool = new();
		pool:update("a@example/1", "a@example", 5, "dnd");
		pool:update("b@example/1", "b@example", 0);
		pool:update("a@example/2", "a@example", 0);
		local of_a = pool:of("a@example");
		table.sort(of_a);
		assert.same({ "a@example/1", "a@example/2" }, of_a);
		assert.same({}, pool:of("c@example"));
	end);

	it("asks nobody who is barred or ejected (P5c)", function ()
		math.randomseed(5);
		local pool = new();
		for _ = 1, 3000 do
			local jid = "impl@example/" .. math.random(8);
			local was, action = pool:get(jid), math.random(6);
			if action == 1 then pool:remove(jid);
			elseif action == 2 then pool:bar(jid, "why");
			elseif action == 3 then pool:eject(jid, "why");
			elseif action == 4 then pool:eject(jid);
			else pool:update(jid, "impl@example", 0, nil, nil, action == 5 and "why" or nil); end
			assert.equal(action > 4 or action ~= 1 and was ~= nil, pool:has(jid));
			local usable = 0;
			for _, member in pool:each() do
				if not member.barred and not member.ejected then usable = usable + 1; end
			end
			assert.equal(usable, pool:count());
			local chosen = pool:pick();
			assert.equal(usable == 0, chosen == nil);
			if chosen then assert.is_nil(pool:get(chosen).barred or pool:get(chosen).ejected); end
		end
	end);

	it("lives on in what it saved (P21)", function ()
		local pool = new();
		for i = 1, 3 do pool:update("impl@example/" .. i, "impl@example", 0); end
		pool:remove("impl@example/1");
		pool = new(pool:save());
		assert.is_true(pool:remove("impl@example/2"));
		assert.is_false(pool:update("impl@example/3", "impl@example", 1));
		assert.same({ ["impl@example/3"] = 9 }, picked(pool, 9));
	end);
end);

describe("addresses of client_proxy", function ()
	local prepped_split = require "util.jid".prepped_split;
	local host, key = "proxy.example", ("k"):rep(16);
	local new_addresses = load_lib("addresses").new;
	local function new(...) return new_addresses(...).encode; end

	local jids = {
		"x", "a.b", "j@x", "juliet@capulet.lit/balcony", "juliet@capulet.lit/\u{5de}\u{5e8}\u{5e4}", "juliet@capulet.lit/\u{634}\u{631}",
		"j@x/" .. ("r"):rep(1019), "j@x/" .. ("r"):rep(1020), "j@x/" .. ("\u{4e2d}"):rep(341),
		("n"):rep(1023) .. "@" .. ("h"):rep(63) .. "/" .. ("r"):rep(1023), ("n"):rep(1023) .. "@" .. ("h"):rep(63) .. "/" .. ("s"):rep(1023),
		("n"):rep(1023) .. "@" .. (("h"):rep(49) .. "."):rep(20) .. ("h"):rep(23) .. "/" .. ("r"):rep(1023),
	};

	it("are legal, different, and the same for the same user and key (P6, P7, P8)", function ()
		local encode, again, other = new(host, key, 100), new(host, key, 1), new(host, ("o"):rep(16), 100);
		local seen = {};
		for _, jid in ipairs(jids) do
			local address = encode(jid);
			local node, prepped_host, resource = prepped_split(address, true);
			assert.is_nil(node);
			assert.equal(address, prepped_host .. "/" .. resource);
			assert.is_true(#resource <= 1023);
			assert.is_nil(seen[address]);
			seen[address] = true;
			assert.equal(address, encode(jid));
			assert.equal(address, again(jid));
			-- only the plain form needs no key
			assert.equal(resource == jid, other(jid) == address);
		end
	end);

	it("say nothing of the user when they are hidden (client_proxy_jat)", function ()
		local encode, again, seen = new(host, key, 100, true), new(host, key, 1, true), {};
		for _, jid in ipairs(jids) do
			local address = encode(jid);
			local resource = address:sub(#host + 2);
			assert.truthy(resource:find("^@%.[%w_-]+$"));
			assert.is_true(#resource <= 64);
			assert.is_nil(seen[address]);
			seen[address] = true;
			assert.equal(address, again(jid));
		end
	end);

	it("are the user's own JID where that is legal (P6)", function ()
		local encode = new(host, key, 100);
		for i, jid in ipairs(jids) do
			local is_plain = i <= 4 or i == 7;
			assert.equal(is_plain, encode(jid) == host .. "/" .. jid, jid);
		end
	end);

	it("are known as given, also to the next instance, altered ones not (P10)", function ()
		for _, hidden in ipairs { false, true } do
			local addresses = new_addresses(host, key, 100, hidden);
			local stranger = new_addresses(host, ("o"):rep(16), 100, hidden);
			for _, jid in ipairs(jids) do addresses.encode(jid); end
			local reloaded = new_addresses(host, key, 100, hidden, addresses.save());
			for _, jid in ipairs(jids) do
				local address = addresses.encode(jid);
				assert.is_true(addresses.is_given(address), jid);
				assert.is_true(reloaded.is_given(address), jid);
				assert.is_false(stranger.is_given(address), jid);
				-- only the plain form has to be remembered
				assert.equal(address ~= host .. "/" .. jid, new_addresses(host, key, 100).is_given(address));
				assert.is_false(addresses.is_given(address:sub(1, -2)), jid);
				assert.is_false(addresses.is_given("other.example/" .. address:sub(#host + 2)), jid);
			end
			for _, nobody in ipairs { host, host .. "/", host .. "/@", host .. "/@.", "node@" .. host, host .. "/romeo@x" } do
				assert.is_false(addresses.is_given(nobody), nobody);
			end
		end
	end);

	it("are remembered of the last users, over any number of instances (P10)", function ()
		local addresses = new_addresses(host, key, 2);
		for _, jid in ipairs { "a@x", "b@x", "c@x" } do addresses.encode(jid); end
		for _ = 1, 3 do addresses = new_addresses(host, key, 2, false, addresses.save()); end
		assert.is_false(addresses.is_given(host .. "/a@x"));
		addresses.encode("d@x");
		assert.is_false(addresses.is_given(host .. "/b@x"));
		assert.is_true(addresses.is_given(host .. "/c@x"));
	end);
end);

describe("subscriptions of client_proxy", function ()
	local target = "impl@example";
	local sent, timers, approvals, module, subscriptions;

	local new = function (saved)
		sent, timers, approvals = {}, {}, 0;
		module = { host = "proxy.example" };
		function module.require() return { approve = function () approvals = approvals + 1; end }; end
		function module.send(_, stanza) sent[#sent + 1] = stanza.attr.type; end
		function module.hook_global() end
		function module.add_timer(_, delay, callback)
			local timer = { delay = delay; callback = callback };
			function timer.stop() timers[timer] = nil; end
			timers[timer] = true;
			return timer;
		end
		_G.prosody = { start_time = 1; hosts = {} };
		subscriptions = load_lib("subscriptions", module).new({ target }, saved);
		subscriptions:start();
	end;

	after_each(function () _G.prosody = nil; end);

	local function fire()
		local timer = assert(next(timers), "no timer");
		assert.is_nil(next(timers, timer), "more than one timer");
		timers[timer] = nil;
		timer.callback();
		return timer.delay;
	end

	it("are asked for less and less often until they are approved (P3)", function ()
		new();
		local delays = {};
		for i = 1, 9 do delays[i] = fire(); end
		assert.same({ 5, 10, 20, 40, 80, 160, 320, 600, 600 }, delays);
		assert.equal(("subscribe "):rep(10), table.concat(sent, " ") .. " ");
		assert.is_true(subscriptions:approve(target));
		-- the probe is for a server that sends no presence to an old subscriber
		assert.equal("probe", sent[11]);
		assert.is_false(subscriptions:approve(target));
		assert.is_nil(sent[12]);
		-- and others for presence that was lost
		assert.same({ 600, 600 }, { fire(), fire() });
		assert.same({ "probe", "probe" }, { table.unpack(sent, 12) });
	end);

	it("are asked for again when they are lost (P3, P4)", function ()
		new();
		fire();
		assert.is_false(subscriptions:lose(target));
		subscriptions:approve(target);
		assert.is_true(subscriptions:lose(target));
		assert.equal(5, fire());
		assert.equal("subscribe", sent[#sent]);
		subscriptions:ask_host("example");
		assert.equal(5, fire());
		subscriptions:ask_host("other.example");
		assert.equal(10, fire());
	end);

	it("are approved here as long as the target has not revoked them (P4)", function ()
		new();
		fire();
		assert.equal(2, approvals);
		subscriptions:approve(target);
		subscriptions:lose(target);
		fire();
		assert.equal(3, approvals);
		subscriptions:approve(target);
		subscriptions:lose(target, true);
		fire();
		assert.equal(3, approvals);
	end);

	it("are remembered over a reload, and only probed (P21)", function ()
		new();
		subscriptions:approve(target);
		new(subscriptions:save());
		assert.same({ "probe" }, sent);
		assert.equal(600, fire());
	end);

	it("are probed when nobody else is there, on other servers (P3)", function ()
		local time = require "util.time";
		local monotonic, clock = time.monotonic, 1000;
		time.monotonic = function () return clock; end;
		finally(function () time.monotonic = monotonic; end);
		new();
		subscriptions:search();
		assert.same({ "subscribe" }, sent);
		subscriptions:approve(target);
		assert.equal(2, #sent);
		for _ = 1, 3 do subscriptions:search(); end
		assert.same({ "subscribe", "probe", "probe" }, sent);
		clock = 1006;
		_G.prosody.hosts.example = {};
		subscriptions:search();
		assert.equal(3, #sent);
		_G.prosody.hosts.example = nil;
		subscriptions:search();
		assert.equal(4, #sent);
		assert.equal(600, fire());
	end);
end);

describe("recent users of client_proxy", function ()
	local time = require "util.time";
	local monotonic, clock = time.monotonic, 0;
	local new;

	setup(function ()
		time.monotonic = function () return clock; end;
		package.loaded["prosody_relay.fair_cache"] = nil;
		new = load_lib("users").new;
	end);
	teardown(function ()
		time.monotonic = monotonic;
		package.loaded["prosody_relay.fair_cache"] = nil;
	end);
	before_each(function () clock = 1000; end);

	local function encode(jid) return "proxy.example/" .. jid; end

	it("are known by the address they last wrote to (X1, X3)", function ()
		local users = new(100000, 60, encode);
		assert.is_nil(users:at("proxy.example/a@x"));
		users:wrote("a@x", "proxy.example");
		users:wrote("b@x", "b@proxy.example");
		local user, address = users:wrote("a@x", "node@proxy.example");
		assert.equal("proxy.example/a@x", address);
		assert.equal(user, users:at(address));
		assert.same({ user, address }, { users:known("a@x") });
		assert.same({ "a@x", "node@proxy.example" }, { user.jid, user.to });
		assert.equal("b@proxy.example", users:at("proxy.example/b@x").to);
	end);

	it("are forgotten when they have been silent for too long (X1, X3)", function ()
		local users = new(100000, 60, encode);
		users:wrote("a@x", "proxy.example");
		users:wrote("b@x", "proxy.example");
		clock = 1059;
		users:wrote("b@x", "proxy.example");
		clock = 1060;
		assert.is_nil(users:at("proxy.example/a@x"));
		assert.is_nil((users:known("a@x")));
		assert.truthy(users:at("proxy.example/b@x"));
		assert.equal(2, #users:save());
		-- their memory is given back with the next one who writes
		users:wrote("c@x", "proxy.example");
		assert.equal(2, #users:save());
		clock = 2000;
		users:wrote("d@x", "proxy.example");
		assert.equal(1, #users:save());
	end);

	it("are limited in bytes, the last to write stay, also over a reload (X1, X3, P21, G29)", function ()
		-- half of it is for one domain alone
		local size = 10 * (1100 + #"a@x" + #"proxy.example/a@x" + 2 * #"proxy.example");
		local users = new(size, 60, encode);
		for _, jid in ipairs { "a@x", "b@x", "c@x", "d@x", "e@x", "a@x", "f@x" } do
			users:wrote(jid, "proxy.example");
			clock = clock + 1;
		end
		assert.is_nil(users:at("proxy.example/b@x"));
		users = new(size, 60, encode, users:save());
		users:wrote("g@x", "proxy.example");
		local left = {};
		for _, jid in ipairs { "a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x" } do
			if users:at("proxy.example/" .. jid) then left[#left + 1] = jid; end
		end
		assert.same({ "a@x", "d@x", "e@x", "f@x", "g@x" }, left);
		-- whoever else writes
		users:wrote("a@y", "proxy.example");
		assert.truthy(users:at("proxy.example/a@x"));
	end);
end);
