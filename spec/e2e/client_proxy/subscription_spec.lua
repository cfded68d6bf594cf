-- SPDX-License-Identifier: MIT
-- mod_client_proxy: how it is loaded, and how it comes to see the resources of its target.

local bed = require "bed";
local proxy = require "client_proxy";

for version in bed.versions() do
describe("subscription of client_proxy on Prosody " .. version, function ()
	it("refuses to be anything but a component (P1)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
				modules_enabled = { "client_proxy" }
				target_address = "impl@capulet.lit"
		]] };
		capulet:allow_log("client_proxy");
		capulet:expect_log("mod_client_proxy has to be loaded as a component");
	end));

	it("refuses a missing or wrong target_address and names the option (P2)", bed.scenario(function (s)
		for _, option in ipairs {
			"", "target_address = ''", "target_address = {}", "target_address = 'capulet.lit'", "target_address = 'impl@capulet.lit/resource'",
			"target_address = 'im pl@capulet.lit'", "target_address = 42", "target_address = { 'impl@capulet.lit', 'x@' }",
			"target_address = 'user@proxy.capulet.lit'",
		} do
			local capulet = s:node { version = version; config = [[
				VirtualHost "capulet.lit"
				Component "proxy.capulet.lit" "client_proxy"
			]] .. option };
			capulet:allow_log("Option 'target_address': expected");
			assert.truthy(capulet.log:find("Option 'target_address': expected"), option);
			capulet:stop();
		end
	end));

	it("compares the target_address after stringprep (P2)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = "Impl@Capulet.LIT"
		]] };
		local impl = capulet:client("impl@capulet.lit/a");
		proxy.reload(capulet);
		proxy.available(impl);
		proxy.serve(impl);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		assert.equal(impl.jid, proxy.expect_answer(juliet, "1"));
	end));

	it("asks for the subscription whichever host is activated first (P3)", bed.scenario(function (s)
		-- the order is that of a hash table with a random seed: as many starts as it takes
		local seen = {};
		for _ = 1, 30 do
			local capulet = s:node { version = version; config = proxy.config() };
			capulet:expect_log("inbound presence subscribe from proxy.capulet.lit for impl@capulet.lit", 1);
			seen[capulet.log:find("Activated host: "):match("host: (.*)")] = true;
			capulet:stop();
			if seen["capulet.lit"] and seen["proxy.capulet.lit"] then return; end
		end
		error("only one order in 30 starts");
	end));

	it("asks again when the request was lost, and when the host of the target comes later (P3)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = proxy.config() };
		local function count()
			return select(2, capulet.log:tail(100000):gsub("inbound presence subscribe from proxy.capulet.lit", ""));
		end
		capulet:eval [[
			local modulemanager = require "core.modulemanager";
			local events = prosody.hosts["capulet.lit"].events;
			local function swallow() return true; end
			events.add_handler("presence/bare", swallow, 1000);
			assert(modulemanager.unload("proxy.capulet.lit", "client_proxy"));
			assert(modulemanager.load("proxy.capulet.lit", "client_proxy"));
			events.remove_handler("presence/bare", swallow);
		]];
		assert.equal(1, count());
		s:wait_until(function () return count() == 2; end, 8, "second request");
		capulet:eval [[
			local hostmanager = require "core.hostmanager";
			assert(hostmanager.deactivate("capulet.lit"));
			assert(hostmanager.deactivate("proxy.capulet.lit"));
			assert(hostmanager.activate("proxy.capulet.lit"));
			assert(hostmanager.activate("capulet.lit"));
		]];
		assert.equal(3, count());
	end));

	it("keeps its approval over restarts and reloads (P4, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet;
		local function works()
			proxy.serve(impl);
			juliet:send(proxy.request("1"));
			assert.equal(impl.jid, proxy.expect_answer(juliet, "1"));
		end
		-- started again with nobody online
		capulet:restart();
		impl = capulet:client(impl.jid);
		juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("offline"));
		proxy.expect_error(juliet, "offline", "service-unavailable");
		proxy.available(impl);
		works();
		-- loaded anew, without the pool of the instance before, while the target is online
		capulet:eval [[
			assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"));
			assert(require "core.modulemanager".load("proxy.capulet.lit", "client_proxy"));
		]];
		works();
		proxy.reload(capulet);
		works();
		impl:expect_none({ "presence", type = "subscribe" }, 0);
	end));

	it("sees nothing without the approval (P4)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		local impl = montague:client("impl@montague.lit/a");
		local capulet = s:node { version = version; config = proxy.config():gsub("impl@capulet", "impl@montague") };
		proxy.available(impl);
		impl:expect { "presence", type = "subscribe", from = "proxy.capulet.lit" };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		proxy.expect_error(juliet, "1", "service-unavailable");
	end));

	it("drops the pool and asks again when the approval is revoked (P4, P15)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:allow_log("has revoked the subscription");
		juliet:send(proxy.request("1"));
		impl:expect { "iq", id = "1" };
		impl:send "<presence type='unsubscribed' to='proxy.capulet.lit'/>";
		impl:sync();
		proxy.expect_error(juliet, "1", "service-unavailable");
		juliet:send(proxy.request("2"));
		proxy.expect_error(juliet, "2", "service-unavailable");
		-- the user is the one to approve now
		proxy.approve(impl);
		proxy.serve(impl);
		juliet:send(proxy.request("3"));
		proxy.expect_answer(juliet, "3");
	end));

	it("ignores the presence of strangers (P4)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = proxy.config() };
		local mallory = capulet:client("mallory@capulet.lit/a");
		mallory:send "<presence/>";
		mallory:send "<presence to='proxy.capulet.lit'/>";
		mallory:send "<presence to='proxy.capulet.lit' type='subscribed'/>";
		mallory:sync();
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		proxy.expect_error(juliet, "1", "service-unavailable");
	end));

	for target_version in bed.versions() do
		it("serves users and targets on other servers, " .. target_version .. " (P3, P4, P5, P6)", bed.scenario(function (s)
			local capulet = s:node { version = version; config = [[
				VirtualHost "capulet.lit"
				Component "proxy.capulet.lit" "client_proxy"
					target_address = "impl@montague.lit"
			]]; start = false };
			local montague = s:node { version = target_version; config = [[VirtualHost "montague.lit"]] };
			montague:add_user("impl@montague.lit");
			local link = s:link(capulet, montague);
			capulet:start();
			-- at once, not with the first repetition after 5 seconds
			link:expect(capulet, { "presence", type = "subscribe", to = "impl@montague.lit" }, 3);
			local impl = montague:client("impl@montague.lit/a");
			proxy.approve(impl);
			link:expect(montague, { "presence", type = "subscribed" });
			link:expect(montague, { "presence", from = impl.jid, type = false });
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			local romeo = montague:client("romeo@montague.lit/\u{5d0}");
			for _, user in ipairs { juliet, romeo } do
				user:send(proxy.request("1", "node@proxy.capulet.lit"));
				proxy.answer(impl, impl:expect { "iq", id = "1" });
				proxy.expect_answer(user, "1", { from = "node@proxy.capulet.lit" });
			end
			-- malformed, as no client of the other server could send it
			montague:eval [[
				local st = require "util.stanza";
				local iq = st.iq({ type = "get", id = "2", from = "romeo@montague.lit/\215\144", to = "proxy.capulet.lit" });
				prosody.core_post_stanza(prosody.hosts["montague.lit"], iq);
			]];
			proxy.expect_error(romeo, "2", "bad-request");
			juliet:send(proxy.request("3"));
			impl:expect { "iq", id = "3" };
			impl:close();
			proxy.expect_error(juliet, "3", "service-unavailable", "proxy.capulet.lit");
			-- the proxy starts again: its subscription and the presence come back over the link
			impl = montague:client("impl@montague.lit/b");
			proxy.available(impl);
			link:expect(montague, { "presence", from = impl.jid, type = false });
			capulet:restart();
			proxy.serve(impl);
			link:expect(montague, { "presence", from = impl.jid, type = false });
			link:settle();
			juliet = capulet:client(juliet.jid);
			juliet:send(proxy.request("4"));
			assert.equal(impl.jid, proxy.expect_answer(juliet, "4"));
		end));
	end

	for _, kind in ipairs { "acknowledged", "unacknowledged" } do
	it(("tells users of %s requests that the way to the target is cut, and goes on when it is not (P12, P13, G26)"):format(kind),
			bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = "impl@montague.lit"
				client_proxy_timeout = 2
		]]; start = false };
		local link = s:link(capulet, montague);
		capulet:start();
		local impl = montague:client("impl@montague.lit/a");
		proxy.approve(impl);
		link:expect(montague, { "presence", from = impl.jid, type = false });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		link:settle();
		if kind == "unacknowledged" then montague:freeze(); end
		juliet:send(proxy.request("flight"));
		local request = kind == "acknowledged" and impl:expect { "iq", id = "flight" };
		if request then
			-- its server has it: the client may answer, but for the way back
			link:settle();
			link:cut();
			proxy.expect_error(juliet, "flight", "remote-server-timeout", "proxy.capulet.lit");
		else
			s:wait_until(function () return capulet:unacknowledged("proxy.capulet.lit", "montague.lit") == 1; end);
			link:cut();
			montague:thaw();
			proxy.expect_error(juliet, "flight", "service-unavailable", "proxy.capulet.lit");
		end
		juliet:send(proxy.request("cut"));
		juliet:expect({ "iq", type = "error", id = "cut", from = "proxy.capulet.lit", has = "error" }, 10);
		link:restore();
		if request then proxy.answer(impl, request); end
		-- the proxy asks for the presence again, and until then has nobody to ask
		proxy.serve(impl);
		s:wait_until(function ()
			juliet:send(proxy.request("restored"));
			return juliet:expect({ "iq", id = "restored" }).attr.type == "result";
		end, 20, "the way restored");
		juliet:expect_none({ "iq" }, 0.2);
	end));
	end

	it("gets over a target server that is down at its start (P3)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]]; start = false };
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = "impl@montague.lit"
		]] };
		capulet:expect_log("presence of impl@montague.lit cannot be seen", 4);
		montague:start();
		local impl = montague:client("impl@montague.lit/a");
		proxy.available(impl);
		impl:expect({ "presence", type = "subscribe", from = "proxy.capulet.lit" }, 30);
	end));
end);
end
