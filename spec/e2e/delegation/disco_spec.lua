-- SPDX-License-Identifier: MIT
-- mod_delegation: service discovery while namespaces are delegated.

local bed = require "bed";
local delegation = require "delegation_bed";
local calculate_hash = require "util.caps".calculate_hash;

local xmlns_info = "http://jabber.org/protocol/disco#info";
local xmlns_items = "http://jabber.org/protocol/disco#items";
local pubsub = "http://jabber.org/protocol/pubsub";

local function feature(var) return ("<feature var='%s'/>"):format(var); end
local function identity(category, type) return ("<identity category='%s' type='%s'/>"):format(category, type); end
local function form(form_type, value)
	return ([[<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>%s</value></field>
		<field var='v'><value>%s</value></field></x>]]):format(form_type, value);
end

local function nested(namespace, content, bare_content)
	return { ["urn:xmpp:delegation:2::"..namespace] = content; ["urn:xmpp:delegation:2:bare:"..namespace] = bare_content or content };
end

-- disco#info as sets: { features = { var = count }, identities = { "category/type" = count }, forms = { FORM_TYPE = value }, query, reply }
local function info(user, to, node)
	local id = delegation.request(user, xmlns_info, { to = to, node = node });
	local reply = user:expect { "iq", id = id };
	local found = { features = {}; identities = {}; forms = {}; reply = reply; query = reply:get_child("query", xmlns_info) };
	for _, tag in ipairs(found.query and found.query.tags or {}) do
		if tag.name == "feature" then
			found.features[tag.attr.var] = (found.features[tag.attr.var] or 0) + 1;
		elseif tag.name == "identity" then
			local name = tag.attr.category.."/"..tag.attr.type;
			found.identities[name] = (found.identities[name] or 0) + 1;
		elseif tag.name == "x" then
			found.forms[tag.tags[1]:get_child_text("value")] = tag.tags[2]:get_child_text("value");
		end
	end
	return found;
end

