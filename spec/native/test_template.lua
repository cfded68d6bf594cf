-- SPDX-License-Identifier: MIT
-- prosody_relay.fanout, templates and views: every byte against Prosody's own serialiser.

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";
local random = require "random_input";

local serialise = st.stanza_mt.__tostring;

local TestTemplate = {};

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

local function random_element(depth, is_top)
	local element = st.stanza(random.pick(NAMES), random_attributes(is_top));
	for _ = 1, depth > 0 and random.integer(0, 3) or 0 do
		if random.integer(2) == 1 then
			element:text(random.pick(TEXTS));
		else
			element:add_direct_child(random_element(depth - 1, random.integer(2) == 1));
		end
	end
	return element;
end

-- Equality of long strings without luaunit's attempt to show where they differ, which takes minutes.
local function same(actual, wanted)
	if actual ~= wanted then
		lu.fail(("got %q\nnot %q"):format(actual:sub(1, 3000), wanted:sub(1, 3000)));
	end
end

-- The attributes of the start tag in alphabetical order. A table gives no promise about where a key that comes and goes is, so a stanza
-- that has no `to` may get it in another place each time; of one that has it every byte is compared.
local function sorted_attributes(text)
	local name, attributes, rest = text:match("^<([^ />]+)([^>]-)(/?>.*)$");
	local list = {};
	attributes = attributes:gsub(" xmlns:(ns%d+)='([^']*)' %1:", " %2|"); -- prefixes are numbered in order
	for attribute in attributes:gmatch(" [^']+='[^']*'") do table.insert(list, attribute); end
	lu.assertEquals(#table.concat(list), #attributes);
	table.sort(list);
	return name .. table.concat(list) .. rest;
end

-- What Prosody writes for the very stanza with these attributes.
local function expected(stanza, to, from, extra)
	local attr = stanza.attr;
	local own_to, own_from = attr.to, attr.from;
	attr.to, attr.from = to, from or own_from;
	if extra then table.insert(stanza, extra); end
	local text = serialise(stanza);
	if extra then table.remove(stanza); end
	attr.to, attr.from = own_to, own_from;
	return text;
end

local function check(stanza, template, to, from, extra)
	local actual, wanted = template:render(to, from, extra and tostring(extra)), expected(stanza, to, from, extra);
	if stanza.attr.to and to and (stanza.attr.from or not from) then
		same(actual, wanted);
	else
		same(sorted_attributes(actual), sorted_attributes(wanted));
	end
end

TestTemplate["test (A9) random stanzas byte for byte"] = function ()
	for _ = 1, 800 do
		local stanza = random_element(3, true);
		local to, from = stanza.attr.to, stanza.attr.from;
		local template = fanout.template(stanza);
		lu.assertIs(stanza.attr.to, to);
		lu.assertIs(stanza.attr.from, from);
		local extra = st.stanza("extra", { xmlns = "urn:example:extra"; a = "<'>" }):text("&");
		for _, jid in ipairs(JIDS) do
			check(stanza, template, jid);
			check(stanza, template, jid, nil, extra);
		end
		for _, jid in ipairs(JIDS) do
			check(stanza, template, jid, "o'ther@x.lit");
			check(stanza, template, jid, jid, extra);
		end
		check(stanza, template, nil);
	end
end;

TestTemplate["test (A9) shapes of a stanza"] = function ()
	for _, attr in ipairs { {}, { to = "x" }, { from = "x" }, { to = "x", from = "y" }, { from = "&'", id = "<", to = "''" } } do
		local stanza = st.stanza("message", attr);
		check(stanza, fanout.template(stanza), "a@b");
		check(stanza, fanout.template(stanza), "a@b", "c@d");
		check(stanza, fanout.template(stanza), nil, "c@d");
	end
	lu.assertEquals(fanout.template(st.stanza("message")):render("a@b", nil, "<x/>"), "<message to='a@b'><x/></message>");
	lu.assertEquals(fanout.template(st.stanza("message")):render("a@b", nil, ""), "<message to='a@b'/>");
	lu.assertEquals(fanout.template(st.stanza("message")):render(nil, nil, nil), "<message/>");
	lu.assertEquals(fanout.template(st.message({}, "hi")):render("&"), "<message to='&amp;'><body>hi</body></message>");
	-- an element that looks like the end of the stanza
	local nested = st.stanza("message", { to = "x", from = "y" }):tag("message"):text("</message>");
	check(nested, fanout.template(nested), "a@b", "c@d", st.stanza("y"));
	-- longer than the buffer on the stack
	local long = st.message({ to = "x", from = "y", type = "chat" }, ("&"):rep(20000));
	check(long, fanout.template(long), "a@b", "c@d", st.stanza("y"));
end;

TestTemplate["test (A9) a template is the state at its making"] = function ()
	local stanza = st.message({ to = "x" }, "before");
	local template = fanout.template(stanza);
	local text = expected(stanza, "a@b");
	stanza:body("after");
	stanza.attr.id = "5";
	collectgarbage();
	lu.assertEquals(template:render("a@b"), text);
end;

TestTemplate["test (A9) an error of the serialiser leaves the stanza alone"] = function ()
	local stanza = st.stanza("message", { from = "x" });
	stanza.attr.broken = {};
	lu.assertError(fanout.template, stanza);
	lu.assertNil(stanza.attr.to);
	lu.assertEquals(stanza.attr.from, "x");
end;

TestTemplate["test (A10) wrong arguments are named"] = function ()
	lu.assertErrorMsgContains("bad argument #1 to 'template' (stanza expected, got string)", fanout.template, "<x/>");
	lu.assertErrorMsgContains("bad argument #1 to 'view' (stanza expected, got table)", fanout.view, {});
	local template = fanout.template(st.stanza("message"));
	lu.assertErrorMsgContains("bad argument #2", template.render, template, 5);
	lu.assertErrorMsgContains("bad argument #3", template.render, template, "a", {});
	lu.assertErrorMsgContains("bad argument #4", template.render, template, "a", "b", st.stanza("x"));
	lu.assertErrorMsgContains("prosody_relay.template expected", template.render, io.stdout, "a");
end;

-- Views

-- Serialises three times, so that the template is used where there may be one.
local function check_view(view)
	for _ = 1, 3 do same(tostring(view), serialise(view)); end
end

TestTemplate["test (A9) views of random stanzas byte for byte"] = function ()
	for _ = 1, 800 do
		local stanza = random_element(3, true);
		local view = fanout.view(stanza);
		check_view(view);
		for _, jid in ipairs(JIDS) do
			view.attr.to = jid;
			check_view(view);
			view.attr.from = random.pick(JIDS);
			check_view(view);
		end
		view.attr.to, view.attr.from = nil, nil;
		check_view(view);
		view.attr.from = "back@x.lit";
		check_view(view);
	end
end;

-- What modules do to a stanza they are handed, at any depth.
local changes = {
	function (s) s:tag("added"); end;
	function (s) s:text("added"); end;
	function (s) s:get_child("body")[1] = "changed"; end;
	function (s) s:get_child("body"):text("more"); end;
	function (s) s:get_child("body").attr["xml:lang"] = "en"; end;
	function (s) s:get_child("x", "urn:example:x").attr.xmlns = "urn:example:other"; end;
	function (s) s:get_child("x", "urn:example:x").attr.a = nil; end;
	function (s) s:get_child("x", "urn:example:x").attr = { xmlns = "urn:example:x" }; end;
	function (s) s:get_child("x", "urn:example:x").tags[1].attr.code = "201"; end;
	function (s) s:get_child("x", "urn:example:x").tags[1].name = "other"; end;
	function (s) s:remove_children("body"); end;
	function (s) s:maptags(function (tag) return tag.name ~= "x" and tag or nil; end); end;
	function (s) s:maptags(st.clone); end;
	function (s) s[1], s[2] = s[2], s[1]; end;
	function (s) -- the same objects in the same order, one of them a level higher
		local status = table.remove(s:get_child("x", "urn:example:x"));
		table.remove(s:get_child("x", "urn:example:x").tags);
		s:add_direct_child(status);
	end;
	function (s) -- the same strings in the same order, as text instead of an attribute
		local status = s:get_child("x", "urn:example:x").tags[1];
		status.attr.code = nil;
		status:text("110"):text("code");
	end;
	function (s) s.attr.type = "error"; end;
	function (s) s.attr.id = nil; end;
	function (s) s.attr.added = "x"; end;
	function (s) s.attr = { to = "elsewhere" }; end;
	function (s) s.attr.to = nil; end;
	function (s) s.name = "presence"; end;
};

local function sample()
	return st.message({ to = "a@b", from = "c@d", type = "groupchat", id = "1" }):text_tag("body", "hello")
		:tag("x", { xmlns = "urn:example:x", a = "1" }):tag("status", { code = "110" }):up():up();
end

TestTemplate["test (A9) a changed view is serialised as changed"] = function ()
	for i, change in ipairs(changes) do
		local view = fanout.view(sample());
		check_view(view);
		local before = tostring(view);
		change(view);
		lu.assertNotEquals(serialise(view), i ~= 13 and before or nil, "change " .. i .. " is none");
		check_view(view);
		view.attr.to = "next@b";
		check_view(view);
	end
end;

-- What was removed may be collected, and something new get its address.
TestTemplate["test (A9) new objects are not taken for old ones"] = function ()
	local view = fanout.view(st.stanza("message", { id = "", to = "", from = "" }));
	local function try(change)
		for i = 1, 200 do
			-- too long to be interned, all of one length: the same block of memory is used again and again
			change(("x"):rep(97) .. ("%03d"):format(i));
			same(tostring(view), serialise(view));
			change("");
			collectgarbage();
		end
	end
	for _, name in ipairs { "id", "to", "from" } do
		try(function (value) view.attr[name] = value; end);
	end
	try(function (text) view[1] = text; end);
	try(function (text) view[1] = text ~= "" and st.stanza("x"):text(text) or nil; end);
end;

TestTemplate["test (A9) a view is a stanza"] = function ()
	local stanza = sample();
	local view = fanout.view(stanza);
	lu.assertTrue(st.is_stanza(view));
	lu.assertEquals(view:get_child_text("body"), "hello");
	tostring(view);
	tostring(view);
	local clone = st.clone(view);
	lu.assertIs(debug.getmetatable(clone), st.stanza_mt);
	for key in pairs(clone) do lu.assertTrue(type(key) == "number" or stanza[key] ~= nil, tostring(key)); end
	lu.assertEquals(st.preserialize(clone), st.preserialize(view));
	lu.assertEquals(st.preserialize(view), st.preserialize(stanza));
	local forwarded = tostring(st.stanza("forwarded"):add_child(view));
	same(forwarded, "<forwarded>" .. tostring(view) .. "</forwarded>");
	lu.assertEquals(sorted_attributes(view:top_tag()), sorted_attributes(stanza:top_tag()));
	lu.assertEquals(st.reply(view).attr.to, "c@d");
	lu.assertEquals(sorted_attributes(tostring(fanout.view(view))), sorted_attributes(tostring(view)));
end;

TestTemplate["test (A9) the original is not changed through its view"] = function ()
	local stanza = sample();
	local text = tostring(stanza);
	local view = fanout.view(stanza);
	view.attr.to = "x";
	view:tag("added"):up();
	view:remove_children("body");
	lu.assertEquals(tostring(stanza), text);
	lu.assertEquals({ stanza.tags[1].name, stanza.tags[2].name, #stanza.tags }, { "body", "x", 2 });
end;

-- How often Prosody's serialiser runs while f does.
local function count_serialisations(f)
	local calls = 0;
	st.stanza_mt.__tostring = function (stanza)
		calls = calls + 1;
		return serialise(stanza);
	end;
	local ok, err = pcall(f);
	st.stanza_mt.__tostring = serialise;
	if not ok then error(err, 0); end
	return calls;
end

-- Prosody's serialiser takes these, for better or worse; the view leaves them to it.
TestTemplate["test (A9) what a template cannot be made of"] = function ()
	local deep = st.stanza("message");
	for _ = 1, 100 do deep:tag("x"); end
	local view = fanout.view(deep);
	check_view(view);
	lu.assertEquals(count_serialisations(function () check_view(view); end), 3);
	local odd = fanout.view(sample());
	odd.attr.number = 5;
	check_view(odd);
	odd.attr.number = nil;
	check_view(odd);
	odd.attr.to = 5;
	check_view(odd);
end;

-- Not only equal: Prosody's serialiser runs once for all recipients, and once more after each change.
TestTemplate["test (A9) serialised once"] = function ()
	local view = fanout.view(sample());
	lu.assertEquals(count_serialisations(function ()
		for i = 1, 10 do
			view.attr.to = "user" .. i;
			local _ = tostring(view);
		end
	end), 1);
	view:get_child("body")[1] = "changed";
	lu.assertEquals(count_serialisations(function ()
		for _ = 1, 10 do local _ = tostring(view); end
	end), 1);
	lu.assertEquals(count_serialisations(function ()
		local template = fanout.template(sample());
		for i = 1, 10 do template:render("user" .. i); end
	end), 1);
end;

return TestTemplate;
