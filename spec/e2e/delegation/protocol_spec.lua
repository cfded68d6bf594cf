-- SPDX-License-Identifier: MIT
-- mod_delegation: entities that speak version 1 of the protocol in their own way, and addresses that are nobody's to delegate.

local bed = require "bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";
local version_1, version_2 = "urn:xmpp:delegation:1", "urn:xmpp:delegation:2";
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";

-- The answer as go-xmpp writes it: the stanza has no namespace of its own, so it has that of its wrapper
local function answer_in_wrapper(entity, outer, attributes, content)
	delegation.reply(entity, outer, ("<delegation xmlns='%s'><forwarded xmlns='urn:xmpp:forward:0'><iq %s>%s</iq></forwarded></delegation>"):format(
		outer.tags[1].attr.xmlns, attributes, content));
end

-- Namespaces of an element and of all in it: list of "name namespace"
local function namespaces(element, list)
	list = list or {};
	list[#list + 1] = element.name.." "..tostring(element.attr.xmlns);
	for _, child in ipairs(element.tags) do namespaces(child, list); end
	return list;
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	it("takes a stanza in the namespace of its wrapper from an entity of protocol 1 (E1, R9)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit", protocol = 1 } ]]);
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		local id = delegation.request(juliet, ns);
		local outer, inner = delegation.forwarded(entity, version_1);
		answer_in_wrapper(entity, outer, ("type='result' id='%s' to='%s'"):format(inner.attr.id, juliet.jid),
			"<pubsub xmlns='urn:x:p'><item><entry xmlns='urn:x:e'/><forwarded xmlns='urn:xmpp:forward:0'><a/></forwarded></item></pubsub>");
		local reply = juliet:expect { "iq", type = "result", id = id };
		assert.same({ "iq nil", "pubsub urn:x:p", "item urn:x:p", "entry urn:x:e", "forwarded urn:xmpp:forward:0", "a urn:xmpp:forward:0" },
			namespaces(reply));
		-- what has no namespace of its own in the stanza is the stream's, such as the error
		id = delegation.request(juliet, ns);
		outer, inner = delegation.forwarded(entity, version_1);
		answer_in_wrapper(entity, outer, ("type='error' id='%s' to='%s'"):format(inner.attr.id, juliet.jid),
			"<query xmlns='urn:x:q'/><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>");
		reply = juliet:expect { "iq", type = "error", id = id };
		assert.same({ "iq nil", "query urn:x:q", "error nil", "conflict urn:ietf:params:xml:ns:xmpp-stanzas" }, namespaces(reply));
	end));

	it("checks it as any other, and reads it strictly with protocol 2 (E1, D9, D10)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:old"] = { jid = "ent.capulet.lit", protocol = 1 }, ["urn:x:new"] = { jid = "ent.capulet.lit" },
		]]);
		capulet:allow_log("answers a request with ");
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		for _, case in ipairs {
			{ "old", "type='get' id='%s' to='%s'" }, { "old", "type='result' id='x%s' to='%s'" }, { "old", "type='error' id='%s' to='%s'" },
			{ "old", "type='result' id='%s' to='%s/x'" }, { "old", "type='result' id='%s' to='%s' from='romeo@capulet.lit'" },
			{ "old", "xmlns='urn:x:none' type='result' id='%s' to='%s'" }, { "new", "type='result' id='%s' to='%s'" },
		} do
			local id = delegation.request(juliet, "urn:x:"..case[1]);
			local outer, inner = delegation.forwarded(entity, case[1] == "old" and version_1 or version_2);
			answer_in_wrapper(entity, outer, case[2]:format(inner.attr.id, juliet.jid), "");
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
		end
	end));

	it("leaves requests to a resource of the host to the server (E9, D5)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["jabber:iq:version"] = { jid = "ent.capulet.lit" } ]], { modules = { "version" } });
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		for _, user in ipairs { juliet, montague:client("romeo@montague.lit/orchard") } do
			local id = delegation.request(user, "jabber:iq:version", { to = "capulet.lit/x" });
			user:expect { "iq", id = id, from = "capulet.lit/x", type = "result", has = "{jabber:iq:version}query/name" };
		end
		entity:expect_none({ "iq", type = "set" }, 0);
		delegation.request(juliet, "jabber:iq:version", { to = "capulet.lit" });
		delegation.forwarded(entity);
	end));
end);
end
