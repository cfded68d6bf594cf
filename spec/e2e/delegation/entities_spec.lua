-- SPDX-License-Identifier: MIT
-- mod_delegation: managing entities that come, go, restart or are of another kind, and module reloads.

local bed = require "bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";
local delegated = [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]];
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";
local advert = { "message", has = "{urn:xmpp:delegation:2}delegation" };

-- One request and its answer through this entity
local function exchange(user, entity, namespace, to)
	local id = delegation.request(user, namespace or ns, { to = to });
	local outer, inner = delegation.forwarded(entity);
	delegation.answer(entity, outer, inner);
	user:expect { "iq", type = "result", id = id, has = "{urn:x:done}done" };
	return outer;
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	it("answers at once while the entity is not there, before, between and after (D13)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated.." , "..[[
			["urn:xmpp:delegation:2:bare:disco#items:*"] = { jid = "ent.capulet.lit" },
			["jabber:iq:version"] = { jid = "ent.capulet.lit" },
		]], { modules = { "version" } });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function expect_unavailable()
			for _, to in ipairs { false, "capulet.lit", "romeo@capulet.lit" } do
				local id = delegation.request(juliet, ns, { to = to or nil });
				juliet:expect { "iq", type = "error", id = id, from = to, has = unavailable };
			end
			local id = delegation.request(juliet, "http://jabber.org/protocol/disco#items", { to = "juliet@capulet.lit" });
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
			-- the server's own module does not answer instead
			id = delegation.request(juliet, "jabber:iq:version", { to = "capulet.lit" });
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
		end
		expect_unavailable();
		local entity = delegation.entity(capulet);
		exchange(juliet, entity);
		entity:close();
		expect_unavailable();
		entity = delegation.entity(capulet);
		entity:expect(advert);
		exchange(juliet, entity);
		entity:kill();
		capulet:expect_log("Managing entity ent.capulet.lit is gone");
		expect_unavailable();
	end));

	it("answers what is in flight when the entity disconnects, at once (D13)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local ids = {};
		for i = 1, 100 do ids[i] = delegation.request(juliet, ns, { to = i % 2 == 0 and "romeo@capulet.lit" or nil }); end
		local first = delegation.forwarded(entity);
		for _ = 2, 100 do delegation.forwarded(entity); end
		entity:kill();
		for i, id in ipairs(ids) do
			juliet:expect { "iq", type = "error", id = id, from = i % 2 == 0 and "romeo@capulet.lit", has = unavailable };
		end
		-- answers from before the restart mean nothing afterwards
		entity = delegation.entity(capulet);
		delegation.reply(entity, first, "");
		exchange(juliet, entity);
		juliet:expect_none({ "iq" }, 0.2);
	end));

	it("is not misled by a second connection that is refused (D13)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		capulet:allow_log("Second component attempted to connect");
		local entity = delegation.entity(capulet);
		entity:expect(advert);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.has_error(function () capulet:component("ent.capulet.lit", "hush"); end);
		assert.has_error(function () capulet:component("ent.capulet.lit", "wrong"); end);
		exchange(juliet, entity);
		entity:expect_none(advert, 0);
	end));

	it("goes on with a connection that replaces the old one (D13)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated, { global = [[component_conflict_resolve = "kick_old"]] });
		local old = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local id = delegation.request(juliet, ns);
		delegation.forwarded(old);
		local entity = delegation.entity(capulet);
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
		entity:expect(advert);
		exchange(juliet, entity);
	end));

	it("notices a component that is there before the module (B5)", bed.scenario(function (s)
		local capulet = s:node { version = version, config = ([[
			VirtualHost "capulet.lit"
				delegations = { %s }
			Component "ent.capulet.lit"
				component_secret = "hush"
		]]):format(delegated) };
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		entity:expect_none(advert, 0.2);
		capulet:eval [[ assert(require "core.modulemanager".load("capulet.lit", "delegation")) ]];
		entity:expect(advert);
		exchange(juliet, entity);
	end));

	it("notices a component host that is activated later, and one that is taken away (R4, B5)", bed.scenario(function (s)
		local config = ([[
			VirtualHost "capulet.lit"
				modules_enabled = { "delegation" }
				delegations = { %s }
		]]):format(delegated);
		local capulet = s:node { version = version, config = config };
		-- a host that is not in the configuration may be on another server
		capulet:allow_log("there is no host ent.capulet.lit here");
		capulet:allow_log("ent.capulet.lit: cannot be reached");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _ = 1, 2 do
			capulet:reload_config(config..[[
				Component "ent.capulet.lit"
					component_secret = "hush"
			]]);
			capulet:eval [[ assert(require "core.hostmanager".activate("ent.capulet.lit")) ]];
			local entity = delegation.entity(capulet);
			entity:expect(advert);
			exchange(juliet, entity);
			local id = delegation.request(juliet, ns);
			delegation.forwarded(entity);
			capulet:eval [[ assert(require "core.hostmanager".deactivate("ent.capulet.lit")) ]];
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
			entity:kill();
		end
	end));

	it("delegates to an account: the first resource manages, then the next one (R5, B3)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "bot@capulet.lit" } ]]);
		capulet:allow_log("there is no account bot@capulet.lit");
		local first = capulet:client("bot@capulet.lit/first");
		local given = first:expect(advert);
		assert.equal("bot@capulet.lit/first", given.attr.to);
		local log = assert(io.open(capulet.dir.."/prosody.log")):read("a");
		assert(log:find("Sending%[c2s%]: <iq [^\n]*id='bind'") < log:find("Sending%[c2s%]: <message"), "the advert came before the resource");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local second = capulet:client("bot@capulet.lit/second");
		assert.equal("bot@capulet.lit/first", exchange(juliet, first).attr.to);
		second:expect_none({ "message" }, 0.2);
		local id = delegation.request(juliet, ns);
		delegation.forwarded(first);
		first:kill();
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
		second:expect(advert);
		assert.equal("bot@capulet.lit/second", exchange(juliet, second).attr.to);
		second:close();
		id = delegation.request(juliet, ns);
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
	end));

	it("delegates to one resource of an account (R5, B3)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "bot@capulet.lit/manager" } ]]);
		capulet:allow_log("there is no account bot@capulet.lit");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local other = capulet:client("bot@capulet.lit/other");
		local manager = capulet:client("bot@capulet.lit/manager");
		manager:expect(advert);
		exchange(juliet, manager);
		-- a new connection with the same resource replaces the old one
		local again = capulet:client("bot@capulet.lit/manager");
		again:expect(advert);
		exchange(juliet, again);
		other:expect_none({ "message" }, 0.1);
		again:close();
		local id = delegation.request(juliet, ns);
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
	end));

	it("keeps an account and one of its resources apart (R5, R7)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:delegated"] = { jid = "bot@capulet.lit" }, ["urn:x:other"] = { jid = "bot@capulet.lit/manager" },
		]]);
		capulet:allow_log("there is no account bot@capulet.lit");
		local manager = capulet:client("bot@capulet.lit/manager");
		manager:expect(advert);
		manager:expect(advert);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		exchange(juliet, manager);
		exchange(juliet, manager, "urn:x:other");
	end));

	it("delegates to an account of another host of the server, and to one that is there before the module (R5, B3, B5)",
			bed.scenario(function (s)
		local capulet = s:node { version = version, config = [[
			VirtualHost "capulet.lit"
				delegations = { ["urn:x:delegated"] = { jid = "bot@montague.lit" } }
			VirtualHost "montague.lit"
		]] };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local bot = capulet:client("bot@montague.lit/a");
		capulet:eval [[ assert(require "core.modulemanager".load("capulet.lit", "delegation")) ]];
		bot:expect(advert);
		exchange(juliet, bot);
	end));

	it("delegates to an internal component and to an entity on another server (B12)", bed.scenario(function (s)
		local montague = s:node { version = version, config = [[
			VirtualHost "montague.lit"
			Component "ent.montague.lit"
				component_secret = "hush"
		]] };
		montague:allow_log("Component not connected, bouncing error");
		local remote = montague:component("ent.montague.lit", "hush");
		delegation.announce(remote);
		local capulet = delegation.server(s, version, [[
			["urn:x:internal"] = { jid = "bed.capulet.lit" },
			["urn:x:remote"] = { jid = "ent.montague.lit" },
			["urn:x:nowhere"] = { jid = "ent.nowhere.lit" },
		]], { hosts = [[Component "bed.capulet.lit" "bed"]] });
		capulet:allow_log("ent.nowhere.lit: cannot be reached");
		capulet:allow_log("ent.[%a.]+: no features announced");
		capulet:allow_log("bed.capulet.lit: no features announced");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- an internal component is asked as soon as its host is active
		delegation.answer_inside(capulet, "bed.capulet.lit");
		local id = delegation.request(juliet, "urn:x:internal");
		juliet:expect { "iq", type = "result", id = id };

		remote:expect(advert);
		exchange(juliet, remote, "urn:x:remote");
		-- it is told again when it answers after trouble
		remote:expect_none(advert, 0.1);
		remote:close();
		capulet:allow_log("ent.montague.lit: answers a request with an error");
		id = delegation.request(juliet, "urn:x:remote");
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
		remote = montague:component("ent.montague.lit", "hush");
		delegation.announce(remote);
		exchange(juliet, remote, "urn:x:remote");
		remote:expect(advert);

		id = delegation.request(juliet, "urn:x:nowhere");
		juliet:expect({ "iq", type = "error", id = id, has = unavailable }, 10);
	end));

	it("keeps requests in flight over a module reload, and does not tell the entity what it knows (D29, B1)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		entity:expect(advert);
		local users, asked = {}, {};
		for i = 1, 3 do
			users[i] = capulet:client("user"..i.."@capulet.lit/r");
			delegation.request(users[i], ns, { id = "1" });
			asked[i] = { delegation.forwarded(entity) };
		end
		capulet:reload("delegation", "capulet.lit");
		capulet:reload("delegation", "capulet.lit");
		entity:expect_none(advert, 0.2);
		-- ids of before are still taken (B11)
		local late = capulet:client("late@capulet.lit/r");
		delegation.request(late, ns, { id = "1" });
		local _, inner = delegation.forwarded(entity);
		assert.not_equal("1", inner.attr.id);
		for i = 1, 3 do
			delegation.answer(entity, asked[i][1], asked[i][2]);
			users[i]:expect { "iq", type = "result", id = "1" };
			users[i]:expect_none({ "iq" }, 0);
		end
		entity:kill();
		late:expect { "iq", type = "error", id = "1" };
	end));

	it("keeps the managing resource of an account over a module reload (R5, D29)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "bot@capulet.lit" } ]]);
		capulet:allow_log("there is no account bot@capulet.lit");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local first = capulet:client("bot@capulet.lit/first");
		first:expect(advert);
		-- one that connected earlier and has bound its resource later
		local second = capulet:client("bot@capulet.lit/second");
		capulet:eval [[ prosody.full_sessions["bot@capulet.lit/second"].conntime = 0 ]];
		capulet:reload("delegation", "capulet.lit");
		exchange(juliet, first);
		second:expect_none({ "message" }, 0.1);
	end));

	it("answers what is in flight when the module unloads, or comes back without the entity (D1, D13)", bed.scenario(function (s)
		local function config(delegations)
			return ([[
				VirtualHost "capulet.lit"
					modules_enabled = { "delegation" }
					%s
				Component "ent.capulet.lit"
					component_secret = "hush"
				Component "other.capulet.lit"
					component_secret = "hush"
			]]):format(delegations);
		end
		local capulet = s:node { version = version, config = config("delegations = { "..delegated.." }") };
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function expect_refusal(change)
			local id = delegation.request(juliet, ns);
			delegation.forwarded(entity);
			change();
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
			juliet:expect_none({ "iq" }, 0.1);
		end
		expect_refusal(function ()
			capulet:reload_config(config [[delegations = { ["urn:x:delegated"] = { jid = "other.capulet.lit" } }]]);
			capulet:reload("delegation", "capulet.lit");
		end);
		capulet:reload_config(config("delegations = { "..delegated.." }"));
		capulet:reload("delegation", "capulet.lit");
		expect_refusal(function ()
			capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		end);
		local filters = capulet:eval [[
			local left = 0;
			for _, session in pairs(prosody.full_sessions) do left = left + #(session.filters["stanzas/in"] or {}); end
			return left;
		]];
		assert.equal(0, filters);
	end));

	it("warns once of a server that cannot be reached, whatever that says of it (E3, G29)", bed.scenario(function (s)
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		local capulet = delegation.server(s, version, [[ ["urn:x:remote"] = { jid = "ent@montague.lit" } ]]);
		capulet:allow_log("Session closed by remote with error");
		capulet:allow_log("ent@montague.lit: cannot be reached");
		montague:eval [[
			local count = 0;
			module:context("montague.lit"):hook("s2s-stream-features", function (event)
				count = count + 1;
				event.origin:close { condition = "policy-violation"; text = "word "..count };
			end, 1000);
		]];
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for i = 1, 3 do
			local id = delegation.request(juliet, "urn:x:remote");
			juliet:expect { "iq", type = "error", id = id };
			capulet:expect_log("cannot be reached: .*word "..i);
		end
		assert.equal(1, select(2, capulet.log:tail(100000):gsub("warn\t[^\n]*cannot be reached", "")));
	end));
end);
end
