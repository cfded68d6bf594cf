-- SPDX-License-Identifier: MIT
-- mod_delegation, client mode: how long grants last, what entities are told, and what becomes of requests in flight.

local bed = require "bed";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";

local one, two = { "urn:x:one" }, { "urn:x:two" };
local other_component = [[
	Component "other.capulet.lit"
		component_secret = "hush"
]];

-- A forwarded request that waits for its answer -> id, outer and inner stanza
local function in_flight(client, entity, namespace, to)
	local id = delegation.request(client, namespace, { to = to });
	return id, delegation.forwarded(entity);
end

-- The user gets one answer, a refusal; the entity's own comes too late
local function expect_refused(client, entity, id, outer, inner)
	client:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
	delegation.answer(entity, outer, inner);
	entity:sync();
	client:expect_none({ "iq", id = id }, 0.1);
end

for version in bed.versions() do
describe("grants of client mode on Prosody "..version, function ()
	it("move to the entity that the user says yes to last (C7, C14, C25)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = other_component });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		delegation.announce(other);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.grant(entity, juliet, two);
		-- all of it is told, not what is new
		assert.same({ "urn:x:one", "urn:x:two" }, (client_mode.grant(entity, juliet, one)));
		assert.same(one, (client_mode.grant(entity, romeo, one)));
		local id, outer, inner = in_flight(juliet, entity, "urn:x:one");
		local of_romeo, romeo_outer, romeo_inner = in_flight(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		assert.same(one, (client_mode.grant(other, juliet, one)));
		assert.same(two, (client_mode.state(entity, "juliet@capulet.lit")));
		expect_refused(juliet, entity, id, outer, inner);
		expect_refused(romeo, entity, of_romeo, romeo_outer, romeo_inner);
		-- an entity that still works on it does not mix it up with another one of the same id (B11)
		delegation.request(romeo, "urn:x:one", { id = id });
		local _, later = delegation.forwarded(entity);
		assert.not_equal(id, later.attr.id);
		client_mode.forwards(juliet, other, "urn:x:one");
		client_mode.forwards(juliet, entity, "urn:x:two");
		client_mode.forwards(romeo, entity, "urn:x:one");
		client_mode.grant(other, juliet, two);
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
		other:expect_none(client_mode.any_state, 0);
	end));

	it("end with the session of the granting resource, not with others (C19, D37, C14)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		local chamber = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.asked(entity, "juliet@capulet.lit", one);
		local _, challenge = client_mode.question_to(chamber);
		-- any of her resources may answer, and then it is that one's grant
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		assert.same(one, (client_mode.state(entity, "juliet@capulet.lit")));
		chamber:close();
		client_mode.forwards(juliet, entity, "urn:x:one");
		chamber = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		local id, outer, inner = in_flight(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		juliet:kill();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		expect_refused(romeo, entity, id, outer, inner);
		client_mode.not_forwarded(chamber, entity, "urn:x:one");
		-- the entity has to ask anew
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		chamber:close();
		client_mode.grant(entity, juliet, one);
		client_mode.forwards(juliet, entity, "urn:x:one");
		entity:expect_none(client_mode.any_state, 0.1);
	end));

	it("outlive a broken connection that is resumed (C19)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { modules = { "smacks" } });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		juliet:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
		local session = juliet:expect { "enabled" }.attr.id;
		client_mode.grant(entity, juliet, one);
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		juliet:kill();
		s:wait_until(function () return capulet:eval [[return not not prosody.full_sessions["juliet@capulet.lit/balcony"].hibernating]]; end);
		client_mode.forwards(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		juliet = capulet:resume("juliet@capulet.lit/balcony", session, 1); -- the question
		client_mode.forwards(juliet, entity, "urn:x:one");
		juliet:kill();
		s:wait_until(function () return capulet:eval [[return not not prosody.full_sessions["juliet@capulet.lit/balcony"].hibernating]]; end);
		entity:expect_none(client_mode.any_state, 0.1);
		capulet:eval [[ prosody.full_sessions["juliet@capulet.lit/balcony"]:close(); return true ]];
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "juliet@capulet.lit");
	end));

	it("end with the account, also for who waits (C21)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, "delegation_client_persist = true", { hosts = other_component });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.grant(entity, juliet, one);
		client_mode.asked(other, "juliet@capulet.lit", two);
		client_mode.question_to(juliet);
		local id, outer, inner = in_flight(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		capulet:delete_user("juliet@capulet.lit");
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		expect_refused(romeo, entity, id, outer, inner);
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		-- who gets the name afterwards has granted nothing, and is asked
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		client_mode.asked(other, "juliet@capulet.lit", two);
		client_mode.question_to(juliet);
	end));

	it("wait for a component that is away, and are told again when it comes (C18, C21, D13, D14)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, "delegation_timeout = 2", { namespaces = [["urn:x:one", "urn:x:two", "urn:xmpp:ping"]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.grant(entity, juliet, { "urn:x:one", "urn:xmpp:ping" });
		client_mode.grant(entity, romeo, two);
		local id, outer = in_flight(juliet, entity, "urn:x:one");
		entity:send(require "util.stanza".error_reply(outer, "cancel", "internal-server-error"));
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		id = in_flight(juliet, entity, "urn:x:one");
		juliet:expect({ "iq", type = "error", id = id, has = client_mode.unavailable }, 15);
		id = in_flight(juliet, entity, "urn:x:one");
		entity:kill();
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		id = delegation.request(juliet, "urn:x:one");
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		-- the server's own module does not answer instead, but it does for others
		local ping = "<iq type='get' id='ping' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
		juliet:send(ping);
		juliet:expect { "iq", type = "error", id = "ping", has = client_mode.unavailable };
		romeo:send(ping);
		romeo:expect { "iq", type = "result", id = "ping" };
		entity = delegation.entity(capulet);
		assert.same({ "urn:x:one", "urn:xmpp:ping" }, (client_mode.state(entity, "juliet@capulet.lit")));
		assert.same(two, (client_mode.state(entity, "romeo@capulet.lit")));
		client_mode.forwards(juliet, entity, "urn:x:one");
		entity:expect_none(client_mode.any_state, 0.1);
	end));

	it("to an account are grants to one resource, and die with it (C15)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[VirtualHost "montague.lit"]] });
		local bot = client_mode.client(capulet, "bot@montague.lit/work");
		local spare = client_mode.client(capulet, "bot@montague.lit/spare");
		delegation.announce(bot);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.asked(bot, "juliet@capulet.lit", one);
		local message, challenge = client_mode.question_to(juliet);
		assert.truthy(message:get_child_text("body"):find('"bot@montague.lit" (resource "work")', 1, true));
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		assert.same(one, (client_mode.state(bot, "juliet@capulet.lit")));
		client_mode.forwards(juliet, bot, "urn:x:one");
		-- all of the account counts as the entity
		local id = delegation.request(spare, "urn:x:one", { to = "juliet@capulet.lit" });
		spare:expect { "iq", type = "error", id = id };
		id = in_flight(juliet, bot, "urn:x:one");
		bot:close();
		juliet:expect { "iq", type = "error", id = id, has = client_mode.unavailable };
		capulet:expect_log('Managing entity "bot@montague.lit" %(resource "work"%) is gone');
		bot = client_mode.client(capulet, "bot@montague.lit/work");
		client_mode.not_forwarded(juliet, bot, "urn:x:one");
		bot:expect_none(client_mode.any_state, 0.1);
		-- nor is anything granted to one that is gone when she answers
		client_mode.asked(bot, "juliet@capulet.lit", one);
		message, challenge = client_mode.question_to(juliet);
		assert.truthy(message);
		bot:close();
		s:wait_until(function () return capulet:eval [[return prosody.full_sessions["bot@montague.lit/work"] == nil]]; end);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		juliet:sync();
		bot = client_mode.client(capulet, "bot@montague.lit/work");
		client_mode.not_forwarded(juliet, bot, "urn:x:one");
		spare:expect_none(client_mode.any_state, 0);
	end));

	it("to a device of the same user end with it, and it is not told when it is gone (C15, C17)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		delegation.announce(juliet);
		client_mode.grant(juliet, juliet, one);
		client_mode.forwards(romeo, juliet, "urn:x:one", "juliet@capulet.lit");
		client_mode.not_forwarded(juliet, juliet, "urn:x:one");
		local id = delegation.request(romeo, "urn:x:one", { to = "juliet@capulet.lit" });
		delegation.forwarded(juliet);
		juliet:close();
		romeo:expect { "iq", id = id, type = "error", has = client_mode.unavailable };
		client_mode.not_forwarded(romeo, romeo, "urn:x:one", "juliet@capulet.lit");
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		juliet:expect_none({ "message" }, 0.2);
	end));

	it("leave no hooks, entities or questions behind (B1, C8, C15)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[VirtualHost "montague.lit"]], log_level = "info" });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local function handlers()
			return capulet:eval [[
				local count = 0;
				for _, host in ipairs { "capulet.lit", "montague.lit", "ent.capulet.lit" } do
					for _, map in pairs(prosody.hosts[host].events._event_map) do
						for _ in pairs(map) do count = count + 1; end
					end
				end
				return count;
			]];
		end
		local function once(i)
			local bot = client_mode.client(capulet, ("bot@montague.lit/%d"):format(i));
			delegation.announce(bot);
			client_mode.asked(bot, "juliet@capulet.lit", one);
			local _, challenge = client_mode.question_to(juliet);
			client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
			client_mode.state(bot, "juliet@capulet.lit");
			bot:close();
		end
		once(1);
		local before = handlers();
		for i = 2, 10 do once(i); end
		assert.equal(before, handlers());
		client_mode.grant(entity, juliet, one);
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		assert.same({ 0, 0, 0 }, capulet:eval [[
			local saved = hosts["capulet.lit"].modules.delegation.module.save();
			local counts = { 0, 0, 0 };
			for i, map in ipairs { saved.entities, saved.client.grants, saved.client.challenges.pending.records } do
				for _ in pairs(map) do counts[i] = counts[i] + 1; end
			end
			return counts;
		]]);
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
	end));

	it("cost nothing once the requests are answered, however many there were (B1, C25)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, "delegation_max_pending = 1000000", { log_level = "info" }); -- a hundredth for one account
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		-- one that stays
		client_mode.grant(entity, client_mode.client(capulet, "romeo@capulet.lit/orchard"), one);
		local function flood(count)
			client_mode.grant(entity, juliet, one);
			for i = 1, count, 500 do
				local requests = {};
				for j = i, i + 499 do requests[#requests + 1] = ("<iq type='get' id='%d'><query xmlns='urn:x:one'/></iq>"):format(j); end
				juliet:send(table.concat(requests));
			end
			juliet:sync();
			juliet:drain();
			-- ends the grant, and so answers all
			juliet:close();
			assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
			entity:sync();
			entity:drain();
			juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
			return capulet:eval [[ collectgarbage(); collectgarbage(); return collectgarbage("count") ]];
		end
		local before = flood(5000);
		local after = flood(5000);
		assert(after < before + 300, ("%.0f KiB more than before"):format(after - before));
	end));

	it("do not make the account's features long enough to flood somebody with (C24)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local many = {};
		for i = 1, 1000 do many[i] = ("<feature var='urn:x:one#%d'/>"):format(i); end
		local entity = delegation.entity(capulet, {
			["urn:xmpp:delegation:2:bare:urn:x:one"] = table.concat(many); ["urn:xmpp:delegation:2:bare:urn:x:two"] = table.concat(many, "", 1, 300);
		});
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, { "urn:x:one", "urn:x:two" });
		capulet:expect_log("too many features announced for urn:x:one");
		entity:sync();
		juliet:send "<iq type='get' id='info' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
		local info = tostring(juliet:expect { "iq", id = "info" });
		assert.truthy(info:find("urn:x:one#300", 1, true));
		assert.falsy(info:find("urn:x:one#1000", 1, true));
	end));

	it("show in the account that granted, not in others nor in the host (C24, D22, D28)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { modules = { "pep" } });
		local announced = {
			["urn:xmpp:delegation:2:bare:urn:x:one"] = "<feature var='urn:x:one#nested'/><identity category='x' type='one'/>";
			["urn:xmpp:delegation:2:bare:http://jabber.org/protocol/pubsub"] = "<feature var='http://jabber.org/protocol/pubsub#publish'/>";
		};
		local entity = delegation.entity(capulet, announced);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local function features(client, to)
			client:send(("<iq type='get' id='info' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(to));
			local found = {};
			for feature in client:expect({ "iq", id = "info" }):get_child("query", "http://jabber.org/protocol/disco#info"):childtags("feature") do
				assert.falsy(found[feature.attr.var]);
				found[feature.attr.var] = true;
			end
			return found;
		end
		local before, of_host = features(juliet, "juliet@capulet.lit"), features(juliet, "capulet.lit");
		assert.truthy(before["http://jabber.org/protocol/pubsub#multi-items"] or before["http://jabber.org/protocol/pubsub#retrieve-items"]);
		client_mode.grant(entity, juliet, { "urn:x:one", "http://jabber.org/protocol/pubsub" });
		entity:sync();
		local mine = features(juliet, "juliet@capulet.lit");
		assert.truthy(mine["urn:x:one#nested"]);
		assert.truthy(mine["http://jabber.org/protocol/pubsub#publish"]);
		assert.falsy(mine["http://jabber.org/protocol/pubsub#retrieve-items"]);
		assert.same(before, features(romeo, "romeo@capulet.lit"));
		assert.same(of_host, features(juliet, "capulet.lit"));
		entity:expect_none({ "iq", where = function (stanza)
			local query = stanza:get_child("query", "http://jabber.org/protocol/disco#info");
			return query and query.attr.node:find("^urn:xmpp:delegation:2::") ~= nil;
		end }, 0);
		-- asked once for all users
		entity:drain();
		client_mode.grant(entity, romeo, one);
		entity:expect_none({ "iq", has = "{http://jabber.org/protocol/disco#info}query" }, 0.1);
		assert.truthy(features(romeo, "romeo@capulet.lit")["urn:x:one#nested"]);
		entity:close();
		assert.same(before, features(juliet, "juliet@capulet.lit"));
		delegation.entity(capulet, announced);
		s:wait_until(function () return features(juliet, "juliet@capulet.lit")["urn:x:one#nested"]; end);
	end));
end);
end
