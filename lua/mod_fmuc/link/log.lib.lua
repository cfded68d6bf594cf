-- SPDX-License-Identifier: MIT
-- Log lines that a user or a peer can cause again and again.

local new_cache = require "util.cache".new;
local now = require "util.time".monotonic;
local shares = require "prosody_relay.shares";

local period, max_lines, max_of_one = 3600, 100, 10;

local quiet = {};

local said, lines, is_full, began = {}, shares.new(max_lines), false, now();

-- once(key, level, format, …): logs a refusal. key: the kind of line, "\0", and the JID that causes it. A key is logged once an hour. The
-- number of lines is limited, too: a domain leaves space for lines about others.
function quiet.once(key, level, ...)
	if now() - began >= period then said, lines, is_full, began = {}, shares.new(max_lines), false, now(); end
	if said[key] then return; end
	if lines:take(key:match("%z(.*)")) then
		said[key] = true;
		module:log(level, ...);
	elseif not is_full then
		is_full = true;
		module:log(level, "More of that kind will not be logged within the hour");
	end
end

local paces = new_cache(1000); -- key -> { began, count }

-- paced(key, level, format, …): logs what an admin may want to know each time. After some lines in an hour, the level is debug.
function quiet.paced(key, level, ...)
	local pace = paces:get(key);
	if not pace or now() - pace.began >= period then pace = { began = now(); count = 0 }; end
	pace.count = pace.count + 1;
	paces:set(key, pace);
	module:log(pace.count <= max_of_one and level or "debug", ...);
end

return quiet;
