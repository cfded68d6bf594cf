-- SPDX-License-Identifier: MIT
-- mod_delegation beside the community's mod_privilege (XEP-0356), which is not part of this project (D17, R6).

local bed = require "bed";
local delegation = require "delegation_bed";

-- Debian's package is made for 0.12; this one module of it works with 13.0 as well
local plugins = { "/usr/lib/prosody/modules/mod_privilege" };

local function start(s, version, delegations)
	return delegation.server(s, version, delegations, {
		modules = { "privilege", "private" }; plugins = plugins; component = [[modules_enabled = { "privilege" }]];
		host = [[privileged_entities = {
			["ent.capulet.lit"] = { iq = { ["jabber:iq:private"] = "both", ["urn:x:delegated"] = "both", ["urn:x:other"] = "both" } },
			["other.capulet.lit"] = { iq = { ["jabber:iq:private"] = "both" } },
		}]];
		hosts = [[Component "other.capulet.lit" component_secret = "hush" modules_enabled = { "privilege" }]];
	});
end

-- sends a request in the name of juliet; payload: text
local function privileged(entity, id, type, payload, to)
	entity:send(([[<iq from='%s' to='juliet@capulet.lit' id='%s' type='%s'><privileged_iq xmlns='urn:xmpp:privilege:2'>
		<iq xmlns='jabber:client' type='%s' id='inner%s'%s>%s</iq></privileged_iq></iq>]]):format(entity.host, id, type, type, id,
		to and " to='"..to.."'" or "", payload));
end

-- the answer to a privileged request, as the user would have got it
local function expect_privileged(entity, id)
	return entity:expect { "iq", id = id, type = "result", has = "{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq" }
		:find "{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq";
end

local notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:x:n'>%s</notes></query>";

for version in bed.versions() do
describe("delegation and privilege on Prosody "..version, function ()
	it("give requests that the entity sends for a user to the server, not back to the entity (D17, R6)", bed.scenario(function (s)
		local capulet = start(s, version, [[ ["jabber:iq:private"] = { jid = "ent.capulet.lit" } ]]);
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		-- the filter of roster items in section 4.3.1 of the XEP: the user's request comes first, and waits
		local id = delegation.request(juliet, "jabber:iq:private");
		local outer, inner = delegation.forwarded(entity);
		privileged(entity, "set", "set", notes:format("swear not"));
		assert.equal("result", expect_privileged(entity, "set").attr.type);
		for _, to in ipairs { false, "juliet@capulet.lit" } do
			privileged(entity, "get", "get", notes:format(""), to or nil);
			assert.equal("swear not", expect_privileged(entity, "get"):find("{jabber:iq:private}query/{urn:x:n}notes#"));
		end
		entity:expect_none({ "iq", type = "set" }, 0.1);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", id = id, has = "{urn:x:done}done" };
		-- the user's own requests are delegated as before, also with the same id
		delegation.request(juliet, "jabber:iq:private", { id = "innerget" });
		delegation.forwarded(entity);
	end));

	it("give such a request to the entity of another namespace, and the answer back (D17)", bed.scenario(function (s)
		local capulet = start(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ["jabber:iq:private"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		capulet:client("juliet@capulet.lit/balcony"):sync();
		privileged(other, "p", "get", notes:format(""));
		local outer, inner = delegation.forwarded(entity);
		assert.equal("juliet@capulet.lit", inner.attr.from);
		delegation.answer(entity, outer, inner);
		assert.truthy(expect_privileged(other, "p"):get_child("done", "urn:x:done"));
		-- nobody answers in the server: the entity gets the server's error, not its own request
		capulet:allow_log("Error while sending privileged");
		privileged(entity, "none", "get", "<query xmlns='urn:x:delegated'/>", "capulet.lit");
		entity:expect { "iq", id = "none" };
		entity:expect_none({ "iq", type = "set" }, 0.1);
	end));
end);
end
