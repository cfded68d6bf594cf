-- SPDX-License-Identifier: MIT
-- mod_delegation: metrics and the commands of administrators (section 4 of the requirements).

local bed = require "bed";
local delegation = require "delegation_bed";
local operation = require "operation";
local shell = require "shell";

local ns = "urn:x:delegated";
local command = operation.command("capulet.lit", "https://prosody-relay/delegation#entities");
local global = [[
	admins = { "admin@capulet.lit" }
	statistics = "internal"
	statistics_interval = "manual"
]];
local delegated = [[
	["urn:x:delegated"] = { jid = "ent.capulet.lit", timeout = 6 },
	["urn:x:other"] = { jid = "ent.capulet.lit", filtering = { "node", "ver" }, protocol = 1, blocking = true },
	["urn:x:bot"] = { jid = "bot@capulet.lit" },
	["urn:x:manager"] = { jid = "bot@capulet.lit/manager" },
	["urn:x:wrong"] = { jit = "ent.capulet.lit" },
]];

for version in bed.versions() do
describe("operation of delegation on Prosody "..version, function ()
	local function start(s, host)
		local node = delegation.server(s, version, delegated, { global = global; modules = { "admin_shell" }; host = host });
		node:allow_log("entry \"urn:x:wrong\"");
		node:allow_log("there is no account bot@capulet.lit");
		return node;
	end

	local function metrics(node)
		return operation.metrics(node, "delegation", "capulet.lit");
	end

	it("counts requests by namespace, entity and what became of them", bed.scenario(function (s)
		local capulet = start(s, "delegation_max_pending = 4");
		capulet:allow_log("ent.capulet.lit: ");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local here, bot = " urn:x:delegated ent.capulet.lit", " urn:x:bot bot@capulet.lit";
		local function ask(namespace)
			return delegation.request(juliet, namespace or ns);
		end
		juliet:expect { "iq", id = ask(), type = "error" };
		juliet:expect { "iq", id = ask("urn:x:bot"), type = "error" };
		local entity = delegation.entity(capulet);
		for _ = 1, 2 do
			local id = ask();
			local outer, inner = delegation.forwarded(entity);
			delegation.answer(entity, outer, inner);
			juliet:expect { "iq", id = id, type = "result" };
		end
		for _, change in ipairs { { id = "wrong" }, { to = "wrong@capulet.lit" }, { from = "wrong@capulet.lit" }, { type = "set" } } do
			local id = ask();
			local outer, inner = delegation.forwarded(entity);
			delegation.answer(entity, outer, inner, nil, change);
			juliet:expect { "iq", id = id, type = "error" };
		end
		local id = ask();
		delegation.reply(entity, (delegation.forwarded(entity)), "");
		juliet:expect { "iq", id = id, type = "error" };
		id = ask();
		entity:send(("<iq type='error' id='%s' from='ent.capulet.lit' to='capulet.lit'/>"):format((delegation.forwarded(entity)).attr.id));
		juliet:expect { "iq", id = id, type = "error" };
		local waiting = { ask(), ask() };
		juliet:expect { "iq", id = ask(), type = "error" };
		local got = metrics(capulet);
		assert.equal(2, got["pending"..here]);
		assert.equal(10, got["forwarded_total"..here]);
		assert.equal(2, got["answered_total"..here]);
		assert.equal(2, got["latency_seconds_count"..here]);
		for _, reason in ipairs { "unavailable", "wrong-id", "wrong-to", "wrong-from", "wrong-type", "not-wrapped", "error", "max-pending" } do
			assert.equal(1, got["refused_total"..here.." "..reason], reason);
		end
		assert.equal(1, got["refused_total"..bot.." unavailable"]);
		assert.equal(0, got["forwarded_total"..bot]);
		-- what is in flight is counted over a reload
		capulet:reload("delegation", "capulet.lit");
		assert.equal(2, metrics(capulet)["pending"..here]);
		for _, late in ipairs(waiting) do juliet:expect { "iq", id = late, type = "error" }; end
		got = metrics(capulet);
		assert.equal(0, got["pending"..here]);
		assert.equal(2, got["timeouts_total"..here]);
		delegation.forwarded(entity);
		delegation.forwarded(entity);
		ask();
		delegation.forwarded(entity);
		entity:kill();
		juliet:expect { "iq", type = "error" };
		assert.equal(1, metrics(capulet)["refused_total"..here.." disconnected"]);
	end));

	it("shows admins who manages what and why not, and tells an entity again, by an ad-hoc command", bed.scenario(function (s)
		local capulet = start(s);
		local admin, juliet = capulet:client("admin@capulet.lit/desk"), capulet:client("juliet@capulet.lit/balcony");
		local lines = command:overview(admin);
		assert.same({
			"bot@capulet.lit  not available: no resource of the account is connected (there is no account bot@capulet.lit; is it mistyped?), 0 in flight",
			"  urn:x:bot  inactive: no resource of the account is connected, 0 in flight",
			"bot@capulet.lit/manager  not available: this resource is not connected (there is no account bot@capulet.lit; is it mistyped?), 0 in flight",
			"  urn:x:manager  inactive: this resource is not connected, 0 in flight",
			"ent.capulet.lit  not available: the component is not connected, 0 in flight",
			"  urn:x:delegated  inactive: the component is not connected, 0 in flight",
			"  urn:x:other  inactive: the component is not connected, with node and ver, protocol 1, blocking, 0 in flight",
		}, table.move(lines, 1, 7, 1, {}));
		assert.truthy(lines[8]:find("entry \"urn:x:wrong\": .*; this entry is skipped"));
		assert.equal("0 of 3 managing entities are available", lines[9]);
		local entity = delegation.entity(capulet, { ["urn:xmpp:delegation:1::urn:x:other"] = "<feature var='urn:x:other'/>" });
		entity:sync();
		entity:drain();
		capulet:allow_log("ent.capulet.lit: no answer in time");
		delegation.request(juliet, ns);
		juliet:sync();
		lines = command:overview(admin);
		assert.equal("ent.capulet.lit  available as ent.capulet.lit, 1 in flight", lines[5]);
		assert.equal("  urn:x:delegated  active, 1 in flight", lines[6]);
		assert.equal("  urn:x:other  active, with node and ver, protocol 1, blocking, 0 in flight", lines[7]);
		local function act(action, jid)
			return command:act(admin, { action = action; entity = jid });
		end
		assert.equal("ent.capulet.lit was told what it manages, and asked for its features", act("readvertise", "ent.capulet.lit"));
		entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation/delegated" };
		entity:expect { "message", has = "{urn:xmpp:delegation:1}delegation/delegated" };
		entity:expect { "iq", type = "get", has = "{http://jabber.org/protocol/disco#info}query" };
		assert.truthy(act("readvertise", "bot@capulet.lit"):find("is not available: no resource"));
		assert.truthy(act("readvertise", "x.capulet.lit"):find("manages nothing here"));
		assert.equal("Nothing was changed", act("", "ent.capulet.lit"));
		-- for admins only
		local reply = command:run(juliet);
		assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden"));
	end));

	if version ~= "0.12" then -- whose shell takes no commands of modules
		it("does the same in Prosody's shell", bed.scenario(function (s)
			local capulet = start(s);
			local function run(text)
				local prosodyctl = capulet.installations[version].prosodyctl;
				return select(2, shell.try("%s --root --config %s shell %s", prosodyctl, capulet.dir.."/prosody.cfg.lua", text));
			end
			local entity = delegation.entity(capulet);
			entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation" };
			assert.truthy(run([[delegation:entities("capulet.lit")]]):find("ent.capulet.lit  available as ent.capulet.lit, 0 in flight", 1, true));
			assert.truthy(run([[delegation:readvertise("capulet.lit", "ent.capulet.lit")]]):find("was told what it manages", 1, true));
			entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation" };
			assert.truthy(run([[delegation:entities("ent.capulet.lit")]]):find("mod_delegation is not loaded on ent.capulet.lit", 1, true));
			capulet:eval [[assert(require "core.modulemanager".unload("capulet.lit", "delegation"))]];
			assert.truthy(run([[delegation:entities("capulet.lit")]]):find("is not loaded on capulet.lit", 1, true));
		end));
	end
end);
end
