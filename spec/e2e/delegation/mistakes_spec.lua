-- SPDX-License-Identifier: MIT
-- mod_delegation: mistakes in the configuration, and files that are not what the module has written.

local bed = require "bed";
local broken_loading = require "broken_loading";
local delegation = require "delegation_bed";
local client_mode = require "delegation_client_bed";

local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";

-- option -> what the log says about a wrong value of it
local mistakes = {
	[ [[delegation_timeout = "soon"]] ] = "Option 'delegation_timeout': expected a number of at least 1, got soon";
	[ [[delegation_max_pending = 0.5]] ] = "Option 'delegation_max_pending': expected a number of at least 1, got 0.5";
	[ [[delegations = "all"]] ] = "Option 'delegations': expected a table of namespaces, got all";
	[ [[delegation_client_mode = "yes"]] ] = "Option 'delegation_client_mode': expected true or false, got yes";
	[ [[delegation_client_persist = 1]] ] = "Option 'delegation_client_persist': expected true or false, got 1";
	[ [[delegation_client_namespaces = { one = "urn:x:one" }]] ] = "Option 'delegation_client_namespaces': expected a list of strings";
	[ [[modules_disabled = { "adhoc" }]] ] = "Dependency on disabled module mod_adhoc";
	[ [[bed_refuse = true]] ] = "The store 'delegation_grants' cannot be opened: refused";
};

