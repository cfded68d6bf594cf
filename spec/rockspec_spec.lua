-- SPDX-License-Identifier: MIT
-- The rocks ship everything the tree has, and what they install works.

local shell = require "shell";

local version = dofile("lua/prosody_relay/version.lua");

local function load_rockspec(file)
	local rockspec = {};
	assert(loadfile(file, "t", rockspec))();
	return rockspec;
end

local files = shell.lines("ls rockspec/*.rockspec");
local rockspecs = {};
for _, file in ipairs(files) do
	local rockspec = load_rockspec(file);
	rockspecs[rockspec.package] = rockspec;
end
local core = rockspecs["prosody-relay"];

describe("rockspecs", function ()
	it("carry the version of the core, in name and content", function ()
		for _, file in ipairs(files) do
			local rockspec = load_rockspec(file);
			assert.equal(version .. "-1", rockspec.version);
			assert.equal(("rockspec/%s-%s.rockspec"):format(rockspec.package, rockspec.version), file);
			assert.equal(("prosody-relay-%s.tar.gz"):format(version), rockspec.source.url);
		end
	end);

	it("get another version everywhere by one command", function ()
		local copy = shell.temporary_directory();
		shell.run("cp -r tools lua rockspec %s/", copy);
		shell.run("%s/tools/version 1.22.333", copy);
		assert.same({}, shell.lines("grep -rlF %s %s/rockspec %s/lua/prosody_relay/version.lua || true", version, copy, copy));
		for _, file in ipairs(files) do
			local rockspec = load_rockspec(("%s/%s"):format(copy, (file:gsub(version:gsub("%p", "%%%0"), "1.22.333"))));
			assert.equal("1.22.333-1", rockspec.version);
			assert.equal("prosody-relay-1.22.333.tar.gz", rockspec.source.url);
			for _, dependency in ipairs(rockspec.dependencies) do
				if dependency:find("prosody%-relay") then assert.equal("prosody-relay ~> 1.22", dependency); end
			end
		end
		assert.equal("1.22.333", dofile(copy .. "/lua/prosody_relay/version.lua"));
		for _, wrong in ipairs { "", "1", "1.2", "1.2.3.4", "1.2.x", "1..2" } do
			assert.has_error(function () shell.run("%s/tools/version %s 2>/dev/null", copy, wrong); end);
		end
		shell.run("rm -rf %s", copy);
	end);

	it("install every Lua file of the core under its module name", function ()
		local expected = {};
		for _, file in ipairs(shell.lines("find lua/prosody_relay -name '*.lua'")) do
			expected[file:match("^lua/(.*)%.lua$"):gsub("/", ".")] = file;
		end
		assert.same(expected, core.build.install.lua);
	end);

	it("install every Lua file of a plugin under the name by which Prosody finds it", function ()
		for _, directory in ipairs(shell.lines("find lua -mindepth 1 -maxdepth 1 -name 'mod_*'")) do
			local name = directory:match("[^/]+$");
			local expected = {};
			for _, file in ipairs(shell.lines("find %s -name '*.lua'", directory)) do
				local helper = file:match("^lua/mod_[^/]+/(.+)%.lib%.lua$");
				-- module:require "folder/helper" of an installed plugin looks for mod_x/folder/helper.lua
				expected[helper and name .. "." .. helper:gsub("/", ".") or name] = file;
			end
			assert.truthy(rockspecs[name], "no rockspec for " .. name);
			assert.same(expected, rockspecs[name].build.install.lua);
		end
	end);

	it("install every shared object that is built, of every C file", function ()
		local expected, compiled = {}, {};
		for _, line in ipairs(shell.lines("make --no-print-directory -Bn all DEPS=true BUILD=build/rock")) do
			local name = line:match("%-o build/rock/prosody_relay/([%w_]+)%.so ");
			if name then expected["prosody_relay." .. name] = ("build/rock/prosody_relay/%s.so"):format(name); end
			for file in line:gmatch("csrc/[%w_]+%.c") do compiled[file] = true; end
		end
		assert.same(expected, core.build.install.lib);
		for _, file in ipairs(shell.lines("ls csrc/*.c")) do
			assert.truthy(compiled[file], file .. " is in no shared object");
		end
	end);

	it("pass luarocks lint", function ()
		for _, file in ipairs(files) do
			shell.run("luarocks --lua-version=5.4 lint %s", file);
		end
	end);
end);

