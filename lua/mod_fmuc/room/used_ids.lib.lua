-- SPDX-License-Identifier: MIT
-- The ids that a room has given to messages (F9, XEP-0359 section 3). No two messages get the same id, even if another server repeats one.
-- Plain data, so that it outlives a reload: a list of strings, each with the hashes of many ids. An id takes 8 bytes of heap; in a table of ids it
-- would take a hundred.

local sha1 = require "util.hashes".sha1;

local hash_bytes, chunk_bytes = 8, 4096;

local used_ids = {};

local function hash(id)
	return sha1(id):sub(1, hash_bytes);
end

-- has(list, id) -> whether the id has been used; list may be nil. Linear, but a hundred thousand bytes are compared in microseconds. A new id is
-- taken for a used one in one of 2^64 comparisons.
function used_ids.has(list, id)
	local wanted = hash(id);
	for _, chunk in ipairs(list or {}) do
		if chunk:find(wanted, 1, true) then return true; end
	end
	return false;
end

-- add(list, id, max) -> list with the id in it; list may be nil. max: how many of the latest ids are kept, at least
function used_ids.add(list, id, max)
	list = list or {};
	local last = #list;
	if last == 0 or #list[last] >= chunk_bytes then
		last = last + 1;
		list[last] = "";
	end
	list[last] = list[last] .. hash(id);
	if (last - 1) * chunk_bytes > (max + chunk_bytes / hash_bytes) * hash_bytes then table.remove(list, 1); end
	return list;
end

return used_ids;
