-- SPDX-License-Identifier: MIT
-- Finds the shared objects of the core, or says in one line what to do when that fails. Every file of the core with a part in C requires
-- this file first. It loads the part through `native`.
--
-- Prosody's installer extends package.path but never package.cpath, by a bug in util/paths.lua of 0.12 and 13.0. So Prosody finds the Lua
-- half of an installed rock, but not the C half. The name of this file, which `require` passes, tells where the rock is.

local _, path = ...;

local relay = {};

local function fail(what, remedy)
	error(("prosody_relay: %s; %s"):format(what, remedy), 0);
end

if _VERSION ~= "Lua 5.4" then
	fail(("this is %s, the core is built for Lua 5.4"):format(_VERSION),
		"run Prosody with Lua 5.4 (Debian: apt install lua5.4, then update-alternatives --set lua-interpreter /usr/bin/lua5.4)");
end

local tree = type(path) == "string" and path:match("^(.*)/share/lua/5%.4/");
if tree then
	local pattern = tree .. "/lib/lua/5.4/?.so";
	if not (";" .. package.cpath .. ";"):find(";" .. pattern .. ";", 1, true) then
		package.cpath = package.cpath .. ";" .. pattern;
	end
end

-- native(name) -> the C module prosody_relay.<name>; raises one line that says what to do when it cannot be loaded
function relay.native(name)
	local full_name = "prosody_relay." .. name;
	local ok, result = pcall(require, full_name);
	if ok then return result; end
	-- for a missing file, require raises a line for each place searched (13.0 puts a position first); for another Lua's file, the linker's line
	local found = not result:find(("module '%s' not found:"):format(full_name), 1, true);
	fail(found and ("cannot load %s in %s: %s"):format(full_name, _VERSION, result:match("from file '.*") or result):gsub("%s+", " ")
		or ("no shared object for %s in %s"):format(full_name, _VERSION),
		found and "reinstall the rock prosody-relay with Lua 5.4 and restart Prosody"
		or "install the rock prosody-relay (prosodyctl install prosody-relay); in a checkout run make all and put build/?.so on LUA_CPATH_5_4");
end

relay.version = require "prosody_relay.version";

return relay;
