-- SPDX-License-Identifier: MIT
-- Stanza patterns. { "iq", type = "get", to = false, from = "~^proxy%.", has = "{urn:xmpp:ping}ping", where = function (stanza) … end }

local match = {};

local function value_matches(wanted, value)
	if wanted == false then return value == nil; end
	if value == nil then return false; end
	if wanted:sub(1, 1) == "~" then return value:find(wanted:sub(2)) ~= nil; end
	return wanted == value;
end

local function has_all(stanza, paths)
	if type(paths) == "string" then paths = { paths }; end
	for _, path in ipairs(paths) do
		if not stanza:find(path) then return false; end
	end
	return true;
end

local special = { has = true, lacks = true, body = true, where = true };

-- stanza(stanza, pattern) -> boolean. Keys: [1] name of the element; has / lacks: path for stanza:find, or a list of them; body: the
-- text of the body; where: predicate; any other key: attribute (false = absent, "~…" = Lua pattern, else equal).
function match.stanza(stanza, pattern)
	if pattern[1] and stanza.name ~= pattern[1] then return false; end
	for key, wanted in pairs(pattern) do
		if type(key) == "string" and not special[key] and not value_matches(wanted, stanza.attr[key]) then return false; end
	end
	if pattern.has and not has_all(stanza, pattern.has) then return false; end
	if pattern.lacks and stanza:find(pattern.lacks) then return false; end
	if pattern.body and not value_matches(pattern.body, stanza:get_child_text("body")) then return false; end
	return not pattern.where or not not pattern.where(stanza);
end

-- describe(pattern) -> text for error messages
function match.describe(pattern)
	local parts = {};
	for key, wanted in pairs(pattern) do
		if key ~= 1 then
			parts[#parts + 1] = ("%s=%s"):format(key, type(wanted) == "table" and table.concat(wanted, ",") or tostring(wanted));
		end
	end
	table.sort(parts);
	return ("<%s %s>"):format(pattern[1] or "*", table.concat(parts, " "));
end

-- take(list, pattern) -> the first match, removed from the list; or nil
function match.take(list, pattern)
	for i, stanza in ipairs(list) do
		if match.stanza(stanza, pattern) then return table.remove(list, i); end
	end
end

-- list(stanzas) -> text, one stanza a line
function match.list(stanzas)
	if #stanzas == 0 then return "  (nothing)"; end
	local lines = {};
	for i, stanza in ipairs(stanzas) do lines[i] = "  " .. tostring(stanza); end
	return table.concat(lines, "\n");
end

return match;
