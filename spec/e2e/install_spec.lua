-- SPDX-License-Identifier: MIT
-- What an admin does: prosodyctl install, start the server, use the modules, remove them.

local bed = require "bed";
local installation = require "installation";
local proxy = require "e2e.client_proxy";
local shell = require "shell";

local modules = { "mod_client_proxy" };

local capulet_config = [[
	VirtualHost "capulet.lit"
	Component "proxy.capulet.lit" "client_proxy"
		target_address = "impl@capulet.lit"
]];

local function relay_by_client_proxy(capulet, juliet)
	capulet:add_user(proxy.account);
	-- the account is new: let the proxy ask at once instead of in a few seconds
	capulet:reload("client_proxy", proxy.host);
	local impl = capulet:client(proxy.account .. "/a");
	proxy.approve(impl);
	juliet:send(proxy.request("relayed"));
	proxy.answer(impl, impl:expect { "iq", id = "relayed" });
	assert.equal(impl.jid, proxy.expect_answer(juliet, "relayed", { from = proxy.host }));
end

local workshop;
setup(function () workshop = installation.workshop(); end);
teardown(function () shell.run("rm -rf %s", workshop.directory); end);

for version in bed.versions() do
for _, user in ipairs(installation.users()) do
for _, rocks in ipairs { "binary", "source" } do
describe(("prosodyctl install on Prosody %s as %s from %s rocks"):format(version, user, rocks), function ()
	local place;
	setup(function ()
		place = installation.new { workshop = workshop; version = version; user = user; rocks = rocks };
		for _, module in ipairs(modules) do place:install(module); end
	end);

	it("gives modules that relay stanzas", bed.scenario(function (s)
		local capulet = s:node { version = version; installed = place.tree; config = capulet_config };
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		relay_by_client_proxy(capulet, juliet);
		assert.equal(place.tree .. "/share/lua/5.4/prosody_relay/jid.lua", capulet:eval [[return package.searchpath("prosody_relay.jid", package.path)]]);
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
		assert.same({ mod_client_proxy = true; ["prosody-relay"] = true }, place:list());
		local installed = place.tree .. "/share/lua/5.4/prosody_relay/jid.lua";
		shell.run("cmp lua/prosody_relay/jid.lua %s", installed);
		-- what the second one is to replace
		shell.run("echo damaged >%s", installed);
	end
end);

describe("a core that cannot work on Prosody " .. version, function ()
	local place;
	before_each(function ()
		place = installation.new { workshop = workshop; version = version; user = installation.users()[1]; rocks = "binary" };
		place:install("mod_client_proxy");
	end);

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
