-- SPDX-License-Identifier: MIT
-- Gives a mirror of little bandwidth (G25) stanzas as its level demands (link/bandwidth), and no presence that it has already.
--
-- link:own("bandwidth"):
--   level   that the mirror asked for; nil: everything
--   shown   [occupant JID] = the lasting part of the presence that the mirror has

local heap_size = require "prosody_relay.stanza".heap_size;

local all_links = lib "link/link";
local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";
local levels = lib "link/bandwidth";
local limits = lib "link/limits";

local bandwidth = {};

-- set_level(link, level): sets what the mirror gets from now on; nil: everything
function bandwidth.set_level(link, level)
	local own = link:own("bandwidth");
	level = levels.level(level);
	if level == "full" then level = nil; end
	if own.level ~= level then own.level, own.shown = level, nil; end -- what it has got differs, or is not noted
end

-- level_of(link) -> the level that the mirror asked for, or nil for everything
function bandwidth.level_of(link)
	return link:own("bandwidth").level;
end

-- Whether a presence is new to the mirror. One that is long, or finds no place, is not kept: it is sent again.
local function is_news(link, stanza)
	local nick, own = stanza.attr.from, link:own("bandwidth");
	local shown = own.shown or {};
	own.shown = shown;
	if stanza.attr.type ~= nil then
		shown[nick] = nil;
		return true;
	end
	if shown[nick] and equivalent(shown[nick], stanza) then return false; end
	local state = hygiene.lasting_part(stanza);
	local bytes = heap_size(state);
	shown[nick] = bytes <= limits.max_presence and limits.has_memory_for(link.peer, bytes) and state or nil;
	return true;
end

limits.count_with(function (add)
	for link in all_links.each("generation1") do
		for _, presence in pairs(link:own("bandwidth").shown or {}) do add(link.peer, heap_size(presence)); end
	end
end);

-- for_user(link, stanza) -> the stanza for one user behind that link, or nil when it does not cross
function bandwidth.for_user(link, stanza)
	return levels.stripped(bandwidth.level_of(link) or "full", stanza);
end

-- down(link, stanza, [is_answer]) -> the stanza for that link, or nil when it need not cross. is_answer: the mirror waits for it, so it
-- crosses even when it is not new.
function bandwidth.down(link, stanza, is_answer)
	local copy = bandwidth.for_user(link, stanza);
	if not copy or not bandwidth.level_of(link) or stanza.name ~= "presence" then return copy; end
	return (is_news(link, copy) or is_answer) and copy or nil;
end

return bandwidth;
