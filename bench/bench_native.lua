-- SPDX-License-Identifier: MIT
-- One line of JSON for each case of bench/native.lua. Lua's search paths are those of `make bench`.

local _ = pcall(require, "prosody.loader") or pcall(require, "loader"); -- COMPAT w/0.12

local measure = require "measure";

local cases, names = require "native", {};
for name in pairs(cases) do names[#names + 1] = name; end
table.sort(names);
for _, name in ipairs(names) do
	local case = cases[name];
	local ours, peer = measure.compare(case.make());
	measure.report(case.name, case.unit, ours / case.repetition, peer / case.repetition, case.peer);
end
