-- SPDX-License-Identifier: MIT
-- mod_delegation, client mode: from the request of an entity to the grant of a user.

local bed = require "bed";
local st = require "util.stanza";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";

local condition = client_mode.condition;
local pubsub = "http://jabber.org/protocol/pubsub";

for version in bed.versions() do
describe("client mode of delegation on Prosody "..version, function ()
	it("is off by default, with no command and no question (D2)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, "", { modules = { "adhoc" };
			host = [[delegation_client_namespaces = { "urn:x:one" }; delegation_client_persist = true]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local id = client_mode.ask(entity, "juliet@capulet.lit", { "urn:x:one" });
		entity:expect { "iq", type = "error", id = id, has = condition "service-unavailable" };
		id = client_mode.ask(entity, "juliet@capulet.lit", { "urn:xmpp:delegation:2" });
		entity:expect { "iq", type = "error", id = id, has = condition "forbidden" };
		juliet:send [[<iq type='get' id='items' to='capulet.lit'>
			<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>]];
		local items = juliet:expect { "iq", id = "items" };
		assert.falsy(tostring(items):find("delegation", 1, true));
		juliet:expect_none({ "message" }, 0);
	end));

	it("asks the user, grants what she allows and tells the entity (D33, D34, C1, C9, C12, C14, C17)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one", pubsub, "urn:x:one" });
		local message, challenge = client_mode.question_to(juliet);
		assert.equal("juliet@capulet.lit", message.attr.to);
		assert.equal("normal", message.attr.type or "normal");
		assert.truthy(message.attr.id);
		assert.truthy(message:get_child_text("body"):find("ent.capulet.lit", 1, true));
		local form = message:get_child("x", "jabber:x:data");
		assert.equal("form", form.attr.type);
		assert.truthy(form:get_child_text("title"));
		assert.truthy(form:get_child_text("instructions"):find("ent.capulet.lit", 1, true));
		local fields = client_mode.fields(message);
		assert.equal("hidden", fields.FORM_TYPE.attr.type);
		assert.equal("urn:xmpp:delegation:2", fields.FORM_TYPE:get_child_text("value"));
		assert.equal("hidden", fields.challenge.attr.type);
		for _, namespace in ipairs { "urn:x:one", pubsub } do
			local field, options = fields[namespace], {};
			assert.equal("list-single", field.attr.type);
			assert.equal("0", field:get_child_text("value"));
			assert.truthy(field.attr.label:find(namespace, 1, true));
			for option in field:childtags("option") do options[option.attr.label] = option:get_child_text("value"); end
			assert.same({ No = "0", Yes = "1" }, options);
		end
		assert.truthy(fields[pubsub].attr.label:find("PEP", 1, true));
		local count = 0;
		for _ in pairs(fields) do count = count + 1; end
		assert.equal(4, count, "there are other fields");

		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		-- a field that is missing, and one that nobody asked for
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1", ["urn:x:two"] = "1" });
		local list, told = client_mode.state(entity, "juliet@capulet.lit");
		assert.same({ "urn:x:one" }, list);
		assert.equal("ent.capulet.lit", told.attr.to);
		entity:expect_none(client_mode.any_state, 0.1);
		client_mode.forwards(juliet, entity, "urn:x:one");
		client_mode.not_forwarded(juliet, entity, "urn:x:two");
		client_mode.not_forwarded(juliet, entity, pubsub, "capulet.lit");
	end));

	it("forwards what concerns the account, of anybody but the entity, and nothing else (D35, C17, D16)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local chamber = client_mode.client(capulet, "juliet@capulet.lit/chamber");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		local _, challenge = client_mode.question_to(juliet);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		client_mode.state(entity, "juliet@capulet.lit");
		-- rule 1: to the server, by any resource of hers
		for _, sender in ipairs { juliet, chamber } do
			local _, inner = client_mode.forwards(sender, entity, "urn:x:one");
			assert.equal(sender.jid, inner.attr.from);
			client_mode.forwards(sender, entity, "urn:x:one", "capulet.lit");
		end
		client_mode.not_forwarded(romeo, entity, "urn:x:one");
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "capulet.lit");
		-- rule 2: to her bare JID, by anybody
		client_mode.forwards(juliet, entity, "urn:x:one", "juliet@capulet.lit");
		local _, inner = client_mode.forwards(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		assert.equal("juliet@capulet.lit", inner.attr.to);
		local id = delegation.request(entity, "urn:x:one", { from = "ent.capulet.lit", to = "juliet@capulet.lit" });
		entity:expect { "iq", type = "error", id = id };
		-- rule 3
		client_mode.not_forwarded(juliet, entity, "urn:x:one", "romeo@capulet.lit");
		id = delegation.request(romeo, "urn:x:one", { to = "juliet@capulet.lit/balcony" });
		juliet:expect { "iq", type = "get", id = id };
		client_mode.not_forwarded(juliet, entity, "urn:x:two");
		entity:expect_none({ "iq", has = "{urn:xmpp:delegation:2}delegation" }, 0.1);
	end));

	it("refuses bad requests, and asks nobody (C3, C4, C5, C6, D18, D30)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { namespaces = [[
			"urn:x:one", "urn:x:admin", "jabber:iq:register", "http://jabber.org/protocol/commands", "urn:xmpp:blocking", "urn:xmpp:delegation:2",
			"urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:carbons:2", "urn:xmpp:push:0", "jabber:iq:auth", "challenge",
			"urn:xmpp:cam:0", "urn:xmpp:privilege:2",
		]], delegations = [[ ["urn:x:admin"] = { jid = "ent.capulet.lit" } ]] });
		for _, name in ipairs { "jabber:iq:register", "http://jabber.org/protocol/commands", "urn:xmpp:blocking", "urn:xmpp:delegation:2",
				"urn:ietf:params:xml:ns:xmpp%-sasl", "urn:xmpp:carbons:2", "urn:xmpp:push:0", "jabber:iq:auth", "challenge", "urn:xmpp:cam:0",
				"urn:xmpp:privilege:2" } do
			capulet:allow_log("Option 'delegation_client_namespaces', entry \""..name.."\": .*; this entry is skipped");
		end
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local one = { "urn:x:one" };
		for _, case in ipairs {
			{ false, one, "bad-request", "name an account" },
			{ "juliet@capulet.lit", {}, "bad-request", "a namespace" },
			{ "juliet@capulet.lit", { "urn:x:one", "" }, "bad-request", "a namespace" },
			{ "juliet@capulet.lit", { "urn:x:one", false }, "bad-request", "a namespace" },
			{ "juliet@capulet.lit", one, "bad-request", "of type get", { type = "set" } },
			{ "juliet@capulet.lit/balcony", one, "jid-malformed", "bare JID" },
			{ "juliet@@capulet.lit", one, "jid-malformed", "bare JID" },
			{ "", one, "jid-malformed", "bare JID" },
			{ "juliet@montague.lit", one, "item-not-found", "of this host" },
			{ "ent.capulet.lit", one, "item-not-found", "of this host" },
			{ "capulet.lit", one, "item-not-found", "of this host" },
			{ "juliet@capulet.lit", { "urn:x:one", "urn:xmpp:delegation:2" }, "forbidden", "of delegation itself" },
			{ "juliet@capulet.lit", { "urn:xmpp:delegation:1", "urn:x:one" }, "forbidden", "of delegation itself" },
			{ "juliet@capulet.lit", { "urn:x:unlisted" }, "forbidden", "none of these" },
			{ "nobody@capulet.lit", { "urn:x:unlisted" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "urn:x:admin" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "jabber:iq:register", "http://jabber.org/protocol/commands", "urn:xmpp:blocking" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:carbons:2", "urn:xmpp:push:0" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "jabber:iq:auth" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "urn:xmpp:cam:0", "urn:xmpp:privilege:2" }, "forbidden", "none of these" },
			{ "juliet@capulet.lit", { "challenge" }, "forbidden", "none of these" },
		} do
			local id = client_mode.ask(entity, case[1], case[2], case[5]);
			local answer = entity:expect { "iq", id = id };
			local _, name, text = answer:get_error();
			assert.equal(case[3], name, tostring(answer));
			assert.truthy(text:find(case[4]), text);
			if case[3] == "forbidden" then assert.equal("auth", answer:find("error@type")); end
		end
		juliet:expect_none({ "message" }, 0.2);
		-- what is filtered does not stand in the form, and is not granted whatever is submitted
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:admin", "urn:x:unlisted", "urn:x:one" });
		local message, challenge = client_mode.question_to(juliet);
		assert.truthy(client_mode.fields(message)["urn:x:one"]);
		assert.falsy(client_mode.fields(message)["urn:x:admin"]);
		assert.falsy(client_mode.fields(message)["urn:x:unlisted"]);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1", ["urn:x:admin"] = "1", ["urn:x:unlisted"] = "1" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		client_mode.not_forwarded(juliet, entity, "urn:x:unlisted");
	end));

	it("grants without filters, also to an entity of the administrator, whose own delegations go on (C16, C6, D3)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { delegations = [[
			["urn:x:admin"] = { jid = "ent.capulet.lit", filtering = { "node" } }
		]] });
		local entity = delegation.entity(capulet);
		local advert = entity:expect(client_mode.any_state):get_child("delegation", "urn:xmpp:delegation:2");
		assert.is_nil(advert.attr.to);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		entity:send [[<iq type='get' id='filtered' from='ent.capulet.lit' to='capulet.lit'>
			<query xmlns='urn:xmpp:delegation:2' to='juliet@capulet.lit'><delegate namespace='urn:x:one'><attribute name='node'/></delegate>
			</query></iq>]];
		entity:expect { "iq", type = "result", id = "filtered" };
		local _, challenge = client_mode.question_to(juliet);
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		client_mode.forwards(juliet, entity, "urn:x:one");
		local id = delegation.request(juliet, "urn:x:admin", { node = "x" });
		delegation.answer(entity, delegation.forwarded(entity));
		juliet:expect { "iq", type = "result", id = id };
		client_mode.not_forwarded(juliet, entity, "urn:x:admin");
		juliet:close();
		assert.same({}, (client_mode.state(entity, "juliet@capulet.lit")));
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		id = delegation.request(romeo, "urn:x:admin", { node = "x" });
		delegation.answer(entity, delegation.forwarded(entity));
		romeo:expect { "iq", type = "result", id = id };
		entity:expect_none(client_mode.any_state, 0);
		client_mode.not_forwarded(romeo, entity, "urn:x:one", "juliet@capulet.lit");
	end));

	it("grants remaining disco where the operator allows it, and what is filtered stays with the server (C4, D25, D26)", bed.scenario(function (s)
		local info, items = "urn:xmpp:delegation:2:bare:disco#info:*", "urn:xmpp:delegation:2:bare:disco#items:*";
		-- the older name means the same
		local capulet = client_mode.server(s, version, nil, { namespaces = ([[ "%s", "http://jabber.org/protocol/disco#items:*" ]]):format(info) });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local function disco(client, what, to, id)
			client:send(("<iq type='get' id='%s' to='%s'><query xmlns='http://jabber.org/protocol/disco#%s' node='urn:x:node'/></iq>"):format(
				id, to, what));
		end
		assert.same({ info, items }, (client_mode.grant(entity, juliet, { info, items })));
		for i, what in ipairs { "info", "items" } do
			disco(romeo, what, "juliet@capulet.lit", "his"..i);
			delegation.answer(entity, delegation.forwarded(entity));
			romeo:expect { "iq", type = "result", id = "his"..i };
			disco(juliet, what, "romeo@capulet.lit", "hers"..i);
			juliet:expect { "iq", type = "error", id = "hers"..i };
		end
		entity:expect_none({ "iq", has = "{urn:xmpp:delegation:2}delegation" }, 0.1);
	end));

	it("does not tell who has an account (C2, D32)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		capulet:add_user("juliet@capulet.lit");
		local function answers(user)
			local list = {};
			for i = 1, 25 do
				local id = client_mode.ask(entity, user, { i % 2 == 0 and "urn:x:one" or "urn:x:two" });
				local answer = entity:expect { "iq", id = id };
				list[i] = tostring(answer):gsub(id, "id"):gsub(user, "user");
			end
			return list;
		end
		local of_nobody = answers("nobody@capulet.lit");
		assert.same(of_nobody, answers("juliet@capulet.lit"));
		assert.truthy(of_nobody[1]:find("type='result'", 1, true));
		assert.truthy(of_nobody[25]:find("resource-constraint", 1, true));
		-- nor does an answer that was not asked for
		entity:expect_none({}, 0.2);
		assert.equal(1, capulet:eval [[
			local found = 0;
			for line in io.lines(prosody.paths.data.."/../prosody.log") do
				if line:find("who does not exist", 1, true) then found = 1; end
			end
			return found;
		]]);
	end));

	it("asks once for each entity and user, and not too often (C8)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[
			Component "other.capulet.lit"
				component_secret = "hush"
		]] });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		for _ = 1, 3 do client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one", "urn:x:two" }); end
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:two", "urn:x:one" });
		local _, first = client_mode.question_to(juliet);
		juliet:expect_none(client_mode.question, 0.2);
		-- another question of this entity takes the place of the first, one of another entity does not
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		local _, second = client_mode.question_to(juliet);
		client_mode.asked(other, "juliet@capulet.lit", { "urn:x:two" });
		local _, of_other = client_mode.question_to(juliet);
		client_mode.submit(juliet, first, { ["urn:x:one"] = "1", ["urn:x:two"] = "1" });
		juliet:expect { "message", type = "error", has = condition "not-acceptable" };
		client_mode.submit(juliet, second, { ["urn:x:one"] = "1" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		client_mode.submit(juliet, of_other, { ["urn:x:two"] = "1" });
		assert.same({ "urn:x:two" }, (client_mode.state(other, "juliet@capulet.lit")));
		-- who asks for what is granted is told again, and she is not asked
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));

		local refused;
		for _ = 1, 25 do
			local id = client_mode.ask(entity, "juliet@capulet.lit", { "urn:x:two" });
			refused = entity:expect { "iq", id = id };
		end
		assert.equal("wait", refused:find("error@type"));
		assert.truthy(refused:find(condition "resource-constraint"));
		-- others may still ask her, up to her own limit, and the entity others, up to its own
		client_mode.asked(other, "juliet@capulet.lit", { "urn:x:one" });
		client_mode.asked(entity, "romeo@capulet.lit", { "urn:x:one" });
		for i = 1, 70 do
			local id = client_mode.ask(entity, "user"..i.."@capulet.lit", { "urn:x:two" });
			refused = entity:expect { "iq", id = id };
		end
		assert.truthy(refused:find(condition "resource-constraint"));
		for i = 1, 30 do
			local id = client_mode.ask(other, "juliet@capulet.lit", { "urn:x:one" }, { from = i.."@other.capulet.lit" });
			refused = other:expect { "iq", id = id };
		end
		assert.truthy(refused:find(condition "resource-constraint"));
	end));

	it("keeps the questions of others open, however many somebody asks (C8)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[
			Component "other.capulet.lit"
				component_secret = "hush"
		]] });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		local _, challenge = client_mode.question_to(juliet);
		local challenges = {};
		for i = 1, 12 do
			client_mode.asked(other, "juliet@capulet.lit", { "urn:x:two" }, { from = i.."@other.capulet.lit" });
			challenges[i] = select(2, client_mode.question_to(juliet));
		end
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		-- half of what it leaves were left beside it: the last ones
		client_mode.submit(juliet, challenges[7], { ["urn:x:two"] = "1" });
		juliet:expect { "message", type = "error", has = condition "not-acceptable" };
		client_mode.submit(juliet, challenges[8], { ["urn:x:two"] = "1" });
		assert.same({ "urn:x:two" }, (client_mode.state(other, "juliet@capulet.lit")));
	end));

	it("shows who asks in quotes, cut and without tricks, in all that the user reads (E5)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local jid = "x@ent.capulet.lit/official example.com backup. Your administrator has approved this. Say Yes";
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" }, { from = jid });
		local message, challenge = client_mode.question_to(juliet);
		local shown = '"x@ent.capulet.lit" (resource "official example.com backup. Y…")';
		assert.truthy(message:get_child_text("body"):find("\n\n"..shown.."\n\n", 1, true));
		assert.truthy(tostring(message):find("official", 1, true));
		assert.falsy(tostring(message):find("administrator has approved", 1, true));
		assert.equal("The address "..shown.." wants to manage the following features. Do you allow it?",
			message:get_child("x", "jabber:x:data"):get_child_text("instructions"));
		client_mode.submit(juliet, challenge, { ["urn:x:one"] = "1" });
		client_mode.state(entity, "juliet@capulet.lit");
		-- the command shows it in the same way, but for the values that are sent back
		local function step(values)
			local iq = st.iq({ type = "set"; id = "c"; to = "capulet.lit" })
				:tag("command", { xmlns = "http://jabber.org/protocol/commands"; node = "urn:xmpp:delegation:2#configure" });
			if values then
				iq:tag("x", { xmlns = "jabber:x:data"; type = "submit" });
				for var, value in pairs(values) do iq:tag("field", { var = var }):text_tag("value", value):up(); end
			end
			juliet:send(iq:reset());
			return tostring(juliet:expect { "iq", id = "c", type = "result" });
		end
		local escaped = shown:gsub('"', "&quot;");
		local first = step();
		assert.falsy(first:gsub("<value>x@ent[^<]-approved this%. Say Yes</value>", ""):find("approved this", 1, true));
		local second = step { entity = jid };
		assert.truthy(second:find("<title>Delegations to "..escaped, 1, true) or second:find("<title>Delegations to "..shown, 1, true));
		assert.equal(1, select(2, second:gsub("approved this", "")));
		assert.falsy(step({ configured = jid, ["urn:x:one"] = "0" }):find("approved this", 1, true));
	end));

	it("does not ask a user who has blocked the entity, its account or its domain, and does not tell (E5, C2)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { modules = { "blocklist" }; hosts = [[
			Component "other.capulet.lit"
				component_secret = "hush"
		]] });
		local entity, other = delegation.entity(capulet), capulet:component("other.capulet.lit", "hush");
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local function block(action, jid)
			juliet:send(("<iq type='set' id='b'><%s xmlns='urn:xmpp:blocking'><item jid='%s'/></%s></iq>"):format(action, jid, action));
			juliet:expect { "iq", id = "b", type = "result" };
		end
		local function ask(from)
			client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" }, { from = from });
		end
		for i, blocked in ipairs { "ent.capulet.lit", "bot2@ent.capulet.lit", "bot3@ent.capulet.lit/x" } do
			local jid = "bot"..i.."@ent.capulet.lit/x";
			block("block", blocked);
			ask(jid);
			entity:sync();
			juliet:sync();
			juliet:expect_none(client_mode.question, 0);
			if i > 1 then
				ask("other"..i.."@ent.capulet.lit/x");
				client_mode.question_to(juliet);
			end
			block("unblock", blocked);
			ask(jid);
			client_mode.question_to(juliet);
		end
		-- others are not concerned
		block("block", "ent.capulet.lit");
		client_mode.asked(other, "juliet@capulet.lit", { "urn:x:one" });
		client_mode.question_to(juliet);
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one", "urn:x:two" });
		juliet:sync();
		juliet:expect_none(client_mode.question, 0);
		-- over a restart, when nobody has the list in memory
		capulet:restart();
		entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		juliet:sync();
		juliet:expect_none(client_mode.question, 0);
	end));

	it("lets others ask while somebody asks about everybody (C8, D32)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[
			Component "other.capulet.lit"
				component_secret = "hush"
		]] });
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		local refused = 0;
		entity.on_stanza = function (stanza)
			if stanza.attr.type == "error" then refused = refused + 1; end
			entity.inbox = {};
		end;
		for i = 1, 11000 do
			entity:send(("<iq type='get' id='n' to='capulet.lit' from='ent.capulet.lit'><query xmlns='%s' to='n%d@capulet.lit'>"
				.."<delegate namespace='urn:x:one'/></query></iq>"):format(client_mode.xmlns, i));
			if i % 1000 == 0 then s:wait_until(function () return refused >= i - 100; end, 20, "so many refusals"); end
		end
		client_mode.asked(other, "juliet@capulet.lit", { "urn:x:two" });
	end));

	it("takes an answer once, of the one who was asked, with the right challenge (C10, C11, C13)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, { hosts = [[VirtualHost "montague.lit"]] });
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local romeo = client_mode.client(capulet, "romeo@capulet.lit/orchard");
		local stranger = client_mode.client(capulet, "paris@montague.lit/hall");
		client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
		client_mode.asked(entity, "romeo@capulet.lit", { "urn:x:one" });
		local _, challenge = client_mode.question_to(juliet);
		local _, of_romeo = client_mode.question_to(romeo);
		-- 128 bits are 22 characters of base64
		assert.truthy(#challenge >= 22);
		assert.not_equal(challenge, of_romeo);
		local yes = { ["urn:x:one"] = "1" };
		local function refuses(client, secret, changes)
			client_mode.submit(client, secret, yes, changes);
			local answer = client:expect { "message", type = "error", has = condition "not-acceptable" };
			assert.falsy(tostring(answer):find("ent.capulet.lit", 1, true));
		end
		refuses(juliet, of_romeo);
		refuses(romeo, challenge);
		refuses(juliet, "");
		refuses(juliet, challenge:sub(1, -2));
		refuses(juliet, challenge.."x");
		refuses(juliet, "5439123");
		refuses(juliet, nil, { form_type = "urn:xmpp:delegation:2" });
		refuses(juliet, challenge, { form_type = "urn:xmpp:other" });
		client_mode.submit(stranger, challenge, yes);
		client_mode.submit(stranger, "5439123", yes);
		stranger:sync();
		stranger:expect_none({ "message" }, 0.1);
		-- forms of others are left alone
		client_mode.submit(juliet, "5439123", yes, { form_type = "urn:xmpp:captcha" });
		juliet:expect { "message", type = "error", has = condition "service-unavailable" };
		entity:expect_none(client_mode.any_state, 0.1);
		client_mode.not_forwarded(juliet, entity, "urn:x:one");

		client_mode.submit(juliet, challenge, yes, { form_type = false });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		refuses(juliet, challenge);
		client_mode.submit(romeo, of_romeo, yes, { form_type = "urn:xmpp:delegation:2" });
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "romeo@capulet.lit")));
		entity:expect_none(client_mode.any_state, 0.1);
	end));

	it("takes everything but 1 for no (C12, C14)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version);
		local entity = delegation.entity(capulet);
		local juliet = client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local function ask()
			juliet:sync();
			client_mode.asked(entity, "juliet@capulet.lit", { "urn:x:one" });
			local _, challenge = client_mode.question_to(juliet);
			return challenge;
		end
		for _, value in ipairs { "0", "", "true", "yes", "2", " 1", "11" } do
			client_mode.submit(juliet, ask(), { ["urn:x:one"] = value });
		end
		client_mode.submit(juliet, ask(), {});
		client_mode.submit(juliet, ask(), { ["urn:x:one"] = "1" }, { type = "cancel" });
		ask();
		client_mode.submit(juliet, nil, {}, { type = "cancel", form_type = false });
		local challenge = ask();
		juliet:send(([[<message to='capulet.lit'><x xmlns='jabber:x:data' type='submit'><field var='challenge'><value>%s</value></field>
			<field var='urn:x:one'><value>1</value></field><field var='urn:x:one'><value>1</value></field></x></message>]]):format(challenge));
		challenge = ask();
		juliet:send(([[<message to='capulet.lit'><x xmlns='jabber:x:data' type='submit'><field var='challenge'><value>%s</value></field>
			<field var='urn:x:one'><value>1</value><value>1</value></field></x></message>]]):format(challenge));
		client_mode.not_forwarded(juliet, entity, "urn:x:one");
		entity:expect_none(client_mode.any_state, 0.1);
		juliet:expect_none({ "message", type = "error" }, 0);
	end));
end);
end
