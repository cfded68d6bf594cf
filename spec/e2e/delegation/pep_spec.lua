-- SPDX-License-Identifier: MIT
-- mod_delegation: other modules of the server that work on mod_pep while PEP is delegated.

local bed = require "bed";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";
local pep = require "pep";

local pubsub = [[ ["http://jabber.org/protocol/pubsub"] = { jid = "ent.capulet.lit" } ]];
local modules = { "pep", "vcard_legacy", "vcard4", "bookmarks", "pep_reader" };
-- A module of somebody else that announces and answers something out of mod_pep
local pep_reader = [[
	module:depends "pep";
	module:hook("account-disco-info", function (event) event.reply:tag("feature", { var = "urn:x:reader" }):up(); end);
]];
-- what they announce on accounts
local announced = { "urn:xmpp:pep-vcard-conversion:0", "urn:ietf:params:xml:ns:vcard-4.0", "urn:xmpp:bookmarks:1#compat",
	"urn:xmpp:bookmarks-conversion:0", "urn:x:reader" };
-- what the warnings name
local warned = {
	vcard_legacy = "delegate vcard%-temp as well, or disable mod_vcard_legacy";
	vcard4 = "delegate urn:ietf:params:xml:ns:vcard%-4%.0 as well, or disable";
	bookmarks = "delegate jabber:iq:private as well, or disable"; pep_reader = "disable mod_pep_reader";
};

for version in bed.versions() do
describe("delegation of PEP on Prosody "..version, function ()
	local function start(s, options)
		options.modules, options.plugins = options.modules or modules, { s.dir.."/plugins" };
		os.execute("mkdir -p '"..s.dir.."/plugins'");
		local file = assert(io.open(s.dir.."/plugins/mod_pep_reader.lua", "w"));
		file:write(pep_reader);
		file:close();
		return options;
	end

	local function features(client, to)
		return pep.counts(pep.ask(client, pep.query "http://jabber.org/protocol/disco#info", { to = to }));
	end

	local function allow_warnings(node)
		for name, what in pairs(warned) do node:allow_log("mod_"..name.." stores .*"..what); end
	end

	it("warns of all modules that go on working on mod_pep, and withdraws what they announce (E2)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, pubsub, start(s, {}));
		allow_warnings(capulet);
		for name, what in pairs(warned) do
			capulet:expect_log("warn\tmod_"..name.." stores and looks for data in mod_pep, not where you delegate PEP to: .*"..what);
		end
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- whether the entity is there or not: what was stored here is not what it has
		local function expect_withdrawn()
			local found = features(juliet, "juliet@capulet.lit");
			for _, feature in ipairs(announced) do assert.is_nil(found[feature], feature); end
		end
		expect_withdrawn();
		delegation.entity(capulet, { ["urn:xmpp:delegation:2:bare:http://jabber.org/protocol/pubsub"] = "<feature var='urn:x:bookmarks'/>" });
		s:wait_until(function () return features(juliet, "juliet@capulet.lit")["urn:x:bookmarks"]; end);
		expect_withdrawn();
	end));

	it("shows what the entity announces itself, and says nothing where it has their namespaces, too (E2)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, pubsub..[[
			, ["vcard-temp"] = { jid = "ent.capulet.lit" }, ["urn:ietf:params:xml:ns:vcard-4.0"] = { jid = "ent.capulet.lit" },
			["jabber:iq:private"] = { jid = "ent.capulet.lit" },
		]], start(s, { modules = { "pep", "vcard_legacy", "vcard4", "bookmarks" } }));
		delegation.entity(capulet, { ["urn:xmpp:delegation:2:bare:vcard-temp"] = "<feature var='urn:xmpp:pep-vcard-conversion:0'/>" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		s:wait_until(function () return features(juliet, "juliet@capulet.lit")["urn:xmpp:pep-vcard-conversion:0"]; end);
		assert.is_nil(features(juliet, "juliet@capulet.lit")["urn:xmpp:bookmarks:1#compat"]);
	end));

	it("warns of a module that is loaded later, and leaves everything alone where PEP is not delegated (E2)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, pubsub, start(s, { modules = { "pep" } }));
		allow_warnings(capulet);
		capulet:eval [[ assert(require "core.modulemanager".load("capulet.lit", "vcard_legacy")) ]];
		capulet:expect_log("warn\tmod_vcard_legacy stores");
		local verona = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]], start(s, {}));
		local found = features(verona:client("juliet@capulet.lit/balcony"), "juliet@capulet.lit");
		for _, feature in ipairs(announced) do assert.equal(1, found[feature], feature); end
	end));

	it("warns and withdraws in client mode as well, for the accounts that delegate it (E2, C24)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, nil, start(s, {}));
		allow_warnings(capulet);
		capulet:expect_log("warn\tmod_vcard_legacy stores and looks for data in mod_pep, not where users may delegate PEP to");
		local entity = delegation.entity(capulet);
		local juliet, romeo = client_mode.client(capulet, "juliet@capulet.lit/balcony"), client_mode.client(capulet, "romeo@capulet.lit/orchard");
		client_mode.grant(entity, juliet, { "http://jabber.org/protocol/pubsub" });
		local hers, his = features(juliet, "juliet@capulet.lit"), features(romeo, "romeo@capulet.lit");
		for _, feature in ipairs(announced) do
			assert.is_nil(hers[feature], feature);
			assert.equal(1, his[feature], feature);
		end
	end));
end);
end
