-- SPDX-License-Identifier: MIT
-- Counts what a function does, in steps that do not depend on the machine: instructions of Lua, and the elements that table.insert and
-- table.remove shift, which Lua's own count does not see.

local steps = {};

local shifts = 0;
local insert, remove = table.insert, table.remove;

local function counted_insert(list, ...)
	if select("#", ...) > 1 then shifts = shifts + #list + 1 - (...); end
	return insert(list, ...);
end

local function counted_remove(list, ...)
	if ... then shifts = shifts + math.max(#list - (...), 0); end
	return remove(list, ...);
end

-- fresh(names, f) -> results of f(). f loads the modules of these names anew. Their table.insert and table.remove count.
function steps.fresh(names, f)
	local former = {};
	for _, name in ipairs(names) do former[name], package.loaded[name] = package.loaded[name], nil; end
	rawset(table, "insert", counted_insert);
	rawset(table, "remove", counted_remove);
	local results = table.pack(pcall(f));
	rawset(table, "insert", insert);
	rawset(table, "remove", remove);
	for _, name in ipairs(names) do package.loaded[name] = former[name]; end
	if not results[1] then error(results[2], 0); end
	return table.unpack(results, 2, results.n);
end

-- count(f, …) -> number of steps of f(…)
function steps.count(f, ...)
	local instructions = 0;
	shifts = 0;
	debug.sethook(function () instructions = instructions + 100; end, "", 100);
	local ok, err = pcall(f, ...);
	debug.sethook();
	if not ok then error(err, 0); end
	return instructions + shifts;
end

-- ratio(f, make, n) -> how many times as many steps f(make(2n)) takes as f(make(n)): 2 where it is linear, 4 where it is quadratic
function steps.ratio(f, make, n)
	local one, two = make(n), make(2 * n);
	return steps.count(f, two) / steps.count(f, one);
end

return steps;
