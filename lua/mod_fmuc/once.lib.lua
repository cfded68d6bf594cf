-- SPDX-License-Identifier: MIT
-- Lines for the log that somebody else causes: one an hour about each matter, however often it comes up, and so many in all.

local now = require "util.time".monotonic;

local period, max_lines = 3600, 100;

local said, lines, began = {}, 0, now();

-- once(key, level, format, …): writes the line unless one with that key has been written lately
return function (key, level, ...)
	if now() - began >= period then said, lines, began = {}, 0, now(); end
	if said[key] or lines >= max_lines then return; end
	said[key], lines = true, lines + 1;
	module:log(level, ...);
	if lines == max_lines then module:log(level, "More of that kind will not be logged within the hour"); end
end;
