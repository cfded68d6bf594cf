-- SPDX-License-Identifier: MIT
-- The joints of mod_client_proxy (doc/architecture.markdown): files lie on floors, and all errors that the module words are in one of them.

local files = require "structure".read("lua/mod_client_proxy/", "module:require \"([%w_/]+)\"");
local sources = files.sources;

describe("the files of mod_client_proxy", function ()
	it("use none that uses them", function ()
		local floors = files:floors();
		assert.is_true(floors.proxy > 3);
	end);

	it("name the errors that there are, and all of them", function ()
		local source = sources.errors;
		local count = 0;
		for name in source:gmatch("%[\"([%w-]+)\"%] = {") do
			local users = files:with("\"" .. name:gsub("%-", "%%-") .. "\"");
			assert.is_true(#users > 1, name .. " is nobody's");
			count = count + 1;
		end
		assert.is_true(count > 15);
		local patterns = {
			"errors%.%l+%(%w+, \"([%w-]+)\"", "fail%(self, record, \"([%w-]+)\"", "refuse%(self, event, \"([%w-]+)\"%)",
			"refuse%(self, event, \"[%w-]+\", \"([%w-]+)\"%)", "nil, \"([%w-]+)\";",
		};
		for _, pattern in ipairs(patterns) do
			local found = 0;
			for name, file in pairs(sources) do
				for used in file:gmatch(pattern) do
					-- an error is not answered: its refusal has a reason alone
					if not (name == "messages" and used == "no-resource") then
						assert.truthy(source:find("[\"" .. used .. "\"] = {", 1, true), name .. " " .. used);
					end
					found = found + 1;
				end
			end
			assert.is_true(found > 0, pattern);
		end
	end);

	it("word no error anywhere else", function ()
		assert.same({}, files:with("error_reply"));
	end);
end);
