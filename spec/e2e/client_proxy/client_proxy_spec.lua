-- SPDX-License-Identifier: MIT
-- mod_client_proxy: requests, the resources they go to, and the addresses they come back from.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("client_proxy on Prosody " .. version, function ()
	it("relays requests and replies as its README shows (P4, P5, P6)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, kind in ipairs { "get", "set" } do
			juliet:send(proxy.request("1234", nil, kind));
			local request = impl:expect { "iq", type = kind, id = "1234", from = "proxy.capulet.lit/juliet@capulet.lit/balcony", to = impl.jid };
			assert.equal("1234", request:find("{urn:test}question@number"));
			proxy.answer(impl, request);
			local reply = juliet:expect { "iq", type = "result", id = "1234", from = "proxy.capulet.lit", to = juliet.jid };
			assert.equal("1234", reply:find("{urn:test}answer@number"));
		end
		juliet:send(proxy.request("err"));
		local request = impl:expect { "iq", id = "err" };
		impl:send(("<iq type='error' id='err' to='%s'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
			.. "</error></iq>"):format(request.attr.from));
		proxy.expect_error(juliet, "err", "not-acceptable", "proxy.capulet.lit");
	end));

	it("uses those who stay when others leave (P5a)", bed.scenario(function (s)
		local capulet, a, b, c, d = proxy.start(s, version, { "a", "b", "c", "d" });
		for _, impl in ipairs { a, b, c, d } do proxy.serve(impl); end
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function ask_60(expected)
			local seen = {};
			for i = 1, 60 do juliet:send(proxy.request("r" .. i)); end
			for i = 1, 60 do seen[proxy.expect_answer(juliet, "r" .. i)] = true; end
			local names = {};
			for jid in pairs(seen) do names[#names + 1] = jid:match("/(.*)"); end
			table.sort(names);
			assert.equal(expected, table.concat(names, " "));
		end
		ask_60("a b c d");
		proxy.available(b, "<presence type='unavailable'/>");
		ask_60("a c d");
		a:kill();
		c:close();
		s:wait_until(function ()
			return capulet:eval [[return not (prosody.full_sessions["impl@capulet.lit/a"] or prosody.full_sessions["impl@capulet.lit/c"])]];
		end);
		proxy.available(b);
		ask_60("b d");
		proxy.available(d, "<presence><show>away</show></presence>");
		ask_60("b d");
	end));

	it("spreads requests at random and evenly, as its README says (P5b P22)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_max_pending_per_user = 400");
		proxy.serve(a);
		proxy.serve(b);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local count, last, repeats = { [a.jid] = 0; [b.jid] = 0 }, nil, 0;
		for i = 1, 400 do juliet:send(proxy.request("r" .. i)); end
		for i = 1, 400 do
			local by = proxy.expect_answer(juliet, "r" .. i);
			count[by] = count[by] + 1;
			if by == last then repeats = repeats + 1; end
			last = by;
		end
		-- six standard deviations of a fair coin
		assert.is_true(math.abs(count[a.jid] - 200) <= 60, ("%d and %d"):format(count[a.jid], count[b.jid]));
		assert.is_true(repeats > 0, "one after the other is not at random");
	end));

	it("answers from the address the user wrote to (P9)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		proxy.serve(impl);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- all with one id and at once, so that only the address tells them apart
		for _, address in ipairs(proxy.addresses) do juliet:send(proxy.request("1", address)); end
		for _, address in ipairs(proxy.addresses) do proxy.expect_answer(juliet, "1", { from = address }); end
	end));

	it("says that nobody is online (P11)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		impl:close();
		s:wait_until(function () return capulet:eval [[return next(prosody.bare_sessions["impl@capulet.lit"] or {}) == nil]]; end);
		for _, address in ipairs(proxy.addresses) do
			juliet:send(proxy.request("1", address));
			proxy.expect_error(juliet, "1", "service-unavailable", address);
		end
	end));

	it("tells apart requests with the same id (P9, P10)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/balcony");
		juliet:send(proxy.request("same"));
		juliet:send(proxy.request("same"));
		juliet:send(proxy.request("same", "node@proxy.capulet.lit"));
		nurse:send(proxy.request("same"));
		local requests = {};
		for i = 1, 4 do requests[i] = impl:expect { "iq", type = "get" }; end
		assert.equal("same", requests[1].attr.id);
		for _, i in ipairs { 3, 4, 2, 1 } do proxy.answer(impl, requests[i]); end
		proxy.expect_answer(juliet, "same", { from = "node@proxy.capulet.lit" });
		proxy.expect_answer(juliet, "same", { from = "proxy.capulet.lit" });
		proxy.expect_answer(juliet, "same", { from = "proxy.capulet.lit" });
		proxy.expect_answer(nurse, "same");
		juliet:expect_none({ "iq" }, 0.2);
	end));

	it("relays a payload in the stream's own namespace (P6)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, impl in ipairs { a, b } do
			impl.on_stanza = function (stanza)
				if stanza.attr.type ~= "get" then return; end
				impl:send(stanza:get_child("known") and st.reply(stanza) or st.error_reply(stanza, "cancel", "feature-not-implemented"));
			end;
		end
		for i = 1, 10 do
			juliet:send(("<iq type='get' id='k%d' to='proxy.capulet.lit'><known/></iq>"):format(i));
			juliet:send(("<iq type='get' id='u%d' to='proxy.capulet.lit'><unknown/></iq>"):format(i));
			juliet:expect { "iq", type = "result", id = "k" .. i };
			juliet:expect { "iq", type = "error", id = "u" .. i };
		end
	end));

	it("serves a component as its user, and its malformed requests (P6, P7)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, [[
			Component "gw.capulet.lit"
				component_secret = "hush"
		]]);
		proxy.serve(impl);
		local gateway = capulet:component("gw.capulet.lit", "hush");
		for _, from in ipairs { "gw.capulet.lit", "gw.capulet.lit/x", "tybalt@gw.capulet.lit" } do
			local request = proxy.request("1");
			request.attr.from = from;
			gateway:send(request);
			proxy.expect_answer(gateway, "1", { to = from });
		end
		for _, malformed in ipairs {
			"<iq from='gw.capulet.lit' to='proxy.capulet.lit' type='get' id='2'/>";
			"<iq from='gw.capulet.lit' to='node@proxy.capulet.lit' type='set' id='2'><a xmlns='x'/><b xmlns='x'/></iq>";
			"<iq from='gw.capulet.lit' to='proxy.capulet.lit/r' type='ask' id='2'><a xmlns='x'/></iq>";
			"<iq from='gw.capulet.lit' to='proxy.capulet.lit' id='2'><a xmlns='x'/></iq>";
		} do
			gateway:send(malformed);
			proxy.expect_error(gateway, "2", "bad-request");
		end
		gateway:send "<iq from='gw.capulet.lit' to='proxy.capulet.lit' type='get'><a xmlns='x'/></iq>";
		proxy.expect_error(gateway, false, "bad-request");
		gateway:send "<iq from='gw.capulet.lit' to='proxy.capulet.lit' type='result'/>";
		gateway:sync();
		gateway:expect_none({ "iq" }, 0.2);
	end));
end);
end
