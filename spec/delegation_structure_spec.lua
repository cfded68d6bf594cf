-- SPDX-License-Identifier: MIT
-- The rules for the files of mod_delegation (doc/architecture.markdown). No file uses a file that uses it, and no folder uses the other.
-- One file writes each field of a managing entity.

local files = require "structure".read("lua/mod_delegation/", "module:require \"([%w_/]+)\"");
local sources = files.sources;
sources.adhoc = ""; -- a file of mod_adhoc

describe("the files of mod_delegation", function ()
	it("use none that uses them", function ()
		local floors = files:floors();
		assert.is_true(floors.delegation > 3);
	end);

	it("of one folder use none of the other", function ()
		for name in pairs(sources) do
			local folder = name:match("^(%w+)/");
			for _, other in ipairs(folder and files:uses(name) or {}) do
				local other_folder = other:match("^(%w+)/");
				assert.is_true(other_folder == nil or other_folder == folder, name .. " uses " .. other);
			end
		end
	end);

	it("have one that writes each field of a managing entity, and the others ask it to", function ()
		local fields = {};
		for _, name in ipairs { "entity", "requests" } do
			for field in sources[name]:gmatch("self%.([%w_]+)") do fields[field] = true; end
		end
		assert.is_true(fields.address and fields.doubt and fields.faults);
		for field in pairs(fields) do
			local owners = {};
			for _, name in ipairs(files:writers("self%." .. field)) do
				-- other files have other records
				if name == "entity" or name == "requests" then owners[#owners + 1] = name; end
			end
			assert.is_nil(owners[2], field);
			for _, variable in ipairs { "account", "asked", "entity", "guest", "managing" } do
				assert.same({}, files:writers(variable .. "%." .. field), field);
			end
		end
	end);

	it("name the errors that there are, and all of them", function ()
		local answering = {};
		for _, file in ipairs(files:with("require \"errors\"")) do answering[file] = true; end
		local patterns = { "errors%.%l+%(.-, \"([%w-]+)\"%)", "errors%.error%(\"([%w-]+)\"", "refuse%(event, \"([%w-]+)\"",
			"then return \"([%w-]+)\"; end", "return \"[%w-]+\", \"([%w-]+)\"" };
		assert.is_true(8 < files:errors(patterns, function (file) return answering[file]; end));
	end);
end);
