-- SPDX-License-Identifier: MIT
-- mod_delegation: what many users, domains and hosts have in common is shared fairly, and is bounded in bytes.

local bed = require "bed";
local client_mode = require "delegation_client_bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";
local delegated = [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]];
local full = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint";

-- Requests of that user until one is refused -> how many were not
local function fill(user, attributes, namespace)
	local refused, count = false, 0;
	user.on_stanza = function (stanza) refused = refused or stanza.name == "iq" and stanza:find(full) ~= nil; end
	while not refused do
		delegation.request(user, namespace or ns, attributes);
		count = count + 1;
		if count > 1000 then error("nobody is refused"); end
		user:sync();
	end
	user.on_stanza = nil;
	user:drain();
	return count - 1;
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	it("leaves places for other users, other domains and the server itself, whoever fills them (E7, G29)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated, { host = "delegation_max_pending = 60" });
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit"]] };
		capulet:allow_log("ent.capulet.lit: one %a+ has as many requests without an answer as may be");
		local entity = delegation.entity(capulet);
		local juliet, nurse = capulet:client("juliet@capulet.lit/balcony"), capulet:client("nurse@capulet.lit/house");
		local asked_of_juliet = { to = "juliet@capulet.lit" };
		-- one account: ten
		assert.equal(10, fill(juliet));
		assert.equal(0, fill(capulet:client("juliet@capulet.lit/chamber")));
		-- accounts of one domain: half of all together
		for i = 1, 2 do assert.equal(10, fill(capulet:client("servant"..i.."@capulet.lit/r"))); end
		assert.equal(0, fill(nurse));
		-- a newcomer gets what is left of it
		for _, case in ipairs { { "romeo", 10 }, { "benvolio", 5 } } do
			local name, places = table.unpack(case);
			local user = montague:client(name.."@montague.lit/street");
			for _ = 1, places + 3 do delegation.request(user, ns, asked_of_juliet); end
			for _ = 1, 3 do user:expect { "iq", type = "error", has = full }; end
			user:expect_none({ "iq" }, 0);
		end
		-- the server's own requests are nobody's to keep out
		capulet:eval [[
			local st = require "util.stanza";
			for i = 1, 20 do
				prosody.core_post_stanza(hosts["capulet.lit"], st.iq({ type = "get"; id = "own"..i; from = "capulet.lit"; to = "juliet@capulet.lit" })
					:tag("query", { xmlns = "urn:x:delegated" }):reset());
			end
		]];
		local own = 0;
		for _ = 1, 65 do
			local _, inner = delegation.forwarded(entity);
			if inner.attr.from == "capulet.lit" then own = own + 1; end
		end
		assert.equal(20, own);
		-- and all is free again
		entity:kill();
		s:wait_until(function () return capulet:eval [[
			local state = hosts["capulet.lit"].modules.delegation.module.save();
			return next(state.entities["ent.capulet.lit"].requests.records) == nil;
		]]; end);
		delegation.entity(capulet);
		assert.equal(10, fill(nurse));
		capulet:reload("delegation", "capulet.lit");
		assert.equal(0, fill(nurse));
	end));

	it("leaves places for other entities, whichever users choose to fill them (C7, G29)", bed.scenario(function (s)
		local components = "";
		for _, host in ipairs { "a.evil.lit", "b.evil.lit", "kind.lit" } do
			components = components..("Component %q component_secret = 'hush'\n"):format(host);
		end
		local capulet = client_mode.server(s, version, "delegation_max_pending = 30", { hosts = components; delegations = delegated });
		capulet:allow_log("ent.capulet.lit: one account has as many requests without an answer as may be");
		local nurse = client_mode.client(capulet, "nurse@capulet.lit/house");
		local function chosen(host, user)
			local entity = capulet:component(host, "hush");
			delegation.announce(entity);
			assert.same({ "urn:x:one" }, (client_mode.grant(entity, user, { "urn:x:one" })));
			return entity;
		end
		delegation.entity(capulet);
		local one, two = client_mode.client(capulet, "one@capulet.lit/r"), client_mode.client(capulet, "two@capulet.lit/r");
		local evil = chosen("a.evil.lit", one);
		chosen("b.evil.lit", two);
		chosen("kind.lit", nurse);
		assert.equal(10, fill(one, nil, "urn:x:one")); -- of one account
		assert.equal(10, fill(two, nil, "urn:x:one"));
		assert.equal(5, fill(nurse, nil, "urn:x:one")); -- half of what is left
		-- that of the configuration has its own
		assert.equal(10, fill(one));
		capulet:reload("delegation", "capulet.lit");
		assert.equal(0, fill(nurse, nil, "urn:x:one"));
		-- and they are free again
		evil:kill();
		for _ = 1, 10 do one:expect { "iq", type = "error", has = client_mode.unavailable }; end
		assert.equal(5, fill(nurse, nil, "urn:x:one"));
	end));

	it("keeps no more of requests with long ids than of others (E7, G29)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, delegated, { log_level = "warn", host = "delegation_max_pending = 5000" });
		capulet:allow_log("ent.capulet.lit: one account has as many requests");
		delegation.entity(capulet);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- fifty places
		assert.equal(16, fill(juliet, { id = ("i"):rep(2500) }));
	end));

	it("gives no two stanzas the same id when two hosts have one entity, over reloads and when one goes (E8, B11)", bed.scenario(function (s)
		local delegations = "delegations = { "..delegated.." }";
		local capulet = s:node { version = version, config = ([[
			VirtualHost "capulet.lit"
				modules_enabled = { "delegation" }
				%s
			VirtualHost "verona.lit"
				modules_enabled = { "delegation" }
				%s
			Component "ent.capulet.lit"
				component_secret = "hush"
		]]):format(delegations, delegations) };
		local entity = delegation.entity(capulet);
		local juliet, prince = capulet:client("juliet@capulet.lit/balcony"), capulet:client("prince@verona.lit/palace");
		local function ask(user)
			delegation.request(user, ns, { id = "1" });
			return delegation.forwarded(entity);
		end
		local function answer(user, outer, inner)
			delegation.answer(entity, outer, inner);
			user:expect { "iq", type = "result", id = "1" };
		end
		local outer, inner = ask(juliet);
		assert.equal("1", inner.attr.id);
		local other_outer, other = ask(prince);
		assert.not_equal("1", other.attr.id);
		answer(prince, other_outer, other);
		capulet:reload("delegation", "capulet.lit");
		other_outer, other = ask(prince);
		assert.not_equal("1", other.attr.id);
		answer(prince, other_outer, other);
		capulet:reload("delegation", "verona.lit");
		answer(juliet, outer, inner);
		-- free again
		outer, inner = ask(prince);
		assert.equal("1", inner.attr.id);
		answer(prince, outer, inner);
		-- the entity may go on with a request whose host is gone, until it connects again
		ask(juliet);
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		juliet:expect { "iq", type = "error", id = "1" };
		outer, inner = ask(prince);
		assert.not_equal("1", inner.attr.id);
		answer(prince, outer, inner);
		entity:close();
		s:wait_until(function () return not capulet:eval [[return hosts["ent.capulet.lit"].modules.component.session]]; end);
		entity = delegation.entity(capulet);
		assert.equal("1", select(2, ask(prince)).attr.id);
	end));

	it("gives no two stanzas the same id when a component is configured by two addresses (E8, B11)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[
			["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ["urn:x:other"] = { jid = "ent.capulet.lit/other" },
		]]);
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		delegation.request(juliet, ns, { id = "1" });
		delegation.forwarded(entity);
		delegation.request(juliet, "urn:x:other", { id = "1" });
		local outer, inner = delegation.forwarded(entity);
		assert.equal("ent.capulet.lit/other", outer.attr.to);
		assert.not_equal("1", inner.attr.id);
	end));
end);
end
