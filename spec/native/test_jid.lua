-- SPDX-License-Identifier: MIT
-- prosody_relay.jid against Prosody's util.jid as the oracle, and against the examples of XEP-0106.

local lu = require "luaunit";
local jid = require "prosody_relay.jid";
local oracle = require "util.jid";
local random = require "random_input";

local TestJid = {};

-- XEP-0106 section 5.1, the localparts; and section 4.3 with its sequences that are none
local xep_examples = {
	{ [[space cadet]], [[space\20cadet]] };
	{ [[call me "ishmael"]], [[call\20me\20\22ishmael\22]] };
	{ [[at&t guy]], [[at\26t\20guy]] };
	{ [[d'artagnan]], [[d\27artagnan]] };
	{ [[/.fanboy]], [[\2f.fanboy]] };
	{ [[::foo::]], [[\3a\3afoo\3a\3a]] };
	{ [[<foo>]], [[\3cfoo\3e]] };
	{ [[user@host]], [[user\40host]] };
	{ [[c:\net]], [[c\3a\net]] };
	{ [[c:\\net]], [[c\3a\\net]] };
	{ [[c:\cool stuff]], [[c\3a\cool\20stuff]] };
	{ [[c:\5commas]], [[c\3a\5c5commas]] };
	{ [[\3and\2is\5cool]], [[\5c3and\2is\5c5cool]] };
	{ [[\2plus\2is\4]], [[\2plus\2is\4]] };
	{ [[foo\bar]], [[foo\bar]] };
	{ [[foob\41r]], [[foob\41r]] };
};

local function check(s)
	local escaped = jid.escape(s);
	lu.assertEquals(escaped, oracle.escape(s));
	lu.assertEquals(jid.unescape(s), oracle.unescape(s));
	lu.assertEquals(jid.unescape(escaped), s);
end

TestJid["test (A1) examples of the xep"] = function ()
	for _, example in ipairs(xep_examples) do
		lu.assertEquals(jid.escape(example[1]), example[2]);
		lu.assertEquals(jid.unescape(example[2]), example[1]);
	end
end;

TestJid["test (A1) each of the ten sequences and no other"] = function ()
	local ten = {};
	for c in ([[ "&'/:<>@\]]):gmatch(".") do ten[("\\%02x"):format(c:byte())] = c; end
	for octet = 0, 255 do
		local lower, upper = ("\\%02x"):format(octet), ("\\%02X"):format(octet);
		lu.assertEquals(jid.unescape(lower), ten[lower] or lower);
		lu.assertEquals(jid.escape(lower), ten[lower] and "\\5c" .. lower:sub(2) or lower);
		-- upper-case hex is no sequence (\20 has no case)
		if upper ~= lower then
			lu.assertEquals(jid.unescape(upper), upper);
			lu.assertEquals(jid.escape(upper), upper);
		end
	end
end;

TestJid["test (A2) every octet and every pair"] = function ()
	for first = 0, 255 do
		check(string.char(first));
		for second = 0, 255 do check(string.char(first, second)); end
	end
end;

TestJid["test (A2) every backslash sequence"] = function ()
	for first = 0, 255 do
		for second = 0, 255 do
			check("\\" .. string.char(first, second));
		end
	end
end;

TestJid["test (A2) random strings of all lengths"] = function ()
	for _ = 1, 20000 do
		-- mostly the characters that matter, so that sequences, halves of sequences and their nesting come up
		check(random.string(random.integer(0, 40), [[\\\\2345cfae067 "&'/:<>@x]]));
		check(random.bytes(random.integer(0, 40)));
	end
	for _, length in ipairs { 1022, 1023, 1024, 1025, 3000, 70000 } do
		check(random.string(length, [[\\25c0 @ab]]));
		check(("@"):rep(length));
		check(("a"):rep(length));
		check(("a"):rep(length - 3) .. "\\20");
	end
end;

TestJid["test (A2) nil gives nil"] = function ()
	lu.assertNil(jid.escape(nil));
	lu.assertNil(jid.unescape(nil));
end;

-- With the collector stopped copies would show: these strings are too long to be interned, so each copy is a new object.
TestJid["test (A4) the same string comes back"] = function ()
	for _, length in ipairs { 41, 1023, 100000 } do
		local s = ("x"):rep(length);
		for _, f in ipairs { jid.escape, jid.unescape } do
			collectgarbage();
			collectgarbage("stop");
			local before = collectgarbage("count");
			for _ = 1, 100 do f(s); end
			local grown = collectgarbage("count") - before;
			collectgarbage("restart");
			lu.assertEquals(f(s), s);
			lu.assertTrue(grown < 1, "copies were made");
		end
	end
end;

TestJid["test (A5) the room of a mirror"] = function ()
	for _, case in ipairs {
		-- the example of ProtoXEP FMUC 0.0.1 (M1)
		{ "jabberchat\\40talk.example.com@mirror.remote.example.com", "jabberchat@talk.example.com", "mirror.remote.example.com" };
		{ "JabberChat\\40Talk.example.com@Mirror.Remote.example.com", "jabberchat@talk.example.com", "mirror.remote.example.com" };
		-- backslash sequences of the room's own localpart are escaped (G24)
		{ "d\\5c27artagnan\\40talk.example.com@mirror.lit", "d\\27artagnan@talk.example.com", "mirror.lit" };
		-- a mirror of a mirror elsewhere is a room like any other
		{ "jabberchat\\5c40talk.lit\\40mirror.lit@other.lit", "jabberchat\\40talk.lit@mirror.lit", "other.lit" };
		-- the longest that there is
		{ ("r"):rep(1023 - #"\\40talk.lit") .. "\\40talk.lit@mirror.lit", ("r"):rep(1023 - #"\\40talk.lit") .. "@talk.lit", "mirror.lit" };
	} do
		lu.assertEquals({ jid.unmirror(case[1]) }, { case[2], case[3] }, case[1]);
	end
end;

TestJid["test (A5) unmirror refuses"] = function ()
	for _, case in ipairs {
		{ "room\\40talk.lit@mirror.lit/nick", "resource" };
		{ "mirror.lit", "no-node" };
		{ "", "invalid-jid" };
		{ "plain@mirror.lit", "no-mirror" }; -- a domain, not a room
		{ "room\\40talk.lit\\2fnick@mirror.lit", "no-mirror" };
		{ "\\40talk.lit@mirror.lit", "no-mirror" };
		{ "room\\40@mirror.lit", "no-mirror" };
		{ "a\\20b\\40talk.lit@mirror.lit", "no-mirror" }; -- a space in the room's localpart
		{ "a\\40b\\40talk.lit@mirror.lit", "no-mirror" };
		{ "room\\40talk.lit.@mirror.lit", "no-mirror" }; -- not normalised: a second spelling of the same room
		{ "a\\5cb\\40talk.lit@mirror.lit", "no-mirror" }; -- nor is this the escaped form of a\b
		{ "room\\40mirror.lit@mirror.lit", "nested" };
	} do
		lu.assertEquals({ jid.unmirror(case[1]) }, { nil, case[2] }, case[1]);
	end
end;

TestJid["test (A10) wrong types name the argument"] = function ()
	for _, name in ipairs { "escape", "unescape" } do
		for _, wrong in ipairs { 5, true, {}, print } do
			lu.assertErrorMsgMatches("bad argument #1 to '[%w_.]*" .. name .. "' %(string expected, got " .. type(wrong) .. "%)", jid[name], wrong);
		end
	end
	lu.assertErrorMsgContains("string expected, got no value", jid.escape);
	lu.assertErrorMsgContains("bad argument #1 to 'unmirror' (string expected, got boolean", jid.unmirror, false);
end;

return TestJid;
