-- SPDX-License-Identifier: MIT
-- Addresses of entities in texts of the server for people (E5). The owner of an address must not be able to write a text in the server's name.
-- So the address stands in quotes and is cut. Characters that are invisible, or change how others are shown, are replaced. Pure.

local jid_split = require "util.jid".split;

local display = {};

-- Characters of each part. Of a long domain the end is shown, because the end says who owns it.
local max_part, max_domain = 30, 60;

-- Ranges of code points that are invisible, or change the direction or the lines of text
local hidden = {
	{ 0x00, 0x1F }, { 0x7F, 0xA0 }, { 0xAD, 0xAD }, { 0x34F, 0x34F }, { 0x61C, 0x61C }, { 0x115F, 0x1160 }, { 0x1680, 0x1680 },
	{ 0x17B4, 0x17B5 }, { 0x180B, 0x180F }, { 0x2000, 0x200F }, { 0x2028, 0x202F }, { 0x205F, 0x206F }, { 0x2800, 0x2800 }, { 0x3000, 0x3000 },
	{ 0x3164, 0x3164 }, { 0xD800, 0xF8FF }, { 0xFE00, 0xFE0F }, { 0xFEFF, 0xFEFF }, { 0xFFA0, 0xFFA0 }, { 0xFFF0, 0xFFFF }, { 0x1D173, 0x1D17A },
	{ 0xE0000, 0x7FFFFFFF },
};
-- Characters that look like the quotes, and so like the end of the address
local quotes = { ['"'] = true; ["“"] = true; ["”"] = true; ["„"] = true; ["‟"] = true; ["＂"] = true; ["″"] = true };

local function is_hidden(char)
	local done, code = pcall(utf8.codepoint, char);
	if not done then return true; end
	for _, range in ipairs(hidden) do
		if code >= range[1] and code <= range[2] then return true; end
	end
	return false;
end

-- List of the characters of a text; those that must not be shown are replaced
local function characters(text)
	local list = {};
	for char in text:gmatch("[\0-\x7F\xC2-\xFD][\x80-\xBF]*") do
		list[#list + 1] = quotes[char] and "'" or is_hidden(char) and "?" or char;
	end
	return list;
end

local function start_of(text)
	local list = characters(text);
	return #list <= max_part and table.concat(list) or table.concat(list, "", 1, max_part).."…";
end

local function end_of(text)
	local list = characters(text);
	return #list <= max_domain and table.concat(list) or "…"..table.concat(list, "", #list - max_domain + 1);
end

-- address(jid) -> the JID in quotes, safe to show to people; a resource has quotes of its own
function display.address(jid)
	local node, host, resource = jid_split(jid);
	local bare = (node and start_of(node).."@" or "")..end_of(host);
	return ('"%s"'):format(bare)..(resource and (' (resource "%s")'):format(start_of(resource)) or "");
end

return display;
