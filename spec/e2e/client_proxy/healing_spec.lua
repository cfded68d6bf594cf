-- SPDX-License-Identifier: MIT
-- mod_client_proxy: the pool comes back without a restart, whatever emptied it; several targets.

local bed = require "bed";
local proxy = require "client_proxy";

for version in bed.versions() do
describe("pool of client_proxy on Prosody " .. version, function ()
	-- asks until a result comes, and returns who sent it; service-unavailable is the only other answer there may be
	local function ask(s, user, expected)
		return s:wait_until(function ()
			user:send(proxy.request("1"));
			local reply = user:expect({ "iq", id = "1" }, 10);
			if reply.attr.type == "error" then
				assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"), tostring(reply));
				s:wait(0.2);
				return nil;
			end
			local by = reply:find("{urn:test}answer@by");
			return (not expected or by == expected) and by;
		end, 30, "an answer of " .. (expected or "anybody"));
	end

	it("needs no approval of an account of this server (P4)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = proxy.config() };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- made while the proxy runs, which looks again after 5 seconds
		local impl = capulet:client("impl@capulet.lit/a");
		proxy.serve(impl);
		impl:send "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
		proxy.available(impl);
		assert.equal(impl.jid, ask(s, juliet));
		impl:expect { "iq", type = "set", has = "{jabber:iq:roster}query/item" };
		-- the account has let go of nothing else
		assert.equal("from", capulet:eval [[return require "core.rostermanager".load_roster("impl", "capulet.lit")["proxy.capulet.lit"].subscription]]);
		-- and from the start of the server
		capulet:restart();
		juliet, impl = capulet:client(juliet.jid), capulet:client(impl.jid);
		proxy.serve(impl);
		proxy.available(impl);
		juliet:send(proxy.request("2"));
		assert.equal(impl.jid, proxy.expect_answer(juliet, "2"));
		impl:expect_none({ "presence", type = "subscribe" }, 0);
	end));

	it("follows target_address when the configuration is reloaded (P2)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version);
		local other = capulet:client("other@capulet.lit/o");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.serve(other);
		proxy.available(other);
		juliet:send(proxy.request("flight"));
		local request = a:expect { "iq", id = "flight" };
		-- with a mistake nothing changes
		capulet:allow_log("Option 'target_address'");
		capulet:allow_log("Aborting reload");
		capulet:reload_config((proxy.config():gsub("impl@", "")));
		capulet:expect_log("Option 'target_address': expected");
		proxy.answer(a, request);
		proxy.expect_answer(juliet, "flight");
		proxy.serve(a);
		assert.equal(a.jid, ask(s, juliet));
		capulet:reload_config((proxy.config():gsub("impl@", "other@")));
		assert.equal(other.jid, ask(s, juliet, other.jid));
		for _ = 1, 10 do assert.equal(other.jid, ask(s, juliet)); end
	end));

	it("gets over a target server that dies without a word, and over one that loses its clients", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		montague:add_user("impl@montague.lit");
		local capulet = s:node { version = version; config = proxy.config("client_proxy_timeout = 8"):gsub("impl@capulet", "impl@montague") };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function come(approved)
			local impl = montague:client("impl@montague.lit/a");
			proxy.serve(impl);
			(approved and proxy.available or proxy.approve)(impl);
			assert.equal(impl.jid, ask(s, juliet));
			return impl;
		end
		local impl = come();
		impl.on_stanza = nil;
		juliet:send(proxy.request("flight"));
		impl:expect { "iq", id = "flight" };
		-- or mod_smacks answers it when the stream breaks
		s:wait_until(function () return capulet:unacknowledged("proxy.capulet.lit", "montague.lit") == 0; end);
		montague:kill();
		-- who was asked cannot say, who is asked now is known not to be there
		proxy.expect_error(juliet, "flight", "remote-server-timeout", "proxy.capulet.lit", 8);
		juliet:send(proxy.request("dead"));
		proxy.expect_error(juliet, "dead", "service-unavailable", "proxy.capulet.lit", 10);
		-- and from then on nobody has to wait for a connection attempt
		juliet:send(proxy.request("known"));
		local text = proxy.expect_error(juliet, "known", "service-unavailable"):find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#");
		assert.equal("No implementing client is online", text);
		montague:start();
		come(true);
		-- the server is back before anybody noticed, the client is not
		montague:kill();
		montague:start();
		juliet:send(proxy.request("stale"));
		proxy.expect_error(juliet, "stale", "service-unavailable", "proxy.capulet.lit", 10);
		come(true);
	end));

	it("finds a resource that came while the way was cut (P3)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		montague:add_user("impl@montague.lit");
		local capulet = s:node { version = version; config = proxy.config():gsub("impl@capulet", "impl@montague"); start = false };
		local link = s:link(capulet, montague);
		capulet:start();
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local impl = montague:client("impl@montague.lit/a");
		proxy.serve(impl);
		proxy.approve(impl);
		ask(s, juliet);
		proxy.available(impl, "<presence type='unavailable'/>");
		s:wait_until(function ()
			juliet:send(proxy.request("gone"));
			return juliet:expect({ "iq", id = "gone" }).attr.type == "error";
		end, 5, "the end of the resource");
		-- its presence is lost, and nobody here knows
		link:cut();
		proxy.available(impl);
		montague:expect_log("Destroying outgoing session montague.lit%->proxy.capulet.lit", 10);
		link:restore();
		assert.equal(impl.jid, ask(s, juliet));
	end));

	-- takes the seconds in which a resource can show up
	it("forgets a resource that its server knows nothing of", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		montague:add_user("impl@montague.lit");
		local capulet = s:node { version = version; config = proxy.config():gsub("impl@capulet", "impl@montague") };
		capulet:allow_log("is left out");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local old = montague:client("impl@montague.lit/old");
		proxy.serve(old);
		proxy.approve(old);
		assert.equal(old.jid, ask(s, juliet));
		montague:kill();
		montague:start();
		-- it does not come back, but somebody else does
		local new = montague:client("impl@montague.lit/new");
		proxy.serve(new);
		proxy.available(new);
		ask(s, juliet, new.jid);
		s:wait_until(function ()
			ask(s, juliet, new.jid);
			return capulet.log:find("impl@montague.lit/old has gone");
		end, 20, "the end of the old resource");
		assert.equal("impl@montague.lit/new", capulet:eval [[
			local commands = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module:shared("/*/client_proxy/commands");
			return table.concat(commands["proxy.capulet.lit"].resources.subjects(), " ");
		]]);
	end));

	it("can be that of several accounts, also of another server (X4)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = { "impl@capulet.lit", "second@capulet.lit", "Bot@montague.lit" }
				client_proxy_strategy = "round-robin"
		]] };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:add_user("impl@capulet.lit");
		capulet:add_user("second@capulet.lit");
		proxy.reload(capulet);
		local clients = {
			capulet:client("impl@capulet.lit/a"), capulet:client("second@capulet.lit/a"), montague:client("bot@montague.lit/a"),
			montague:client("bot@montague.lit/b"),
		};
		for _, impl in ipairs(clients) do
			proxy.serve(impl);
			proxy.available(impl);
		end
		clients[3]:expect({ "presence", type = "subscribe", from = "proxy.capulet.lit" }, 10);
		clients[3]:send "<presence type='subscribed' to='proxy.capulet.lit'/>";
		ask(s, juliet, clients[3].jid);
		ask(s, juliet, clients[4].jid);
		local function distribution(requests)
			local count = {};
			for _ = 1, requests do
				local by = ask(s, juliet);
				count[by] = (count[by] or 0) + 1;
			end
			return count;
		end
		assert.same({ ["impl@capulet.lit/a"] = 5, ["second@capulet.lit/a"] = 5, ["bot@montague.lit/a"] = 5, ["bot@montague.lit/b"] = 5 },
			distribution(20));
		-- one account and one server less: nobody is told
		proxy.available(clients[2], "<presence type='unavailable'/>");
		montague:kill();
		-- what is written to a connection before its end is noticed is lost
		s:wait_until(function () return capulet:eval [[return next(prosody.hosts["proxy.capulet.lit"].s2sout) == nil]]; end);
		for i = 1, 10 do
			juliet:send(proxy.request("f" .. i, nil, i % 2 == 0 and "set" or "get"));
			assert.equal("impl@capulet.lit/a", juliet:expect({ "iq", type = "result", id = "f" .. i }, 10):find("{urn:test}answer@by"));
		end
		assert.same({ ["impl@capulet.lit/a"] = 5 }, distribution(5));
		montague:start();
		local bot = montague:client("bot@montague.lit/c");
		proxy.serve(bot);
		proxy.available(bot);
		ask(s, juliet, bot.jid);
	end));
end);
end
