-- SPDX-License-Identifier: MIT
-- Runs every spec/native/test_*.lua against one Prosody: BUILD and PROSODY_LIB in the environment name the folders of the shared
-- objects and of Prosody's libraries. Arguments go to luaunit (-p pattern, -v ...). The last line is "N passed, N failed".

local build = os.getenv("BUILD") or "build";
local prosody_lib = os.getenv("PROSODY_LIB") or "/usr/lib/prosody";

package.path = ("lua/?.lua;lua/?/init.lua;spec/native/?.lua;spec/support/?.lua;%s/?.lua;%s"):format(prosody_lib, package.path);
package.cpath = ("%s/?.so;%s/spec/?.so;%s/?.so;%s"):format(build, build, prosody_lib, package.cpath);
-- COMPAT w/0.12: 13.0 requires its own libraries as prosody.*, which its loader resolves; it has one of the two names
local _ = pcall(require, "prosody.loader") or pcall(require, "loader");

local lu = require "luaunit";
local lfs = require "lfs";

local files = {};
for name in lfs.dir("spec/native") do
	files[#files + 1] = name:match("^(test_.*)%.lua$");
end
table.sort(files);
for _, name in ipairs(files) do _G[name] = require(name); end

print(("# native, Prosody libraries of %s, objects of %s"):format(prosody_lib, build));
local runner = lu.LuaUnit.new();
local failed = runner:runSuite(table.unpack(arg));
print(("%d passed, %d failed"):format(runner.result.successCount, failed));
-- without closing the state: a leak checker names the functions of a shared object only while it is still mapped
os.exit(failed == 0 and runner.result.successCount > 0);
