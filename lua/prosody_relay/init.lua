-- SPDX-License-Identifier: MIT
-- Finds the shared objects of the core and says in one line what to do when that fails. Every module of the core that has a part
-- in C requires this file first and loads that part through `native`.
--
-- Prosody's installer extends package.path but, by a bug in its util/paths.lua that 0.12 and 13.0 share, never package.cpath: the Lua
-- half of an installed rock is found and the C half is not. The tree is known from the name of this very file (`require` passes it).

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

-- native(name) -> the C module prosody_relay.<name>; raises one line that names the remedy when it cannot be loaded
function relay.native(name)
	local full_name = "prosody_relay." .. name;
	local ok, result = pcall(require, full_name);
	if ok then return result; end
	-- a missing file gives a line for each place searched (after a position, as 13.0 wraps require), a file for another Lua the linker's one
	local found = not result:find(("module '%s' not found:"):format(full_name), 1, true);
	fail(found and ("cannot load %s in %s: %s"):format(full_name, _VERSION, result:match("from file '.*") or result):gsub("%s+", " ")
		or ("no shared object for %s in %s"):format(full_name, _VERSION),
		found and "reinstall the rock prosody-relay with Lua 5.4 and restart Prosody"
		or "install the rock prosody-relay (prosodyctl install prosody-relay); in a checkout run make all and put build/?.so on LUA_CPATH_5_4");
end

relay.version = require "prosody_relay.version";

return relay;
