-- SPDX-License-Identifier: MIT
-- mod_delegation: `blocking`, the order of a user's requests and their answers (D31, XEP-0355 section 11.3).

local bed = require "bed";
local delegation = require "delegation_bed";

local ns, free = "urn:x:delegated", "urn:x:free";
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";
local delegated = [[
	["urn:x:delegated"] = { jid = "ent.capulet.lit", blocking = true },
	["urn:x:free"] = { jid = "ent.capulet.lit" },
]];
-- a request, and one to the server behind it, in one piece
local pair = ("<iq type='get' id='%s'%s><query xmlns='urn:x:delegated'/></iq><iq type='get' id='ping%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>");

local function send_pair(user, id, to)
	user:send(pair:format(id, to and " to='"..to.."'" or "", id, to or "capulet.lit"));
end

local function expect_in_order(user, ...)
	for _, id in ipairs { ... } do
		assert.equal(id, user:expect({ "iq", id = "~." }).attr.id);
	end
end

for version in bed.versions() do
describe("order of delegation on Prosody "..version, function ()
	it("is kept for a namespace that is blocking, and for nobody else (D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		local juliet, romeo = capulet:client("juliet@capulet.lit/balcony"), capulet:client("romeo@capulet.lit/orchard");
		send_pair(juliet, "1");
		send_pair(juliet, "2", "romeo@capulet.lit");
		local outer, inner = delegation.forwarded(entity);
		juliet:expect_none({ "iq" }, 0.3);
		entity:expect_none({ "iq", type = "set" }, 0);
		-- other streams go on, that of the entity too, and juliet gets what others send
		romeo:sync();
		entity:sync();
		romeo:send(("<message to='%s'><body>hi</body></message>"):format(juliet.jid));
		juliet:expect { "message" };
		delegation.answer(entity, outer, inner);
		expect_in_order(juliet, "1", "ping1");
		outer, inner = delegation.forwarded(entity);
		juliet:expect_none({ "iq" }, 0.2);
		delegation.answer(entity, outer, inner);
		assert.equal("2", juliet:expect({ "iq", id = "~." }).attr.id);
	end));

	it("is not kept by default (D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local id = delegation.request(juliet, free);
		juliet:sync();
		local outer, inner = delegation.forwarded(entity);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", id = id };
	end));

	it("keeps nobody waiting for an entity that is absent, silent, wrong or gone (D31, D13)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit", blocking = true, timeout = 1 } ]]);
		capulet:allow_log("ent.capulet.lit: no answer in time");
		capulet:allow_log("ent.capulet.lit: answers a request with no forwarded stanza");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function expect_to_go_on(id)
			juliet:expect { "iq", id = id, type = "error", has = unavailable };
			juliet:expect { "iq", id = "ping"..id, type = "result" };
		end
		send_pair(juliet, "absent");
		expect_to_go_on("absent");
		local entity = delegation.entity(capulet);
		send_pair(juliet, "silent");
		delegation.forwarded(entity);
		expect_to_go_on("silent");
		send_pair(juliet, "wrong");
		delegation.reply(entity, (delegation.forwarded(entity)), "");
		expect_to_go_on("wrong");
		send_pair(juliet, "gone");
		delegation.forwarded(entity);
		entity:kill();
		expect_to_go_on("gone");
	end));

	it("keeps nobody waiting for an answer that cannot be passed on (D11, D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		capulet:allow_log("ent.capulet.lit: answers a request with what cannot be sent");
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- half a MiB, which is what a component may send
		local nested = ("<a>"):rep(74000)..("</a>"):rep(74000);
		for id, payload in pairs { deep = "<done xmlns='urn:x:done'>"..nested.."</done>"; client = nested } do
			send_pair(juliet, id);
			local outer, inner = delegation.forwarded(entity);
			delegation.answer(entity, outer, inner, payload);
			juliet:expect({ "iq", id = id, type = "error", has = unavailable }, 20);
			juliet:expect { "iq", id = "ping"..id, type = "result" };
		end
	end));

	it("holds over a reload of the module, and ends with it (D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		send_pair(juliet, "1");
		local outer, inner = delegation.forwarded(entity);
		capulet:reload("delegation", "capulet.lit");
		juliet:expect_none({ "iq" }, 0.2);
		delegation.answer(entity, outer, inner);
		expect_in_order(juliet, "1", "ping1");
		send_pair(juliet, "2");
		delegation.forwarded(entity);
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		juliet:expect { "iq", id = "2", type = "error", has = unavailable };
		juliet:expect { "iq", id = "ping2" };
	end));

	it("outlives a user that disconnects while she waits (D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local entity = delegation.entity(capulet);
		for _, leave in ipairs { "close", "kill" } do
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			send_pair(juliet, leave);
			local outer, inner = delegation.forwarded(entity);
			if leave == "kill" then juliet:kill(); else juliet:send("</stream:stream>"); end
			s:wait(0.1);
			delegation.answer(entity, outer, inner);
			entity:sync();
			s:wait_until(function () return capulet:eval [[ return next(prosody.full_sessions) == nil ]]; end, 5, "end of the session");
		end
	end));

	it("holds over a connection that breaks and is resumed, and so does the address (D31, D8)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated, { modules = { "smacks" } });
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
		local session = juliet:expect { "enabled" }.attr.id;
		send_pair(juliet, "1");
		local outer, inner = delegation.forwarded(entity);
		juliet:kill();
		s:wait_until(function () return capulet:eval [[return not not prosody.full_sessions["juliet@capulet.lit/balcony"].hibernating]]; end);
		juliet = capulet:resume("juliet@capulet.lit/balcony", session, 0);
		juliet:send "<iq type='get' id='2' to='juliet@capulet.lit'><query xmlns='urn:x:free'/></iq>";
		juliet:expect_none({ "iq" }, 0.2);
		delegation.answer(entity, outer, inner);
		expect_in_order(juliet, "1", "ping1");
		outer, inner = delegation.forwarded(entity);
		assert.equal("juliet@capulet.lit", inner.attr.to);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", id = "2", type = "result" };
	end));

	it("is kept for users of other servers (D31, D4)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated);
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		local entity = delegation.entity(capulet);
		local romeo = montague:client("romeo@montague.lit/orchard");
		send_pair(romeo, "1", "juliet@capulet.lit");
		romeo:send "<iq type='get' id='2' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
		local outer, inner = delegation.forwarded(entity);
		romeo:expect_none({ "iq" }, 0.3);
		delegation.answer(entity, outer, inner);
		expect_in_order(romeo, "1", "ping1", "2");
	end));

	it("stops the stream of another server for one deadline, however many requests come over it (D31, G29)", bed.scenario(function (s)
		-- on a busy machine the last requests must still be open when the message comes
		local capulet = delegation.server(s, version, delegated, { host = "delegation_timeout = 8" });
		capulet:allow_log("no answer in time");
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		local entity = delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local mallory, romeo = montague:client("mallory@montague.lit/x"), montague:client("romeo@montague.lit/orchard");
		for i = 1, 4 do delegation.request(mallory, ns, { id = "m"..i; to = "juliet@capulet.lit" }); end
		mallory:sync();
		delegation.forwarded(entity);
		romeo:send(("<message to='%s'><body>hi</body></message>"):format(juliet.jid));
		-- the first request ends, the others stop nobody
		mallory:expect({ "iq", type = "error", id = "m1" }, 20);
		for _ = 2, 4 do delegation.forwarded(entity); end
		juliet:expect { "message", body = "hi" };
		mallory:expect_none({ "iq" }, 0);
		for i = 2, 4 do mallory:expect({ "iq", type = "error", id = "m"..i }, 20); end
	end));

	it("lets the streams of entities go on, which others wait for (D31)", bed.scenario(function (s)
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		local remote, romeo = montague:client("bot@montague.lit/a"), montague:client("romeo@montague.lit/orchard");
		delegation.announce(remote);
		local capulet = delegation.server(s, version, [[
			["urn:x:delegated"] = { jid = "ent.capulet.lit", blocking = true },
			["urn:x:bot"] = { jid = "bot@capulet.lit", blocking = true },
			["urn:x:remote"] = { jid = "bot@montague.lit/a", blocking = true },
		]]);
		capulet:allow_log("there is no account bot@capulet.lit");
		local entity = delegation.entity(capulet);
		local bot, juliet = capulet:client("bot@capulet.lit/a"), capulet:client("juliet@capulet.lit/balcony");
		bot:expect { "message" };
		delegation.announce(bot);
		-- an account that manages asks, and is asked
		delegation.request(bot, ns);
		delegation.forwarded(entity);
		local id = delegation.request(juliet, "urn:x:bot");
		local outer, inner = delegation.forwarded(bot);
		delegation.answer(bot, outer, inner);
		juliet:expect { "iq", id = id, type = "result" };
		-- a user asks an entity on her own server, whose answer comes over the stream of her request
		id = delegation.request(romeo, "urn:x:remote", { to = "juliet@capulet.lit" });
		outer, inner = delegation.forwarded(remote);
		delegation.answer(remote, outer, inner);
		romeo:expect { "iq", id = id, type = "result" };
		-- components have no order: their stream carries answers
		id = delegation.request(entity, "urn:x:bot", { from = "ent.capulet.lit", to = "capulet.lit" });
		entity:sync();
		outer, inner = delegation.forwarded(bot);
		delegation.answer(bot, outer, inner);
		entity:expect { "iq", id = id, type = "result" };
	end));

	it("does not wait for an answer that is there already (D31)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "bed.capulet.lit", blocking = true } ]],
			{ hosts = [[Component "bed.capulet.lit" "bed"]] });
		capulet:allow_log("bed.capulet.lit: no features announced");
		delegation.answer_inside(capulet, "bed.capulet.lit");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		send_pair(juliet, "1");
		send_pair(juliet, "2");
		expect_in_order(juliet, "1", "ping1", "2", "ping2");
	end));
end);
end
