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

-- same(a, b) -> boolean, for stanzas or elements: their ids and addresses may differ; those of elements in them may not
local function same(a, b)
	if a.name ~= b.name or #a ~= #b then return false; end
	if not has_attributes_of(a, b) or not has_attributes_of(b, a) then return false; end
	for i, child in ipairs(a) do
		local other = b[i];
		if type(child) ~= type(other) then return false; end
		if type(child) == "string" then
			if child ~= other then return false; end
		elseif child.attr.xmlns ~= other.attr.xmlns or child.attr.id ~= other.attr.id or not same(child, other) then
			return false;
		end
	end
	return true;
end

return same;