-- Waits until the answers of the entity have arrived at the server
local function settle(entity)
	entity:send "<iq type='get' id='settled' from='ent.capulet.lit' to='capulet.lit'><sync xmlns='urn:x-prosody-relay:bed'/></iq>";
	entity:expect { "iq", id = "settled" };
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	it("announces itself (D19)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.equal(1, info(juliet, "capulet.lit").features["urn:xmpp:delegation:2"]);
		assert.is_nil(info(juliet, "capulet.lit").features["urn:xmpp:delegation:1"]);
		delegation.entity(capulet);
		assert.equal(1, info(juliet, "capulet.lit").features["urn:xmpp:delegation:2"]);
	end));

	it("nests what the entity announces, while it is there (D20, R7)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:a"] = { jid = "ent.capulet.lit" }, ["urn:x:b"] = { jid = "ent.capulet.lit" },
			["urn:x:c"] = { jid = "other.capulet.lit" },
		]], { hosts = [[Component "other.capulet.lit" component_secret = "hush"]] });
		capulet:allow_log("no features announced for urn:x:b");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function seen()
			local features, bare = info(juliet, "capulet.lit").features, info(juliet, "juliet@capulet.lit").features;
			local list = {};
			for _, name in ipairs { "urn:x:a#1", "urn:x:a#2", "urn:x:b", "urn:x:c", "urn:x:foreign" } do
				if features[name] then list[#list + 1] = name; end
				if bare[name] then list[#list + 1] = "bare "..name; end
				assert.is_true((features[name] or 1) == 1 and (bare[name] or 1) == 1);
			end
			return table.concat(list, " ");
		end
		assert.equal("", seen());

		-- an entity that answers one question late and one with an error
		local entity = capulet:component("ent.capulet.lit", "hush");
		local asked = {};
		for _, separator in ipairs { "::", ":bare:" } do
			for _, namespace in ipairs { "urn:x:a", "urn:x:b" } do
				local node = "urn:xmpp:delegation:2"..separator..namespace;
				asked[node] = entity:expect { "iq", type = "get", from = "capulet.lit", to = "ent.capulet.lit", where = function (iq)
					return iq:get_child("query", xmlns_info).attr.node == node;
				end };
			end
		end
		entity:expect_none({ "iq" }, 0.1);
		assert.equal("", seen());
		local function reply(node, content)
			entity:send(("<iq type='result' id='%s' from='ent.capulet.lit' to='capulet.lit'><query xmlns='%s' node='%s'>%s</query></iq>"):format(
				asked[node].attr.id, xmlns_info, node, content));
		end
		reply("urn:xmpp:delegation:2::urn:x:a", feature "urn:x:a#1"..feature "urn:x:foreign");
		settle(entity);
		assert.equal("urn:x:a#1 urn:x:foreign", seen());
		reply("urn:xmpp:delegation:2:bare:urn:x:a", feature "urn:x:a#1");
		entity:send(([[<iq type='error' id='%s' from='ent.capulet.lit' to='capulet.lit'>
			<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>]]):format(
			asked["urn:xmpp:delegation:2::urn:x:b"].attr.id));
		settle(entity);
		assert.equal("urn:x:a#1 bare urn:x:a#1 urn:x:foreign", seen());

		-- a second entity takes nothing away from the first
		local other = capulet:component("other.capulet.lit", "hush");
		delegation.announce(other, nested("urn:x:c", feature "urn:x:c"..feature "urn:x:foreign"));
		s:wait_until(function () return seen() == "urn:x:a#1 bare urn:x:a#1 urn:x:c bare urn:x:c urn:x:foreign bare urn:x:foreign"; end);

		entity:close();
		s:wait_until(function () return seen() == "urn:x:c bare urn:x:c urn:x:foreign bare urn:x:foreign"; end);
		-- a restarted entity is asked again
		entity = delegation.entity(capulet, nested("urn:x:a", feature "urn:x:a#2"));
		settle(entity);
		assert.equal("urn:x:a#2 bare urn:x:a#2 urn:x:c bare urn:x:c urn:x:foreign bare urn:x:foreign", seen());
	end));

	it("hides what the server announces for a delegated namespace, until the entity goes (D21, D23, B8, B9, B10)",
			bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:xmpp:ping"] = { jid = "ent.capulet.lit" },
			["jabber:iq:version"] = { jid = "ent.capulet.lit", filtering = { "node" } },
			["urn:x:mam:1"] = { jid = "ent.capulet.lit" },
			["http://jabber.org/protocol/disco#items:*"] = { jid = "ent.capulet.lit" },
			["urn:x:other"] = { jid = "other.capulet.lit" },
		]], { modules = { "version", "time" }, hosts = [[Component "other.capulet.lit" component_secret = "hush"]] });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:allow_log("no features announced for urn:xmpp:ping");
		-- another entity that is there all the time
		delegation.announce(capulet:component("other.capulet.lit", "hush"));
		capulet:eval [[
			local host = hosts["capulet.lit"].modules.disco.module;
			for _, name in ipairs { "urn:x:mam:1", "urn:x:mam:1#extended", "urn:x:mam:10", "urn:x:mam:1/x" } do host:add_feature(name); end
			host:hook("account-disco-info", function (event)
				event.reply:tag("feature", { var = "urn:x:mam:1#extended" }):up():tag("feature", { var = "urn:x:mam:10" }):up();
			end, -20);
		]];
		local internal = { "urn:xmpp:ping", "jabber:iq:version", "urn:x:mam:1", "urn:x:mam:1#extended" };
		local foreign = { "urn:x:mam:10", "urn:x:mam:1/x", "urn:xmpp:time", xmlns_info, xmlns_items };
		local function expect_internal(count)
			local features = info(juliet, "capulet.lit").features;
			for _, name in ipairs(internal) do assert.equal(count, features[name], name); end
			for _, name in ipairs(foreign) do assert.equal(1, features[name], name); end
			local bare = info(juliet).features;
			assert.equal(count, bare["urn:x:mam:1#extended"]);
			assert.equal(1, bare["urn:x:mam:10"]);
		end
		expect_internal(1);
		for _ = 1, 3 do
			local features = nested("jabber:iq:version", feature "jabber:iq:version#x");
			features["urn:xmpp:delegation:2::urn:xmpp:ping"] = false;
			local entity = delegation.entity(capulet, features);
			settle(entity);
			expect_internal(nil);
			assert.equal(1, info(juliet, "capulet.lit").features["jabber:iq:version#x"]); -- D23
			entity:expect { "message" };
			entity:expect_none({ "iq", where = function (iq) return (iq:find("{"..xmlns_info.."}query@node") or ""):find("*", 1, true); end }, 0);
			entity:close();
			s:wait_until(function () return info(juliet, "capulet.lit").features["urn:xmpp:ping"]; end);
			expect_internal(1);
		end
		settle(delegation.entity(capulet));
		expect_internal(nil);
		capulet:reload("delegation", "capulet.lit");
		expect_internal(nil);
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		expect_internal(1);
	end));

	it("has a hash in the stream features that fits its answer (D20, D22)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:xmpp:ping"] = { jid = "ent.capulet.lit" } ]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- reads the hash as a client does that connects now
		local function advertised()
			local caps = capulet:eval [[
				local features = require "util.stanza".stanza("stream:features");
				module:context("capulet.lit"):fire_event("stream-features", { origin = { type = "c2s"; log = module._log }; features = features });
				local caps = features:get_child("c", "http://jabber.org/protocol/caps");
				return { caps.attr.node, caps.attr.ver };
			]];
			return caps[2], caps[1].."#"..caps[2];
		end
		local seen = {};
		local function check()
			local hash, node = advertised();
			local plain, by_node = info(juliet, "capulet.lit"), info(juliet, "capulet.lit", node);
			assert.equal(hash, (calculate_hash(plain.query.tags)));
			assert.equal(node, by_node.query.attr.node);
			by_node.query.attr.node = nil;
			assert.equal(tostring(plain.query), tostring(by_node.query));
			assert.equal("capulet.lit", by_node.reply.attr.from);
			seen[#seen + 1] = hash;
		end
		check();
		local entity = delegation.entity(capulet, nested("urn:xmpp:ping", feature "urn:xmpp:ping#ext"..identity("test", "x")));
		settle(entity);
		check();
		capulet:eval [[ hosts["capulet.lit"].modules.disco.module:add_feature("urn:x:late") ]];
		check();
		entity:close();
		s:wait_until(function () return advertised() ~= seen[3]; end);
		check();
		assert.not_equal(seen[1], seen[2]);
		assert.not_equal(seen[2], seen[3]);
		-- other nodes are still the server's
		local id = delegation.request(juliet, xmlns_info, { to = "capulet.lit", node = "urn:x:none" });
		juliet:expect { "iq", id = id, type = "error" };
	end));

	it("shows identities, features and forms only, and lets users in whatever else the entity announces (D20, D1)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local deep = ("<a>"):rep(65000)..("</a>"):rep(65000);
		local odd = [[<identity category='odd'/><feature/><feature xmlns='urn:x:other' var='odd'/><x xmlns='urn:x:other'/><odd/>]];
		local entity = delegation.entity(capulet, {
			["urn:xmpp:delegation:2::urn:x:delegated"] = odd.."<feature var='urn:x:good'>"..deep.."</feature>";
			["urn:xmpp:delegation:2:bare:urn:x:delegated"] = odd.."<feature var='urn:x:good'/><x xmlns='jabber:x:data'>"..deep.."</x>";
		});
		s:wait_until(function ()
			return capulet:eval [[
				local nested = hosts["capulet.lit"].modules.delegation.module.save().entities["ent.capulet.lit"].introduction.nested;
				nested = nested["urn:xmpp:delegation:2 urn:x:delegated"];
				return nested and nested.host and nested.bare and true;
			]];
		end, 20, "both answers");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, to in ipairs { "capulet.lit", "juliet@capulet.lit" } do
			local answer = info(juliet, to).query;
			assert.truthy(tostring(answer):find("urn:x:good", 1, true));
			assert.falsy(tostring(answer):find("odd", 1, true));
			for _, tag in ipairs(answer.tags) do assert.not_equal("x", tag.name); end
		end
		entity:sync();
	end));

	for _, pep in ipairs { "with", "without" } do
	local modules = pep == "with" and { "pep" } or {};

	it("shows the entity's identity and features on accounts, once, "..pep.." mod_pep (D21, D22, R6)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, ([[
			["%s"] = { jid = "ent.capulet.lit" },
			["urn:xmpp:pam:0"] = { jid = "ent.capulet.lit" },
		]]):format(pubsub), { modules = modules });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local before = info(juliet);
		assert.equal(pep == "with" and 1 or nil, before.identities["pubsub/pep"]);
		-- as libervia does: the same list, with foreign features, for every node
		local list = identity("pubsub", "pep")..feature(pubsub.."#publish")..feature "http://jabber.org/protocol/rsm";
		local features = nested(pubsub, list);
		for node, content in pairs(nested("urn:xmpp:pam:0", list)) do features[node] = content; end
		local entity = delegation.entity(capulet, features);
		settle(entity);
		for _, to in ipairs { false, "juliet@capulet.lit" } do
			local account = info(juliet, to or nil);
			assert.same({ ["pubsub/pep"] = 1, ["account/registered"] = 1 }, account.identities);
			assert.equal(1, account.features[pubsub.."#publish"]);
			assert.equal(1, account.features["http://jabber.org/protocol/rsm"]);
			assert.is_nil(account.features[pubsub.."#retract-items"]);
			assert.is_nil(account.features[pubsub.."#persistent-items"]);
		end
		local host = info(juliet, "capulet.lit");
		assert.equal(1, host.identities["pubsub/pep"]);
		assert.equal(1, host.identities["server/im"]);
		for _, count in pairs(host.features) do assert.equal(1, count); end
		entity:close();
		s:wait_until(function () return tostring(info(juliet).query) == tostring(before.query); end);

		-- an entity without a pubsub identity: the server's is not shown instead
		settle(delegation.entity(capulet));
		assert.same({ ["account/registered"] = 1 }, info(juliet).identities);
	end));

	it("asks the entity about nodes and items of accounts that the server does not know, "..pep.." mod_pep (D25, D26, D27, R3, R6)",
			bed.scenario(function (s)
		local capulet = delegation.server(s, version, ([[
			["%s"] = { jid = "ent.capulet.lit" },
			["http://jabber.org/protocol/disco#info:*"] = { jid = "ent.capulet.lit" },
			["http://jabber.org/protocol/disco#items:*"] = { jid = "ent.capulet.lit" },
		]]):format(pubsub), { modules = modules });
		capulet:eval [[
			for _, name in ipairs { "account-disco-info-node", "account-disco-items-node" } do
				module:context("capulet.lit"):hook(name, function (event)
					if event.node == "urn:x:known" then return event.origin.send(event.reply); end
					if event.node == "urn:x:refused" then
						return event.origin.send(require "util.stanza".error_reply(event.stanza, "auth", "forbidden"));
					end
				end, 20);
			end
		]];
		-- a node that mod_pep has from the time before the delegation
		capulet:add_user("juliet@capulet.lit");
		if pep == "with" then
			capulet:eval [[
				assert(hosts["capulet.lit"].modules.pep.get_pep_service("juliet"):create("urn:x:old", true, { access_model = "open" }));
			]];
		end
		local juliet, eve = capulet:client("juliet@capulet.lit/balcony"), capulet:client("eve@capulet.lit/dark");
		local entity = delegation.entity(capulet);
		local names = {};
		for tag in entity:expect({ "message" }).tags[1]:childtags("delegated") do names[#names + 1] = tag.attr.namespace; end
		assert.same({ pubsub, "urn:xmpp:delegation:2:bare:disco#info:*", "urn:xmpp:delegation:2:bare:disco#items:*" }, names); -- R3

		local function expect_forwarded(user, xmlns, to, node)
			local id = delegation.request(user, xmlns, { to = to, node = node });
			local outer, inner = delegation.forwarded(entity);
			assert.equal(node, inner:get_child("query", xmlns).attr.node);
			assert.equal(to, inner.attr.to);
			delegation.answer(entity, outer, inner, ("<query xmlns='%s'/>"):format(xmlns));
			-- nothing of the server's is put beside it, and no answer is kept
			assert.equal(0, #user:expect({ "iq", type = "result", id = id }):get_child("query", xmlns).tags);
		end
		for _, node in ipairs { "urn:xmpp:microblog:0", "urn:x:old" } do
			for _, xmlns in ipairs { xmlns_info, xmlns_items } do
				expect_forwarded(juliet, xmlns, nil, node);
				expect_forwarded(juliet, xmlns, "juliet@capulet.lit", node);
				expect_forwarded(eve, xmlns, "juliet@capulet.lit", node);
			end
		end
		expect_forwarded(juliet, xmlns_items);
		expect_forwarded(juliet, xmlns_items, "juliet@capulet.lit");
		expect_forwarded(eve, xmlns_items, "juliet@capulet.lit");

		-- the server's own: disco#info without node, and nodes it knows
		local known = info(juliet, nil, "urn:x:known");
		assert.equal("result", known.reply.attr.type);
		local id = delegation.request(juliet, xmlns_items, { node = "urn:x:known" });
		juliet:expect { "iq", type = "result", id = id };
		for _, xmlns in ipairs { xmlns_info, xmlns_items } do
			id = delegation.request(juliet, xmlns, { node = "urn:x:refused" });
			juliet:expect { "iq", type = "error", id = id, has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden" };
		end
		assert.equal(1, info(juliet).identities["account/registered"]);
		-- and what is not on an account
		id = delegation.request(juliet, xmlns_items, { to = "capulet.lit" });
		juliet:expect { "iq", type = "result", id = id, from = "capulet.lit" };
		id = delegation.request(juliet, xmlns_info, { to = "capulet.lit", node = "urn:x:none" });
		juliet:expect { "iq", type = "error", id = id };
		-- the entity's own questions are answered by the server (D16)
		id = delegation.request(entity, xmlns_items, { from = "ent.capulet.lit", to = "juliet@capulet.lit", node = "urn:x:other" });
		entity:expect { "iq", type = "error", id = id };
		entity:expect_none({ "iq", type = "set" }, 0.1);
		entity:close();
		capulet:expect_log("ent.capulet.lit is gone");
		for _, xmlns in ipairs { xmlns_info, xmlns_items } do
			id = delegation.request(juliet, xmlns, { node = "urn:xmpp:microblog:0" });
			juliet:expect { "iq", type = "error", id = id, has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable" };
		end
	end));

	it("serves MAM requests with a node from the entity, others from mod_mam, "..pep.." mod_pep (R6, D15)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:xmpp:mam:2"] = { jid = "ent.capulet.lit", filtering = { "node" } },
		]], { modules = { "mam", table.unpack(modules) } });
		local entity = delegation.entity(capulet, nested("urn:xmpp:mam:2", feature "urn:xmpp:mam:2#pubsub"));
		settle(entity);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send "<iq type='set' id='m1'><query xmlns='urn:xmpp:mam:2' queryid='q'/></iq>";
		juliet:expect { "iq", id = "m1", type = "result", has = "{urn:xmpp:mam:2}fin" };
		juliet:send "<iq type='set' id='m2'><query xmlns='urn:xmpp:mam:2' node='urn:xmpp:microblog:0'/></iq>";
		local outer, inner = delegation.forwarded(entity);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", id = "m2", type = "result", has = "{urn:x:done}done" };
		local features = info(juliet).features;
		assert.is_nil(features["urn:xmpp:mam:2"]);
		assert.equal(1, features["urn:xmpp:mam:2#pubsub"]);
	end));
	end

	it("replaces extended forms of the delegated namespace (D24)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:eval [[
			local st = require "util.stanza";
			local function form(name)
				return st.stanza("x", { xmlns = "jabber:x:data"; type = "result" })
					:tag("field", { type = "hidden"; var = "FORM_TYPE" }):text_tag("value", name):up()
					:tag("field", { var = "v" }):text_tag("value", "internal"):reset();
			end
			local host = hosts["capulet.lit"].modules.disco.module;
			for _, name in ipairs { "urn:x:delegated", "urn:x:delegated#meta", "urn:x:delegated2", "urn:x:shared" } do
				host:add_extension(form(name));
			end
			host:hook("account-disco-info", function (event) event.reply:add_child(form("urn:x:delegated")); end, -20);
		]];
		assert.equal("internal", info(juliet, "capulet.lit").forms["urn:x:delegated#meta"]);
		local entity = delegation.entity(capulet, nested("urn:x:delegated",
			form("urn:x:delegated#meta", "entity")..form("urn:x:shared", "entity")..feature "urn:x:after"));
		settle(entity);
		local host = info(juliet, "capulet.lit");
		assert.same({ ["urn:x:delegated#meta"] = "entity", ["urn:x:delegated2"] = "internal", ["urn:x:shared"] = "entity" }, host.forms);
		assert.equal(1, host.features["urn:x:after"]);
		assert.same({ ["urn:x:delegated#meta"] = "entity", ["urn:x:shared"] = "entity" }, info(juliet).forms);
		entity:close();
		s:wait_until(function () return info(juliet, "capulet.lit").forms["urn:x:delegated"] == "internal"; end);
		assert.equal("internal", info(juliet).forms["urn:x:delegated"]);
	end));

	it("delegates plain disco namespaces like any other (B4)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, ([[
			["%s"] = { jid = "ent.capulet.lit" }, ["%s"] = { jid = "ent.capulet.lit" },
		]]):format(xmlns_info, xmlns_items));
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, xmlns in ipairs { xmlns_info, xmlns_items } do
			for _, to in ipairs { false, "capulet.lit", "juliet@capulet.lit" } do
				local id = delegation.request(juliet, xmlns, { to = to or nil });
				local outer, inner = delegation.forwarded(entity);
				delegation.answer(entity, outer, inner, ("<query xmlns='%s' node='entity'/>"):format(xmlns));
				juliet:expect { "iq", type = "result", id = id, has = "{"..xmlns.."}query@node" };
			end
		end
		local id = delegation.request(entity, xmlns_info, { from = "ent.capulet.lit", to = "capulet.lit" });
		entity:expect { "iq", type = "result", id = id, has = "{"..xmlns_info.."}query/identity" };
	end));
end);
end
