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
		s:wait(0.2);
		say("4");
		juliet:expect({ "message", type = "error", id = "4" }, 10);
		link:restore();
		say("5");
		romeo:expect { "message", id = "5" };

		link:cut_after(capulet, 20);
		say("6");
		romeo:expect_none({ "message" }, 0.5);
	end));

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
end);
end
