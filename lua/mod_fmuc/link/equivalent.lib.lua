-- SPDX-License-Identifier: MIT
-- Whether two presences say the same (G3: only differences are shown).
--
-- Equal elements get the same number. The number comes from the name, the attributes and the sorted numbers of the children. So each
-- element is visited once, however many there are (F7).

-- Attributes that belong to one delivery, or that the parser may add
local ignored_at_top = { id = true; from = true; to = true; xmlns = true; ["xml:lang"] = true };
local ignored_below = { ["xml:lang"] = true };

-- A deeper element counts as different from any other. No client nests half as deep.
local max_depth = 64;

-- numbers: [text, or parts of an element] = number
local function number_of(numbers, parts)
	local number = numbers[parts];
	if not number then
		number = numbers.next;
		numbers[parts], numbers.next = number, number + 1;
	end
	return number;
end

local number_of_child;

-- Each part begins with its length, so different elements have different parts
local function part(text)
	return #text .. ":" .. text;
end

local function attributes_of(element, ignored)
	local parts, count = nil, 0;
	for name, value in pairs(element.attr) do
		if not ignored[name] then
			parts, count = parts or {}, count + 1;
			parts[count] = part(name) .. part(value);
		end
	end
	if count > 1 then table.sort(parts); end
	return parts and table.concat(parts) or "";
end

local function children_of(numbers, element, depth)
	local count = #element;
	if count == 0 then return ""; end
	local children = {};
	for i = 1, count do
		local number = number_of_child(numbers, element[i], depth);
		if not number then return nil; end
		children[i] = number;
	end
	if count > 1 then table.sort(children); end
	return table.concat(children, ",");
end

-- The parts of an element as one text, or nil when it is nested too deep
local function parts_of(numbers, element, ignored, depth)
	if depth > max_depth then return nil; end
	local children = children_of(numbers, element, depth);
	return children and part(element.name) .. attributes_of(element, ignored) .. "/" .. children;
end

function number_of_child(numbers, child, depth)
	if type(child) == "string" then return number_of(numbers, "text:" .. child); end
	local parts = parts_of(numbers, child, ignored_below, depth + 1);
	return parts and number_of(numbers, parts);
end

-- equivalent(a, b) -> boolean, for two stanzas. Their own ids and addresses may differ, those of elements inside may not. The order of
-- elements does not matter.
return function (a, b)
	if a.name ~= b.name or #a ~= #b then return false; end
	local numbers = { next = 1 };
	local parts = parts_of(numbers, a, ignored_at_top, 1);
	return parts ~= nil and parts == parts_of(numbers, b, ignored_at_top, 1);
end
