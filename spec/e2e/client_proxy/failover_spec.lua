-- SPDX-License-Identifier: MIT
-- mod_client_proxy: requests that are asked again of another resource, limits and deadlines (section 2 of the requirements).

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("failover of client_proxy on Prosody " .. version, function ()
	local function is_request(stanza)
		return stanza.attr.type == "get" or stanza.attr.type == "set";
	end

	-- refuse(client, condition, text): answers every request with an error from now on, and counts them in client.refused
	local function refuse(impl, condition, text)
		impl.refused = 0;
		impl.on_stanza = function (stanza)
			if not is_request(stanza) then return; end
			impl.refused = impl.refused + 1;
			impl:send(st.error_reply(stanza, "cancel", condition, text));
		end;
	end

	-- asks until the client got the request, whose id is returned; answers of others are taken
	local function ask_until(s, user, impl, type)
		local i, found = 0;
		impl.on_stanza = function (stanza)
			if is_request(stanza) then found = stanza.attr.id; end
		end;
		s:wait_until(function ()
			if found then return found; end
			i = i + 1;
			user:send(proxy.request(type .. i, nil, type));
			user:sync();
			impl:sync();
			if not found then proxy.expect_answer(user, type .. i); end
			return found;
		end);
		return found;
	end

	it("asks another when the resource leaves, but does nothing twice", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.serve(b);
		local get, set = ask_until(s, juliet, a, "get"), ask_until(s, juliet, a, "set");
		a:kill();
		assert.equal(b.jid, proxy.expect_answer(juliet, get, { from = "proxy.capulet.lit" }));
		-- it may have been done
		proxy.expect_error(juliet, set, "service-unavailable", "proxy.capulet.lit");
		juliet:expect_none({ "iq" }, 0.2);
	end));

	it("keeps the language of a request that is asked again", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, lang in ipairs { "de", "en", "pt-BR" } do
			local request = proxy.request(lang);
			request.attr["xml:lang"] = lang;
			juliet:send(request);
			-- the test bed removes what is the language of the stream
			local expected = { "iq", type = "get", id = lang, ["xml:lang"] = lang ~= "en" and lang };
			local asked, other = proxy.expect_one_of(s, a, b, expected);
			proxy.available(asked, "<presence type='unavailable'/>");
			proxy.answer(other, other:expect(expected));
			proxy.expect_answer(juliet, lang);
			proxy.available(asked);
		end
	end));

	it("asks another when the server says that the resource is not there", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- as if the account's server had died without a word
		capulet:eval [[prosody.hosts["proxy.capulet.lit"].events.add_handler("presence/host", function (event)
			if event.stanza.attr.type == "unavailable" and event.stanza.attr.from:find("/") then return true; end
		end, 1000)]];
		proxy.serve(b);
		juliet:send(proxy.request("first"));
		a:close();
		capulet:allow_log("is left out for 30 seconds");
		s:wait_until(function () return capulet:eval [[return not prosody.full_sessions["impl@capulet.lit/a"] ]]; end);
		juliet:sync();
		juliet:drain();
		for i = 1, 20 do
			for _, kind in ipairs { "get", "set" } do
				juliet:send(proxy.request(kind .. i, nil, kind));
				assert.equal(b.jid, proxy.expect_answer(juliet, kind .. i));
			end
		end
		-- nobody is left: the server is asked, and says so
		b:close();
		s:wait_until(function ()
			juliet:send(proxy.request("nobody"));
			local err = proxy.expect_error(juliet, "nobody", "service-unavailable", "proxy.capulet.lit");
			return err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#") == "No implementing client is online";
		end, 10);
	end));

	it("asks another when the resource cannot do it, up to four in all", bed.scenario(function (s)
		local clients = { proxy.start(s, version, { "a", "b", "c", "d", "e", "f" }) };
		local capulet = table.remove(clients, 1);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local asked = 0;
		for _, impl in ipairs(clients) do refuse(impl, "service-unavailable", "I cannot"); end
		juliet:send(proxy.request("1", nil, "set"));
		local err = proxy.expect_error(juliet, "1", "service-unavailable", "proxy.capulet.lit");
		assert.equal("I cannot", err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"));
		for _, impl in ipairs(clients) do
			assert.is_true(impl.refused <= 1);
			asked = asked + impl.refused;
		end
		assert.equal(4, asked);
		for i = 4, 6 do proxy.serve(clients[i]); end
		for i = 1, 20 do
			juliet:send(proxy.request("can" .. i, nil, "set"));
			proxy.expect_answer(juliet, "can" .. i);
		end
		juliet:expect_none({ "iq" }, 0.2);
		-- the payload is the same as at first
		capulet:allow_log("is left out");
		for i = 5, 6 do clients[i]:close(); end
		local last = clients[4];
		last.on_stanza = nil;
		for i = 1, 8 do
			juliet:send(st.iq({ type = "get"; id = "whole" .. i; to = "proxy.capulet.lit" }):tag("question", { xmlns = "urn:test", quote = "'\"<&" })
				:tag("other", { xmlns = "urn:other" }):text("<&>\u{5d0}"):up():tag("plain"));
			local request = last:expect { "iq", type = "get", id = "whole" .. i, from = "proxy.capulet.lit/juliet@capulet.lit/balcony" };
			assert.equal("'\"<&", request:find("{urn:test}question@quote"));
			assert.equal("<&>\u{5d0}", request:find("{urn:test}question/{urn:other}other#"));
			assert.truthy(request:find("{urn:test}question/plain"));
			proxy.answer(last, request);
			proxy.expect_answer(juliet, "whole" .. i);
		end
	end));

	it("does not repeat a set that may have been done, nor what got an answer", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- what mod_smacks says when a stream breaks
		refuse(a, "recipient-unavailable");
		refuse(b, "recipient-unavailable");
		juliet:send(proxy.request("set", nil, "set"));
		proxy.expect_error(juliet, "set", "recipient-unavailable", "proxy.capulet.lit");
		assert.equal(1, a.refused + b.refused);
		juliet:send(proxy.request("get"));
		proxy.expect_error(juliet, "get", "recipient-unavailable", "proxy.capulet.lit");
		assert.equal(3, a.refused + b.refused);
		refuse(a, "item-not-found");
		refuse(b, "item-not-found");
		juliet:send(proxy.request("answered"));
		proxy.expect_error(juliet, "answered", "item-not-found", "proxy.capulet.lit");
		assert.equal(1, a.refused + b.refused);
		juliet:expect_none({ "iq" }, 0.2);
	end));

	it("gives all attempts together one deadline (P13)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_timeout = 300");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- the seconds between the request, which came `earlier`, and its deadline
		local function patience(earlier)
			return capulet:eval(([[
				local saved = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module.save().requests;
				local key, record = next(saved.records);
				local patience = saved.due[key] - record.sent;
				record.sent = record.sent - %d;
				return patience;
			]]):format(earlier));
		end
		juliet:send(proxy.request("1"));
		local first, second = proxy.expect_one_of(s, a, b, { "iq", id = "1" });
		local once = patience(200);
		first:close();
		second:expect { "iq", id = "1" };
		local twice = patience(200);
		assert.is_true(once >= 300 and once < 302, once);
		assert.is_true(twice >= 300 and twice < 302, twice);
	end));

	it("has a deadline for each namespace (P13)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version, { "a" }, "client_proxy_timeouts = { ['urn:test'] = 1, ['urn:other'] = 30 }");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("short"));
		juliet:send "<iq type='get' id='long' to='proxy.capulet.lit'><x xmlns='urn:other'/></iq>";
		juliet:send "<iq type='get' id='default' to='proxy.capulet.lit'><x xmlns='urn:third'/></iq>";
		a:expect { "iq", id = "default" };
		proxy.expect_error(juliet, "short", "remote-server-timeout", "proxy.capulet.lit", 4);
		juliet:expect_none({ "iq" }, 0.5);
	end));

	it("bounds the requests in flight, of one user, one domain and all (C10, G29)", bed.scenario(function (s)
		-- one domain alone gets half of all
		local capulet, a = proxy.start(s, version, { "a" }, [[
				client_proxy_max_pending = 10
				client_proxy_max_pending_per_user = 3
			Component "gw.capulet.lit"
				component_secret = "hush"
			Component "mountain.capulet.lit"
				component_secret = "hush"
			Component "river.capulet.lit"
				component_secret = "hush"
		]]);
		local gateways = {};
		for i, name in ipairs { "gw", "mountain", "river" } do gateways[i] = capulet:component(name .. ".capulet.lit", "hush"); end
		local function ask_from(gateway, user, id)
			local request = proxy.request(id);
			request.attr.from = user .. "@" .. gateway.host;
			gateway:send(request);
			gateway:sync();
		end
		local balcony, garden = capulet:client("juliet@capulet.lit/balcony"), capulet:client("juliet@capulet.lit/garden");
		local romeo = capulet:client("romeo@capulet.lit/orchard");
		local function ask(user, id)
			user:send(proxy.request(id));
			user:sync();
		end
		local function expect_refused(user, id, reason)
			local err = proxy.expect_error(user, id, "resource-constraint", "proxy.capulet.lit");
			assert.equal("wait", err:get_child("error").attr.type);
			assert.truthy(err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"):find(reason));
		end
		for i, user in ipairs { balcony, garden, balcony, garden, balcony } do ask(user, "j" .. i); end
		expect_refused(garden, "j4", "of this user");
		expect_refused(balcony, "j5", "of this user");
		for i = 1, 4 do ask(romeo, "r" .. i); end
		expect_refused(romeo, "r3", "of this server's users");
		expect_refused(romeo, "r4", "of this server's users");
		-- others find a place, each half of what is left, until all are taken
		for i, count in ipairs { 3, 1 } do
			for n = 1, count do ask_from(gateways[i], "u" .. n, "g" .. n); end
			ask_from(gateways[i], "u4", "g4");
			expect_refused(gateways[i], "g4", "of this server's users");
		end
		-- more than three domains of one owner have no more than one domain
		ask_from(gateways[3], "u1", "g1");
		expect_refused(gateways[3], "g1", "of servers under one domain");
		-- their places are given back
		for _ = 1, 4 do proxy.answer(a, a:expect { "iq", type = "get", id = "~^g" }); end
		a:sync();
		-- what is answered, or has failed, no longer counts; also over a reload
		proxy.answer(a, a:expect { "iq", id = "j2" });
		proxy.expect_answer(garden, "j2");
		proxy.reload(capulet);
		ask(balcony, "j6");
		ask(balcony, "j7");
		expect_refused(balcony, "j7", "of this server's users");
		a:close();
		for _, id in ipairs { "j1", "j3", "j6" } do proxy.expect_error(balcony, id, "service-unavailable"); end
		for _, id in ipairs { "r1", "r2" } do proxy.expect_error(romeo, id, "service-unavailable"); end
		a = capulet:client("impl@capulet.lit/a");
		proxy.available(a);
		for i = 1, 3 do ask(balcony, "k" .. i); end
		a:expect { "iq", id = "k3" };
		a:expect_none({ "iq", id = "j4" }, 0);
		balcony:expect_none({ "iq" }, 0.2);
	end));

	it("bounds the requests in flight of each resource", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_max_pending_per_resource = 2");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for i = 1, 5 do juliet:send(proxy.request("r" .. i)); end
		local err = proxy.expect_error(juliet, "r5", "resource-constraint", "proxy.capulet.lit");
		assert.equal("wait", err:get_child("error").attr.type);
		for _, client in ipairs { a, b } do
			client:sync();
			local requests = {};
			for _, stanza in ipairs(client:drain()) do
				if stanza.attr.type == "get" then requests[#requests + 1] = stanza; end
			end
			assert.equal(2, #requests);
			proxy.answer(client, requests[1]);
		end
		juliet:expect { "iq", type = "result" };
		juliet:expect { "iq", type = "result" };
		juliet:send(proxy.request("r6"));
		juliet:send(proxy.request("r7"));
		juliet:send(proxy.request("r8"));
		proxy.expect_error(juliet, "r8", "resource-constraint", "proxy.capulet.lit");
	end));

	it("refuses options that make no sense", bed.scenario(function (s)
		proxy.expect_refused(s, version, {
			client_proxy_max_pending = "0"; client_proxy_max_pending_per_user = "1.5"; client_proxy_timeouts = "{ ['urn:test'] = 0 }";
			client_proxy_max_pending_per_resource = "0"; client_proxy_sticky_by = "'query'";
		});
		for _, path in ipairs { "{urn:x}query@", "{urn:x}query#more", "{}query#" } do
			proxy.expect_refused(s, version, { client_proxy_sticky_by = "'" .. path .. "'" });
		end
	end));
end);
end
