-- SPDX-License-Identifier: MIT
-- Whether two presences tell their reader the same (G3: only differences are shown).

-- they belong to one delivery, or come and go with the parser
local ignored = { id = true; from = true; to = true; xmlns = true; ["xml:lang"] = true };

local function has_attributes_of(a, b)
	for name, value in pairs(a.attr) do
		if not ignored[name] and b.attr[name] ~= value then return false; end
	end
	return true;
end

local same;

local function same_child(a, b)
	if type(a) ~= "table" or type(b) ~= "table" then return a == b; end
	return a.attr.xmlns == b.attr.xmlns and a.attr.id == b.attr.id and same(a, b);
end

-- same(a, b) -> boolean, for stanzas or elements: their ids and addresses may differ, those of elements in them may not; the order of the
-- elements in them does not matter
function same(a, b)
	if a.name ~= b.name or #a ~= #b or not has_attributes_of(a, b) or not has_attributes_of(b, a) then return false; end
	local taken = {};
	for _, child in ipairs(a) do
		local found;
		for i, other in ipairs(b) do
			if not taken[i] and same_child(child, other) then
				found = i;
				break;
			end
		end
		if not found then return false; end
		taken[found] = true;
	end
	return true;
end

return same;
