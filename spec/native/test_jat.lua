-- SPDX-License-Identifier: MIT
-- prosody_relay.jat: official vectors of the MAC, Prosody's base64 as the oracle of the digits, and everything that is no token.

local lu = require "luaunit";
local jat = require "prosody_relay.jat";
local encodings = require "util.encodings";
local random = require "random_input";

local KEY = "0123456789abcdef";
local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
local JID_MAX, TOKEN_MAX = 750, 1023;

local TestJat = {};

local function base64url(octets)
	return (encodings.base64.encode(octets):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }));
end

local function from_base64url(digits)
	return encodings.base64.decode(digits:gsub("[-_]", { ["-"] = "+", ["_"] = "/" }) .. ("="):rep(-#digits % 4));
end

local function refuses(codec, token, reason)
	lu.assertEquals({ codec:decode(token) }, { nil, reason or "bad-token" }, ("%q"):format(token));
end

-- The 64 vectors for SipHash-2-4-128 published with the reference: key 00 01 .. 0f, input of n octets 00 01 .. n-1.
-- The tag is the first 16 octets of what a token carries.
TestJat["test (A6) official vectors of siphash 2 4 128"] = function ()
	local key, input = {}, {};
	for octet = 0, 15 do key[#key + 1] = string.char(octet); end
	local codec, checked = jat.new(table.concat(key)), 0;
	for line in io.lines("spec/native/siphash_2_4_128.txt") do
		local tag = from_base64url(codec:encode(table.concat(input)):sub(2)):sub(1, 16);
		lu.assertEquals((tag:gsub(".", function (c) return ("%02x"):format(c:byte()); end)), line);
		input[#input + 1] = string.char(#input);
		checked = checked + 1;
	end
	lu.assertEquals(checked, 64);
end;

TestJat["test (A6) round trip of every length"] = function ()
	local codec = jat.new(KEY);
	for length = 0, JID_MAX do
		local jid = random.bytes(length);
		local token = codec:encode(jid);
		lu.assertEquals(token:sub(1, 1), "@");
		local packed = from_base64url(token:sub(2));
		lu.assertEquals(token:sub(2), base64url(packed));
		lu.assertEquals(packed:sub(17), jid);
		lu.assertTrue(#token <= TOKEN_MAX);
		lu.assertEquals(codec:decode(token), jid);
	end
	lu.assertEquals(#codec:encode(("j"):rep(JID_MAX)), TOKEN_MAX);
end;

TestJat["test (A6) encode is deterministic"] = function ()
	local jid = "juliet@capulet.lit/balcony";
	lu.assertEquals(jat.new(KEY):encode(jid), jat.new(KEY):encode(jid));
	lu.assertNotEquals(jat.new(KEY):encode(jid), jat.new(KEY:reverse()):encode(jid));
end;

TestJat["test (A6) resourceprep leaves tokens alone"] = function ()
	local codec = jat.new(KEY);
	for _ = 1, 2000 do
		local token = codec:encode(random.bytes(random.integer(0, JID_MAX)));
		lu.assertTrue(token:find("^@[%w_-]+$") ~= nil);
		lu.assertEquals(encodings.stringprep.resourceprep(token), token);
	end
	-- the case it is for: a right-to-left resource, which no plain JID inside a resource can carry
	local jid = "juliet@capulet.lit/\u{5e9}\u{5dc}\u{5d5}\u{5dd}";
	lu.assertEquals(codec:decode(codec:encode(jid)), jid);
end;

TestJat["test (A6) no token is a jid"] = function ()
	local split = require "util.jid".split;
	local codec = jat.new(KEY);
	for _ = 1, 1000 do
		lu.assertNil(select(2, split(codec:encode(random.bytes(random.integer(0, 60))))));
	end
	for _, plain in ipairs { "juliet@capulet.lit/balcony", "capulet.lit", "", "x" } do
		refuses(codec, plain, "no-token");
	end
end;

TestJat["test (A6) every flipped bit is refused"] = function ()
	local codec = jat.new(KEY);
	local token = codec:encode("juliet@capulet.lit/balcony");
	for at = 1, #token do
		for bit = 0, 7 do
			local altered = token:sub(1, at - 1) .. string.char(token:byte(at) ~ (1 << bit)) .. token:sub(at + 1);
			refuses(codec, altered, at == 1 and "no-token" or "bad-token");
		end
	end
end;

TestJat["test (A6) every other octet in every place is refused"] = function ()
	local codec = jat.new(KEY);
	-- the three shapes of the last group; zero is what a decoder may take a wrong character for
	for _, jid in ipairs { ("j"):rep(20), ("j"):rep(21), ("j"):rep(22), ("\0"):rep(20), ("\0"):rep(21), ("\0"):rep(22) } do
		local token = codec:encode(jid);
		for at = 2, #token do
			for octet = 0, 255 do
				local altered = token:sub(1, at - 1) .. string.char(octet) .. token:sub(at + 1);
				if altered ~= token then refuses(codec, altered); end
			end
		end
	end
end;

-- A lenient decoder takes digits whose unused bits are set, so that several strings stand for one token.
TestJat["test (A6) only the canonical digits"] = function ()
	local codec, same_octets = jat.new(KEY), 0;
	for length = 0, 30 do
		local token = codec:encode(("j"):rep(length));
		local packed = from_base64url(token:sub(2));
		for i = 1, #DIGITS do
			local altered = token:sub(1, -2) .. DIGITS:sub(i, i);
			if altered ~= token then
				refuses(codec, altered);
				-- and some of them do carry the very same octets
				if from_base64url(altered:sub(2)) == packed then same_octets = same_octets + 1; end
			end
		end
	end
	lu.assertTrue(same_octets > 0);
end;

TestJat["test (A6) truncation padding case NUL and white space"] = function ()
	local codec = jat.new(KEY);
	local token = codec:encode("juliet@capulet.lit/balcony");
	for length = 1, #token - 1 do refuses(codec, token:sub(1, length)); end
	refuses(codec, "", "no-token");
	for _, addition in ipairs { "=", "==", "A", "AA", "AAAA", "\0", " ", "\n", "@" } do
		refuses(codec, token .. addition);
		refuses(codec, "@" .. addition .. token:sub(2));
	end
	refuses(codec, token:upper());
	refuses(codec, token:lower());
	refuses(codec, (token:gsub("[-_]", { ["-"] = "+", ["_"] = "/" }) .. "="));
	for at = 2, #token do
		local letter = token:sub(at, at);
		local other = letter:lower() ~= letter and letter:lower() or letter:upper();
		if other ~= letter then refuses(codec, token:sub(1, at - 1) .. other .. token:sub(at + 1)); end
	end
	for _, length in ipairs { TOKEN_MAX, TOKEN_MAX + 1, TOKEN_MAX + 4, 5000 } do refuses(codec, "@" .. ("A"):rep(length)); end
end;

TestJat["test (A6) another key refuses"] = function ()
	local codec = jat.new(KEY);
	local token = codec:encode("juliet@capulet.lit/balcony");
	for at = 1, 16 do
		for bit = 0, 7 do
			local other = KEY:sub(1, at - 1) .. string.char(KEY:byte(at) ~ (1 << bit)) .. KEY:sub(at + 1);
			refuses(jat.new(other), token);
		end
	end
end;

TestJat["test (A6) random octets are refused"] = function ()
	local codec = jat.new(KEY);
	for _ = 1, 20000 do
		refuses(codec, "@" .. random.bytes(random.integer(0, 100)));
		refuses(codec, "@" .. random.string(random.integer(0, 100), DIGITS));
	end
end;

TestJat["test (A7) too long for a token"] = function ()
	local codec = jat.new(KEY);
	for _, length in ipairs { JID_MAX + 1, 1023, 3071, 100000 } do
		lu.assertEquals({ codec:encode(("j"):rep(length)) }, { nil, "too-long" });
	end
end;

TestJat["test (A10) wrong arguments are named"] = function ()
	lu.assertErrorMsgContains("bad argument #1", jat.new);
	lu.assertErrorMsgContains("string expected, got number", jat.new, 1234567890123456);
	for _, key in ipairs { "", KEY:sub(2), KEY .. "x" } do
		lu.assertErrorMsgContains("key of 16 bytes expected", jat.new, key);
	end
	local codec = jat.new(KEY);
	for _, method in ipairs { "encode", "decode" } do
		lu.assertErrorMsgContains("string expected, got nil", codec[method], codec, nil);
		lu.assertErrorMsgContains("string expected, got number", codec[method], codec, 5);
		lu.assertErrorMsgContains("prosody_relay.jat expected", codec[method], io.stdout, "x");
		lu.assertErrorMsgContains("prosody_relay.jat expected", codec[method], {}, "x");
	end
end;

return TestJat;
