-- SPDX-License-Identifier: MIT
-- Every number that code and tests cite is explained in doc/requirements.

local shell = require "shell";

local book = "doc/requirements/";

-- [file] = set of the numbers that rows of its tables explain
local function read_book()
	local explained = {};
	for _, file in ipairs(shell.lines("ls %s*.md", book)) do
		local numbers = {};
		for line in io.lines(file) do
			local number = line:match("^| (%u%d%d?%l?) |");
			if number then
				assert.is_nil(numbers[number], ("%s explains %s twice"):format(file, number));
				numbers[number] = true;
			end
		end
		explained[file:sub(#book + 1)] = numbers;
	end
	return explained;
end

-- Calls back with each text of a line in which numbers stand: its comment, and parentheses before that, such as those of a test's name
local function each_text(file, line, callback)
	local is_lua = file:find("%.lua$");
	local start = line:find(is_lua and "%-%-" or "/%*") or not is_lua and line:find("^%s*%*") or #line + 1;
	callback(line:sub(start));
	for group in line:sub(1, start - 1):gmatch("%(([^()\"']*)%)") do callback(group); end
end

-- Calls back with each number in a text, and whether it is called a case. Letters that begin no number, and words such as -O2, are left out.
local function each_number(text, callback)
	for position, number in text:gmatch("()%f[%w_%-]([ABCDEFGMNOPRUX]%d%d?%l?)%f[^%w_]") do
		callback(number, text:sub(1, position - 1):find("[Cc]ases? $") ~= nil);
	end
end

describe("requirements", function ()
	local explained = read_book();

	-- C stands for client mode and for cases: doc/requirements/README.md
	local function is_explained(number, file, is_case)
		local letter = number:sub(1, 1);
		if letter == "C" then
			local is_client_mode = file:find("delegation") and not is_case;
			return explained[is_client_mode and "delegation.md" or "cases.md"][number];
		end
		for _, numbers in pairs(explained) do
			if numbers[number] then return true; end
		end
		return false;
	end

	it("explain every number that is cited", function ()
		local missing, count = {}, 0;
		for _, file in ipairs(shell.lines("find lua csrc spec bench fuzz -name '*.lua' -o -name '*.[ch]' | sort")) do
			local line_number = 0;
			for line in io.lines(file) do
				line_number = line_number + 1;
				each_text(file, line, function (text)
					each_number(text, function (number, is_case)
						count = count + 1;
						if not is_explained(number, file, is_case) then
							missing[#missing + 1] = ("%s:%d: %s"):format(file, line_number, number);
						end
					end);
				end);
			end
		end
		assert.same({}, missing);
		assert.is_true(count > 1000, count); -- or they have not been found
	end);
end);
