-- SPDX-License-Identifier: MIT
-- prosody_relay.fanout, views: every byte against Prosody's own serialiser, whatever is done to them.

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";
local random = require "random_input";
local stanzas = require "stanzas";

local JIDS, same, sorted_attributes = stanzas.JIDS, stanzas.same, stanzas.sorted_attributes;
local serialise = st.stanza_mt.__tostring;

local TestView = {};

-- Serialises three times, so that the template is used where there may be one.
local function check_view(view)
	for _ = 1, 3 do
		same(tostring(view), serialise(view));
		-- Prosody's is that of a copy, whose attributes are in another order
		same(sorted_attributes(view:top_tag()), sorted_attributes(st.stanza_mt.top_tag(view)));
	end
end

TestView["test (A9) views of random stanzas byte for byte"] = function ()
	for _ = 1, 800 do
		local stanza = stanzas.random(3, true);
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

TestView["test (A9) a changed view is serialised as changed"] = function ()
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
TestView["test (A9) new objects are not taken for old ones"] = function ()
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

TestView["test (A9) a view is a stanza"] = function ()
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

TestView["test (A9) the original is not changed through its view"] = function ()
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

TestView["test (A9) the line for the log takes no serialiser in Lua"] = function ()
	local view = fanout.view(sample());
	lu.assertEquals(count_serialisations(function ()
		local first = view:top_tag();
		view.attr.to = "juliet@capulet.lit/balcony";
		lu.assertEquals(view:top_tag(), (first:gsub("a@b", "juliet@capulet.lit/balcony")));
	end), 0);
end;

TestView["test (A9) shapes of a stanza"] = function ()
	for _, attr in ipairs { {}, { to = "x" }, { from = "x" }, { to = "x", from = "y" }, { from = "&'", id = "<", to = "''" } } do
		check_view(fanout.view(st.stanza("message", attr)));
		-- an element that looks like the end of the stanza; and one longer than the buffer on the stack
		for _, text in ipairs { "</message>", ("&"):rep(20000) } do
			local view = fanout.view(st.stanza("message", attr):tag("message"):text(text));
			check_view(view);
			if attr.to then view.attr.to = "a@b"; end
			check_view(view);
		end
	end
end;

TestView["test (A10) wrong arguments are named"] = function ()
	lu.assertErrorMsgContains("bad argument #1 to 'view' (stanza expected, got table)", fanout.view, {});
	lu.assertErrorMsgContains("bad argument #1 to 'view' (stanza expected, got string)", fanout.view, "<x/>");
	local templates = require "prosody_relay".native "template_c";
	lu.assertErrorMsgContains("prosody_relay.template expected", templates.render_known, io.stdout, sample());
	lu.assertErrorMsgContains("bad argument #3", templates.capture, "<x/>", "x");
	-- what is no text of that stanza, nor of any
	for _, text in ipairs { "", "<", "<message", "<message to='a", "<presence/>", "<message/>x" } do
		lu.assertEquals({ templates.capture(text, "message", sample()) }, { nil, "unsupported" });
	end
end;

-- Prosody's serialiser takes these, for better or worse; the view leaves them to it.
TestView["test (A9) what a template cannot be made of"] = function ()
	local deep = st.stanza("message");
	for _ = 1, 100 do deep:tag("x"); end
	local view = fanout.view(deep);
	check_view(view);
	lu.assertEquals(count_serialisations(function () same(tostring(view), serialise(view)); end), 1);
	local odd = fanout.view(sample());
	odd.attr.number = 5;
	check_view(odd);
	odd.attr.number = nil;
	check_view(odd);
	odd.attr.to = 5;
	check_view(odd);
end;

-- a fan-out of its own, and how often it has serialised a stanza so far, rather than copied bytes
local function counting_fanout()
	local calls = 0;
	local function count(stanza)
		calls = calls + 1;
		return stanza_lib.serialise(stanza);
	end
	package.loaded["prosody_relay.stanza"] = setmetatable({ serialise = count }, { __index = stanza_lib });
	package.loaded["prosody_relay.fanout"] = nil;
	local fresh = require "prosody_relay.fanout";
	package.loaded["prosody_relay.stanza"], package.loaded["prosody_relay.fanout"] = stanza_lib, fanout;
	return fresh, function () return calls; end;
end

-- Not only equal: a stanza is serialised once for all recipients, and once more after each change. Never in Lua.
TestView["test (A9) serialised once"] = function ()
	local counting, calls = counting_fanout();
	local view = counting.view(sample());
	local function send()
		for i = 1, 10 do
			view.attr.to = "user" .. i;
			local _ = tostring(view);
		end
	end
	lu.assertEquals(count_serialisations(send), 0);
	lu.assertEquals(calls(), 1);
	view:get_child("body")[1] = "changed";
	lu.assertEquals(count_serialisations(send), 0);
	lu.assertEquals(calls(), 2);
end;

return TestView;
