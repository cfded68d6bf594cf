-- SPDX-License-Identifier: MIT
-- Lines for the log that somebody else causes, who might cause them again and again.

local new_cache = require "util.cache".new;
local now = require "util.time".monotonic;

local period, max_lines, max_of_one = 3600, 100, 10;

local quiet = {};

local said, lines, began = {}, 0, now();

-- once(key, level, format, …): about what is refused. Writes the line unless one with that key has been written within the hour, or many.
function quiet.once(key, level, ...)
	if now() - began >= period then said, lines, began = {}, 0, now(); end
	if said[key] or lines >= max_lines then return; end
	said[key], lines = true, lines + 1;
	module:log(level, ...);
	if lines == max_lines then module:log(level, "More of that kind will not be logged within the hour"); end
end

local paces = new_cache(1000); -- key -> { began, count }

-- paced(key, level, format, …): about what an admin may want to know each time. What is more than some in an hour is for debugging.
function quiet.paced(key, level, ...)
	local pace = paces:get(key);
	if not pace or now() - pace.began >= period then pace = { began = now(); count = 0 }; end
	pace.count = pace.count + 1;
	paces:set(key, pace);
	module:log(pace.count <= max_of_one and level or "debug", ...);
end

return quiet;
