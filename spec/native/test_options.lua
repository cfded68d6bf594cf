-- SPDX-License-Identifier: MIT
-- prosody_relay.options: what each getter takes, and the one line that says what is wrong.

local lu = require "luaunit";
local options = require "prosody_relay.options";

local TestOptions = {};

-- A module whose only option is called "name".
local function with(value)
	return { get_option = function (_, name) return name == "name" and value or nil; end };
end

local function refuses(message, getter, value, ...)
	local module = with(value);
	module.get_option = function () return value; end; -- false too
	local ok, err = pcall(options[getter], module, "name", ...);
	lu.assertFalse(ok, tostring(value));
	lu.assertEquals(tostring(err), "Option 'name': expected " .. message);
end

function TestOptions.test_defaults_are_taken_as_they_are()
	for _, getter in ipairs { "number", "integer", "boolean", "string" } do
		lu.assertNil(options[getter](with(nil), "name"));
	end
	lu.assertEquals(options.number(with(nil), "name", 5, 10, 20), 5);
	lu.assertEquals(options.integer(with(nil), "name", 5), 5);
	lu.assertEquals(options.boolean(with(nil), "name", true), true);
	lu.assertEquals(options.string(with(nil), "name", "x"), "x");
	lu.assertEquals(options.enum(with(nil), "name", { "a" }, "a"), "a");
	lu.assertEquals(options.list(with(nil), "name", { "x" }), { "x" });
end

function TestOptions.test_number()
	lu.assertEquals(options.number(with(2.5), "name", 1, 2, 3), 2.5);
	lu.assertEquals(options.number(with(2), "name", 1, 2), 2);
	lu.assertEquals(options.number(with(3), "name", 1, nil, 3), 3);
	refuses("a number, got 5 (string)", "number", "5");
	refuses("a number, got a table", "number", {});
	refuses("a number of at least 2, got 1 (number)", "number", 1, 5, 2);
	refuses("a number of at least 2 and at most 3, got 4 (number)", "number", 4, 2, 2, 3);
	refuses("a number of at most 3, got 4 (number)", "number", 4, 2, nil, 3);
	-- a time that is infinite would never be over
	for _, value in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
		local ok, message = pcall(options.number, with(value), "name");
		lu.assertFalse(ok);
		lu.assertStrContains(tostring(message), "expected a number, got");
	end
end

function TestOptions.test_integer()
	lu.assertEquals(options.integer(with(5), "name"), 5);
	lu.assertEquals(math.type(options.integer(with(5.0), "name")), "integer");
	refuses("a whole number, got 5.5 (number)", "integer", 5.5);
	refuses("a number of at least 1, got 0 (number)", "integer", 0, 5, 1);
	refuses("a number, got inf (number)", "integer", math.huge);
end

-- A pattern is refused if it raises for some subject. Tries all short patterns of the characters that mean something, on subjects that get far.
function TestOptions.test_pattern()
	local items = { "a", "%", "[", "]", "^", "-", "(", ")", "b", "f", "1", "." };
	local subjects = {};
	for _, first in ipairs { "", "a", "b", "1", "f", "]", "[", "^", "-", "(", ")", "%", "." } do
		for _, second in ipairs { "", "a", "b", "1", "f", "]", "[", "^", "-", "(", ")", "%", "." } do
			subjects[#subjects + 1] = first .. second .. "aab1]";
		end
	end
	local function raises(pattern)
		for _, subject in ipairs(subjects) do
			if not pcall(string.find, subject, pattern) then return true; end
		end
		return false;
	end
	local refused = 0;
	local function try(pattern)
		local ok = pcall(options.pattern, with(pattern), "name");
		if not ok then refused = refused + 1; end
		-- a mistake behind what no subject matches is found here only, such as that of "a^("
		if ok then lu.assertFalse(raises(pattern), pattern); end
		if raises(pattern) then lu.assertFalse(ok, pattern); end
	end
	for _, a in ipairs(items) do for _, b in ipairs(items) do for _, c in ipairs(items) do
		try(a .. b .. c);
	end end end
	lu.assertTrue(refused > 100 and refused < 1500, tostring(refused));
	for _, pattern in ipairs { "", "^bot%-", "[]]", "[^]]", "[%]]", "[a-]", "()a%1", "(a)(b)%2%1", "%bxy", "%f[%w]", "a$", ("(a)"):rep(32), "^*" } do
		lu.assertEquals(options.pattern(with(pattern), "name"), pattern);
	end
	lu.assertEquals(options.pattern(with(nil), "name", "x"), "x");
	for _, pattern in ipairs { "x[", "x[]", "x[^]", "x[%]", "x%", "x%b", "x%bx", "x%f", "x(", "x)", "x%1", "(x%1)", "x(()", ("(a)"):rep(33) } do
		refuses(("a Lua pattern, got %s (string)"):format(pattern), "pattern", pattern);
	end
	refuses("a string, got 5 (number)", "pattern", 5);
end

function TestOptions.test_boolean_and_string()
	local module = with(nil);
	function module.get_option() return false; end
	lu.assertEquals(options.boolean(module, "name", true), false);
	refuses("true or false, got yes (string)", "boolean", "yes");
	refuses("a string, got false (boolean)", "string", false, "default");
	lu.assertEquals(options.string(with("x"), "name"), "x");
end

function TestOptions.test_enum()
	lu.assertEquals(options.enum(with("b"), "name", { "a", "b" }), "b");
	refuses([[one of "a", "b", got c (string)]], "enum", "c", { "a", "b" });
	refuses([[one of "a", got a table]], "enum", {}, { "a" });
end

function TestOptions.test_list()
	lu.assertEquals(options.list(with("one"), "name"), { "one" });
	lu.assertEquals(options.list(with({ "a", "b" }), "name"), { "a", "b" });
	lu.assertEquals(options.list(with({}), "name", { "x" }), {});
	refuses("a string or a list of strings, got 5 (number)", "list", 5);
	refuses("a list of strings, got 5 (number)", "list", { "a", 5 });
	refuses("a list of strings without keys, got key (string)", "list", { key = "a" });
	refuses("a list of strings without gaps, got a table", "list", { "a", nil, "c" });
end

function TestOptions.test_list_with_a_check()
	local given = { "Juliet@Capulet.LIT/x", "capulet.lit" };
	lu.assertEquals(options.list(with(given), "name", nil, options.prepped_jid), { "juliet@capulet.lit/x", "capulet.lit" });
	lu.assertEquals(given[1], "Juliet@Capulet.LIT/x"); -- the configuration stays as it is
	lu.assertEquals(options.list(with("Capulet.LIT"), "name", nil, options.prepped_domain), { "capulet.lit" });
	refuses("a valid JID, got @x (string)", "list", { "@x" }, nil, options.prepped_jid);
	refuses("a domain name, got a@b (string)", "list", { "a@b" }, nil, options.prepped_domain);
	refuses("a domain name, got a/b (string)", "list", { "a/b" }, nil, options.prepped_domain);
end

return TestOptions;
