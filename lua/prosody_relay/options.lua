-- SPDX-License-Identifier: MIT
-- Checked configuration options. Each getter returns the option or its default. A wrong value stops the module from loading. One line
-- then names the option, the expected value and the value found. Prosody's own getters only log, and
-- COMPAT w/0.12 lacks several of them; `module:get_option` is the same in both versions.

local jid_split = require "util.jid".prepped_split;
local jid_join = require "util.jid".join;

local options = {};

-- Prosody adds a traceback to a text that is raised while a module loads, and none to a table
local complaint_mt = { __tostring = function (complaint) return complaint.text; end };

local function refuse(name, expected, value)
	local shown = type(value) == "table" and "a table" or ("%s (%s)"):format(tostring(value), type(value));
	error(setmetatable({ text = ("Option '%s': expected %s, got %s"):format(name, expected, shown) }, complaint_mt), 0);
end
-- Raises the message for a wrong option: name of the option, what was expected (text), the value found.
options.refuse = refuse;

-- A finite number within [min, max] (either may be nil).
function options.number(module, name, default, min, max)
	local value = module:get_option(name);
	if value == nil then return default; end
	if type(value) ~= "number" or value - value ~= 0 or (min and value < min) or (max and value > max) then
		local least, most = min and " of at least " .. min or "", max and (min and " and" or " of") .. " at most " .. max or "";
		refuse(name, "a number" .. least .. most, value);
	end
	return value;
end

-- As number, and whole.
function options.integer(module, name, default, min, max)
	local value = options.number(module, name, default, min, max);
	if value ~= nil and math.tointeger(value) == nil then refuse(name, "a whole number", value); end
	return math.tointeger(value);
end

function options.boolean(module, name, default)
	local value = module:get_option(name);
	if value == nil then return default; end
	if type(value) ~= "boolean" then refuse(name, "true or false", value); end
	return value;
end

function options.string(module, name, default)
	local value = module:get_option(name);
	if value == nil then return default; end
	if type(value) ~= "string" then refuse(name, "a string", value); end
	return value;
end

-- The position after the set that begins at `start`, or nil. The first character of a set may be "]".
local function skip_set(pattern, start)
	local position = start + (pattern:find("^%[%^", start) and 2 or 1);
	repeat
		local escaped = pattern:sub(position, position) == "%";
		position = position + (escaped and 2 or 1);
		if position > #pattern then return nil; end
	until pattern:sub(position, position) == "]";
	return position + 1;
end

-- Lua finds a mistake in a pattern only when a subject matches up to it. So this function checks each item (manual, section 6.4.1).
local function is_pattern(pattern)
	local position, open, captures = 1, {}, {};
	while position and position <= #pattern do
		local item, class = pattern:match("^(.)(.?)", position);
		if item == "%" and (class == "" or class == "f" and pattern:sub(position + 2, position + 2) ~= "["
			or class == "b" and #pattern < position + 3 or class:find("%d") and captures[tonumber(class)] ~= "closed") then
			return false;
		elseif item == "%" then
			position = position + (class == "b" and 4 or 2);
		elseif item == "[" then
			position = skip_set(pattern, position);
		elseif item == "(" then
			open[#open + 1], captures[#captures + 1] = #captures + 1, "open";
			position = position + 1;
		elseif item == ")" then
			if #open == 0 then return false; end
			captures[table.remove(open)] = "closed";
			position = position + 1;
		else
			position = position + 1;
		end
	end
	return position ~= nil and #open == 0 and #captures <= 32;
end

-- A Lua pattern without mistakes. Matching may still raise when the subject is too long for a complex pattern.
function options.pattern(module, name, default)
	local value = options.string(module, name, default);
	if value and not is_pattern(value) then refuse(name, "a Lua pattern", value); end
	return value;
end

-- One of the strings in `choices` (array).
function options.enum(module, name, choices, default)
	local value = module:get_option(name);
	if value == nil then return default; end
	for _, choice in ipairs(choices) do
		if value == choice then return value; end
	end
	return refuse(name, "one of \"" .. table.concat(choices, "\", \"") .. "\"", value);
end

-- An array of strings; a single string counts as an array of one. `check(item)` may return nil, what_was_expected; else the item to keep.
function options.list(module, name, default, check)
	local value = module:get_option(name);
	if value == nil then return default; end
	if type(value) == "string" then value = { value }; end
	if type(value) ~= "table" then refuse(name, "a string or a list of strings", value); end
	local list, count = {}, 0;
	for key in pairs(value) do
		count = count + 1;
		if math.type(key) ~= "integer" then refuse(name, "a list of strings without keys", key); end
	end
	for i, item in ipairs(value) do
		if type(item) ~= "string" then refuse(name, "a list of strings", item); end
		local kept, expected = item;
		if check then
			kept, expected = check(item);
			if kept == nil then refuse(name, expected, item); end
		end
		list[i] = kept;
	end
	if #list ~= count then refuse(name, "a list of strings without gaps", value); end
	return list;
end

-- For options.list: a JID, normalised by stringprep.
function options.prepped_jid(item)
	local node, host, resource = jid_split(item);
	if not host then return nil, "a valid JID"; end
	return jid_join(node, host, resource);
end

-- For options.list: a domain, normalised by stringprep.
function options.prepped_domain(item)
	local node, host, resource = jid_split(item);
	if not host or node or resource or host:find("%s") then return nil, "a domain name"; end
	return host;
end

return options;
