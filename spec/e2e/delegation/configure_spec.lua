-- SPDX-License-Identifier: MIT
-- mod_delegation, client mode: the command that lists and revokes, grants that outlive their session, and module reloads.

local bed = require "bed";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";
local st = require "util.stanza";

local condition = client_mode.condition;
local one, two, both = { "urn:x:one" }, { "urn:x:two" }, { "urn:x:one", "urn:x:two" };
local node = "urn:xmpp:delegation:2#configure";
local persist = "delegation_client_persist = true";
local yes = { persist = "1" };

-- One step of the command -> <command/> of the answer, the answer
local last_id = 0;
local function step(client, values, attr)
	last_id = last_id + 1;
	local id = "step"..last_id;
	attr = attr or {};
	local iq = st.iq({ type = "set"; id = id; to = "capulet.lit" }):tag("command",
		{ xmlns = "http://jabber.org/protocol/commands"; node = attr.node or node; action = attr.action; sessionid = attr.sessionid });
	if values then
		iq:tag("x", { xmlns = "jabber:x:data"; type = "submit" });
		for var, value in pairs(values) do iq:tag("field", { var = var }):text_tag("value", value):up(); end
	end
	client:send(iq:reset());
	local answer = client:expect { "iq", id = id };
	return answer:get_child("command", "http://jabber.org/protocol/commands"), answer;
end

-- The whole command: what the second form has (var -> value), and the note at the end
local function configure(client, jid, values)
	local first = step(client);
	local second = step(client, { entity = jid }, { sessionid = first.attr.sessionid });
	local submitted = {};
	for var, field in pairs(client_mode.fields(second)) do submitted[var] = field:get_child_text("value"); end
	local shown = {};
	for var, value in pairs(submitted) do shown[var] = value; end
	for var, value in pairs(values) do submitted[var] = value; end
	local last = step(client, submitted, { action = "complete"; sessionid = first.attr.sessionid });
	assert.equal("completed", last.attr.status);
	return shown, last:get_child_text("note");
end

-- Answers disco#info of the server as a client that has commands, or not; the queries of PEP are not answered
local function support_commands(client, supported)
	client.on_stanza = function (stanza)
		if stanza.name ~= "iq" or stanza.attr.type ~= "get" or not stanza:get_child("query", "http://jabber.org/protocol/disco#info") then return; end
		client:send(st.reply(stanza):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" })
			:tag("feature", { var = supported and "http://jabber.org/protocol/commands" or "urn:x:none" }):reset());
	end;
end