for version in bed.versions() do
describe("mistakes with delegation on Prosody "..version, function ()
	local function config(mistake)
		return ([[
			VirtualHost "capulet.lit"
				modules_enabled = { "delegation" }
				delegations = { ["urn:x:delegated"] = { jid = "ent.capulet.lit" } }
				delegation_client_mode = true
				delegation_client_namespaces = { "urn:x:one" }
				%s
			Component "ent.capulet.lit"
				component_secret = "hush"
		]]):format(mistake);
	end

	it("in an option leave the running module as it is, and a new one away as a whole (F23, B7)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = config "" };
		capulet:allow_log("Error saving module 'capulet.lit:delegation' state");
		capulet:allow_log("Aborting reload due to error");
		capulet:eval [[
			module:context("capulet.lit"):hook("store-opened", function (event)
				if event.store_name ~= "delegation_grants" or not require "core.configmanager".get("capulet.lit", "bed_refuse") then return; end
				event.store, event.store_err = nil, "refused";
			end);
		]];
		local entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, { "urn:x:one" });
		local function left() return broken_loading.left(capulet, "delegation", "capulet.lit"); end
		local before = #left();
		assert.is_true(before > 10);
		for mistake, complaint in pairs(mistakes) do
			capulet:allow_log(complaint);
			local id = delegation.request(juliet, "urn:x:delegated");
			local outer, inner = delegation.forwarded(entity);
			capulet:reload_config(config(mistake));
			capulet:eval [[ require "core.modulemanager".reload("capulet.lit", "delegation") ]];
			capulet:expect_log(complaint);
			delegation.answer(entity, outer, inner);
			juliet:expect { "iq", type = "result", id = id };
			client_mode.forwards(juliet, entity, "urn:x:delegated");
			client_mode.forwards(juliet, entity, "urn:x:one");
			assert.equal(before, #left(), mistake);
		end
		-- loading it anew
		capulet:reload_config(config "");
		capulet:eval [[ assert(require "core.modulemanager".unload("capulet.lit", "delegation")) ]];
		assert.same({}, left());
		capulet:allow_log("Error initializing module 'delegation'");
		for mistake in pairs(mistakes) do
			capulet:reload_config(config(mistake));
			capulet:eval [[ require "core.modulemanager".load("capulet.lit", "delegation") ]];
			assert.same({}, left(), mistake);
			local id = delegation.request(juliet, "urn:x:delegated");
			juliet:expect { "iq", type = "error", id = id, has = unavailable };
		end
	end));

	it("in a file that does not load leave the running module as it is (F23)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = config "" };
		local entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, { "urn:x:one" });
		local id = delegation.request(juliet, "urn:x:delegated");
		local outer, inner = delegation.forwarded(entity);
		for _, file in ipairs { "delegation", "entity", "client/configure" } do
			broken_loading.break_file(capulet, "delegation", file);
			capulet:eval [[ assert(not require "core.modulemanager".reload("capulet.lit", "delegation")) ]];
			capulet:expect_log("deliberate failure of " .. file);
		end
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", type = "result", id = id };
		client_mode.forwards(juliet, entity, "urn:x:delegated");
		client_mode.forwards(juliet, entity, "urn:x:one");
	end));

	it("that show while the module loads leave nothing of it behind (F23)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = config "" };
		local entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, { "urn:x:one" });
		broken_loading.check(capulet, "delegation", "capulet.lit");
		client_mode.forwards(juliet, entity, "urn:x:delegated");
	end));

	it("that show in a reload answer all requests in flight, once, and tell the entities (F23, D29, D31)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = config "" };
		local entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		local n, is_last = 0;
		repeat
			n = n + 1;
			client_mode.grant(entity, juliet, { "urn:x:one" });
			local ids = { delegation.request(juliet, "urn:x:delegated"), delegation.request(juliet, "urn:x:one") };
			for _ = 1, 2 do delegation.forwarded(entity); end
			entity:drain();
			local is_loaded, has_failed = broken_loading.reload(capulet, "delegation", "capulet.lit", n, { "settings.lib", "metrics.lib" });
			is_last = not has_failed;
			if not is_last then
				assert.is_false(is_loaded);
				for _, id in ipairs(ids) do juliet:expect { "iq", type = "error", id = id, has = unavailable }; end
				juliet:sync();
				juliet:expect_none({ "iq" }, 0);
				assert.same({}, client_mode.state(entity, "juliet@capulet.lit"), n);
				entity:expect { "message", from = "capulet.lit"; where = function (stanza)
					local child = stanza:get_child("delegation", client_mode.xmlns);
					return child and not child.attr.to and #child.tags == 0;
				end };
				assert.equal(0, capulet:eval [[
					local api = require "core.moduleapi";
					return api.shared({ name = "delegation"; host = "capulet.lit" }, "/*/delegation/ids")["ent.capulet.lit"].count;
				]], n);
				broken_loading.load(capulet, "delegation", "capulet.lit");
				entity:sync();
				entity:drain();
			end
		until is_last;
		assert.is_true(n > 20);
	end));

	it("in the file of what a user delegates keep nobody else's away, nor the server from starting and stopping (F23, C21)",
			bed.scenario(function (s)
		local capulet = client_mode.server(s, version, "delegation_client_persist = true");
		capulet:add_user("juliet@capulet.lit");
		capulet:stop();
		local folder = capulet.dir.."/data/capulet%2elit/delegation_grants";
		assert(os.execute("mkdir -p '"..folder.."'"));
		local function write(user, text)
			local file = assert(io.open(folder.."/"..user..".dat", "w"));
			file:write(text);
			file:close();
		end
		local good = [[{ entity = "ent.capulet.lit"; resource = "r"; time = 1; }]];
		write("juliet", "return { ['urn:x:one'] = "..good.."; };");
		local broken = {
			"garbage", "return 5;", "return 'text';", "return { 'text' };", "return { { } };", "return { ['urn:x:one'] = true; };",
			"return { ['urn:x:one'] = { }; };", "return { ['urn:x:one'] = "..good:gsub("ent.capulet.lit", "@@").."; };",
			"return { ['urn:x:one'] = "..good:gsub("ent.capulet.lit", "capulet.lit").."; };", "return { ['urn:x:one'] = "..good:gsub("1", "'1'").."; };",
			"return { ['urn:x:one'] = "..good:gsub('"r"', "{ }").."; };", "return { ['urn:x:one'] = "..good.."; [5] = "..good.."; };",
			"return { ['urn:x:one'] = "..good:gsub('"ent.capulet.lit"', "7").."; };", "\0\255\1", "error('x')",
		};
		for i, text in ipairs(broken) do write("user"..i, text); end
		capulet:allow_log("The stored data 'delegation_grants' of user%d+ cannot be used");
		capulet:allow_log("Failed to load delegation_grants storage");
		capulet:allow_log("Unable to load delegation_grants storage");
		capulet:start();
		local entity, romeo = delegation.entity(capulet), client_mode.client(capulet, "romeo@capulet.lit/orchard");
		assert.same({ "urn:x:one" }, (client_mode.state(entity, "juliet@capulet.lit")));
		entity:sync();
		entity:expect_none(client_mode.any_state, 0);
		for i in ipairs(broken) do
			local line = capulet:expect_log("'delegation_grants' of user"..i.." cannot be used .*, and the module starts without it");
			assert.truthy(line:find("kept as .*user"..i.."%.dat%.broken"), line);
			assert.truthy(io.open(folder.."/user"..i..".dat.broken"));
		end
		client_mode.forwards(romeo, entity, "urn:x:one", "juliet@capulet.lit");
		capulet:stop();
	end));

	it("in the place of the folder of what users delegate are survived (F23, C21)", bed.scenario(function (s)
		local capulet = client_mode.server(s, version, "delegation_client_persist = true");
		capulet:add_user("juliet@capulet.lit");
		capulet:stop();
		local file = assert(io.open(capulet.dir.."/data/capulet%2elit/delegation_grants", "w"));
		file:write("garbage");
		file:close();
		capulet:allow_log("It cannot be found out who has kept delegations");
		capulet:start();
		local entity, juliet = delegation.entity(capulet), client_mode.client(capulet, "juliet@capulet.lit/balcony");
		client_mode.grant(entity, juliet, { "urn:x:one" });
		client_mode.forwards(juliet, entity, "urn:x:one");
		capulet:stop();
	end));
end);
end
