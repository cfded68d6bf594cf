-- SPDX-License-Identifier: MIT
-- mod_client_proxy: the option client_proxy_strategy, between real clients; the distributions in detail are in client_proxy_strategies_spec.

local bed = require "bed";
local proxy = require "client_proxy";

for version in bed.versions() do
describe("strategies of client_proxy on Prosody " .. version, function ()
	local function start(s, strategy, more)
		local text = ("client_proxy_strategy = %q %s"):format(strategy, more or "");
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, text);
		proxy.serve(a);
		proxy.serve(b);
		return capulet, a, b;
	end

	-- how many of 40 requests each resource answered
	local function distribution(user)
		local count = { a = 0; b = 0 };
		for i = 1, 40 do user:send(proxy.request("r" .. i)); end
		for i = 1, 40 do
			local by = proxy.expect_answer(user, "r" .. i):match("/(.*)");
			count[by] = count[by] + 1;
		end
		return count;
	end

	it("random", bed.scenario(function (s)
		local count = distribution(start(s, "random"):client("juliet@capulet.lit/balcony"));
		-- six standard deviations
		assert.is_true(math.abs(count.a - 20) <= 19, count.a);
	end));

	it("round-robin", bed.scenario(function (s)
		local capulet = start(s, "round-robin");
		assert.same({ a = 20; b = 20 }, distribution(capulet:client("juliet@capulet.lit/balcony")));
	end));

	it("least-pending", bed.scenario(function (s)
		local capulet, a, b = start(s, "least-pending");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- a is busy with one request: b, which answers at once, gets all that follow
		a.on_stanza, b.on_stanza = nil, nil;
		juliet:send(proxy.request("slow"));
		juliet:sync();
		local busy, idle, request = proxy.expect_one_of(s, a, b, { "iq", id = "slow" });
		proxy.serve(idle);
		for i = 1, 20 do
			juliet:send(proxy.request("fast" .. i));
			assert.equal(idle.jid, proxy.expect_answer(juliet, "fast" .. i));
		end
		proxy.answer(busy, request);
		proxy.expect_answer(juliet, "slow");
		-- 40 at once are shared evenly: each has as many in flight as the other, or one more
		idle.on_stanza = nil;
		for i = 1, 40 do juliet:send(proxy.request("r" .. i)); end
		juliet:sync();
		a:sync();
		b:sync();
		local count = 0;
		for _, stanza in ipairs(a:drain()) do
			if stanza.attr.type == "get" and stanza.attr.id:find("^r%d") then count = count + 1; end
		end
		assert.equal(20, count);
	end));

	it("sticky", bed.scenario(function (s)
		local capulet, a, b = start(s, "sticky");
		local homes = {};
		for i = 1, 12 do
			local phone, desk = capulet:client("user" .. i .. "@capulet.lit/phone"), capulet:client("user" .. i .. "@capulet.lit/desk");
			for _, client in ipairs { phone, desk, phone } do
				client:send(proxy.request("1"));
				local by = proxy.expect_answer(client, "1");
				homes[i] = homes[i] or by;
				assert.equal(homes[i], by);
			end
			homes[homes[i]] = phone;
		end
		-- none of 12 with probability 1/2048
		local user = assert(homes[a.jid]);
		assert.truthy(homes[b.jid]);
		proxy.available(a, "<presence type='unavailable'/>");
		user:send(proxy.request("2"));
		assert.equal(b.jid, proxy.expect_answer(user, "2"));
		-- stays there, also over a reload
		proxy.available(a);
		proxy.reload(capulet);
		user:send(proxy.request("3"));
		assert.equal(b.jid, proxy.expect_answer(user, "3"));
	end));

	it("sticky by each connection of a user", bed.scenario(function (s)
		local capulet = start(s, "sticky", "client_proxy_sticky_by = 'full'");
		local apart = 0;
		for i = 1, 12 do
			local homes = {};
			for n, resource in ipairs { "phone", "desk", "phone" } do
				local client = capulet:client("user" .. i .. "@capulet.lit/" .. resource .. (n == 2 and "" or "x"));
				client:send(proxy.request("1"));
				homes[n] = proxy.expect_answer(client, "1");
				client:close();
			end
			assert.equal(homes[1], homes[3]);
			if homes[1] ~= homes[2] then apart = apart + 1; end
		end
		-- none of 12 with probability 1/4096
		assert.is_true(apart > 0);
	end));

	it("sticky by what the payload says, else by user", bed.scenario(function (s)
		local capulet, a, b = start(s, "sticky", "client_proxy_sticky_by = '{urn:test}question@number'");
		local juliet, romeo = capulet:client("juliet@capulet.lit/balcony"), capulet:client("romeo@capulet.lit/orchard");
		local used = {};
		for i = 1, 12 do
			local home;
			for _, client in ipairs { juliet, romeo, juliet } do
				client:send(proxy.request("session" .. i));
				local by = proxy.expect_answer(client, "session" .. i);
				home = home or by;
				assert.equal(home, by);
			end
			used[home] = "session" .. i;
		end
		assert.truthy(used[a.jid] and used[b.jid]);
		-- one that has to be asked elsewhere keeps its key
		a.on_stanza = nil;
		juliet:send(proxy.request(used[a.jid]));
		a:expect { "iq", id = used[a.jid] };
		b:drain();
		proxy.available(a, "<presence type='unavailable'/>");
		assert.equal(b.jid, proxy.expect_answer(juliet, used[a.jid]));
		juliet:send "<iq type='get' id='bare' to='proxy.capulet.lit'><question xmlns='urn:test'/></iq>";
		juliet:expect { "iq", type = "result", id = "bare" };
	end));

	it("priority", bed.scenario(function (s)
		local capulet, a = start(s, "priority");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.available(a, "<presence><priority>127</priority></presence>");
		-- 1 of 129 to b
		assert.is_true(distribution(juliet).a >= 36);
	end));

	it("refuses an unknown name", bed.scenario(function (s)
		local capulet = s:node { version = version; config = proxy.config("client_proxy_strategy = 'fastest'") };
		local line = "Option 'client_proxy_strategy': expected one of \"least-pending\", \"priority\", \"random\"";
		capulet:allow_log(line:gsub("%p", "%%%0"));
		assert.truthy(capulet.log:find(line:gsub("%p", "%%%0")));
	end));
end);
end
