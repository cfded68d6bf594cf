-- SPDX-License-Identifier: MIT
-- mod_client_proxy: metrics (section 4 of the requirements).

local bed = require "bed";
local proxy = require "client_proxy";
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

	-- values of the metrics whose name begins with a prefix, by the rest of the name
	local function values(node, prefix)
		local found = {};
		for name, value in pairs(proxy.metrics(node)) do
			if name:sub(1, #prefix) == prefix and value > 0 then found[name:sub(#prefix + 1)] = value; end
		end
		return found;
	end

	it("count messages, each way and refused (X1)", bed.scenario(function (s)
		local capulet, impl = start(s, nil, "client_proxy_messages = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function send(client, to, type)
			client:send(st.message({ to = to; type = type; id = "m" }, "a text"));
			client:sync();
		end
		local known, unknown = "proxy.capulet.lit/" .. juliet.jid, "proxy.capulet.lit/nurse@capulet.lit/chamber";
		send(juliet, "proxy.capulet.lit", "error");
		send(juliet, "proxy.capulet.lit", "chat");
		send(juliet, "proxy.capulet.lit", "error");
		send(juliet, "proxy.capulet.lit", "groupchat");
		send(impl, known, "chat");
		send(impl, known, "headline");
		send(impl, known, "error");
		send(impl, known, "groupchat");
		send(impl, unknown, "chat");
		send(impl, unknown, "error");
		proxy.available(impl, "<presence type='unavailable'/>");
		send(juliet, "proxy.capulet.lit", "normal");
		send(juliet, "proxy.capulet.lit", "headline");
		assert.same({
			["_total to-client"] = 2; ["_total to-user"] = 3; ["_refused_total groupchat"] = 2; ["_refused_total unknown-user"] = 2;
			["_refused_total no-resource"] = 3;
		}, values(capulet, "messages"));
	end));

	it("count requests to users, and what becomes of them (X3)", bed.scenario(function (s)
		local capulet, impl = start(s, nil, [[
			client_proxy_outbound_iq = true
			client_proxy_timeouts = { ["urn:slow"] = 1 }
			client_proxy_max_pending = 2
		]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.serve(impl);
		juliet:send(proxy.request("hello"));
		proxy.expect_answer(juliet, "hello");
		local to = "proxy.capulet.lit/" .. juliet.jid;
		local function ask(id, address)
			impl:send(proxy.request(id, address or to));
			return not address and juliet:expect { "iq", type = "get" };
		end
		proxy.answer(juliet, ask("answered"));
		proxy.expect_answer(impl, "answered");
		-- repeated, and invented
		juliet:send "<iq type='result' id='answered' to='proxy.capulet.lit'/>";
		juliet:send "<iq type='result' id='invented' to='proxy.capulet.lit/elsewhere'/>";
		juliet:send(st.error_reply(ask("error"), "auth", "forbidden"));
		proxy.expect_error(impl, "error", "forbidden");
		juliet:send(("<iq type='error' id='%s' to='proxy.capulet.lit'><error type='cancel'><bad-mood xmlns='%s'/></error></iq>"):format(
			ask("strange").attr.id, "urn:ietf:params:xml:ns:xmpp-stanzas"));
		impl:expect { "iq", type = "error", id = "strange" };
		ask("unknown", "proxy.capulet.lit/nurse@capulet.lit/chamber");
		proxy.expect_error(impl, "unknown", "item-not-found");
		impl:send(("<iq type='get' id='slow' to='%s'><x xmlns='urn:slow'/></iq>"):format(to));
		ask("flight");
		ask("too many", to);
		proxy.expect_error(impl, "too many", "resource-constraint");
		proxy.expect_error(impl, "slow", "remote-server-timeout");
		assert.same({
			requests_total = 5; replies_total = 1; timeouts_total = 1;
			["errors_total forbidden"] = 1; ["errors_total other"] = 1; ["errors_total remote-server-timeout"] = 1;
			["refused_total item-not-found"] = 1; ["refused_total resource-constraint"] = 1;
		}, values(capulet, "outbound_"));
		assert.same({ ["not-asked"] = 1; ["third-party"] = 1 }, values(capulet, "replies_refused_total "));
	end));

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
			juliet:send(proxy.request("1"));
			local asked, other, request = proxy.expect_one_of(s, a, b, { "iq", type = "get", id = "1" });
			local address = request.attr.from;
			reply(tybalt, address, "1");
			reply(juliet, address, "1");
			reply(other, address, "1");
			assert.same({ ["third-party"] = 2; ["other-resource"] = 1 }, values(capulet, "replies_refused_total "));
			proxy.answer(asked, request);
			for _ = 1, 2 do reply(asked, address, "1"); end
			assert.same({ ["third-party"] = 2; ["other-resource"] = 1; duplicate = 2 }, values(capulet, "replies_refused_total "));
			-- nor by a resource that was not asked, or as something else
			reply(other, address, "1");
			reply(asked, address, "2");
			reply(asked, "proxy.capulet.lit/" .. case.strange, "1");
			reply(asked, "proxy.capulet.lit", "1");
			reply(asked, "node@proxy.capulet.lit", "1");
			local expected = { ["third-party"] = 2; ["other-resource"] = 1; duplicate = 2; ["stale-token"] = 2; ["unknown-token"] = 3 };
			assert.same(expected, values(capulet, "replies_refused_total "));
			-- all this is known over a reload
			proxy.reload(capulet);
			reply(asked, address, "1");
			reply(asked, address, "2");
			-- late
			juliet:send "<iq type='get' id='slow' to='proxy.capulet.lit'><x xmlns='urn:slow'/></iq>";
			local late, _, slow = proxy.expect_one_of(s, a, b, { "iq", type = "get", id = "slow" });
			proxy.expect_error(juliet, "slow", "remote-server-timeout");
			reply(late, slow.attr.from, "slow");
			expected.duplicate, expected["stale-token"] = 3, 4;
			assert.same(expected, values(capulet, "replies_refused_total "));
			-- one answer came of all this
			proxy.expect_answer(juliet, "1");
			juliet:expect_none({ "iq" }, 0.1);
		end));
	end
end);
end
