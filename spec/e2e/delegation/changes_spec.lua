-- SPDX-License-Identifier: MIT
-- mod_delegation: what entities are told when their delegations change, entities of protocol 1, and entities that answer badly.

local bed = require "bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";
local any_advert = { "message" };

local function config(delegations)
	return ([[
		VirtualHost "capulet.lit"
			modules_enabled = { "delegation" }
			delegations = { %s }
		Component "ent.capulet.lit"
			component_secret = "hush"
		Component "other.capulet.lit"
			component_secret = "hush"
	]]):format(delegations);
end

local function change(node, delegations)
	node:reload_config(config(delegations));
	node:reload("delegation", "capulet.lit");
end

-- the names in the next advert of this version, in order; fails if another one follows
local function told(entity, version)
	local advert = entity:expect { "message", from = "capulet.lit", id = "~.", has = "{urn:xmpp:delegation:"..(version or 2).."}delegation" };
	local names = {};
	for _, delegated in ipairs(advert.tags[1].tags) do
		local name = delegated.attr.namespace;
		for _, attribute in ipairs(delegated.tags) do name = name.." "..attribute.attr.name; end
		names[#names + 1] = name;
	end
	return names;
end

local function expect_nothing(entity)
	entity:sync();
	entity:expect_none(any_advert, 0.1);
	entity:expect_none({ "iq", type = "get" }, 0);
end

-- the disco nodes that the server asks for
local function asked(entity, count)
	local nodes = {};
	for i = 1, count do nodes[i] = entity:expect({ "iq", type = "get" }).tags[1].attr.node; end
	table.sort(nodes);
	return nodes;
end

local function exchange(user, entity, namespace, version)
	local id = delegation.request(user, namespace);
	local outer, inner = delegation.forwarded(entity, version and "urn:xmpp:delegation:"..version);
	delegation.answer(entity, outer, inner);
	user:expect { "iq", type = "result", id = id, has = "{urn:x:done}done" };
end

for version in bed.versions() do
describe("changes of delegation on Prosody "..version, function ()
	it("tells an entity once what is delegated to it after a change, and asks it again (D29, D20, D28)", bed.scenario(function (s)
		local one, two = [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ]], [[ ["urn:x:other"] = { jid = "ent.capulet.lit" }, ]];
		local capulet = s:node { version = version, config = config(one) };
		local entity = capulet:component("ent.capulet.lit", "hush");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.same({ ns }, told(entity));
		local function answer_disco(feature)
			for _ = 1, 2 do
				local query = entity:expect { "iq", type = "get" };
				entity:send(([[<iq type='result' id='%s' from='ent.capulet.lit' to='capulet.lit'><query xmlns='%s'><feature var='%s'/></query></iq>]])
					:format(query.attr.id, query.tags[1].attr.xmlns, feature));
			end
			entity:sync();
		end
		local function has_feature(name)
			juliet:send "<iq type='get' id='d' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
			return tostring(juliet:expect { "iq", id = "d" }):find("'"..name.."'", 1, true) ~= nil;
		end
		answer_disco("urn:x:first");
		assert.truthy(has_feature("urn:x:first"));
		-- nothing has changed: nothing is said, and what it announced stays
		for _ = 1, 3 do capulet:reload("delegation", "capulet.lit"); end
		expect_nothing(entity);
		assert.truthy(has_feature("urn:x:first"));

		change(capulet, one..two);
		assert.same({ ns, "urn:x:other" }, told(entity));
		assert.same({ "urn:xmpp:delegation:2::urn:x:delegated", "urn:xmpp:delegation:2::urn:x:other",
			"urn:xmpp:delegation:2:bare:urn:x:delegated", "urn:xmpp:delegation:2:bare:urn:x:other" }, asked(entity, 4));
		expect_nothing(entity);
		assert.truthy(has_feature("urn:x:first")); -- until it says otherwise
		exchange(juliet, entity, "urn:x:other");

		change(capulet, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit", filtering = { "node" } }, ]]..two);
		assert.same({ ns.." node", "urn:x:other" }, told(entity));
		-- asked and not answered before the next reload, which therefore asks again
		asked(entity, 4);
		capulet:reload("delegation", "capulet.lit");
		asked(entity, 4);
		expect_nothing(entity);

		-- what belongs to another entity is no change for this one
		local other = capulet:component("other.capulet.lit", "hush");
		change(capulet, [[ ["urn:x:third"] = { jid = "other.capulet.lit" }, ]]..two);
		assert.same({ "urn:x:third" }, told(other));
		assert.same({ "urn:x:other" }, told(entity));
		change(capulet, [[ ["urn:x:third"] = { jid = "other.capulet.lit", timeout = 5, blocking = true }, ]]..two);
		asked(entity, 4); -- two of the change, and two as they were not answered
		other:expect_none(any_advert, 0.1);
		entity:expect_none(any_advert, 0);
		exchange(juliet, entity, "urn:x:other");
	end));

	it("tells an entity that nothing is delegated to it any more (D29)", bed.scenario(function (s)
		local one = [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ]];
		local capulet = s:node { version = version, config = config(one) };
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.same({ ns }, told(entity));
		change(capulet, "");
		assert.same({}, told(entity));
		capulet:reload("delegation", "capulet.lit");
		change(capulet, one);
		assert.same({ ns }, told(entity));
		exchange(juliet, entity, ns);
		-- and when the module goes, but not when a mistake keeps it as it is (F23)
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		assert.same({}, told(entity));
		capulet:eval [[ assert(require "core.modulemanager".load("capulet.lit", "delegation")) ]];
		assert.same({ ns }, told(entity));
		capulet:allow_log("Option 'delegations': expected a table of namespaces, got");
		capulet:allow_log("Aborting reload due to error");
		capulet:reload_config(config(one):gsub("delegations = %b{}", "delegations = true"));
		capulet:eval [[ require "core.modulemanager".reload("capulet.lit", "delegation") ]];
		entity:sync();
		entity:expect_none(any_advert, 0);
		exchange(juliet, entity, ns);
	end));

	it("serves an entity of protocol 1 from end to end, and one of both versions (R9, D29)", bed.scenario(function (s)
		local old = [[ ["urn:x:old"] = { jid = "ent.capulet.lit", protocol = 1, filtering = { "node" } },
			["urn:xmpp:delegation:2:bare:disco#items:*"] = { jid = "ent.capulet.lit", protocol = 1 }, ]];
		local new = [[ ["urn:x:new"] = { jid = "ent.capulet.lit" }, ]];
		local capulet = s:node { version = version, config = config(old) };
		local entity = delegation.entity(capulet, {
			["urn:xmpp:delegation:1::urn:x:old"] = "<feature var='urn:x:old'/>";
			["urn:xmpp:delegation:2::urn:x:new"] = "<feature var='urn:x:new'/>";
		});
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.same({ "urn:x:old node", "http://jabber.org/protocol/disco#items:*" }, told(entity, 1));
		change(capulet, old..new);
		assert.same({ "urn:x:new" }, told(entity));
		entity:sync();
		entity:expect_none(any_advert, 0.1);
		juliet:send "<iq type='get' id='d' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
		local shown = tostring(juliet:expect { "iq", id = "d" });
		for _, feature in ipairs { "urn:x:old", "urn:x:new", "urn:xmpp:delegation:1", "urn:xmpp:delegation:2" } do
			assert.truthy(shown:find("'"..feature.."'", 1, true), feature);
		end
		for _ = 1, 2 do
			juliet:send "<iq type='set' id='o'><query xmlns='urn:x:old' node='n'/></iq>";
			local outer, inner = delegation.forwarded(entity, "urn:xmpp:delegation:1");
			exchange(juliet, entity, "urn:x:new");
			delegation.answer(entity, outer, inner);
			juliet:expect { "iq", type = "result", id = "o", has = "{urn:x:done}done" };
			juliet:send "<iq type='get' id='i' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>";
			outer, inner = delegation.forwarded(entity, "urn:xmpp:delegation:1");
			delegation.answer(entity, outer, inner, nil, { type = "result" });
			juliet:expect { "iq", type = "result", id = "i" };
			entity:close();
			entity = delegation.entity(capulet);
			assert.same({ "urn:x:old node", "http://jabber.org/protocol/disco#items:*" }, told(entity, 1));
			assert.same({ "urn:x:new" }, told(entity));
		end
		change(capulet, new);
		assert.same({}, told(entity, 1));
		entity:expect_none(any_advert, 0.1);
		exchange(juliet, entity, "urn:x:new");
	end));

	it("closes the stream of an entity after ten bad answers in a row (D12)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ["urn:x:bot"] = { jid = "bot@capulet.lit" },
			["urn:x:internal"] = { jid = "bed.capulet.lit" },
		]], { hosts = [[Component "bed.capulet.lit" "bed"]] });
		capulet:allow_log(": answers a request with ");
		capulet:allow_log(": closing its stream after 10 bad answers in a row");
		capulet:allow_log("there is no account bot@capulet.lit");
		capulet:allow_log("bed.capulet.lit: no features announced");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function bad(entity, namespace, count)
			for _ = 1, count do
				local id = delegation.request(juliet, namespace);
				delegation.reply(entity, (delegation.forwarded(entity)), "");
				juliet:expect { "iq", type = "error", id = id, has = unavailable };
			end
		end
		local function outer_error(entity, namespace)
			local id = delegation.request(juliet, namespace);
			local outer = delegation.forwarded(entity);
			entity:send(("<iq type='error' id='%s' from='%s' to='capulet.lit'><error type='cancel'/></iq>"):format(outer.attr.id, outer.attr.to));
			juliet:expect { "iq", type = "error", id = id };
		end
		for entity, namespace in pairs { [delegation.entity(capulet)] = ns, [capulet:client("bot@capulet.lit/a")] = "urn:x:bot" } do
			entity:expect(any_advert);
			bad(entity, namespace, 9);
			exchange(juliet, entity, namespace);
			bad(entity, namespace, 9);
			-- errors are an answer that the XEP knows (D14)
			for _ = 1, 3 do outer_error(entity, namespace); end
			assert.falsy(entity.closed or entity.ended);
			local waiting = delegation.request(juliet, namespace);
			delegation.forwarded(entity);
			bad(entity, namespace, 1);
			juliet:expect { "iq", type = "error", id = waiting, has = unavailable };
			s:wait_until(function () return entity.ended or entity.closed; end, 5, "end of the stream");
			assert.truthy(entity.stream_error:get_child("policy-violation", "urn:ietf:params:xml:ns:xmpp-streams"));
		end
		local entity = delegation.entity(capulet);
		bad(entity, ns, 9);
		exchange(juliet, entity, ns);
		-- there is nothing to close
		for _ = 1, 11 do
			capulet:eval [[
				module:context("bed.capulet.lit"):hook("iq-set/host/urn:xmpp:delegation:2:delegation", function (event)
					event.origin.send(require "util.stanza".reply(event.stanza));
					return true;
				end);
			]];
			local id = delegation.request(juliet, "urn:x:internal");
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
		end
	end));
end);
end
