-- SPDX-License-Identifier: MIT
-- What an admin does: prosodyctl install, start the server, use the modules, remove them.

local bed = require "bed";
local installation = require "installation";
local proxy = require "client_proxy";
local shell = require "shell";

local modules = { "mod_client_proxy", "mod_delegation", "mod_fmuc" };

local capulet_config = [[
	VirtualHost "capulet.lit"
		modules_enabled = { "delegation" }
		delegations = { ["urn:test:delegated"] = { jid = "entity.capulet.lit" } }
	Component "entity.capulet.lit"
		component_secret = "secret"
		modules_enabled = { "delegation" }
	Component "proxy.capulet.lit" "client_proxy"
		target_address = "impl@capulet.lit"
	Component "mirror.capulet.lit" "fmuc"
]];

local montague_config = [[
	VirtualHost "montague.lit"
	Component "talk.montague.lit" "muc"
		modules_enabled = { "fmuc" }
		muc_room_locking = false
]];

local function relay_by_client_proxy(capulet, juliet)
	capulet:add_user(proxy.account);
	-- the account is new: let the proxy see it at once instead of in a few seconds
	capulet:reload("client_proxy", proxy.host);
	local impl = capulet:client(proxy.account .. "/a");
	proxy.available(impl);
	juliet:send(proxy.request("relayed"));
	proxy.answer(impl, impl:expect { "iq", id = "relayed" });
	assert.equal(impl.jid, proxy.expect_answer(juliet, "relayed", { from = proxy.host }));
end

local function relay_by_delegation(capulet, juliet)
	local entity = capulet:component("entity.capulet.lit", "secret");
	entity:expect { "message", has = "{urn:xmpp:delegation:2}delegation/delegated" };
	juliet:send "<iq type='get' id='delegated'><question xmlns='urn:test:delegated'/></iq>";
	local forwarded = entity:expect { "iq", type = "set", from = "capulet.lit",
		has = "{urn:xmpp:delegation:2}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq/{urn:test:delegated}question" };
	entity:send(([[<iq type='result' id='%s' from='entity.capulet.lit' to='capulet.lit'><delegation xmlns='urn:xmpp:delegation:2'>
		<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='result' id='delegated' from='juliet@capulet.lit' to='%s'>
		<answer xmlns='urn:test:delegated'/></iq></forwarded></delegation></iq>]]):format(forwarded.attr.id, juliet.jid));
	juliet:expect { "iq", type = "result", id = "delegated", has = "{urn:test:delegated}answer" };
end

local function relay_by_fmuc(montague, juliet)
	local romeo = montague:client("romeo@montague.lit/orchard");
	romeo:send "<presence to='garden@talk.montague.lit/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>";
	romeo:expect { "presence", from = "garden@talk.montague.lit/Romeo" };
	juliet:send "<presence to='garden\\40talk.montague.lit@mirror.capulet.lit/Juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>";
	romeo:expect { "presence", from = "garden@talk.montague.lit/Juliet" };
	juliet:expect { "presence", from = "garden\\40talk.montague.lit@mirror.capulet.lit/Juliet" };
	juliet:send "<message to='garden\\40talk.montague.lit@mirror.capulet.lit' type='groupchat'><body>Wherefore?</body></message>";
	romeo:expect { "message", type = "groupchat", from = "garden@talk.montague.lit/Juliet", body = "Wherefore?" };
end

local workshop;
setup(function () workshop = installation.workshop(); end);
teardown(function () shell.run("rm -rf %s", workshop.directory); end);

local function installed(version, user, rocks)
	local place = installation.new { workshop = workshop; version = version; user = user; rocks = rocks };
	for _, module in ipairs(modules) do place:install(module); end
	return place;
end

