-- SPDX-License-Identifier: MIT
-- How the files of a module hang together, for the specs that hold the rules of doc/architecture.markdown.

local assert = require "luassert";
local shell = require "shell";

local structure = {};
local structure_mt = { __index = structure };

-- read(root, use) -> the files below this folder; use: Lua pattern of a line that loads another file of the module, which it captures
--   sources: name of a file, as the module loads it -> its text without comments
function structure.read(root, use)
	local sources = {};
	for _, file in ipairs(shell.lines("find %s -name '*.lua'", root)) do
		local name = file:sub(#root + 1):gsub("%.lib%.lua$", ""):gsub("%.lua$", "");
		local lines = {};
		for line in io.lines(file) do lines[#lines + 1] = (line:gsub("%-%-.*", "")); end
		sources[name] = table.concat(lines, "\n");
	end
	return setmetatable({ sources = sources; use = use }, structure_mt);
end

-- uses(name) -> list of the files that this one loads
function structure:uses(name)
	local list = {};
	for other in self.sources[name]:gmatch(self.use) do list[#list + 1] = other; end
	return list;
end

local function sorted_keys(set)
	local list = {};
	for key in pairs(set) do list[#list + 1] = key; end
	table.sort(list);
	return list;
end

-- floors() -> name -> number: one more than the highest of the files that this one loads. Raises when there is a circle.
function structure:floors()
	local floors = {};
	local function floor(name, way)
		assert(self.sources[name], "there is no file " .. name);
		assert.is_nil(way[name], "a circle: " .. table.concat(way, " -> ") .. " -> " .. name);
		if floors[name] then return floors[name]; end
		way[name], way[#way + 1] = true, name;
		local highest = 0;
		for _, other in ipairs(self:uses(name)) do highest = math.max(highest, floor(other, way)); end
		way[name], way[#way] = nil, nil;
		floors[name] = highest + 1;
		return floors[name];
	end
	for name in pairs(self.sources) do floor(name, {}); end
	return floors;
end

-- with(pattern) -> sorted list of the files in which the Lua pattern is found
function structure:with(pattern)
	local found = {};
	for name, source in pairs(self.sources) do found[name] = source:find(pattern) and true; end
	return sorted_keys(found);
end

-- writers(expression) -> sorted list of the files in which a line assigns to that expression (a Lua pattern). The line may also assign to an
-- entry of it, or to several expressions at once.
function structure:writers(expression)
	local found, target = {}, "%f[%w_]" .. expression;
	for name, source in pairs(self.sources) do
		for line in source:gmatch("[^\n]+") do
			local left = line:match("^(.-)%s=%s") or "";
			left = left:gsub("%b()", ""):gsub("^.*%f[%w_]then%s", ""):gsub("^.*;", "");
			if (left:find(target .. "$") or left:find(target .. "%b[]$") or left:find(target .. ",") or left:find(target .. "%b[],"))
				and not line:find("^%s*local%s") then
				found[name] = true;
			end
		end
	end
	return sorted_keys(found);
end

-- errors(patterns, [is_meant]) -> number of errors that the file `errors` defines. Raises unless another file names each of them, and unless each
-- name that the Lua patterns capture is defined. Each pattern has to be found. is_meant(file, name): whether what a pattern captured there is a
-- name of an error (default: always)
function structure:errors(patterns, is_meant)
	local defined, count = {}, 0;
	for name in self.sources.errors:gmatch("%[\"([%w-]+)\"%] = {") do
		assert.is_true(#self:with("\"" .. name:gsub("%-", "%%-") .. "\"") > 1, name .. " is nobody's");
		defined[name], count = true, count + 1;
	end
	for _, pattern in ipairs(patterns) do
		local is_found = false;
		for file, source in pairs(self.sources) do
			for name in source:gmatch(pattern) do
				if not is_meant or is_meant(file, name) then
					assert.is_true(defined[name], file .. " names " .. name);
					is_found = true;
				end
			end
		end
		assert.is_true(is_found, pattern);
	end
	return count;
end

return structure;
