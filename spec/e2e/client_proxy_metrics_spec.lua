-- SPDX-License-Identifier: MIT
-- mod_client_proxy: metrics (section 4 of the requirements).

local bed = require "bed";
local proxy = require "e2e.client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("metrics of client_proxy on Prosody " .. version, function ()
	local function start(s, resources, text)
		return proxy.start(s, version, resources, text, proxy.with_metrics());
	end

	it("counts what happens", bed.scenario(function (s)
		local capulet, a, b = start(s, { "a", "b" }, [[
			client_proxy_timeouts = { ["urn:slow"] = 1 }
			client_proxy_max_pending_per_user = 2
			client_proxy_strategy = "round-robin"
		]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.equal(2, proxy.metrics(capulet).resources);
		-- one result, by the second try; two in flight; one too many; one that is not answered
		a.on_stanza = function (stanza)
			if stanza.attr.type == "get" then a:send(st.error_reply(stanza, "cancel", "service-unavailable")); end
		end;
		proxy.serve(b);
		for i = 1, 2 do
			juliet:send(proxy.request("r" .. i));
			proxy.expect_answer(juliet, "r" .. i);
		end
		a.on_stanza, b.on_stanza = nil, nil;
		for i = 3, 5 do juliet:send(proxy.request("r" .. i)); end
		proxy.expect_error(juliet, "r5", "resource-constraint");
		juliet:sync();
		local requests = {};
		for _, impl in ipairs { a, b } do
			impl:sync();
			for _, stanza in ipairs(impl:drain()) do
				if stanza.attr.id == "r3" or stanza.attr.id == "r4" then requests[stanza.attr.id] = { impl, stanza }; end
			end
		end
		local got = proxy.metrics(capulet);
		assert.equal(2, got.in_flight);
		assert.equal(5, got.requests_total);
		assert.equal(2, got.replies_total);
		assert.equal(2, got.latency_seconds_count);
		assert.equal(1, got.retries_total);
		assert.equal(1, got["errors_total resource-constraint"]);
		proxy.answer(requests.r3[1], requests.r3[2]);
		proxy.answer(requests.r4[1], requests.r4[2]);
		proxy.expect_answer(juliet, "r3");
		proxy.expect_answer(juliet, "r4");
		juliet:send "<iq type='get' id='slow' to='proxy.capulet.lit'><x xmlns='urn:slow'/></iq>";
		proxy.expect_error(juliet, "slow", "remote-server-timeout");
		got = proxy.metrics(capulet);
		assert.equal(0, got.in_flight);
		assert.equal(1, got.timeouts_total);
		assert.equal(1, got["errors_total remote-server-timeout"]);
		assert.equal(4, got.replies_total);
		proxy.available(b, "<presence type='unavailable'/>");
		assert.equal(1, proxy.metrics(capulet).resources);
	end));

	-- "reason" -> number, of the replies that were refused
	local function refused(node)
		local reasons = {};
		for name, value in pairs(proxy.metrics(node)) do
			local reason = name:match("^replies_refused_total (.*)");
			if reason then reasons[reason] = value; end
		end
		return reasons;
	end

	-- a client sends a result as if it were the answer to a request
	local function reply(client, address, id)
		client:send(st.iq({ type = "result"; id = id; to = address }));
		client:sync();
	end

	-- addresses in the plain form, a token, handles; with the resource of the user, and an address of that form that nobody has
	for form, case in pairs {
		plain = { "balcony"; strange = "romeo@capulet.lit/orchard" };
		token = { "\u{5de}\u{5e8}"; strange = "@AAAAAAAAAAAAAAAAAAAAAAAAanVsaWV0QGNhcHVsZXQubGl0" };
		handle = { "balcony"; strange = "@.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"; text = "client_proxy_jat = 'token'\n" };
	} do
		it("count what is forged, by its reason, with the address as a " .. form .. " (P10)", bed.scenario(function (s)
			local text = (case.text or "") .. "client_proxy_timeouts = { ['urn:slow'] = 1 }";
			local capulet, a, b = start(s, { "a", "b" }, text);
			local juliet, tybalt = capulet:client("juliet@capulet.lit/" .. case[1]), capulet:client("tybalt@capulet.lit/hall");
			local asked, other, request = nil, nil, nil;
			local function ask()
				juliet:send(proxy.request("1"));
				asked, request = proxy.expect_any(s, { a, b }, { "iq", type = "get", id = "1" });
				other = asked == a and b or a;
			end
			ask();
			local address = request.attr.from;
			reply(tybalt, address, "1");
			reply(juliet, address, "1");
			reply(other, address, "1");
			assert.same({ ["third-party"] = 2; ["other-resource"] = 1 }, refused(capulet));
			proxy.answer(asked, request);
			for _ = 1, 2 do reply(asked, address, "1"); end
			assert.same({ ["third-party"] = 2; ["other-resource"] = 1; duplicate = 2 }, refused(capulet));
			-- nor by a resource that was not asked, or as something else
			reply(other, address, "1");
			reply(asked, address, "2");
			reply(asked, "proxy.capulet.lit/" .. case.strange, "1");
			reply(asked, "proxy.capulet.lit", "1");
			reply(asked, "node@proxy.capulet.lit", "1");
			local expected = { ["third-party"] = 2; ["other-resource"] = 1; duplicate = 2; ["stale-token"] = 2; ["unknown-token"] = 3 };
			assert.same(expected, refused(capulet));
			-- all this is known over a reload
			capulet:reload("client_proxy", "proxy.capulet.lit");
			reply(asked, address, "1");
			reply(asked, address, "2");
			-- late
			juliet:send "<iq type='get' id='slow' to='proxy.capulet.lit'><x xmlns='urn:slow'/></iq>";
			asked, request = proxy.expect_any(s, { a, b }, { "iq", type = "get", id = "slow" });
			proxy.expect_error(juliet, "slow", "remote-server-timeout");
			reply(asked, request.attr.from, "slow");
			expected.duplicate, expected["stale-token"] = 3, 4;
			assert.same(expected, refused(capulet));
			-- one answer came of all this
			proxy.expect_answer(juliet, "1");
			juliet:expect_none({ "iq" }, 0.1);
		end));
	end
end);
end
