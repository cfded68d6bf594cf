-- SPDX-License-Identifier: MIT
-- mod_client_proxy with client_proxy_outbound_iq: requests of the implementing client to users.

local bed = require "bed";
local proxy = require "client_proxy";

local on = "client_proxy_outbound_iq = true\n";

-- The user sends a request to that address, which is answered -> translated address of the user
local function introduce(user, impl, address)
	user:send(proxy.request("hello", address));
	local request = impl:expect { "iq", type = "get", id = "hello" };
	proxy.answer(impl, request);
	proxy.expect_answer(user, "hello");
	return request.attr.from;
end

for version in bed.versions() do
describe("outbound requests of client_proxy on Prosody " .. version, function ()
	it("reach the user from where the user wrote to, and are answered once (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		for i, address in ipairs(proxy.addresses) do
			for _, user in ipairs { juliet, nurse } do
				local to = introduce(user, impl, address);
				for _, kind in ipairs { "get", "set" } do
					local id = kind .. i;
					impl:send(proxy.request(id, to, kind));
					local request = user:expect { "iq", type = kind, from = address, to = user.jid };
					assert.equal(id, request:find("{urn:test}question@number"));
					for _ = 1, 3 do proxy.answer(user, request); end
					assert.equal(user.jid, proxy.expect_answer(impl, id, { from = to, to = impl.jid }));
				end
			end
		end
		for _, client in ipairs { juliet, nurse, impl } do
			client:sync();
			client:expect_none({ "iq" }, 0.1);
		end
		-- all second and third answers
		assert.equal(2 * 2 * 2 * 4, proxy.count_refused(capulet));
	end));

	it("come from any resource of the account, and errors are answers (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local hidden = capulet:client("impl@capulet.lit/hidden");
		local to = introduce(juliet, impl);
		-- the same id from both at once
		hidden:send(proxy.request("1", to));
		local first = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		impl:send(proxy.request("1", to));
		local second = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		assert.not_equal(first.attr.id, second.attr.id);
		proxy.answer(juliet, second);
		proxy.expect_answer(impl, "1", { from = to });
		juliet:send(("<iq type='error' id='%s' to='proxy.capulet.lit'><error type='auth'>"
			.. "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"):format(first.attr.id));
		proxy.expect_error(hidden, "1", "forbidden", to);
		impl:expect_none({ "iq" }, 0.1);
	end));

	it("are told apart from the user's own with the same id (X3, P10)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("same", "node@proxy.capulet.lit"));
		local inbound = impl:expect { "iq", type = "get", id = "same" };
		impl:send(proxy.request("same", inbound.attr.from));
		local request = juliet:expect { "iq", type = "get", from = "node@proxy.capulet.lit" };
		-- an answer with the id of the other direction is none
		juliet:send "<iq type='result' id='same' to='node@proxy.capulet.lit'/>";
		juliet:sync();
		impl:expect_none({ "iq" }, 0.1);
		proxy.answer(juliet, request);
		assert.equal(juliet.jid, proxy.expect_answer(impl, "same", { from = inbound.attr.from }));
		proxy.answer(impl, inbound);
		assert.equal(impl.jid, proxy.expect_answer(juliet, "same", { from = "node@proxy.capulet.lit" }));
		assert.equal(1, proxy.count_refused(capulet));
	end));

	it("are not answered by anybody else (X3, P10)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local upstairs = capulet:client("juliet@capulet.lit/upstairs");
		local tybalt = capulet:client("tybalt@capulet.lit/hall");
		local to = introduce(juliet, impl);
		introduce(tybalt, impl);
		impl:send(proxy.request("1", to));
		local request = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		local function forge(client, address, id)
			for _, kind in ipairs { "result", "error" } do
				client:send(("<iq type='%s' id='%s' to='%s'><forged xmlns='urn:test'/></iq>"):format(kind, id, address));
			end
		end
		forge(upstairs, "proxy.capulet.lit", request.attr.id);
		forge(tybalt, "proxy.capulet.lit", request.attr.id);
		forge(tybalt, to, request.attr.id);
		forge(impl, "proxy.capulet.lit", request.attr.id);
		forge(impl, to, request.attr.id);
		forge(juliet, "proxy.capulet.lit", "1");
		forge(juliet, "node@proxy.capulet.lit", request.attr.id);
		for _, client in ipairs { upstairs, tybalt, juliet, impl } do client:sync(); end
		impl:expect_none({ "iq" }, 0.1);
		assert.equal(14, proxy.count_refused(capulet));
		proxy.answer(juliet, request);
		assert.equal(juliet.jid, proxy.expect_answer(impl, "1", { from = to }));
	end));

	it("reach users whatever their address (X3, P7, P8)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		for i, resource in ipairs { "\u{5de}\u{5e8}\u{5e4}", "\u{634}\u{631}", ("\u{4e2d}"):rep(341), "x \"'<>& y" } do
			local user = capulet:client("juliet@capulet.lit/" .. resource);
			assert.equal("juliet@capulet.lit/" .. resource, user.jid);
			impl:send(proxy.request("r" .. i, introduce(user, impl, "node@proxy.capulet.lit")));
			proxy.answer(user, user:expect { "iq", type = "get", from = "node@proxy.capulet.lit", to = user.jid });
			assert.equal(user.jid, proxy.expect_answer(impl, "r" .. i));
		end
	end));

	it("go to nobody but users who wrote recently (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. "client_proxy_user_ttl = 1");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		local function refused(to)
			impl:send(proxy.request("x", to));
			proxy.expect_error(impl, "x", "item-not-found", to);
		end
		refused("proxy.capulet.lit/" .. juliet.jid);
		local to = introduce(juliet, impl);
		refused("proxy.capulet.lit/" .. nurse.jid);
		refused("proxy.capulet.lit/juliet@capulet.lit");
		refused("proxy.capulet.lit/@nonsense");
		s:wait(1.2);
		refused(to);
		-- anybody else's request to such an address is one to the service
		nurse:send(proxy.request("n", to));
		proxy.answer(impl, impl:expect { "iq", type = "get", id = "n", from = "proxy.capulet.lit/" .. nurse.jid });
		proxy.expect_answer(nurse, "n", { from = to });
		impl:send(proxy.request("own"));
		proxy.answer(impl, impl:expect { "iq", type = "get", id = "own" });
		proxy.expect_answer(impl, "own", { from = "proxy.capulet.lit" });
		juliet:sync();
		juliet:expect_none({ "iq" }, 0.1);
	end));

	it("go past the modules of the component (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. [[modules_enabled = { "ping" }]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local to = introduce(juliet, impl);
		impl:send(("<iq type='get' id='p' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(to));
		local ping = juliet:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" };
		juliet:send(("<iq type='result' id='%s' to='proxy.capulet.lit'/>"):format(ping.attr.id));
		impl:expect { "iq", type = "result", id = "p", from = to };
	end));

	it("end with an error when the user keeps silent, or is not there (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. "client_proxy_timeout = 4");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local to = introduce(juliet, impl);
		impl:send(proxy.request("silent", to));
		local request = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		local err = proxy.expect_error(impl, "silent", "remote-server-timeout", to);
		assert.equal("wait", err:get_child("error").attr.type);
		proxy.answer(juliet, request);
		juliet:sync();
		assert.equal(1, proxy.count_refused(capulet));
		juliet:close();
		impl:send(proxy.request("gone", to));
		-- the bounce of the user's server
		proxy.expect_error(impl, "gone", "service-unavailable", to, 0.8);
		impl:sync();
		impl:expect_none({ "iq" }, 6); -- nor when its time is up
	end));

	it("are limited in number, and have deadlines by namespace (X3)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. [[
			client_proxy_max_pending = 3
			client_proxy_timeouts = { ["urn:test"] = 1 }
		]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local to = introduce(juliet, impl);
		for i = 1, 3 do impl:send(("<iq type='get' id='r%d' to='%s'><q xmlns='urn:other'/></iq>"):format(i, to)); end
		impl:send(proxy.request("more", to));
		local err = proxy.expect_error(impl, "more", "resource-constraint", to);
		assert.equal("wait", err:get_child("error").attr.type);
		-- the user's own are not hindered by these
		introduce(juliet, impl);
		local request = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		juliet:send(("<iq type='result' id='%s' to='proxy.capulet.lit'/>"):format(request.attr.id));
		impl:expect { "iq", type = "result", id = "r1" };
		impl:send(proxy.request("one more", to));
		juliet:expect { "iq", type = "get", has = "{urn:test}question" };
		proxy.expect_error(impl, "one more", "remote-server-timeout", to);
		impl:expect_none({ "iq", type = "error" }, 0);
	end));

	it("survive a reload, and are answered at the end (X3, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. "client_proxy_timeout = 6");
		local juliet = capulet:client("juliet@capulet.lit/\u{5d0}");
		local to = introduce(juliet, impl);
		local function ask(id)
			impl:send(proxy.request(id, to));
			return juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		end
		local request = ask("1");
		ask("2");
		proxy.reload(capulet);
		proxy.answer(juliet, request);
		assert.equal(juliet.jid, proxy.expect_answer(impl, "1", { from = to }));
		proxy.expect_error(impl, "2", "remote-server-timeout", to);
		proxy.answer(juliet, ask("3"));
		proxy.expect_answer(impl, "3");
		-- in flight while the option goes
		request = ask("4");
		proxy.reload(capulet, "");
		proxy.answer(juliet, request);
		proxy.expect_answer(impl, "4");
		impl:send(proxy.request("5", to));
		proxy.expect_error(impl, "5", "feature-not-implemented", to);
		proxy.reload(capulet, on);
		to = introduce(juliet, impl);
		ask("6");
		capulet:stop();
		local err = proxy.expect_error(impl, "6", "service-unavailable", to);
		assert.equal("The service is shutting down", err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"));
	end));

	it("are dropped when the resource that asked has gone (X3)", bed.scenario(function (s)
		local capulet, impl, other = proxy.start(s, version, { "a", "b" }, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.serve(impl);
		proxy.serve(other);
		juliet:send(proxy.request("hello"));
		proxy.expect_answer(juliet, "hello");
		impl:send(proxy.request("1", "proxy.capulet.lit/" .. juliet.jid));
		local request = juliet:expect { "iq", type = "get", from = "proxy.capulet.lit" };
		impl:close();
		juliet:send(("<iq type='result' id='%s' to='proxy.capulet.lit'/>"):format(request.attr.id));
		juliet:sync();
		other:sync();
		other:expect_none({ "iq", type = "result" }, 0.1);
		juliet:expect_none({ "iq" }, 0);
	end));

	it("are answered once each while users come and go, and over reloads (X3, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. "client_proxy_timeout = 2");
		math.randomseed(14);
		local names, users, addresses_of = { "balcony", "\u{5d0}", ("\u{4e2d}"):rep(341) }, {}, {};
		local function log_in(i)
			users[i] = capulet:client("juliet@capulet.lit/" .. names[i]);
			addresses_of[i] = introduce(users[i], impl, "node@proxy.capulet.lit");
			users[i].on_stanza = function (stanza)
				-- every third is left without an answer, some get two
				if stanza.name ~= "iq" or stanza.attr.type ~= "get" then return; end
				for _ = 1, math.random(0, 2) do proxy.answer(users[i], stanza); end
			end;
		end
		for i = 1, 3 do log_in(i); end
		local sent = 0;
		for step = 1, 50 do
			for _ = 1, 5 do
				sent = sent + 1;
				impl:send(proxy.request("r" .. sent, addresses_of[math.random(3)]));
			end
			-- mostly the answers are there before somebody leaves, else they are on their way
			if step % 4 ~= 0 then
				impl:sync();
				for _, user in ipairs(users) do
					if not (user.closed or user.ended) then user:sync(); end
				end
			end
			local i = math.random(3);
			if users[i].closed or users[i].ended then
				log_in(i);
			elseif math.random(2) == 1 then
				users[i][math.random(2) == 1 and "close" or "kill"](users[i]);
			end
			if step % 10 == 0 then proxy.reload(capulet); end
		end
		local count = { result = 0; error = 0 };
		for i = 1, sent do
			local answer = impl:expect({ "iq", id = "r" .. i, from = "~^proxy%.capulet%.lit/" }, 6);
			count[answer.attr.type] = count[answer.attr.type] + 1;
		end
		impl:expect_none({ "iq" }, 0.2);
		assert.is_true(count.result > 50 and count.error > 50, ("%d results, %d errors"):format(count.result, count.error));
		local left = capulet:eval [[
			local saved = require "core.modulemanager".get_module("proxy.capulet.lit", "client_proxy").module.save();
			return { outbound = next(saved.outbound.records) == nil, inbound = next(saved.requests.records) == nil };
		]];
		assert.same({ outbound = true; inbound = true }, left);
	end));

	for other_version in bed.versions() do
		it("cross servers, " .. other_version .. " (X3)", bed.scenario(function (s)
			local _, impl, montague, link = proxy.start_linked(s, version, other_version, on);
			local to;
			for _, resource in ipairs { "orchard", "\u{5d0}" } do
				local romeo = montague:client("romeo@montague.lit/" .. resource);
				to = introduce(romeo, impl, "node@proxy.capulet.lit");
				impl:send(proxy.request("1", to));
				proxy.answer(romeo, romeo:expect { "iq", type = "get", from = "node@proxy.capulet.lit" });
				assert.equal(romeo.jid, proxy.expect_answer(impl, "1", { from = to }));
			end
			-- the bounce of a connection attempt; what is sent before the end of the connection is seen is lost without a word
			link:cut();
			local attempt = 0;
			s:wait_until(function ()
				attempt = attempt + 1;
				impl:send(proxy.request("cut" .. attempt, to));
				s:wait(0.2);
				return pcall(impl.expect, impl, { "iq", type = "error", id = "~^cut", from = to, has = "error" }, 0);
			end, 30, "bounce of a request");
		end));
	end
end);
end
