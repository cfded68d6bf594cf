-- SPDX-License-Identifier: MIT
-- Whether two presences tell their reader the same (G3: only differences are shown).
--
-- Each element gets a number, which is the same for elements that say the same. The number of an element comes from its name, its attributes
-- and the sorted numbers of its children. So each element is looked at once, however many of them there are (F7).

-- They belong to one delivery, or come and go with the parser.
local ignored_at_top = { id = true; from = true; to = true; xmlns = true; ["xml:lang"] = true };
local ignored_below = { ["xml:lang"] = true };

-- An element that is nested deeper counts as different from any other. Nothing that people use is half as deep.
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

-- Each part carries its length, so no two elements have the same parts
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

-- The parts of an element as one text, or nil when it is too deep
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

-- equivalent(a, b) -> boolean, for two stanzas. Their own ids and addresses may differ, those of elements in them may not. The order of
-- elements does not matter.
return function (a, b)
	if a.name ~= b.name or #a ~= #b then return false; end
	local numbers = { next = 1 };
	local parts = parts_of(numbers, a, ignored_at_top, 1);
	return parts ~= nil and parts == parts_of(numbers, b, ignored_at_top, 1);
end
