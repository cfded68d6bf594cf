-- SPDX-License-Identifier: MIT
-- busted runs this before the specs. Specs run for seconds, on a machine with memory: there the collector took two fifths of all CPU time. What it
-- collects stays the same. Benchmarks run without this file.

collectgarbage("setpause", 400);
require "bed.node".gc = "{ threshold = 400 }";
