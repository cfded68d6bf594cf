-- SPDX-License-Identifier: MIT
-- What fuzz_stanza.c does with an input: makes a stanza of it, and changes the stanza a few times. Then it compares the bytes of the stanza
-- with those of a serialiser that is as simple as can be.

local stanza_c, template_c = require "prosody_relay.stanza_c", require "prosody_relay.template_c";

local data, at;

-- the next octet, below n; 0 at the end
local function take(n)
	at = at + 1;
	return (data:byte(at) or 0) % n;
end

local function take_text()
	local length = take(16);
	local text = data:sub(at + 1, at + length);
	at = at + length;
	-- longer than each buffer on the stack
	return take(32) == 31 and (text .. "&"):rep(1000) or text;
end

local KEYS = { "to", "from", "xmlns", "id", "urn:x\1to" };

-- of an attribute, in which no parser leaves an apostrophe
local function take_key()
	return KEYS[take(8) + 1] or take_text():gsub("'", "");
end

-- mostly text
local function take_value()
	local kind = take(64);
	if kind == 63 then return 5; elseif kind == 62 then return {}; elseif kind == 61 then return true; end
	return take_text();
end

local function take_attributes()
	local attr = {};
	for _ = 1, take(6) do attr[take_key()] = take_value(); end
	return attr;
end

-- bounds what one input makes
local elements;

local function take_element()
	elements = elements + 1;
	local element = { name = take_value(), attr = take(64) ~= 63 and take_attributes() or nil, tags = {} };
	if elements > 200 then return element; end
	for i = 1, take(5) do
		if take(2) == 0 then element[i] = take_value(); else element[i] = take_element(); end
		if type(element[i]) == "table" then table.insert(element.tags, element[i]); end
	end
	-- around the limit of depth, now and then
	for _ = 1, take(16) == 15 and 50 + take(20) or 0 do element = { name = "x", attr = {}, tags = { element }, element }; end
	return element;
end

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ["'"] = "&apos;", ["\""] = "&quot;" };

local function escape(text)
	return (text:gsub("[&<>'\"]", ENTITIES));
end

-- "<name attributes", or nil for what is Prosody's to write
local function start(element, parents)
	if type(element.name) ~= "string" or type(element.attr) ~= "table" then return nil; end
	local text = "<" .. element.name;
	for key, value in next, element.attr do
		if type(key) ~= "string" or type(value) ~= "string" or key:find("\1", 1, true) then return nil; end
		if key ~= "xmlns" or value ~= parents then text = text .. " " .. key .. "='" .. escape(value) .. "'"; end
	end
	return text;
end

local function serialise(element, parents, depth)
	local text = depth <= 64 and start(element, parents);
	if not text then return nil; end
	if #element == 0 then return text .. "/>"; end
	text = text .. ">";
	for _, child in ipairs(element) do
		local kind, inner = type(child), nil;
		if kind == "string" then inner = escape(child); elseif kind == "table" then inner = serialise(child, element.attr.xmlns, depth + 1); end
		if not inner then return nil; end
		text = text .. inner;
	end
	return text .. "</" .. element.name .. ">";
end

local function check(condition, what)
	if not condition then error(what, 2); end
end

-- an element in the stanza, and the table that has it
local function take_place(element)
	local parent, child = element, element;
	while take(2) == 1 and child.tags[1] do
		parent, child = child, child.tags[take(#child.tags) + 1];
	end
	return child, parent;
end

local function readdress(stanza)
	for _, name in ipairs { "to", "from" } do
		if stanza.attr[name] and take(2) == 1 then stanza.attr[name] = take_text(); end
	end
end

local CHANGES = {
	function (element) if element.attr then element.attr[take_key()] = take_value(); end end;
	function (element) if element.attr then element.attr[take_key()] = nil; end end;
	function (element) element.attr = take_attributes(); end;
	function (element) element.name = take_value(); end;
	function (element) table.insert(element, take_value()); end;
	function (element) table.remove(element); end;
	function (element) element[1], element[2] = element[2] or element[1], element[1]; end;
	function (element) element[#element > 0 and take(#element) + 1 or 1] = take_text(); end;
	function (element) table.insert(element, take_element()); end;
	function (element, parent) table.insert(parent, element); end;
	function () collectgarbage(); end;
};

local function is_cyclic(element, above)
	if above[element] then return true; end
	above[element] = true;
	for _, child in ipairs(element) do
		if type(child) == "table" and is_cyclic(child, above) then return true; end
	end
	above[element] = nil;
	return false;
end

local function check_bytes(stanza)
	local wanted, tag = serialise(stanza, nil, 0), start(stanza, nil);
	check(stanza_c.serialise(stanza) == wanted, "serialise");
	check(stanza_c.size(stanza) == (wanted and #wanted), "size");
	check(stanza_c.top_tag(stanza) == (tag and tag .. ">"), "top_tag");
	check(stanza_c.heap_size(stanza) > 0, "heap_size");
	return wanted;
end

-- A template serves the stanza while nothing but its addresses has changed, and never gives other bytes than the serialiser.
local function check_template(stanza, text)
	local template = template_c.capture(text, stanza.name, stanza);
	check(template, "capture");
	readdress(stanza);
	check(template_c.render_known(template, stanza) == check_bytes(stanza), "readdressed");
	for _ = 1, take(4) do
		CHANGES[take(#CHANGES) + 1](take_place(stanza));
		if is_cyclic(stanza, {}) then return; end
		local rendered, wanted = template_c.render_known(template, stanza), check_bytes(stanza);
		check(not rendered or rendered == wanted, "changed");
	end
end

return function (input)
	data, at, elements = input, 0, 0;
	local stanza = take_element();
	local text = check_bytes(stanza);
	if text then check_template(stanza, text); end
end;
