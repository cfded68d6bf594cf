-- SPDX-License-Identifier: MIT
-- prosody_relay: finding the shared objects of an installed tree (design decision 2), and saying what to do when that fails.

local lu = require "luaunit";

local build = os.getenv("BUILD") or "build";
local prosody_lib = os.getenv("PROSODY_LIB") or "/usr/lib/prosody";
local tree = ("%s/%s/test_tree"):format(require "lfs".currentdir(), build);

local TestInit = {};

local function shell(command)
	local pipe = io.popen(command .. " 2>&1");
	local text = pipe:read("a");
	lu.assertTrue(pipe:close(), text);
	return text;
end

-- As LuaRocks installs: Lua files and shared objects in two places of one tree.
function TestInit.setUp()
	shell(("rm -rf %s && mkdir -p %s/share/lua/5.4 %s/lib/lua/5.4"):format(tree, tree, tree));
	shell(("cp -r lua/prosody_relay %s/share/lua/5.4/ && cp -r %s/prosody_relay %s/lib/lua/5.4/"):format(tree, build, tree));
end

function TestInit.tearDown()
	shell("rm -rf " .. tree);
end

-- where Prosody finds its XML parser
local system = package.searchpath("lxp", package.cpath):match("^(.*/)");

-- Runs code in a Lua that has the paths Prosody's installer gives it: the tree's on package.path, nothing of it on package.cpath.
local function run(code, interpreter)
	local script = tree .. "/script.lua";
	local file = io.open(script, "w");
	file:write(([[
		package.path = "%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua;%s/?.lua";
		package.cpath = "%s/?.so;%s?.so";
		local _ = pcall(require, "prosody.loader") or pcall(require, "loader");
		local function try(name)
			local ok, err = pcall(require, name);
			io.write(ok and "loaded" or tostring(err));
		end
	]]):format(tree, tree, prosody_lib, prosody_lib, system), code, " os.exit(0);"); -- as in run.lua
	file:close();
	return shell(("%s %s"):format(interpreter or "lua5.4", script));
end

local function one_line(text)
	lu.assertNil(text:find("\n"), text);
	return text;
end

TestInit["test (A12) objects of the same tree are found"] = function ()
	lu.assertEquals(run [[io.write(require "prosody_relay.jid".escape("a b"))]], "a\\20b");
	lu.assertEquals(run [[try "prosody_relay.jat" try "prosody_relay.fanout"]], "loadedloaded");
	lu.assertEquals(run [[io.write(require "prosody_relay".version)]], require "prosody_relay.version");
end;

TestInit["test (A12) the search path is extended once and at its end"] = function ()
	lu.assertEquals(run([[
		local before = package.cpath;
		require "prosody_relay";
		package.loaded["prosody_relay"] = nil;
		require "prosody_relay";
		io.write(package.cpath:sub(#before + 1));
	]]), ";" .. tree .. "/lib/lua/5.4/?.so");
end;

TestInit["test (A12) a missing object says what to install"] = function ()
	os.remove(tree .. "/lib/lua/5.4/prosody_relay/jid_c.so");
	local message = one_line(run [[try "prosody_relay.jid"]]);
	lu.assertStrContains(message, "no shared object for prosody_relay.jid_c in Lua 5.4");
	lu.assertStrContains(message, "prosodyctl install prosody-relay");
end;

TestInit["test (A12) an object that cannot be loaded says why"] = function ()
	local file = io.open(tree .. "/lib/lua/5.4/prosody_relay/jat_c.so", "w");
	file:write("this is no shared object, whatever its name says");
	file:close();
	local message = one_line(run [[try "prosody_relay.jat"]]);
	lu.assertStrContains(message, "cannot load prosody_relay.jat_c in Lua 5.4");
	lu.assertStrContains(message, "prosody_relay/jat_c.so");
	lu.assertStrContains(message, "reinstall the rock prosody-relay");
end;

TestInit["test (A12) another Lua is named"] = function ()
	local message = one_line(run [[_VERSION = "Lua 5.2"; try "prosody_relay.jid"]]);
	lu.assertStrContains(message, "this is Lua 5.2, the core is built for Lua 5.4");
	if os.execute("command -v lua5.1 >/dev/null") then
		message = one_line(run([[try "prosody_relay"]], "env -u LD_PRELOAD lua5.1"));
		lu.assertStrContains(message, "this is Lua 5.1");
	end
end;

return TestInit;
