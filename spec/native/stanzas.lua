-- SPDX-License-Identifier: MIT
-- Stanzas for the tests of views, and ways to compare what becomes of them.

local lu = require "luaunit";
local st = require "util.stanza";
local random = require "random_input";

local stanzas = {};

local TEXTS = {
	"", "plain", "a'b\"c&d<e>f", "&amp;", "]]>", "\t\n", "to='x' from='y'", " to='", "='", "<message to='z'/>", "\u{5e9}\u{1f44d}",
	("long "):rep(30), ("x"):rep(1500),
};
local NAMES = { "message", "presence", "iq", "x", "to", "from", "a.b-c_d" };
local KEYS = {
	"type", "id", "xml:lang", "xmlns", "x", "to2", "ato", "From", "urn:example:ns\1to", "urn:example:ns\1from", "urn:a.b\1x", "a=b", "a",
};
local JIDS = { "romeo@montague.lit/orchard", "room@c.lit/O'Hara & \"Sons\" <x>", "", "a", "\u{5e9}@x.lit", ("j"):rep(3000) };

local function random_attributes(stanza_like)
	local attr = {};
	for _ = 1, random.integer(0, 5) do attr[random.pick(KEYS)] = random.pick(TEXTS); end
	if stanza_like and random.integer(4) > 1 then attr.to = random.pick(JIDS); end
	if stanza_like and random.integer(4) > 1 then attr.from = random.pick(JIDS); end
	if random.integer(4) == 1 then attr[random.pick(KEYS)] = nil; end
	return attr;
end

function stanzas.random(depth, is_top)
	local element = st.stanza(random.pick(NAMES), random_attributes(is_top));
	for _ = 1, depth > 0 and random.integer(0, 3) or 0 do
		if random.integer(2) == 1 then
			element:text(random.pick(TEXTS));
		else
			element:add_direct_child(stanzas.random(depth - 1, random.integer(2) == 1));
		end
	end
	return element;
end

stanzas.JIDS = JIDS;

-- Equality of long strings without luaunit's attempt to show where they differ, which takes minutes.
function stanzas.same(actual, wanted)
	if actual ~= wanted then
		lu.fail(("got %q\nnot %q"):format(actual:sub(1, 3000), wanted:sub(1, 3000)));
	end
end

-- The attributes of the start tag in alphabetical order. If a key is removed from a table and set again, its place may change. So a stanza
-- that has no `to` may get it in another place each time. The tests compare every byte of a stanza that has a `to`.
function stanzas.sorted_attributes(text)
	local name, attributes, rest = text:match("^<([^ />]+)([^>]-)(/?>.*)$");
	local list = {};
	attributes = attributes:gsub(" xmlns:(ns%d+)='([^']*)' %1:", " %2|"); -- prefixes are numbered in order
	for attribute in attributes:gmatch(" [^']+='[^']*'") do table.insert(list, attribute); end
	lu.assertEquals(#table.concat(list), #attributes);
	table.sort(list);
	return name .. table.concat(list) .. rest;
end

return stanzas;
