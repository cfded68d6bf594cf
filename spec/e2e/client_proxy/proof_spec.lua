-- SPDX-License-Identifier: MIT
-- mod_client_proxy: what is held against a resource. No user can have healthy ones left out; who fails where others do not is.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("proof against resources of client_proxy on Prosody " .. version, function ()
	-- the client does with a request whose payload has that namespace what do_it(client, request) says, and answers all others
	local function serve_but(clients, xmlns, do_it)
		for _, impl in ipairs(clients) do
			proxy.serve(impl);
			local serve = impl.on_stanza;
			impl.on_stanza = function (stanza)
				if stanza.tags[1] and stanza.tags[1].attr.xmlns == xmlns and (stanza.attr.type == "get" or stanza.attr.type == "set") then
					return do_it(impl, stanza);
				end
				return serve(stanza);
			end;
		end
	end

	local function ask(user, id, xmlns, type)
		user:send(st.iq({ type = type or "get"; id = id; to = proxy.host }):tag("question", { xmlns = xmlns }));
	end

	local function summary(node)
		return node:eval [[
			local commands = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module:shared("/*/client_proxy/commands");
			local lines = commands["proxy.capulet.lit"].resources.overview();
			return lines[#lines];
		]];
	end

	local function ignore() end
	local function refuse_with(condition)
		return function (impl, request) impl:send(st.error_reply(request, "cancel", condition)); end;
	end

	it("does not come from what no client answers (P5c, C1)", bed.scenario(function (s)
		local capulet, a, b, c, d = proxy.start(s, version, { "a", "b", "c", "d" }, [[
			client_proxy_timeouts = { ["urn:ignored"] = 1 }
		]]);
		serve_but({ a, b, c, d }, "urn:ignored", ignore);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, kind in ipairs { "get", "get", "set", "set" } do
			for i = 1, 90 do ask(juliet, "i" .. i, "urn:ignored", kind); end
			for i = 1, 90 do proxy.expect_error(juliet, "i" .. i, "remote-server-timeout", nil, 20); end
			assert.equal("4 of 4 resources can be asked, 0 requests in flight", summary(capulet));
		end
	end));

	it("does not come from what all clients refuse, though they serve its namespace (P5c, C1)", bed.scenario(function (s)
		local capulet, a, b, c, d = proxy.start(s, version, { "a", "b", "c", "d" });
		serve_but({ a, b, c, d }, "urn:other", ignore);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, condition in ipairs { "feature-not-implemented", "service-unavailable" } do
			serve_but({ a, b, c, d }, "urn:never", ignore);
			ask(juliet, "served", "urn:test");
			juliet:expect { "iq", type = "result", id = "served" };
			serve_but({ a, b, c, d }, "urn:test", refuse_with(condition));
			for i = 1, 40 do
				ask(juliet, condition .. i, "urn:test", i % 2 == 0 and "set" or "get");
				proxy.expect_error(juliet, condition .. i, condition);
			end
			assert.equal("4 of 4 resources can be asked, 0 requests in flight", summary(capulet));
		end
	end));

	it("does not come from what one client knows and another need not know (C1)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_strategy = 'round-robin'");
		serve_but({ a }, "jabber:iq:version", refuse_with("feature-not-implemented"));
		proxy.serve(b);
		local juliet, romeo = capulet:client("juliet@capulet.lit/balcony"), capulet:client("romeo@capulet.lit/orchard");
		for i = 1, 4 do
			ask(juliet, "s" .. i, "urn:test");
			proxy.expect_answer(juliet, "s" .. i);
		end
		for i = 1, 30 do
			ask(romeo, "v" .. i, "jabber:iq:version");
			assert.equal(b.jid, proxy.expect_answer(romeo, "v" .. i));
		end
		assert.equal("2 of 2 resources can be asked, 0 requests in flight", summary(capulet));
	end));

	for _, kind in ipairs { "get", "set" } do
		it("comes from the silence of one where another one answers, by a " .. kind .. " (P5c, C1)", bed.scenario(function (s)
			local capulet, a, b = proxy.start(s, version, { "a", "b" }, [[
				client_proxy_timeout = 1
				client_proxy_eject_after = 3
				client_proxy_strategy = "round-robin"
			]]);
			proxy.serve(b);
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			capulet:allow_log("impl@capulet.lit/a is left out for 30 seconds: %d+ failures in a row, the last: no answer");
			local i = 0;
			s:wait_until(function ()
				i = i + 1;
				ask(juliet, "r" .. i, "urn:test", kind);
				return juliet:expect({ "iq", id = "r" .. i }, 10) and capulet.log:find("is left out");
			end, 60, "ejection");
			-- what another one was asked for the proof is nobody's answer
			juliet:sync();
			juliet:expect_none({ "iq" }, 0.2);
			assert.equal("1 of 2 resources can be asked, 0 requests in flight", summary(capulet));
			a:close();
		end));
	end

	it("comes with the answer of another one, which the user gets (P5c, C1)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_strategy = 'round-robin'");
		serve_but({ a }, "urn:test", refuse_with("feature-not-implemented"));
		proxy.serve(b);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:allow_log("impl@capulet.lit/a is left out for 30 seconds: 5 failures in a row, the last: feature%-not%-implemented");
		for i = 1, 30 do
			ask(juliet, "r" .. i, "urn:test", i % 2 == 0 and "set" or "get");
			assert.equal(b.jid, proxy.expect_answer(juliet, "r" .. i));
		end
		capulet:expect_log("a is left out");
	end));
end);
end
