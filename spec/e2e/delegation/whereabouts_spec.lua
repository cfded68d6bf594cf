-- SPDX-License-Identifier: MIT
-- mod_delegation: what administrators are told about entities of which this server does not know whether they are there.

local bed = require "bed";
local delegation = require "delegation_bed";
local operation = require "operation";

local ns = "urn:x:delegated";
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";
local command = operation.command("capulet.lit", "https://prosody-relay/delegation#entities");
local global = [[ admins = { "admin@capulet.lit" } ]];

for version in bed.versions() do
describe("whereabouts of entities on Prosody "..version, function ()
	it("are not known of another server until something is heard, or is not (E3)", bed.scenario(function (s)
		local montague = s:node { version = version, config = [[
			VirtualHost "montague.lit"
			Component "ent.montague.lit"
				component_secret = "hush"
		]] };
		montague:allow_log("Component not connected, bouncing error");
		local capulet = delegation.server(s, version, [[
			["urn:x:delegated"] = { jid = "ent.montague.lit" }, ["urn:x:nowhere"] = { jid = "ent.nowhere.lit" },
		]], { global = global });
		local link = s:link(capulet, montague);
		capulet:allow_log("ent.montague.lit: no features announced");
		capulet:allow_log("ent.nowhere.lit: cannot be reached: remote%-server%-");
		local admin, juliet = capulet:client("admin@capulet.lit/desk"), capulet:client("juliet@capulet.lit/balcony");
		local function ask(namespace)
			local id = delegation.request(juliet, namespace);
			return juliet:expect({ "iq", id = id }, 30), id;
		end
		local function shows(line)
			s:wait_until(function () return table.concat(command:overview(admin), "\n"):find(line, 1, true) ~= nil; end, 30, line);
		end
		capulet:expect_log("Managing entity ent.montague.lit is on another server, whether it is there is not known yet");
		shows "ent.nowhere.lit  cannot be reached, 0 in flight";
		assert.truthy(ask("urn:x:nowhere"):find(unavailable));
		shows "  urn:x:nowhere  active if the entity is there, no features announced, 0 in flight";
		-- its server answers in its place, which tells nothing about it
		capulet:allow_log("ent.montague.lit: answers a request with an error");
		assert.truthy(ask(ns):find(unavailable));
		shows "ent.montague.lit  on another server, whether it is there is not known yet, 0 in flight";
		shows "0 of 2 managing entities are available";
		local entity = montague:component("ent.montague.lit", "hush");
		local function answered()
			local id = delegation.request(juliet, ns);
			local outer, inner = delegation.forwarded(entity);
			delegation.answer(entity, outer, inner);
			juliet:expect { "iq", id = id, type = "result" };
		end
		answered();
		shows "ent.montague.lit  available as ent.montague.lit, 0 in flight";
		shows "1 of 2 managing entities are available";
		capulet:expect_log("Managing entity ent.montague.lit is available as ent.montague.lit");
		-- an error of the entity, whatever its condition, is its own word
		local id = delegation.request(juliet, ns);
		local outer = delegation.forwarded(entity);
		entity:send(("<iq type='error' id='%s' from='ent.montague.lit' to='capulet.lit'><error type='cancel'>"
			.."<remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"):format(outer.attr.id));
		juliet:expect { "iq", id = id, type = "error" };
		shows "ent.montague.lit  available as ent.montague.lit, 0 in flight";
		-- this server's word is not, whatever the entity had said
		capulet:allow_log("ent.montague.lit: cannot be reached");
		montague:stop();
		link:cut();
		assert.truthy(ask(ns):find(unavailable));
		shows "ent.montague.lit  cannot be reached, 0 in flight";
		montague:start();
		link:restore();
		entity = montague:component("ent.montague.lit", "hush");
		answered();
		shows "ent.montague.lit  available as ent.montague.lit, 0 in flight";
	end));

	it("are doubted when a name looks mistyped (E3)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:1"] = { jid = "pubsbu.capulet.lit" }, ["urn:x:2"] = { jid = "bto@capulet.lit" }, ["urn:x:3"] = { jid = "a.b.ent.capulet.lit" },
			["urn:x:4"] = { jid = "ent.capulet.lit" }, ["urn:x:5"] = { jid = "juliet@verona.lit/r" }, ["urn:x:6"] = { jid = "admin@capulet.lit" },
		]], { global = global; hosts = [[VirtualHost "verona.lit"]] });
		capulet:add_user("admin@capulet.lit");
		for _, line in ipairs { "pubsbu.capulet.lit: there is no host pubsbu.capulet.lit here, though there is capulet.lit; is it mistyped?",
				"a.b.ent.capulet.lit: there is no host a.b.ent.capulet.lit here, though there is ent.capulet.lit; is it mistyped?",
				"bto@capulet.lit: there is no account bto@capulet.lit; is it mistyped?",
				"juliet@verona.lit/r: there is no account juliet@verona.lit; is it mistyped?",
				"admin@capulet.lit: there is no account admin@capulet.lit; is it mistyped?" } do
			line = line:gsub("%p", "%%%0");
			capulet:allow_log(line);
			capulet:expect_log("warn\tManaging entity "..line);
		end
		capulet:allow_log("capulet.lit: cannot be reached");
		local admin, lines = capulet:client("admin@capulet.lit/desk"), nil;
		-- who is there is not doubted, and the next load sees what has changed
		s:wait_until(function ()
			lines = table.concat(command:overview(admin), "\n");
			return lines:find("admin@capulet.lit  available as admin@capulet.lit/desk, 0 in flight", 1, true);
		end);
		assert.truthy(lines:find("pubsbu.capulet.lit .- is it mistyped%?%), 0 in flight"));
		assert.truthy(lines:find("bto@capulet.lit .- is it mistyped%?%), 0 in flight"));
		capulet:stop();
		os.remove(capulet.dir.."/prosody.log");
		capulet:start();
		capulet:expect_log("bto@capulet.lit: there is no account");
		assert.is_nil(capulet.log:find("admin@capulet.lit: there is no account"));
		assert.is_nil(capulet.log:find("entity ent%.capulet.lit: there is"));
	end));
end);
end
