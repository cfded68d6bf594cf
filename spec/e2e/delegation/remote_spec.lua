-- SPDX-License-Identifier: MIT
-- mod_delegation, client mode: entities on other servers, internal ones, module reloads, and where the question goes.

local bed = require "bed";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";

local one, two, both = { "urn:x:one" }, { "urn:x:two" }, { "urn:x:one", "urn:x:two" };

local function montague_of(s, version)
	local montague = s:node { version = version, config = [[
		VirtualHost "montague.lit"
		Component "ent.montague.lit"
			component_secret = "hush"
	]] };
	montague:allow_log("Component not connected, bouncing error");
	return montague;
end

-- An entity on another server, with what it answers about features
local function remote_entity(montague)
	local entity = montague:component("ent.montague.lit", "hush");
	delegation.announce(entity, { ["urn:xmpp:delegation:2:bare:urn:x:one"] = "<feature var='urn:x:one#remote'/>" });
	return entity;
end

local function shows_feature(client)
	client:send [[<iq type='get' id='info' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>]];
	return tostring(client:expect { "iq", id = "info", type = "result" }):find("urn:x:one#remote", 1, true) ~= nil;
end

-- The question of an entity, and the yes to it
local function grant(entity, client, namespaces)
	client_mode.asked(entity, "juliet@capulet.lit", namespaces);
	local _, challenge = client_mode.question_to(client);
	local values = {};
	for _, namespace in ipairs(namespaces) do values[namespace] = "1"; end
	client_mode.submit(client, challenge, values);
	return client_mode.state(entity, "juliet@capulet.lit");
end

