-- SPDX-License-Identifier: MIT
-- The narrower level of both nodes counts for the link between them (G25, fmuc_bandwidth, link/bandwidth). A node of
-- this module names its level when it joins, or is joined.

local levels = lib "link/bandwidth";
local links = lib "node/links";
local settings = lib "settings";

local bandwidth = {};

local rank = {};
for i, level in ipairs(levels.levels) do rank[level] = i; end

-- level(link) -> the level that counts for that link
function bandwidth.level(link)
	local mark = links.mark(link);
	local theirs = levels.level(mark and mark.bandwidth);
	return rank[theirs] > rank[settings.bandwidth] and theirs or settings.bandwidth;
end

-- stripped(link, stanza) -> the stanza, or a copy, as it crosses that link; nil when it does not cross
function bandwidth.stripped(link, stanza)
	return levels.stripped(bandwidth.level(link), stanza);
end

-- verdict(link, stanza) -> whether a message or IQ may cross that link: "essential": it may; "transient": not, and nobody misses it; "other": not
function bandwidth.verdict(link, stanza)
	if bandwidth.level(link) ~= "messages" then return "essential"; end
	return stanza.name == "message" and levels.judge(stanza) or "other";
end

return bandwidth;
