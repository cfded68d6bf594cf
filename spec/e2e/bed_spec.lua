-- SPDX-License-Identifier: MIT
-- The test bed itself: what the other specs rely on.

local bed = require "bed";

for version in bed.versions() do
describe("test bed on Prosody " .. version, function ()
	it("delivers between clients, a component and itself", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[
			VirtualHost "capulet.lit"
			Component "gw.capulet.lit"
				component_secret = "hush"
		]] };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/hall");
		local gateway = capulet:component("gw.capulet.lit", "hush");
		assert.equal("juliet@capulet.lit/balcony", juliet.jid);

		juliet:send [[<message to='nurse@capulet.lit/hall' id='m1'><body>Come hither</body></message>]];
		local message = nurse:expect { "message", from = juliet.jid, body = "~^Come" };
		assert.equal("m1", message.attr.id);
		nurse:send [[<iq type='get' id='1' to='gw.capulet.lit'><query xmlns='jabber:iq:version'/></iq>]];
		gateway:expect { "iq", type = "get", from = nurse.jid, has = "{jabber:iq:version}query" };
		gateway:send [[<iq type='result' id='1' from='gw.capulet.lit' to='nurse@capulet.lit/hall'/>]];
		nurse:expect { "iq", type = "result", id = "1" };
		juliet:sync();
		juliet:expect_none({ "message" }, 0);
		assert.has_error(function () juliet:expect({ "message" }, 0.2); end);
		juliet:close();
		nurse:kill();
		s:wait_until(function ()
			return capulet:eval [[return next(prosody.full_sessions) == nil]];
		end, 2, "no session is left");
	end));

	it("leads to other programs, and believes by dialback whom a scenario names", bed.scenario(function (s)
		local without_tls = [[modules_disabled = { "tls" }]];
		local capulet = s:node { version = version; config = [[VirtualHost "capulet.lit"]]; global = without_tls; start = false };
		local guest = { address = s:next_address(); hosts = function () return ipairs { "montague.lit" }; end };
		s:register(guest);
		assert.equal(capulet.address, guest.resolve("capulet.lit"));
		assert.equal(guest.address, capulet.resolve("montague.lit"));
		assert.is_nil(guest.resolve("verona.lit"));

		-- a node takes over the guest's name
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]]; global = without_tls; dialback = { capulet } };
		capulet.dialback = { guest };
		capulet:start();
		local link = s:link(capulet, montague);
		assert.not_equal(montague.address, capulet.resolve("montague.lit"));
		local romeo = montague:client("romeo@montague.lit/orchard");
		capulet:client("juliet@capulet.lit/balcony"):send [[<message to='romeo@montague.lit/orchard' id='1'><body>hail</body></message>]];
		romeo:expect { "message", id = "1" };
		link:expect(capulet, { "message", id = "1" });
		assert.is_false(link:is_managed(capulet));
	end));

	it("federates over a link that records, delays, holds and cuts", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[VirtualHost "capulet.lit"]] };
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		local link = s:link(capulet, montague);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local romeo = montague:client("romeo@montague.lit/orchard");
		local function say(id)
			juliet:send(("<message to='romeo@montague.lit/orchard' id='%s'><body>hail</body></message>"):format(id));
		end
		say("1");
		romeo:expect { "message", id = "1", from = juliet.jid };
		assert.equal("1", link:expect(capulet, { "message" }).attr.id);
		assert.equal(1, #link:sent(capulet));
		assert.equal(0, #link:sent(montague));
		assert.is_true(link:bytes(capulet) > 100);

		link:delay(0.4);
		say("2");
		romeo:expect_none({ "message" }, 0.3);
		romeo:expect { "message", id = "2" };
		link:delay(nil);

		link:stall();
		say("3");
		romeo:expect_none({ "message" }, 0.3);
		link:restore();
		romeo:expect { "message", id = "3" };

		link:cut();
		link:expect_broken();
		say("4");
		juliet:expect({ "message", type = "error", id = "4" }, 10);
		link:restore();
		say("5");
		romeo:expect { "message", id = "5" };

		link:cut_after(capulet, 20);
		say("6");
		romeo:expect_none({ "message" }, 0.5);
	end));

	it("has stream management between servers, and tells what nobody acknowledged (F1)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[VirtualHost "capulet.lit"]] };
		local montague = s:node { version = version; config = [[
			VirtualHost "montague.lit"
			Component "gw.montague.lit"
				component_secret = "hush"
		]] };
		local link = s:link(capulet, montague);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local gateway = montague:component("gw.montague.lit", "hush");
		local function say(id) juliet:send(("<message to='romeo@gw.montague.lit' id='%s'/>"):format(id)); end
		assert.is_false(link:is_managed(capulet));
		say("1");
		gateway:expect { "message", id = "1" };
		s:wait_until(function () return link:is_managed(capulet); end);
		say("2");
		gateway:expect { "message", id = "2" };
		s:wait_until(function () return capulet:unacknowledged("capulet.lit", "gw.montague.lit") == 0; end);
		link:settle();
		assert.equal(2, #link:sent(capulet));
		assert.equal("2", link:sent(capulet)[2].attr.id);
		assert.has_error(function () montague:unacknowledged("gw.montague.lit", "capulet.lit"); end);

		montague:freeze();
		link:forget();
		say("3");
		link:expect(capulet, { "message", id = "3" });
		juliet:sync();
		assert.equal(1, capulet:unacknowledged("capulet.lit", "gw.montague.lit"));
		-- Prosody has asked for an acknowledgement, and added the language
		assert.equal(#tostring(link:sent(capulet)[1]) + #" xml:lang='en'", link:bytes(capulet));
		juliet:expect_none({ "message" }, 0);
		montague:thaw();
		gateway:expect { "message", id = "3" };
		s:wait_until(function () return capulet:unacknowledged("capulet.lit", "gw.montague.lit") == 0; end);

		montague:freeze();
		say("4");
		link:expect(capulet, { "message", id = "4" });
		montague:kill();
		juliet:expect { "message", type = "error", id = "4", has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}recipient-unavailable" };
	end));

	it("fails a scenario whose servers have a stream without stream management (F1)", function ()
		for _, missing in ipairs { "smacks", "s2s_auth_certs" } do
			local run = bed.scenario(function (s)
				local function server(host)
					return s:node { version = version; config = ("VirtualHost %q"):format(host);
						global = ("s2s_insecure_domains = { \"capulet.lit\", \"montague.lit\" } modules_disabled = { %q }"):format(missing) };
				end
				local capulet, montague = server("capulet.lit"), server("montague.lit");
				local juliet, romeo = capulet:client("juliet@capulet.lit/balcony"), montague:client("romeo@montague.lit/orchard");
				juliet:send("<message to='romeo@montague.lit/orchard'/>");
				romeo:expect { "message" };
			end);
			local ok, err = pcall(run);
			assert.is_false(ok);
			assert.matches("Without stream management: capulet%.lit to montague%.lit", err);
		end
	end);

	it("kills, restarts and reloads nodes whose data survive", bed.scenario(function (s)
		local capulet = s:node { version = version; config = [[VirtualHost "capulet.lit"]] };
		capulet:client("juliet@capulet.lit/balcony");
		capulet:kill();
		capulet:start();
		assert.is_true(capulet:eval [[return require "core.usermanager".user_exists("juliet", "capulet.lit")]]);
		capulet:restart();
		assert.is_true(capulet:eval [[return require "core.usermanager".user_exists("juliet", "capulet.lit")]]);
		capulet:reload("disco", "capulet.lit");
		capulet:reload_config [[VirtualHost "capulet.lit" motd = "peace"]];
		assert.equal("peace", capulet:eval [[return require "core.configmanager".get("capulet.lit", "motd")]]);
		assert.has_error(function () capulet:eval [[error("wrong")]]; end);
	end));

	it("fails a scenario whose log has a warning nobody allowed", function ()
		local run = bed.scenario(function (s)
			local capulet = s:node { version = version; config = [[VirtualHost "capulet.lit"]] };
			capulet:eval [[module:log("warn", "something is rotten")]];
			capulet:expect_log("something is rotten");
		end);
		local ok, err = pcall(run);
		assert.is_false(ok);
		assert.matches("something is rotten", err);
	end);

	it("tells a stanza for a component that it takes down itself from one for a component that went before (U10)", function ()
		local function run(goes_before)
			return pcall(bed.scenario(function (s)
				local capulet = s:node { version = version; config = [[
VirtualHost "capulet.lit"
Component "gw.capulet.lit"
	component_secret = "hush"
]] };
				local gateway, juliet = capulet:component("gw.capulet.lit", "hush"), capulet:client("juliet@capulet.lit/balcony");
				if goes_before then
					gateway:close();
					juliet:send("<message to='gw.capulet.lit'/>");
					juliet:expect { "message", type = "error" };
				end
				-- the last stanza of the scenario comes when the streams have gone
				capulet:eval [[
					prosody.events.add_handler("server-stopping", function ()
						prosody.hosts["capulet.lit"].modules.ping.module:send(require "util.stanza".message { from = "capulet.lit"; to = "gw.capulet.lit" });
					end, 1000);
				]];
			end));
		end
		assert.is_true(run(false));
		local ok, err = run(true);
		assert.is_false(ok);
		assert.matches("Component not connected", err);
	end);
end);
end