for version in bed.versions() do
describe("client mode across servers on Prosody "..version, function ()
	it("grants to an entity on another server, which may go and come (C17, C18, C21, C24, B12)", bed.scenario(function (s)
		local montague = montague_of(s, version);
		-- what is on its way when the link is cut is lost
		local capulet = client_mode.server(s, version, "delegation_timeout = 4");
		local link = s:link(capulet, montague);
		local entity = remote_entity(montague);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local namesake = client_mode.client(montague, "juliet@montague.lit/street");
		assert.same(both, (grant(entity, juliet, both)));
		s:wait_until(function () return shows_feature(juliet); end);
		client_mode.forwards(juliet, entity, "urn:x:one");
		client_mode.forwards(namesake, entity, "urn:x:one", "juliet@capulet.lit");
		-- a user of another server has no account here (C17)
		client_mode.not_forwarded(namesake, entity, "urn:x:one", "capulet.lit");
		-- the other server answers in its place, then nobody
		entity:close();
		local id = delegation.request(juliet, "urn:x:one");
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		entity = remote_entity(montague);
		client_mode.forwards(juliet, entity, "urn:x:one");
		-- it is told again, as it may have forgotten
		client_mode.forwards(juliet, entity, "urn:x:one");
		assert.same(both, (client_mode.state(entity, "juliet@capulet.lit")));
		link:cut();
		id = delegation.request(juliet, "urn:x:two");
		juliet:expect({ "iq", type = "error", id = id, has = client_mode.unavailable }, 40);
		link:restore();
		client_mode.forwards(juliet, entity, "urn:x:two");
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		entity:expect_none({ "iq", has = "{urn:xmpp:delegation:2}delegation" }, 0);
	end));

	it("tells an entity on another server at the first use after a restart (C21)", bed.scenario(function (s)
		local montague = montague_of(s, version);
		local capulet = client_mode.server(s, version, "delegation_client_persist = true");
		local entity = remote_entity(montague);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.asked(entity, "juliet@capulet.lit", one);
		local _, challenge = client_mode.question_to(juliet);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1"; persist = "1" });
		client_mode.state(entity, "juliet@capulet.lit");
		local ask = juliet:expect { "iq", type = "get", from = "capulet.lit", has = "{http://jabber.org/protocol/disco#info}query" };
		juliet:send(require "util.stanza".reply(ask):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" })
			:tag("feature", { var = "http://jabber.org/protocol/commands" }):reset());
		juliet:sync();
		entity:drain();
		capulet:restart();
		juliet = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		-- what it announces is asked for at once
		s:wait_until(function () return shows_feature(juliet); end);
		entity:expect_none(client_mode.any_state, 0.1);
		local id = delegation.request(juliet, "urn:x:one");
		assert.same(one, (client_mode.state(entity, "juliet@capulet.lit")));
		local outer, inner = delegation.forwarded(entity);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = id };
		client_mode.forwards(juliet, entity, "urn:x:one");
		entity:expect_none(client_mode.any_state, 0.1);
	end));

	it("forgets a resource on another server that is gone (C15)", bed.scenario(function (s)
		local montague = montague_of(s, version);
		local capulet = client_mode.server(s, version);
		local bot = client_mode.client(montague, "bot@montague.lit/work");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		assert.same(both, (grant(bot, juliet, both)));
		delegation.announce(bot);
		client_mode.forwards(juliet, bot, "urn:x:one");
		bot:close();
		local id = delegation.request(juliet, "urn:x:one");
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		capulet:expect_log('Managing entity "bot@montague.lit" %(resource "work"%) is gone');
		bot = client_mode.client(montague, "bot@montague.lit/work");
		client_mode.not_forwarded(juliet, bot, "urn:x:two");
		bot:expect_none({ "message" }, 0.1);
	end));

	it("does not take its own word, that it could not deliver something, for the end of a resource on another server (C15, F2, G26)",
			bed.scenario(function (s)
		local montague = montague_of(s, version);
		local capulet = client_mode.server(s, version);
		local link = s:link(capulet, montague);
		local bot = client_mode.client(montague, "bot@montague.lit/work");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		delegation.announce(bot);
		assert.same(both, (grant(bot, juliet, both)));
		client_mode.forwards(juliet, bot, "urn:x:one");
		-- the stream breaks while a stanza is sent but not acknowledged: mod_smacks answers as if the recipient were not there
		link:stall();
		local id = delegation.request(juliet, "urn:x:one");
		juliet:sync();
		link:cut();
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		capulet:expect_log('Managing entity "bot@montague.lit" %(resource "work"%): cannot be reached: ');
		link:restore();
		bot:drain();
		client_mode.forwards(juliet, bot, "urn:x:two");
		assert.is_nil(capulet.log:find('%(resource "work"%) is gone'));
	end));

	it("grants to an internal component (R5, B12, D34)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[Component "bed.capulet.lit" "bed"]] });
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		capulet:eval [[
			local st = require "util.stanza";
			local component = module:context("bed.capulet.lit");
			told = {};
			component:hook("iq-result/host/ask", function () return true; end);
			component:hook("message/host", function (event)
				local delegation = event.stanza:get_child("delegation", "urn:xmpp:delegation:2");
				if delegation then table.insert(told, delegation.attr.to..":"..#delegation.tags); end
				return true;
			end);
			component:hook("iq-set/host/urn:xmpp:delegation:2:delegation", function (event)
				local inner = event.stanza:find("{urn:xmpp:delegation:2}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq");
				local reply = st.reply(inner);
				reply.attr.xmlns = "jabber:client";
				event.origin.send(st.reply(event.stanza):tag("delegation", { xmlns = "urn:xmpp:delegation:2" })
					:tag("forwarded", { xmlns = "urn:xmpp:forward:0" }):add_child(reply):reset());
				return true;
			end);
			prosody.bed_told = told;
			component:send(st.iq({ type = "get"; id = "ask"; from = "bed.capulet.lit"; to = "capulet.lit" })
				:tag("query", { xmlns = "urn:xmpp:delegation:2"; to = "juliet@capulet.lit" }):tag("delegate", { namespace = "urn:x:one" }):reset());
		]];
		capulet:allow_log("bed.capulet.lit: no features announced");
		local _, challenge = client_mode.question_to(juliet);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		juliet:sync();
		local id = delegation.request(juliet, "urn:x:one");
		juliet:expect { "iq", type = "result", id = id };
		juliet:close();
		s:wait_until(function () return capulet:eval [[return #prosody.bed_told == 2]]; end);
		assert.same({ "juliet@capulet.lit:1", "juliet@capulet.lit:0" }, capulet:eval [[return prosody.bed_told]]);
	end));

	it("keeps grants, questions and requests over a module reload (D29, C10, C19)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local config = capulet.config;
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		grant(entity, juliet, both);
		client_mode.grant(entity, client_mode.client(capulet, "romeo@capulet.lit/orchard"), two);
		client_mode.asked(entity, "juliet@capulet.lit", { "http://jabber.org/protocol/pubsub" });
		local _, challenge = client_mode.question_to(juliet);
		local function in_flight(namespace)
			local id = delegation.request(juliet, namespace);
			return id, delegation.forwarded(entity);
		end
		local first, outer, inner = in_flight("urn:x:one");
		local second = in_flight("urn:x:two");
		capulet:reload("delegation", "capulet.lit");
		-- what has not changed is not told
		entity:expect_none(client_mode.any_state, 0.2);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = first };
		client_mode.submit(juliet, challenge, { ["http://jabber.org/protocol/pubsub"] = "1" });
		assert.equal(3, #client_mode.state(entity, "juliet@capulet.lit"));
		client_mode.forwards(juliet, entity, "urn:x:one");
		-- requests of a grant that does not come back are answered (C25), and the entity is told
		capulet:reload_config((config:gsub('"urn:x:two", ', "")));
		capulet:reload("delegation", "capulet.lit");
		juliet:expect { "iq", type = "error", id = second, has = client_mode.unavailable };
		assert.same({ "http://jabber.org/protocol/pubsub", "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		assert.same({}, (client_mode.state(entity, "romeo@capulet.lit")));
		client_mode.not_forwarded(juliet, entity, "urn:x:two");
		-- the session of before is still what it ends with
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
	end));

	it("ends with the module, or the option, and says so (C14, D1)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local config = capulet.config;
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		grant(entity, juliet, one);
		local id = delegation.request(juliet, "urn:x:one");
		delegation.forwarded(entity);
		capulet:reload_config((config:gsub("delegation_client_mode = true", "")));
		capulet:reload("delegation", "capulet.lit");
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		capulet:reload_config(config);
		capulet:reload("delegation", "capulet.lit");
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		grant(entity, juliet, two);
		id = delegation.request(juliet, "urn:x:two");
		delegation.forwarded(entity);
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
	end));

	it("ends for an entity that goes on managing for the administrator, with the requests in flight (C25, C6, B11)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { delegations = [[ ["urn:x:admin"] = { jid = "ent.capulet.lit" } ]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		grant(entity, juliet, one);
		local id = delegation.request(juliet, "urn:x:one");
		local outer, inner = delegation.forwarded(entity);
		capulet:reload_config((capulet.config:gsub("delegation_client_mode = true", "")));
		capulet:reload("delegation", "capulet.lit");
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		delegation.answer(entity, outer, inner);
		-- which it may be at work on still
		delegation.request(juliet, "urn:x:admin", { id = id });
		outer, inner = delegation.forwarded(entity);
		assert.not_equal(id, inner.attr.id);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = id };
		juliet:expect_none({ "iq" }, 0.1);
	end));

	it("asks the account, keeps the question out of archives and copies, and offline where the operator stores messages (C9)",
			bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { modules = { "mam", "carbons" }; global = [[default_archive_policy = true]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local watch = capulet:client("juliet@capulet.lit/watch"); -- gets only copies
		watch:send "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>";
		watch:expect { "iq", type = "result", id = "carbons" };
		client_mode.asked(entity, "juliet@capulet.lit", one);
		local message, challenge = client_mode.question_to(juliet);
		assert.equal("juliet@capulet.lit", message.attr.to);
		watch:expect_none({ "message" }, 0.1);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "0" });
		juliet:send [[<iq type='set' id='mam'><query xmlns='urn:xmpp:mam:2'/></iq>]];
		juliet:expect { "iq", type = "result", id = "mam" };
		juliet:expect_none({ "message" }, 0);
		watch:close();
		juliet:close();
		client_mode.asked(entity, "juliet@capulet.lit", one);
		client_mode.asked(entity, "juliet@capulet.lit", one);
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local _, stored = client_mode.question_to(juliet);
		juliet:expect_none(client_mode.question, 0.1);
		client_mode.submit(juliet, stored, { ["urn:x:one"] = "1" });
		assert.same(one, (client_mode.state(entity, "juliet@capulet.lit")));
	end));

	it("asks again what nobody was there to read (C9, C8)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, [[modules_disabled = { "offline" }]]);
		local entity = delegation.entity(capulet);
		capulet:add_user("juliet@capulet.lit");
		client_mode.asked(entity, "juliet@capulet.lit", one);
		entity:expect_none({ "message" }, 0.1);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		juliet:expect_none({ "message" }, 0.1);
		client_mode.asked(entity, "juliet@capulet.lit", one);
		client_mode.question_to(juliet);
	end));
end);
end
