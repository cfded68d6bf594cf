-- SPDX-License-Identifier: MIT
-- Federated rooms (mod_fmuc, generation 2) in a tree under faults by a fixed seed (G1, G3, G4, G6, G7, G18): nothing is lost, doubled or out of
-- order, and nobody is a ghost. NODES_SOAK_SECONDS and NODES_SOAK_SEED in the environment change the duration and the seed; `make soak-nodes` runs
-- it for several minutes.

local bed = require "bed";
local nodes = require "nodes";
local soak = require "nodes_soak";

local seconds = tonumber(os.getenv("NODES_SOAK_SECONDS")) or 5;
local seed = tonumber(os.getenv("NODES_SOAK_SEED")) or 20241203;

-- What a server may hold for each message that was said: histories and what waits for three other nodes, within their bounds
local bytes_for_each_message, bytes_for_all = 12 * 1024, 4 * 1024 * 1024;

-- of one kind, in what a failure says
local most = 20;

local checked = { "thrown_out", "lost", "doubled", "disordered", "swapped", "ghosts" };

local function complaint(report)
	local lines = {};
	for _, name in ipairs(checked) do
		for i, text in ipairs(report[name]) do
			if i <= most then lines[#lines + 1] = name .. ": " .. text; end
		end
	end
	if report.growth > bytes_for_all + report.said * bytes_for_each_message then
		lines[#lines + 1] = ("a server has grown by %d bytes"):format(report.growth);
	end
	if not lines[1] then return nil; end
	return table.concat(lines, "\n") .. "\nwhat happened:\n" .. table.concat(report.journal, "\n");
end

for _, mode in ipairs { "primary-primary", "primary-replica" } do
for _, versions in ipairs(nodes.crossings()) do
describe(("a tree of nodes under faults, %s, %s and %s"):format(mode, versions.e, versions.w), function ()
	it("loses nothing, doubles nothing, keeps the order, leaves no ghosts (N2 G1 G3 G4 G6 G7 G18)", bed.scenario(function (s)
		local title = ("%s, %s and %s, seed %d"):format(mode, versions.e, versions.w, seed);
		local ok, report = xpcall(soak.run, debug.traceback, s, versions, mode, seed, seconds);
		if not ok then error(title .. ": " .. tostring(report), 0); end
		print(("%s: %d messages, %d faults, %d conflicts of nicks, heap +%d kB: thrown out %d, lost %d, doubled %d, disordered %d, "
			.. "swapped %d, ghosts %d"):format(
			title, report.said, report.faults, report.conflicts, report.growth // 1024,
			#report.thrown_out, #report.lost, #report.doubled, #report.disordered, #report.swapped, #report.ghosts));
		local text = complaint(report);
		if text then error(title .. ":\n" .. text, 0); end
	end));
end);
end
end