for version in bed.versions() do
describe("delegation's #configure on Prosody "..version, function ()
	it("lists what the user has delegated, and revokes it (D36, C22, C14)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[
			Component "other.capulet.lit"
				component_secret = "hush"
		]] });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		delegation.announce(other);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		juliet:send [[<iq type='get' id='items' to='capulet.lit'>
			<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>]];
		assert.truthy(tostring(juliet:expect { "iq", id = "items" }):find(node, 1, true));
		local empty = step(juliet);
		assert.equal("completed", empty.attr.status);
		assert.truthy(empty:get_child_text("note"));

		client_mode.grant(entity, juliet, both);
		client_mode.grant(other, juliet, { "http://jabber.org/protocol/pubsub" });
		client_mode.grant(entity, romeo, one);
		local first = step(juliet);
		assert.equal("executing", first.attr.status);
		local form, text, jids = first:get_child("x", "jabber:x:data"), {}, {};
		for field in form:childtags("field") do
			if field.attr.type == "fixed" then text[#text + 1] = field:get_child_text("value"); end
		end
		assert.same({ '"ent.capulet.lit": urn:x:one, urn:x:two', '"other.capulet.lit": http://jabber.org/protocol/pubsub' }, text);
		local choice = client_mode.fields(first).entity;
		assert.equal("list-single", choice.attr.type);
		for option in choice:childtags("option") do jids[#jids + 1] = option:get_child_text("value"); end
		assert.same({ "ent.capulet.lit", "other.capulet.lit" }, jids);

		local waiting = delegation.request(romeo, "urn:x:one", { to = "juliet@capulet.lit" });
		local outer, inner = delegation.forwarded(entity);
		local shown, note = configure(juliet, "ent.capulet.lit", { ["urn:x:one"] = "0" });
		assert.equal("1", shown["urn:x:one"]);
		assert.equal("1", shown["urn:x:two"]);
		assert.is_nil(shown.persist);
		assert.truthy(note:find("urn:x:one", 1, true));
		assert.falsy(note:find("urn:x:two", 1, true));
		assert.same(two, (client_mode.state(entity, "juliet@capulet.lit")));
		romeo:expect { "iq", type = "error", id = waiting, has = client_mode.unavailable }; -- C25
		delegation.answer(entity, outer, inner);
		entity:sync();
		romeo:expect_none({ "iq", id = waiting }, 0.1);
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		client_mode.forwards(juliet, entity, "urn:x:two");
		client_mode.forwards(romeo, entity, "urn:x:one");
		client_mode.forwards(juliet, other, "http://jabber.org/protocol/pubsub");
		configure(juliet, "ent.capulet.lit", { ["urn:x:two"] = "0" });
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		-- it goes on as if nothing had happened with who was not asked
		client_mode.forwards(romeo, entity, "urn:x:one");
		local _, nothing = configure(juliet, "other.capulet.lit", {});
		assert.truthy(nothing:find("Nothing", 1, true));
		other:expect_none(client_mode.any_state, 0.1);
	end));

	it("is for local users, each for herself (C22)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[VirtualHost "montague.lit"]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local paris = client_mode.client(capulet, "paris@montague.lit/hall");
		local _, refusal = step(paris);
		assert.truthy(refusal:find(condition "forbidden") ~= nil);
		client_mode.grant(entity, juliet, both);
		client_mode.grant(entity, romeo, one);
		local first = step(juliet);
		-- another's session, once at each step
		local fields = client_mode.fields(step(romeo, { entity = "ent.capulet.lit" }, { sessionid = first.attr.sessionid }));
		assert.truthy(fields["urn:x:one"]);
		assert.is_nil(fields["urn:x:two"]);
		step(romeo, { configured = "ent.capulet.lit"; ["urn:x:one"] = "0"; ["urn:x:two"] = "0" },
			{ action = "complete"; sessionid = first.attr.sessionid });
		assert.same({}, (client_mode.state(entity, "romeo@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
		client_mode.forwards(juliet, entity, "urn:x:one");
		-- an entity that manages nothing for her, or is no JID
		for _, jid in ipairs { "other.capulet.lit", "@", "" } do
			assert.equal("completed", step(juliet, { entity = jid }).attr.status);
			assert.equal("completed", step(juliet, { configured = jid; ["urn:x:one"] = "0" }).attr.status);
		end
		-- cannot grant, only the consent can
		assert.equal("completed", step(romeo, { configured = "ent.capulet.lit"; ["urn:x:one"] = "1" }, { action = "complete" }).attr.status);
		client_mode.not_forwarded(romeo, entity, "urn:x:one");
		assert.equal("canceled", step(juliet, nil, { action = "cancel"; sessionid = first.attr.sessionid }).attr.status);
		assert.equal("executing", step(juliet, { configured = "ent.capulet.lit"; ["urn:x:one"] = "0" }, { action = "prev" }).attr.status);
		client_mode.forwards(juliet, entity, "urn:x:one");
	end));

	it("is reached whatever is delegated, and by whom (C23)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { delegations = [[
			["http://jabber.org/protocol/commands"] = { jid = "ent.capulet.lit" };
			["urn:xmpp:delegation:2:bare:disco#info:*"] = { jid = "ent.capulet.lit" };
		]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		assert.equal("completed", step(juliet).attr.status);
		-- other commands are delegated
		juliet:send [[<iq type='set' id='other' to='capulet.lit'><command xmlns='http://jabber.org/protocol/commands' node='other'/></iq>]];
		delegation.answer(entity, delegation.forwarded(entity));
		juliet:expect { "iq", type = "result", id = "other" };
		client_mode.not_forwarded(juliet, entity, "urn:xmpp:delegation:2:bare:disco#info:*");
		client_mode.not_forwarded(juliet, entity, "urn:xmpp:delegation:2");
	end));

	it("keeps across sessions and restarts what the user wants to keep (C20, C21, D37)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, persist);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local paris = client_mode.client(capulet, "paris@capulet.lit/hall");
		local rosaline = client_mode.client(capulet, "rosaline@capulet.lit/garden");
		support_commands(juliet, true);
		support_commands(romeo, true);
		support_commands(paris, false);
		client_mode.asked(entity, "juliet@capulet.lit", both);
		local message, challenge = client_mode.question_to(juliet);
		assert.equal("list-single", client_mode.fields(message).persist.attr.type);
		assert.equal("0", client_mode.fields(message).persist:get_child_text("value"));
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1"; persist = "1" });
		client_mode.state(entity, "juliet@capulet.lit");
		juliet:expect { "iq", type = "get", from = "capulet.lit", has = "{http://jabber.org/protocol/disco#info}query" };
		client_mode.grant(entity, romeo, one); -- does not want to
		client_mode.grant(entity, paris, one, yes); -- could not revoke
		paris:expect { "iq", type = "get", from = "capulet.lit", has = "{http://jabber.org/protocol/disco#info}query" };
		client_mode.grant(entity, rosaline, one, yes);
		step(rosaline); -- could
		for _, client in ipairs { juliet, romeo, paris, rosaline } do
			client:sync();
			client:close();
		end
		for _, user in ipairs { "romeo@capulet.lit", "paris@capulet.lit" } do
			assert.same({}, (client_mode.state(entity, user)));
		end
		entity:expect_none(client_mode.any_state, 0.1);
		romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.forwards(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		client_mode.forwards(romeo, entity, "urn:x:one", "rosaline@capulet.lit");
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "paris@capulet.lit");
		client_mode.not_forwarded(romeo, entity, "urn:x:two", "juliet@capulet.lit");

		capulet:kill();
		capulet:start();
		romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local id = delegation.request(romeo, "urn:x:one", { to = "juliet@capulet.lit" });
		romeo:expect { "iq", type = "error", id = id, has = client_mode.unavailable }; -- rule 4
		entity = delegation.entity(capulet);
		assert.same(one, (client_mode.state(entity, "juliet@capulet.lit")));
		assert.same(one, (client_mode.state(entity, "rosaline@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
		client_mode.forwards(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "romeo@capulet.lit");

		-- not to be kept any more: it is this session's then
		juliet = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		assert.equal("1", configure(juliet, "ent.capulet.lit", { persist = "0" }).persist);
		client_mode.forwards(juliet, entity, "urn:x:one");
		assert.equal("0", configure(juliet, "ent.capulet.lit", {}).persist);
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		-- and kept again by the command alone
		juliet = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		client_mode.grant(entity, juliet, one);
		configure(juliet, "ent.capulet.lit", yes);
		juliet:close();
		-- one that is deleted, one that is revoked, one that is not for users any more
		rosaline = client_mode.client(capulet, "rosaline@capulet.lit/garden");
		client_mode.grant(entity, rosaline, two, yes);
		configure(rosaline, "ent.capulet.lit", { ["urn:x:one"] = "0" });
		assert.same(two, (client_mode.state(entity, "rosaline@capulet.lit")));
		capulet:delete_user("juliet@capulet.lit");
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		capulet:restart();
		entity = delegation.entity(capulet);
		assert.same(two, (client_mode.state(entity, "rosaline@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
		capulet:restart { config = capulet.config:gsub('"urn:x:two", ', "") };
		entity = delegation.entity(capulet);
		entity:expect_none(client_mode.any_state, 0.1);
		assert.equal(0, capulet:eval [[
			local count = 0;
			for _ in require "core.storagemanager".open("capulet.lit", "delegation_grants"):users() do count = count + 1; end
			return count;
		]]);
	end));

	it("asks a client for its features once at a time, and heeds the answer for all that was granted until then (C20, G29)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, persist);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local asked = { "iq", type = "get", from = "capulet.lit", has = "{http://jabber.org/protocol/disco#info}query" };
		local function grant(name, namespaces)
			client_mode.asked(entity, "juliet@capulet.lit", namespaces, { from = name.."@ent.capulet.lit" });
			local _, challenge = client_mode.question_to(juliet);
			client_mode.submit(juliet, challenge, { [namespaces[1]] = "1"; persist = "1" });
			juliet:sync();
		end
		for i = 1, 10 do grant("bot"..i, one); end
		grant("other", two);
		local question = juliet:expect(asked);
		juliet:expect_none(asked, 0);
		support_commands(juliet, true);
		juliet.on_stanza(question);
		juliet:sync();
		-- and again when it has answered
		support_commands(juliet, false);
		grant("bot", { "http://jabber.org/protocol/pubsub" });
		juliet:expect(asked);
		juliet:sync();
		juliet:close();
		assert.same({ "bot10@ent.capulet.lit", "other@ent.capulet.lit" }, capulet:eval [[
			local of_user, found = hosts["capulet.lit"].modules.delegation.module.save().client.grants.juliet, {};
			for _, grant in pairs(of_user) do found[#found + 1] = grant.entity; end
			table.sort(found);
			return found;
		]]);
	end));

	it("works without a store for what is kept (C21)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, [[storage = { delegation_grants = "none" } ]]);
		local config = capulet.config;
		for _, option in ipairs { "", persist } do
			capulet:restart { config = config:gsub("delegation_client_mode", option.."\n%0") };
			local entity = delegation.entity(capulet);
			local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
			client_mode.grant(entity, juliet, one);
			juliet:close();
			assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		end
	end));

	it("keeps nothing unless the operator allows it, whatever is submitted (C20, D37)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, persist);
		local config = capulet.config;
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		support_commands(juliet, true);
		client_mode.grant(entity, juliet, one, yes);
		step(juliet);
		capulet:restart { config = config:gsub(persist, "") };
		entity = delegation.entity(capulet);
		juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		client_mode.grant(entity, juliet, one, yes);
		assert.is_nil(configure(juliet, "ent.capulet.lit", yes).persist);
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		-- what was kept is forgotten, it does not come back later
		capulet:restart { config = config };
		entity = delegation.entity(capulet);
		entity:expect_none(client_mode.any_state, 0.2);
	end));

	it("leaves administrators to see who manages what, and how often users were asked (C2)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, {
			global = [[admins = { "admin@capulet.lit" }; statistics = "internal"; statistics_interval = "manual"]] });
		local entity = delegation.entity(capulet);
		local admin = client_mode.client(capulet, "admin@capulet.lit/desk");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, one);
		client_mode.grant(entity, client_mode.client(capulet, "romeo@capulet.lit/orchard"), both);
		client_mode.asked(entity, "nobody@capulet.lit", one);
		client_mode.forwards(juliet, entity, "urn:x:one");
		local shown = tostring(step(admin, nil, { node = "https://prosody-relay/delegation#entities" }));
		assert.truthy(shown:find("urn:x:one  active, granted by 2 users", 1, true), shown);
		assert.truthy(shown:find("urn:x:two  active, granted by 1 users", 1, true), shown);
		local values = capulet:eval [[
			prosody.events.fire_event("stats-update");
			local values = {};
			for family_name, family in pairs(require "core.statsmanager".get_metric_registry():get_metric_families()) do
				local name = family_name:match("^prosody_mod_delegation/(.*)");
				for labels, metric in family:iter_metrics() do
					for suffix, extra, value in metric:iter_samples() do
						if name and not next(extra or {}) then values[name..(suffix or "").." "..table.concat({ table.unpack(labels, 2) }, " ")] = value; end
					end
				end
			end
			return values;
		]];
		assert.same({ 2, 2, 1, 1 }, { values["client_requests_total asked"], values["client_requests_total granted"],
			values["client_requests_total unknown"], values["forwarded_total urn:x:one chosen by users"] });
	end));
end);
end
