-- SPDX-License-Identifier: MIT
-- mod_client_proxy: the commands of administrators (section 4 of the requirements).

local bed = require "bed";
local proxy = require "client_proxy";
local operation = require "operation";
local shell = require "shell";

local xmlns_commands = "http://jabber.org/protocol/commands";
local command = operation.command("proxy.capulet.lit", "https://prosody-relay/client_proxy#pool");

for version in bed.versions() do
describe("operation of client_proxy on Prosody " .. version, function ()
	local function start(s, resources)
		return proxy.start(s, version, resources, nil, proxy.with_metrics());
	end

	it("shows admins the pool, and lets them leave out a resource, by an ad-hoc command", bed.scenario(function (s)
		local capulet, a, b, _, d = start(s, { "a", "b", "c", "d" });
		local admin, juliet = capulet:client("admin@capulet.lit/desk"), capulet:client("juliet@capulet.lit/balcony");
		proxy.available(d, "<presence><priority>-1</priority><show>away</show></presence>");
		local function act(action, resource)
			return command:act(admin, { action = action; resource = resource });
		end
		assert.truthy(act("eject", "impl@capulet.lit/c"):find("gets no requests"));
		juliet:send(proxy.request("1"));
		juliet:sync();
		local lines = command:overview(admin);
		assert.equal("impl@capulet.lit/c  priority 0, available, 0 in flight, left out: by an administrator", lines[3]);
		assert.equal("impl@capulet.lit/d  priority -1, away, 0 in flight, not admitted: priority -1 is below 0", lines[4]);
		assert.equal("2 of 4 resources can be asked, 1 requests in flight", lines[5]);
		assert.truthy((lines[1] .. lines[2]):find("1 in flight, is asked"));
		act("eject", "impl@capulet.lit/a");
		proxy.serve(a);
		proxy.serve(b);
		for i = 1, 20 do
			juliet:send(proxy.request("b" .. i));
			assert.equal(b.jid, proxy.expect_answer(juliet, "b" .. i));
		end
		assert.truthy(act("readmit", "impl@capulet.lit/a"):find("gets requests again"));
		assert.truthy(act("readmit", "impl@capulet.lit/a"):find("is not left out"));
		assert.truthy(act("eject", "impl@capulet.lit/x"):find("There is no resource"));
		assert.equal("Nothing was changed", act("", "impl@capulet.lit/a"));
		s:wait_until(function ()
			juliet:send(proxy.request("again"));
			return proxy.expect_answer(juliet, "again") == a.jid;
		end);
	end));

	it("is for admins only", bed.scenario(function (s)
		local capulet, a = start(s, { "a" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, client in ipairs { juliet, a } do
			local reply = command:run(client);
			assert.equal("error", reply.attr.type);
			assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden"));
		end
		a:expect_none({ "iq", type = "set" }, 0);
		-- other commands are the implementing client's (P20)
		proxy.serve(a);
		juliet:send(("<iq type='set' id='other' to='proxy.capulet.lit'><command xmlns='%s' node='x'/></iq>"):format(xmlns_commands));
		assert.equal(a.jid, proxy.expect_answer(juliet, "other"));
	end));

	if version ~= "0.12" then -- whose shell takes no commands of modules
		it("does the same in Prosody's shell", bed.scenario(function (s)
			local capulet = start(s, { "a", "b" });
			local function run(text)
				local prosodyctl = capulet.installations[version].prosodyctl;
				return select(2, shell.try("%s --root --config %s shell %s", prosodyctl, capulet.dir .. "/prosody.cfg.lua", text));
			end
			local line = "impl@capulet.lit/a  priority 0, available, 0 in flight, is asked";
			assert.truthy(run([[client_proxy:resources("proxy.capulet.lit")]]):find(line, 1, true));
			assert.truthy(run([[client_proxy:eject("proxy.capulet.lit", "impl@capulet.lit/a")]]):find("gets no requests"));
			assert.truthy(run([[client_proxy:resources("proxy.capulet.lit")]]):find("1 of 2 resources can be asked, 0 requests in flight", 1, true));
			assert.truthy(run([[client_proxy:readmit("proxy.capulet.lit", "impl@capulet.lit/a")]]):find("gets requests again"));
			assert.truthy(run([[client_proxy:readmit("proxy.capulet.lit", "impl@capulet.lit/a")]]):find("is not left out"));
			proxy.reload(capulet);
			assert.truthy(run([[client_proxy:eject("proxy.capulet.lit", "impl@capulet.lit/a")]]):find("gets no requests"));
			assert.truthy(run([[client_proxy:resources("capulet.lit")]]):find("mod_client_proxy is not loaded on capulet.lit", 1, true));
			capulet:eval [[assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"))]];
			assert.truthy(run([[client_proxy:resources("proxy.capulet.lit")]]):find("is not loaded on proxy.capulet.lit", 1, true));
		end));
	end
end);
end