for version in bed.versions() do
for _, user in ipairs(installation.users()) do
for _, rocks in ipairs { "binary", "source" } do
describe(("prosodyctl install on Prosody %s as %s from %s rocks"):format(version, user, rocks), function ()
	local place;
	setup(function () place = installed(version, user, rocks); end);

	it("gives modules that relay stanzas", bed.scenario(function (s)
		local capulet = s:node { version = version; installed = place.tree; config = capulet_config };
		local montague = s:node { version = version; installed = place.tree; config = montague_config };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		relay_by_client_proxy(capulet, juliet);
		relay_by_delegation(capulet, juliet);
		relay_by_fmuc(montague, juliet);
		assert.equal(place.tree .. "/share/lua/5.4/prosody_relay/jid.lua", capulet:eval [[return package.searchpath("prosody_relay.jid", package.path)]]);
	end));

	it("gives modules whose reload is refused when a file of theirs does not compile (F23)", bed.scenario(function (s)
		local capulet = s:node { version = version; installed = place.tree; config = capulet_config };
		capulet:allow_log("Aborting reload due to error");
		capulet:allow_log("Error saving module");
		for module, file in pairs { client_proxy = "relay"; delegation = "client/mode"; fmuc = "mirror/room" } do
			local path = shell.lines("find %s -path '*/mod_%s/%s.*lua'", place.tree, module, file)[1];
			local host = module == "fmuc" and "mirror.capulet.lit" or module == "delegation" and "capulet.lit" or proxy.host;
			shell.run("cp %s %s.kept && echo this is no code >>%s", path, path, path);
			assert.is_false(pcall(capulet.reload, capulet, module, host), module);
			assert.is_true(capulet:eval(("return prosody.hosts[%q].modules[%q] ~= nil"):format(host, module)), module);
			shell.run("mv %s.kept %s", path, path);
			capulet:reload(module, host);
		end
	end));

	it("can be undone, the core last", function ()
		place:ctl("remove", "prosody-relay");
		assert.truthy(place:list()["prosody-relay"], "removed while modules need it");
		for _, module in ipairs(modules) do place:ctl("remove", module); end
		assert.same({ ["prosody-relay"] = true }, place:list());
		place:ctl("remove", "prosody-relay");
		assert.same({}, place:list());
		assert.same({}, shell.lines("find %s -path '*/lua/5.4/*' -type f", place.tree));
		assert.same({}, shell.lines("find %s -name 'mod_*' -o -name prosody-relay", place.tree));
	end);
end);
end
end

it("make install replaces what is installed, in Prosody " .. version, function ()
	local place = installation.new { workshop = workshop; version = version; user = installation.users()[1]; rocks = "source" };
	for _ = 1, 2 do
		shell.run("LUAROCKS_CONFIG=%s make -s install PROSODYCTL=%s CONFIG=%s", place.directory .. "/luarocks.lua",
			workshop.prosodyctl[version], place.directory .. "/prosody.cfg.lua");
		assert.same({ mod_client_proxy = true; mod_delegation = true; mod_fmuc = true; ["prosody-relay"] = true }, place:list());
		local file = place.tree .. "/share/lua/5.4/prosody_relay/jid.lua";
		shell.run("cmp lua/prosody_relay/jid.lua %s", file);
		-- what the second one is to replace
		shell.run("echo damaged >%s", file);
	end
end);

describe("a core that cannot work on Prosody " .. version, function ()
	local place;
	before_each(function () place = installed(version, installation.users()[1], "binary"); end);

	it("says in one line of the log what to do when a shared object is missing", bed.scenario(function (s)
		shell.run("rm %s/lib/lua/5.4/prosody_relay/*.so", place.tree);
		local capulet = s:node { version = version; installed = place.tree; config = capulet_config; start = false };
		capulet:allow_log("prosody_relay: no shared object for prosody_relay%.[%w_]+ .*install the rock prosody%-relay");
		capulet:start();
		capulet:expect_log("prosody_relay: no shared object");
	end));

	it("says so when a shared object was built for something else", bed.scenario(function (s)
		shell.run("for object in %s/lib/lua/5.4/prosody_relay/*.so; do echo other >$object; done", place.tree);
		local capulet = s:node { version = version; installed = place.tree; config = capulet_config; start = false };
		capulet:allow_log("prosody_relay: cannot load prosody_relay%.[%w_]+ .*reinstall the rock prosody%-relay");
		capulet:start();
		capulet:expect_log("prosody_relay: cannot load");
	end));
end);
end

it("a core under another Lua says in one line what to do", function ()
	local ok, output = shell.try("lua5.1 -e %s", "package.path = 'lua/?/init.lua;' .. package.path; print(select(2, pcall(require, 'prosody_relay')))");
	assert(ok, output);
	assert.matches("^prosody_relay: this is Lua 5%.1, the core is built for Lua 5%.4; [^\n]+\n$", output);
end);
