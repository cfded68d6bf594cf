-- SPDX-License-Identifier: MIT
-- mod_delegation: which requests go to the managing entity, and in what form.

local bed = require "bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	it("tells the entity what is delegated to it (D3, R1, R7)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:xmpp:mam:2"] = { filtering = { "node", "queryid" }, jid = "ent.capulet.lit" },
			["http://jabber.org/protocol/pubsub"] = { jid = "ent.capulet.lit" },
			["urn:x:other"] = { jid = "other.capulet.lit" },
		]], { hosts = [[Component "other.capulet.lit" component_secret = "hush"]] });
		local entity = delegation.entity(capulet);
		local advert = entity:expect { "message", from = "capulet.lit", to = "ent.capulet.lit", id = "~." };
		local granted = advert:get_child("delegation", delegation.xmlns);
		assert.equal(2, #granted.tags);
		assert.equal("http://jabber.org/protocol/pubsub", granted.tags[1].attr.namespace);
		assert.equal(0, #granted.tags[1].tags);
		assert.equal("urn:xmpp:mam:2", granted.tags[2].attr.namespace);
		assert.equal("node", granted.tags[2].tags[1].attr.name);
		assert.equal("queryid", granted.tags[2].tags[2].attr.name);
		entity:expect_none({ "message" }, 0.2);

		local other = capulet:component("other.capulet.lit", "hush");
		advert = other:expect { "message" };
		assert.equal("urn:x:other", advert:find("{urn:xmpp:delegation:2}delegation/delegated@namespace"));
		assert.equal(1, #advert.tags[1].tags);
	end));

	it("forwards requests to the server and to bare JIDs, and nothing else (D1, D4, D5, D6, D8)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local romeo = capulet:client("romeo@capulet.lit/orchard");

		-- `to` is what the user wrote: nothing, the host, her own account, another account, none that exists
		for _, to in ipairs { false, "capulet.lit", "juliet@capulet.lit", "romeo@capulet.lit", "nobody@capulet.lit" } do
			for _, type in ipairs { "get", "set" } do
				local id = delegation.request(juliet, ns, { to = to or nil, type = type, node = "x" });
				local outer, inner = delegation.forwarded(entity);
				assert.equal("capulet.lit", outer.attr.from);
				assert.equal("ent.capulet.lit", outer.attr.to);
				assert.equal(1, #outer.tags);
				inner.attr["xml:lang"] = nil; -- the server adds the stream's
				assert.same({ xmlns = "jabber:client", from = juliet.jid, to = to or nil, id = id, type = type }, inner.attr);
				assert.equal("x", inner:find("{urn:x:delegated}query@node"));
				delegation.answer(entity, outer, inner);
				juliet:expect { "iq", type = "result", id = id, from = to, to = juliet.jid, has = "{urn:x:done}done" };
			end
		end

		delegation.request(juliet, ns, { to = romeo.jid });
		romeo:expect { "iq", has = "{urn:x:delegated}query" };
		local id = delegation.request(juliet, "urn:x:other");
		juliet:expect { "iq", id = id, type = "error", has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable" };
		juliet:send [[<message to='capulet.lit'><query xmlns='urn:x:delegated'/></message>]];
		juliet:sync();
		entity:expect_none({ "iq", type = "set" }, 0.2);
	end));

	it("restores the address that the router removes, also after a reload and for streams that were there before (D8)",
			bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:reload("delegation", "capulet.lit");
		delegation.request(juliet, ns, { to = "Juliet@CAPULET.lit" });
		local _, inner = delegation.forwarded(entity);
		assert.equal("juliet@capulet.lit", inner.attr.to);
		delegation.request(juliet, ns);
		_, inner = delegation.forwarded(entity);
		assert.is_nil(inner.attr.to);
		-- mod_smacks gives a resumed session the filters of the new stream
		capulet:eval [[
			local session = prosody.full_sessions["juliet@capulet.lit/balcony"];
			for i in pairs(session.filters["stanzas/in"]) do session.filters["stanzas/in"][i] = nil; end
			module:context("capulet.lit"):fire_event("smacks-hibernation-end", { origin = session; resumed = session });
		]];
		delegation.request(juliet, ns, { to = "juliet@capulet.lit" });
		_, inner = delegation.forwarded(entity);
		assert.equal("juliet@capulet.lit", inner.attr.to);
	end));

	it("forwards pretty-printed requests (D4)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, type in ipairs { "get", "set" } do
			juliet:send("<iq type='"..type.."' id='pretty'>\n  <query xmlns='urn:x:delegated'>\n  </query>\n</iq>");
			local outer, inner = delegation.forwarded(entity);
			delegation.answer(entity, outer, inner);
			juliet:expect { "iq", type = "result", id = "pretty" };
		end
	end));

	it("serves users of other servers at bare JIDs (D4)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]]);
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		local entity = delegation.entity(capulet);
		local romeo = montague:client("romeo@montague.lit/orchard");
		local id = delegation.request(romeo, ns, { to = "juliet@capulet.lit" });
		local outer, inner = delegation.forwarded(entity);
		assert.equal(romeo.jid, inner.attr.from);
		delegation.answer(entity, outer, inner, "<error type='auth' xmlns='jabber:client'/>", { type = "error", from = false });
		-- the missing `from` is filled in, and the stream's namespace stays outside
		local reply = romeo:expect { "iq", id = id, type = "error", from = "juliet@capulet.lit" };
		assert.equal("auth", reply:get_child("error").attr.type);
	end));

	it("leaves requests without the filtering attributes to the server (D15, R2)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["jabber:iq:private"] = { jid = "ent.capulet.lit", filtering = { "node", "ver" } },
		]], { modules = { "private" } });
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, attributes in ipairs { "", "node='x'", "ver='1'" } do
			juliet:send(("<iq type='get' id='p'><query xmlns='jabber:iq:private' %s><notes xmlns='urn:x:n'/></query></iq>"):format(attributes));
			juliet:expect { "iq", type = "result", id = "p", has = "{jabber:iq:private}query/{urn:x:n}notes" };
		end
		juliet:send "<iq type='get' id='p'><query xmlns='jabber:iq:private' node='' ver='1'/></iq>";
		local outer, inner = delegation.forwarded(entity);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = "p", has = "{urn:x:done}done" };
	end));

	it("does not forward what the entity itself sends (D16)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["jabber:iq:version"] = { jid = "ent.capulet.lit" },
			["urn:xmpp:time"] = { jid = "bot@capulet.lit" },
		]], { modules = { "version", "time" } });
		capulet:allow_log("there is no account bot@capulet.lit");
		local entity = delegation.entity(capulet);
		local bot = capulet:client("bot@capulet.lit/a");
		bot:expect { "message" };
		for _, from in ipairs { "ent.capulet.lit", "bot@ent.capulet.lit", "bot@ent.capulet.lit/x" } do
			local id = delegation.request(entity, "jabber:iq:version", { from = from, to = "capulet.lit" });
			entity:expect { "iq", id = id, type = "result", to = from, has = "{jabber:iq:version}query/name" };
		end
		for _, client in ipairs { bot, capulet:client("bot@capulet.lit/b") } do
			client:send "<iq type='get' id='t' to='capulet.lit'><time xmlns='urn:xmpp:time'/></iq>";
			client:expect { "iq", id = "t", type = "result", has = "{urn:xmpp:time}time/utc" };
		end
		-- another entity's namespace is none of its own
		delegation.request(bot, "jabber:iq:version", { to = "capulet.lit" });
		local _, inner = delegation.forwarded(entity);
		assert.equal(bot.jid, inner.attr.from);
	end));

	it("never delegates the namespace of delegation (D2, D18)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:xmpp:delegation:2"] = { jid = "ent.capulet.lit" },
			["urn:xmpp:delegation:1"] = { jid = "ent.capulet.lit" },
			["urn:x:delegated"] = { jid = "ent.capulet.lit" },
		]], { host = [[modules_disabled = {}]] });
		capulet:allow_log("entry \"urn:xmpp:delegation:[12]\": this namespace must not be delegated");
		local entity = delegation.entity(capulet);
		local advert = entity:expect { "message" };
		assert.equal(1, #advert.tags[1].tags);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- client mode is not offered (D2)
		local id = delegation.request(juliet, "urn:xmpp:delegation:2", { to = "capulet.lit" });
		juliet:expect { "iq", id = id, type = "error", has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable" };
		entity:expect_none({ "iq", type = "set" }, 0.2);
		for _, namespace in ipairs { "urn:xmpp:delegation:2", "urn:xmpp:delegation:1" } do
			entity:send(([[<iq type='get' id='ask' from='ent.capulet.lit' to='capulet.lit'><query xmlns='urn:xmpp:delegation:2'
				to='juliet@capulet.lit'><delegate namespace='urn:x:y'/><delegate namespace='%s'/></query></iq>]]):format(namespace));
			entity:expect { "iq", id = "ask", type = "error", has = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden" };
		end
	end));

	it("speaks protocol version 1 with entities that need it (R9)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:old"] = { jid = "ent.capulet.lit", protocol = 1 },
			["http://jabber.org/protocol/disco#items:*"] = { jid = "ent.capulet.lit", protocol = 1 },
			["urn:x:new"] = { jid = "ent.capulet.lit", protocol = 2 },
		]]);
		local entity = delegation.entity(capulet);
		local old = entity:expect { "message", has = "{urn:xmpp:delegation:1}delegation" }.tags[1];
		assert.equal(2, #old.tags);
		assert.equal("urn:x:old", old.tags[1].attr.namespace);
		assert.equal("http://jabber.org/protocol/disco#items:*", old.tags[2].attr.namespace); -- R3
		local new = entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation" }.tags[1];
		assert.equal(1, #new.tags);
		for _, separator in ipairs { "::", ":bare:" } do
			entity:expect { "iq", type = "get", where = function (iq)
				return iq.tags[1].attr.node == "urn:xmpp:delegation:1"..separator.."urn:x:old";
			end };
		end
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local id = delegation.request(juliet, "urn:x:old");
		local outer, inner = delegation.forwarded(entity, "urn:xmpp:delegation:1");
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = id };
		-- an answer in the other version is no answer
		capulet:allow_log("answers a request with no forwarded stanza");
		id = delegation.request(juliet, "urn:x:old");
		outer, inner = delegation.forwarded(entity, "urn:xmpp:delegation:1");
		delegation.reply(entity, outer, (delegation.wrapped({ type = "result", id = inner.attr.id, to = juliet.jid })));
		juliet:expect { "iq", type = "error", id = id };
	end));

	it("has no effect on a component (R4, B6)", bed.scenario(function (s)
		local capulet = s:node { version = version, modules = { "delegation" }, global = [[
			delegations = { ["urn:x:delegated"] = { jid = "ent.capulet.lit" } }
		]], config = [[
			VirtualHost "capulet.lit"
			Component "ent.capulet.lit"
				component_secret = "hush"
				modules_enabled = { "delegation" }
		]] };
		local entity = delegation.entity(capulet);
		entity:expect { "message", from = "capulet.lit" };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local id = delegation.request(juliet, ns, { to = "ent.capulet.lit" });
		entity:expect { "iq", id = id, from = juliet.jid, to = "ent.capulet.lit", has = "{urn:x:delegated}query" };
		entity:expect_none({ "message" }, 0.2);
		delegation.request(juliet, ns);
		delegation.forwarded(entity);
	end));

	it("loads the configuration of its README, with and without mod_pep (R1, R2, R3, R6)", bed.scenario(function (s)
		local file = assert(io.open("lua/mod_delegation/README.markdown"));
		local config = file:read("a"):match("``` lua\n(.-)```"):gsub("change me", "hush");
		file:close();
		for _, modules in ipairs { { "pep", "mam" }, { "mam" } } do
			local capulet = s:node { version = version, config = config, modules = modules };
			local entity = capulet:component("pubsub.capulet.lit", "hush");
			delegation.announce(entity);
			assert.equal(5, #entity:expect({ "message" }).tags[1].tags);
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			for _, request in ipairs {
				"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:microblog:0'/></pubsub>",
				"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='urn:xmpp:microblog:0'/></pubsub>",
				"<query xmlns='urn:xmpp:mam:2' node='urn:xmpp:microblog:0'/>",
				"<query xmlns='http://jabber.org/protocol/disco#info' node='urn:xmpp:microblog:0'/>",
				"<query xmlns='http://jabber.org/protocol/disco#items'/>",
			} do
				juliet:send(("<iq type='get' id='r' to='juliet@capulet.lit'>%s</iq>"):format(request));
				local outer, inner = delegation.forwarded(entity);
				delegation.answer(entity, outer, inner);
				juliet:expect { "iq", type = "result", id = "r", has = "{urn:x:done}done" };
			end
			capulet:stop();
		end
	end));

	it("reports bad entries and uses the others (R1, B7)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:1"] = "ent.capulet.lit",
			["urn:x:2"] = { filtering = { "node" } },
			["urn:x:3"] = { jid = "ent.capulet.lit", filtring = { "node" } },
			["urn:x:4"] = { jid = "capulet.lit/ent" },
			["urn:x:delegated"] = { jid = "ENT.capulet.lit" },
		]]);
		capulet:allow_log("Option 'delegations', entry \"urn:x:[1234]\": .*; this entry is skipped");
		capulet:expect_log("entry \"urn:x:1\": expected a table such as .*, got \"ent.capulet.lit\"");
		capulet:expect_log("entry \"urn:x:2\": expected jid to be the JID of .*, got nothing");
		capulet:expect_log("entry \"urn:x:3\": unknown key \"filtring\", expected jid, filtering, protocol, timeout or blocking");
		capulet:expect_log("entry \"urn:x:4\": expected jid to be the JID of a managing entity other than this host, got \"capulet.lit/ent\"");
		local entity = delegation.entity(capulet);
		assert.equal(1, #entity:expect({ "message" }).tags[1].tags);
		delegation.request(capulet:client("juliet@capulet.lit/balcony"), ns);
		delegation.forwarded(entity);
		-- the state of the module is not kept in the option
		assert.same({ jid = "ENT.capulet.lit" }, capulet:eval [[
			return require "core.configmanager".get("capulet.lit", "delegations")["urn:x:delegated"];
		]]);
	end));
end);
end
