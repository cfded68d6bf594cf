-- SPDX-License-Identifier: MIT
-- doc/architecture.markdown: the files to which it sends its readers are there.

local lfs = require "lfs";

local file = assert(io.open("doc/architecture.markdown"));
local page = file:read("a");
file:close();

describe("the architecture", function ()
	it("names files that are there, for each module and for the core", function ()
		local count = 0;
		-- column: that of a table in which names of files stand in backticks
		local function check(section, column, head, tail)
			for row in section:gmatch("\n|([^\n]*)|") do
				local cells = {};
				for cell in row:gmatch("[^|]+") do cells[#cells + 1] = cell; end
				for name in cells[column]:gmatch("`(.-)`") do
					local path = head .. name .. tail;
					assert.equal("file", lfs.attributes(path, "mode"), path);
					count = count + 1;
				end
			end
		end
		for section in page:gsub("\n## ", "\0"):gmatch("%z([^%z]*)") do
			local name = section:match("^mod_[%w_]+");
			if name then
				check(section:match("\n| to change | open |.*"), 2, "lua/" .. name .. "/", ".lib.lua");
			else
				check(section, 2, "lua/prosody_relay/", ".lua");
				check(section, 3, "csrc/", ".c");
			end
		end
		assert.is_true(count > 100);
	end);
end);
