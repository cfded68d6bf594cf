-- SPDX-License-Identifier: MIT
-- prosody_relay.stanza: every byte against Prosody's own serialiser (the requirement for bytes made in C is A9's).

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";
local random = require "random_input";
local stanzas = require "stanzas";

local native = stanza_lib.native;
local same, sorted_attributes = stanzas.same, stanzas.sorted_attributes;
local serialise, top_tag = st.stanza_mt.__tostring, st.stanza_mt.top_tag;

local TestStanza = {};

local function check(stanza)
	same(tostring(stanza), serialise(stanza));
	same(stanza_lib.serialise(stanza), serialise(stanza));
	lu.assertEquals(stanza_lib.size(stanza), #serialise(stanza));
	-- of a copy, whose attributes are in another order
	same(sorted_attributes(stanza:top_tag()), sorted_attributes(top_tag(stanza)));
end

TestStanza["test (A9) random stanzas byte for byte"] = function ()
	for _ = 1, 3000 do
		local stanza = native(stanzas.random(4, true));
		check(stanza);
		-- nothing is remembered
		stanza.attr.to = random.pick(stanzas.JIDS);
		stanza:tag("added"):text("text");
		check(stanza);
	end
end;

local function sample()
	return st.iq({ to = "a@b", from = "c@d", type = "get", id = "<'1'>" })
		:tag("query", { xmlns = "urn:example:x", a = "&" }):tag("item", { xmlns = "urn:example:x" }):text("\"text\""):up()
		:tag("item", { xmlns = "urn:example:y" }):up();
end

TestStanza["test (A9) a native stanza is a stanza"] = function ()
	local plain = sample();
	local stanza = native(sample());
	lu.assertTrue(st.is_stanza(stanza));
	lu.assertEquals(stanza:find("{urn:example:x}query/item#"), "\"text\"");
	lu.assertIs(debug.getmetatable(st.clone(stanza)), st.stanza_mt);
	lu.assertEquals(st.preserialize(stanza), st.preserialize(plain));
	lu.assertEquals(st.reply(stanza).attr.to, "c@d");
	same(tostring(st.stanza("forwarded"):add_child(stanza)), "<forwarded>" .. serialise(stanza) .. "</forwarded>");
	check(stanza);
end;

-- util.xml.parse puts the inner element into the namespace of the outer one
TestStanza["test (C5) what is kept as bytes comes back as the same stanza"] = function ()
	local message = st.message({ from = "a@b/c", id = "1", ["xml:lang"] = "he" }):text_tag("body", "x\ny")
		:tag("outer", { xmlns = "urn:example:x" }):tag("inner", { xmlns = "" }):text("<"):up():tag("same", { xmlns = "urn:example:x" }):reset();
	local again = stanza_lib.parse(serialise(message));
	lu.assertEquals(st.preserialize(again), st.preserialize(message));
	lu.assertEquals(again:find("{urn:example:x}outer").tags[1].attr.xmlns, "");
	lu.assertNil(stanza_lib.parse(serialise(st.message())).attr["xml:lang"]);
	lu.assertNil(stanza_lib.parse("<message><body>\1</body></message>"));
end;

TestStanza["test what is native already stays as it is"] = function ()
	local stanza, view = native(sample()), fanout.view(sample());
	lu.assertIs(native(stanza), stanza);
	lu.assertIs(native(view), view);
	check(stanza);
end;

-- Runs f while Prosody's serialiser only tells that it is called.
local function without_prosody(f)
	st.stanza_mt.__tostring, st.stanza_mt.top_tag = function () return "PROSODY"; end, function () return "PROSODY"; end;
	local ok, err = pcall(f);
	st.stanza_mt.__tostring, st.stanza_mt.top_tag = serialise, top_tag;
	if not ok then error(err, 0); end
end

local function deep(levels)
	local stanza = st.iq({ type = "get", id = "1" });
	for _ = 1, levels do stanza:tag("x"); end
	return stanza;
end

TestStanza["test (A9) what is common takes no serialiser in Lua"] = function ()
	local long = native(sample():text(("&x"):rep(100000)));
	local bytes, tag = serialise(long), "<iq " .. serialise(long):match("^<iq ([^>]*>)");
	without_prosody(function ()
		same(tostring(long), bytes);
		same(long:top_tag(), tag);
		lu.assertNotEquals(stanza_lib.serialise(deep(64)), "PROSODY");
		lu.assertEquals(stanza_lib.size(long), #bytes);
	end);
end;

-- Nor is room taken for the bytes that are counted.
TestStanza["test (A9 G25) the size of a stanza is counted without a string"] = function ()
	local long = sample():text(("&x"):rep(100000));
	local size = #serialise(long);
	collectgarbage();
	collectgarbage("stop");
	local before, counted = collectgarbage("count"), stanza_lib.size(long);
	local grown = collectgarbage("count") - before;
	collectgarbage("restart");
	lu.assertEquals(counted, size);
	lu.assertTrue(grown < 1, grown .. " KiB");
	lu.assertError(stanza_lib.size);
	lu.assertError(stanza_lib.size, "<x/>");
end;

-- Prosody's serialiser takes these, for better or worse.
TestStanza["test (A9) what is out of the ordinary is left to Prosody"] = function ()
	local odd = { deep(65), sample(), sample(), sample(), sample(), sample() };
	odd[2].attr["urn:a\1b"] = "prefixed";
	odd[3].attr.number = 5;
	odd[4][2] = 5;
	odd[5].name = nil;
	odd[6].tags[1].attr = nil;
	for i, stanza in ipairs(odd) do
		local ok, wanted = pcall(serialise, stanza);
		local same_ok, bytes = pcall(tostring, native(stanza));
		lu.assertEquals({ same_ok, bytes }, { ok, wanted });
		local is_counted, size = pcall(stanza_lib.size, stanza);
		lu.assertEquals({ is_counted, size }, { ok, ok and #wanted or wanted });
		without_prosody(function () lu.assertEquals({ tostring(stanza), stanza_lib.size(stanza) }, { "PROSODY", #"PROSODY" }, i); end);
	end
	without_prosody(function () lu.assertEquals(odd[2]:top_tag(), "PROSODY"); end);
end;

-- What the collector says that make() takes, for as many that the interpreter's own does not count
local function measured(make, count)
	local kept = {};
	for i = 1, count do kept[i] = false; end
	collectgarbage();
	collectgarbage(); -- what has a finalizer goes in the second
	local before = collectgarbage("count");
	for i = 1, count do kept[i] = make(i); end
	collectgarbage();
	return (collectgarbage("count") - before) * 1024 / count, kept[1];
end

local function nested(depth, i)
	local element = st.stanza("e", { xmlns = "urn:example:" .. i });
	if depth > 0 then
		for _ = 1, 2 do element:add_direct_child(nested(depth - 1, i)); end
	end
	return element;
end

local SHAPES = {
	["one long text"] = function (i) return st.message():text_tag("body", ("%06d"):format(i) .. ("x"):rep(20000)); end;
	["many attributes"] = function (i)
		local attr = {};
		for k = 1, 60 do attr["key" .. i .. "." .. k] = "value" .. i .. "." .. k; end
		return st.presence(attr);
	end;
	["many empty elements"] = function ()
		local presence = st.presence();
		for _ = 1, 2000 do presence:add_direct_child(st.stanza("a")); end
		return presence;
	end;
	["elements of a namespace"] = function ()
		local presence = st.presence();
		for _ = 1, 100 do presence:add_direct_child(st.stanza("x", { xmlns = "http://jabber.org/protocol/muc#user" })); end
		return presence;
	end;
	["a tree"] = function (i) return nested(6, i); end;
	["short texts"] = function (i)
		local message = st.message();
		for k = 1, 200 do message:text_tag("t", i .. "." .. k); end
		return message;
	end;
	["a presence of a room"] = function (i)
		return st.presence({ from = "room@conference.example.com/Nick " .. i; to = "user" .. i .. "@example.org/phone"; id = "id-" .. i })
			:text_tag("show", "away"):text_tag("status", "Back at " .. i)
			:tag("c", { xmlns = "http://jabber.org/protocol/caps"; hash = "sha-1"; node = "http://client" .. i; ver = ("v"):rep(20) .. i }):up()
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("item", { affiliation = "member"; role = "participant"; jid = "user" .. i .. "@example.org/phone" }):up():up();
	end;
};

-- as a server gets them
local function parsed(make)
	local parse = require "util.xml".parse;
	return function (i) return parse("<stream>" .. serialise(make(i)) .. "</stream>").tags[1]; end
end

TestStanza["test (F8 G29) the heap size of a stanza is about what the collector says"] = function ()
	for name, make in pairs(SHAPES) do
		for how, f in pairs { ["as built"] = make, cloned = function (i) return st.clone(make(i)); end, parsed = parsed(make) } do
			local actual, stanza = measured(f, 50);
			local ratio = stanza_lib.heap_size(stanza) / actual;
			lu.assertTrue(ratio > 0.7 and ratio < 1.6, ("%s, %s: %.0f of %.0f"):format(name, how, stanza_lib.heap_size(stanza), actual));
		end
	end
end;

TestStanza["test (F8 G29) the heap size of what is nested too deep, or is no stanza"] = function ()
	lu.assertEquals(stanza_lib.heap_size(deep(1001):reset()), math.huge);
	lu.assertEquals(stanza_lib.heap_size(deep(10000):reset()), math.huge);
	lu.assertEquals(math.type(stanza_lib.heap_size(deep(1000):reset())), "integer");
	lu.assertTrue(stanza_lib.heap_size({ 5, false, "x", {} }) > 0);
	lu.assertTrue(stanza_lib.heap_size({ name = 5; attr = "x"; tags = 7 }) > 0);
	for _, value in ipairs { 5, "x", false } do lu.assertFalse((pcall(stanza_lib.heap_size, value))); end
	lu.assertFalse((pcall(stanza_lib.heap_size)));
end;

return TestStanza;
