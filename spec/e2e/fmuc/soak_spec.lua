-- SPDX-License-Identifier: MIT
-- mod_fmuc under faults by a fixed seed (G1, G2, G3, G4, G7): nothing is lost or doubled, nobody is a ghost. FMUC_SOAK_SECONDS and
-- FMUC_SOAK_SEED in the environment change the duration and the seed; `make soak-fmuc` runs it for several minutes.

local bed = require "bed";
local federation = require "federation";
local soak = require "fmuc_soak";

local seconds = tonumber(os.getenv("FMUC_SOAK_SECONDS")) or 40;
local seed = tonumber(os.getenv("FMUC_SOAK_SEED")) or 20100805;

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc under faults, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("loses nothing, doubles nothing, leaves no ghosts (G1 G2 G3 G4 G7)", bed.scenario(function (s)
		local report = soak.run(s, versions, seed, seconds);
		print(("fmuc, master %s, mirror %s, seed %d: %d messages, %d faults, %d thrown out: lost %d, doubled %d, ghosts %d"):format(
			versions.master, versions.mirror, seed, report.said, report.faults, #report.thrown_out,
			#report.lost, #report.doubled, #report.ghosts));
		assert.same({ lost = {}; doubled = {}; ghosts = {}; thrown_out = {} }, { lost = report.lost; doubled = report.doubled;
			ghosts = report.ghosts; thrown_out = report.thrown_out });
	end));
end);
end
