-- SPDX-License-Identifier: MIT
-- One line of JSON for each case of bench/native.lua. A limit that is not met (requirement A13) ends it with an error, after the last
-- line. Lua's search paths are those of `make bench`.

local _ = pcall(require, "prosody.loader") or pcall(require, "loader"); -- COMPAT w/0.12

local measure = require "measure";

-- a busy machine makes a figure worse, never better
local attempts = 5;

local function figures(case)
	local ours, peer;
	for _ = 1, case.limit and attempts or 1 do
		ours, peer = measure.compare(case.make());
		ours, peer = ours / case.repetition, peer / case.repetition;
		if not case.limit or measure.meets(case.limit, ours, peer) then return ours, peer, true; end
	end
	return ours, peer, false;
end

local missed = {};
for _, case in ipairs(require "native") do
	local ours, peer, met = figures(case);
	measure.report(case.name, case.unit, ours, peer, case.peer, case.limit);
	if not met then missed[#missed + 1] = case.name; end
end
if #missed > 0 then
	io.stderr:write("beyond the limit: ", table.concat(missed, "; "), "\n");
	os.exit(1);
end