describe("luarocks make", function ()
	local tree;
	setup(function ()
		tree = shell.temporary_directory();
		-- the core first: the plugins depend on it
		shell.run("luarocks --lua-version=5.4 --tree=%s --only-server=/nonexistent make %s", tree,
			("rockspec/prosody-relay-%s-1.rockspec"):format(version));
	end);
	teardown(function () shell.run("rm -rf %s", tree); end);

	it("works for each rockspec and installs nothing but its own modules", function ()
		for name, rockspec in pairs(rockspecs) do
			shell.run("luarocks --lua-version=5.4 --tree=%s --only-server=/nonexistent make %s", tree,
				("rockspec/%s-%s-1.rockspec"):format(name, version));
			local expected = {};
			for module, file in pairs(rockspec.build.install.lua) do
				expected[#expected + 1] = ("%s/share/lua/5.4/%s.lua"):format(tree, module:gsub("%.", "/"));
				shell.run("cmp %s %s", expected[#expected], file);
			end
			for module in pairs(rockspec.build.install.lib or {}) do
				expected[#expected + 1] = ("%s/lib/lua/5.4/%s.so"):format(tree, module:gsub("%.", "/"));
			end
			table.sort(expected);
			local manifest = load_rockspec(("%s/lib/luarocks/rocks-5.4/%s/%s-1/rock_manifest"):format(tree, name, version)).rock_manifest;
			-- the licence, and none of the developers' documents
			assert.same({ "COPYING", "README.markdown" }, shell.lines("ls %s/lib/luarocks/rocks-5.4/%s/%s-1/doc", tree, name, version));
			local installed = {};
			local function collect(prefix, entries)
				for entry, content in pairs(entries or {}) do
					if type(content) == "table" then
						collect(prefix .. entry .. "/", content);
					else
						installed[#installed + 1] = prefix .. entry;
					end
				end
			end
			collect(tree .. "/share/lua/5.4/", manifest.lua);
			collect(tree .. "/lib/lua/5.4/", manifest.lib);
			table.sort(installed);
			assert.same(expected, installed);
		end
	end);

	it("gives a core that finds its shared objects without LUA_CPATH", function ()
		for module in pairs(core.build.install.lib) do
			-- Prosody's installer extends package.path alone, so that is all that is set here
			shell.run("env -u LUA_CPATH -u LUA_CPATH_5_4 LUA_PATH_5_4=%s lua5.4 -e %s",
				("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(tree, tree),
				("assert(require 'prosody_relay'.native '%s')"):format(module:match("[%w_]+$")));
		end
	end);
end);

describe("shared objects", function ()
	local function check_symbols(object)
		for _, line in ipairs(shell.lines("nm -D --defined-only %s", object)) do
			assert.matches(" T luaopen_prosody_relay_[%w_]+$", line);
		end
		for _, line in ipairs(shell.lines("objdump -p %s | grep NEEDED", object)) do
			assert.matches("NEEDED +libc%.so", line);
		end
	end

	it("export luaopen_ functions only and are not linked to liblua (A12)", function ()
		local objects = shell.lines("make -s all && ls build/prosody_relay/*.so");
		for _, object in ipairs(objects) do check_symbols(object); end
	end);

	it("are the same when built with LuaRocks' bare flags (A12)", function ()
		for _, line in ipairs(shell.lines("make --no-print-directory -Bn all DEPS=true BUILD=build/rock")) do
			local name = line:match("%-o build/rock/prosody_relay/([%w_]+)%.so ");
			if name then
				local sources = {};
				for file in line:gmatch("csrc/[%w_]+%.c") do sources[#sources + 1] = file; end
				shell.run("gcc -O2 -fPIC -shared -Werror -I/usr/include/lua5.4 -o build/rock/bare.so " .. table.concat(sources, " "));
				check_symbols("build/rock/bare.so");
				shell.run("lua5.4 -e %s", ("assert(package.loadlib('./build/rock/bare.so', 'luaopen_prosody_relay_%s'))"):format(name));
			end
		end
		os.remove("build/rock/bare.so");
	end);
end);
