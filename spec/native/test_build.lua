-- SPDX-License-Identifier: MIT
-- How the shared objects are made: warnings, exports, what they are linked to, what they keep. Each check compiles for itself.

local lu = require "luaunit";
local lfs = require "lfs";

local build = (os.getenv("BUILD") or "build") .. "/test_build";
-- the tests themselves may run under make and with a sanitizer's libraries preloaded
local CLEAN = "env -u LD_PRELOAD -u MAKEFLAGS -u MAKELEVEL -u CFLAGS -u LDFLAGS ";
local INCLUDE = "-I/usr/include/lua5.4";

local TestBuild = {};

local function output(command)
	local pipe = io.popen(CLEAN .. command .. " 2>&1");
	local text = pipe:read("a");
	return pipe:close(), text;
end

local function run(command)
	local ok, text = output(command);
	lu.assertTrue(ok, command .. "\n" .. text);
	return text;
end

local function sources(pattern)
	local names = {};
	for name in lfs.dir("csrc") do
		if name:find(pattern) then names[#names + 1] = "csrc/" .. name; end
	end
	table.sort(names);
	lu.assertTrue(#names > 0);
	return names;
end

-- module name -> its sources, from the Makefile
local function modules()
	local result = {};
	for name, files in run("make -s -n -B all DEPS=true BUILD=X"):gmatch("%-o X/prosody_relay/(%S+)%.so ([^\n]*)") do
		result[name] = files;
	end
	lu.assertNotNil(next(result));
	return result;
end

local function no_warning_from(compiler)
	for _, name in ipairs(sources("%.c$")) do
		run(("%s -std=c99 -Wall -Wextra -pedantic -Wshadow -Wconversion -Werror -O2 -fPIC %s -c -o /dev/null %s")
			:format(compiler, INCLUDE, name));
	end
end

TestBuild["test (A12) no warning from gcc"] = function ()
	no_warning_from("gcc");
end;

TestBuild["test (A12) no warning from clang"] = function ()
	lu.skipIf(not output("clang --version"), "there is no clang here");
	no_warning_from("clang");
end;

TestBuild["test (A12) cores know nothing of lua"] = function ()
	for _, name in ipairs(sources("%.[ch]$")) do
		if not name:find("/lua_") and name ~= "csrc/common.h" then
			local file = io.open(name);
			lu.assertNil(file:read("a"):find("#include [<\"]l[%w]*%.h"), name);
			file:close();
			-- and compiles without Lua's headers
			if name:find("%.c$") then run("gcc -std=c99 -c -o /dev/null " .. name); end
		end
	end
end;

-- Once as the Makefile builds, once with nothing but what LuaRocks passes.
TestBuild["test (A12) exports only luaopen and needs no liblua"] = function ()
	local bare = build .. "/bare/prosody_relay";
	run("mkdir -p " .. bare);
	for name, files in pairs(modules()) do
		run(("gcc -O2 -fPIC %s -shared -o %s/%s.so %s"):format(INCLUDE, bare, name, files));
	end
	run(("make -s all DEPS=true BUILD=%s/make"):format(build));
	for _, folder in ipairs { bare, build .. "/make/prosody_relay" } do
		for name in pairs(modules()) do
			local object = ("%s/%s.so"):format(folder, name);
			lu.assertEquals(run("nm -D --defined-only --format=posix " .. object):gsub(" .*", ""), "luaopen_prosody_relay_" .. name);
			lu.assertNil(run("readelf -d " .. object):find("liblua"), object);
		end
	end
	-- and the bare ones work
	local result = run(("lua5.4 -e 'package.cpath = %q; print(require \"prosody_relay.jid_c\".escape(\"a b\"))'")
		:format(build .. "/bare/?.so"));
	lu.assertEquals(result, "a\\20b\n");
end;

-- These names are hidden. But in a debugger or a static build, a name that another library also has would be hard to explain.
TestBuild["test (A12) what the files of an object share begins with pr_"] = function ()
	run("mkdir -p " .. build);
	for _, name in ipairs(sources("%.c$")) do
		run(("gcc -O2 %s -c -o %s/object.o %s"):format(INCLUDE, build, name));
		for symbol in run(("nm -g --defined-only --format=posix %s/object.o"):format(build)):gmatch("([^\n]+)") do
			lu.assertNotNil(symbol:find("^pr_") or symbol:find("^luaopen_prosody_relay_"), name .. ": " .. symbol);
		end
	end
end;

TestBuild["test (A11) no mutable statics"] = function ()
	run("mkdir -p " .. build);
	for _, name in ipairs(sources("%.c$")) do
		local object = build .. "/object.o";
		run(("gcc -O2 %s -c -o %s %s"):format(INCLUDE, object, name));
		local sizes = run("size -A " .. object);
		for _, section in ipairs { "%.data", "%.bss", "%.tdata", "%.tbss" } do
			local size = sizes:match("\n" .. section .. "%s+(%d+)");
			lu.assertTrue(size == nil or size == "0", name .. " has data that can change");
		end
	end
end;

return TestBuild;
