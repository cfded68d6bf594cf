-- SPDX-License-Identifier: MIT
-- mod_client_proxy: requests that are asked again, clients that lose their connection, and those that a request costs theirs.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local unavailable = "<presence type='unavailable'/>";

for version in bed.versions() do
describe("broken streams of client_proxy on Prosody " .. version, function ()
	local function text_of(err)
		return err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#");
	end

	-- -> client in the pool whose session can be resumed, and the id for that
	local function with_smacks(node, resource)
		local client = node:client(proxy.account .. "/" .. resource);
		client:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
		local id = client:expect({ "enabled" }).attr.id;
		proxy.available(client);
		return client, id;
	end

	local function is_hibernating(node, client)
		return node:eval(([[return (prosody.full_sessions[%q] or {}).hibernating ~= nil]]):format(client.jid));
	end

	local function lose_connection(s, node, client)
		client:kill();
		s:wait_until(function () return is_hibernating(node, client); end, 5, "hibernation");
	end

	local function start_with_smacks(s, text, global)
		local node = s:node { version = version; config = proxy.config(text); modules = { "smacks" }; global = global };
		node:add_user(proxy.account);
		proxy.reload(node);
		local a, id = with_smacks(node, "a");
		return node, a, id, with_smacks(node, "b");
	end

	local function ask_many(user, by)
		for i = 1, 40 do user:send(proxy.request("m" .. i, nil, i % 2 == 0 and "set" or "get")); end
		for i = 1, 40 do assert.equal(by.jid, proxy.expect_answer(user, "m" .. i)); end
	end

	for _, strategy in ipairs { "random", "sticky", "least-pending", "round-robin" } do
		it("put a client that hibernates last, until it is back, with strategy " .. strategy .. " (C6)", bed.scenario(function (s)
			local capulet, a, id, b = start_with_smacks(s, ("client_proxy_strategy = %q"):format(strategy));
			-- a user whose requests go to that client, if that is the strategy
			local juliet, i = nil, 0;
			proxy.serve(a);
			proxy.serve(b);
			s:wait_until(function ()
				i = i + 1;
				juliet = capulet:client("juliet" .. i .. "@capulet.lit/balcony");
				juliet:send(proxy.request("home"));
				return proxy.expect_answer(juliet, "home") == a.jid;
			end);
			lose_connection(s, capulet, a);
			ask_many(juliet, b);
			-- also known to the next instance
			proxy.reload(capulet);
			ask_many(juliet, b);
			assert.truthy(capulet:eval([[
				local commands = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module:shared("/*/client_proxy/commands");
				return commands["proxy.capulet.lit"].resources.overview()[1];
			]]):find("^impl@capulet.lit/a .* hibernates, is asked last$"));
			-- nobody else is there: it gets the request when it is back
			proxy.available(b, unavailable);
			juliet:send(proxy.request("waits"));
			juliet:sync();
			a = capulet:resume(a.jid, id, 0);
			proxy.serve(a);
			for _, stanza in ipairs(a:drain()) do
				if stanza.attr.type == "get" or stanza.attr.type == "set" then proxy.answer(a, stanza); end
			end
			assert.equal(a.jid, proxy.expect_answer(juliet, "waits"));
			ask_many(juliet, a);
		end));
	end

	it("take a chat to who is awake (C6, X1)", bed.scenario(function (s)
		local capulet, a, _, b = start_with_smacks(s, "client_proxy_messages = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function say(text)
			juliet:send(st.message({ to = proxy.host; type = "chat" }, text));
		end
		say("1");
		local partner, other = proxy.expect_one_of(s, a, b, { "message", body = "1" });
		say("2");
		partner:expect { "message", body = "2" };
		lose_connection(s, capulet, partner);
		say("3");
		other:expect { "message", body = "3" };
	end));

	it("show at an account whose host comes later than the proxy (C6)", bed.scenario(function (s)
		local capulet, _, _, b = start_with_smacks(s);
		capulet:eval [[
			local hostmanager = require "core.hostmanager";
			assert(hostmanager.deactivate("capulet.lit"));
			assert(hostmanager.activate("capulet.lit"));
		]];
		b:kill();
		local c, d = with_smacks(capulet, "c"), with_smacks(capulet, "d");
		proxy.serve(c);
		proxy.serve(d);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		s:wait_until(function ()
			juliet:send(proxy.request("r"));
			return juliet:expect({ "iq", id = "r" }).attr.type == "result" and capulet.log:find("impl@capulet.lit/c has come");
		end, 20);
		lose_connection(s, capulet, c);
		ask_many(juliet, d);
	end));

	it("have what can be done elsewhere done there at once (C6, P12)", bed.scenario(function (s)
		local capulet, a, id, b = start_with_smacks(s);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		b:send "<presence><priority>-1</priority></presence>";
		b:sync();
		for i = 1, 5 do juliet:send(proxy.request("g" .. i)); end
		juliet:send(proxy.request("set", nil, "set"));
		juliet:sync();
		proxy.available(b);
		proxy.serve(b);
		lose_connection(s, capulet, a);
		for i = 1, 5 do assert.equal(b.jid, proxy.expect_answer(juliet, "g" .. i)); end
		-- a set must not be done twice
		a = capulet:resume(a.jid, id, 0);
		proxy.answer(a, a:expect { "iq", id = "set" });
		assert.equal(a.jid, proxy.expect_answer(juliet, "set"));
	end));

	it("are told as such when the client does not come back (P12)", bed.scenario(function (s)
		local capulet, a, _, b = start_with_smacks(s, nil, "smacks_hibernation_time = 1");
		b:close();
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, kind in ipairs { "get", "set" } do juliet:send(proxy.request(kind, nil, kind)); end
		juliet:sync();
		lose_connection(s, capulet, a);
		for _, kind in ipairs { "get", "set" } do
			assert.equal("The implementing client has gone", text_of(proxy.expect_error(juliet, kind, "service-unavailable", proxy.host, 10)));
		end
	end));

	-- clients whose answers to {urn:big}question are larger than the server takes -> how many are left
	local function start_with_limit(s, count)
		local resources = {};
		for i = 1, count do resources[i] = "r" .. i; end
		local found = { proxy.start(s, version, resources, nil, { global = "c2s_stanza_size_limit = 20000" }) };
		local node = table.remove(found, 1);
		for _, impl in ipairs(found) do
			proxy.serve(impl);
			local serve = impl.on_stanza;
			impl.on_stanza = function (stanza)
				if not stanza:get_child("question", "urn:big") then return serve(stanza); end
				impl:send(st.reply(stanza):tag("answer", { xmlns = "urn:big" }):text(("x"):rep(40000)));
			end;
		end
		local function left()
			return node:eval [[
				local count = 0;
				for jid in pairs(prosody.full_sessions) do if jid:find("^impl@") then count = count + 1; end end
				return count;
			]];
		end
		return node, left;
	end

	local function ask_big(user, id)
		user:send(("<iq type='get' id='%s' to='%s'><question xmlns='urn:big'/></iq>"):format(id, proxy.host));
		proxy.expect_error(user, id, "service-unavailable", proxy.host, 10);
	end

	it("cost two clients for a request, and one for the next of the same user (C7)", bed.scenario(function (s)
		local capulet, left = start_with_limit(s, 8);
		capulet:allow_log("limit");
		local juliet, romeo = capulet:client("juliet@capulet.lit/balcony"), capulet:client("romeo@capulet.lit/orchard");
		ask_big(juliet, "1");
		assert.equal(6, left());
		ask_big(juliet, "2");
		ask_big(capulet:client("juliet@capulet.lit/garden"), "3");
		assert.equal(4, left());
		ask_big(romeo, "4");
		assert.equal(2, left());
		juliet:send(proxy.request("5"));
		proxy.expect_answer(juliet, "5");
	end));

	it("do not fail the other requests that the client had (C7, P12)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.available(b, unavailable);
		for i = 1, 10 do juliet:send(proxy.request("r" .. i)); end
		juliet:sync();
		proxy.available(b);
		proxy.serve(b);
		a:kill();
		for i = 1, 10 do assert.equal(b.jid, proxy.expect_answer(juliet, "r" .. i)); end
	end));

	it("are not meant by clients that leave in order, however often (C7, P12)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for i = 1, 8 do
			juliet:send(proxy.request("r" .. i));
			local asked, other = proxy.expect_one_of(s, a, b, { "iq", type = "get", id = "r" .. i });
			proxy.available(asked, unavailable);
			proxy.answer(other, other:expect { "iq", type = "get", id = "r" .. i });
			assert.equal(other.jid, (proxy.expect_answer(juliet, "r" .. i)));
			proxy.available(asked);
		end
	end));

	it("are not meant by a bounce: the way to a server is cut (C7, P12)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = { "impl@capulet.lit", "bot@montague.lit" }
				client_proxy_strategy = "round-robin"
		]] };
		capulet:add_user(proxy.account);
		proxy.reload(capulet);
		local a, bot = capulet:client("impl@capulet.lit/a"), montague:client("bot@montague.lit/b");
		proxy.available(a);
		proxy.approve(bot);
		proxy.serve(a);
		proxy.serve(bot);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		s:wait_until(function ()
			juliet:send(proxy.request("r"));
			return proxy.expect_answer(juliet, "r") == bot.jid;
		end, 10, "an answer of the other server");
		montague:kill();
		s:wait_until(function () return capulet:eval [[return next(prosody.hosts["proxy.capulet.lit"].s2sout) == nil]]; end, 10);
		for i = 1, 6 do
			juliet:send(proxy.request("f" .. i, nil, i % 2 == 0 and "set" or "get"));
			assert.equal(a.jid, juliet:expect({ "iq", type = "result", id = "f" .. i }, 10):find("{urn:test}answer@by"));
		end
	end));

	it("have a name in the log when it is mod_limits that makes answers late (C8)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_timeout = 2", {
			modules = { "limits" }; global = [[limits = { c2s = { rate = "1kb/s"; burst = "1s" } }]];
		});
		impl.on_stanza = function (stanza)
			if stanza.attr.type == "get" then
				impl:send(st.reply(stanza):tag("answer", { xmlns = "urn:test" }):text(("x"):rep(5000)));
			end
		end;
		capulet:allow_log("impl@capulet.lit/a answers late because mod_limits slows its stream down");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for i = 1, 4 do juliet:send(proxy.request("r" .. i)); end
		capulet:expect_log("impl@capulet.lit/a answers late because mod_limits slows its stream down; "
			.. "put its account into the option unlimited_jids of capulet.lit", 20);
	end));
end);
end
