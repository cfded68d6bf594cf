-- SPDX-License-Identifier: MIT
-- How much faster the functions in C are than those of Prosody (requirement A13). What their time must not depend on (A6, A8). `make bench`
-- prints these cases and holds them to their limits.

local jid, jat, fanout = require "prosody_relay.jid", require "prosody_relay.jat", require "prosody_relay.fanout";
local native = require "prosody_relay.stanza".native;
local prosody_jid, hashes, encodings = require "util.jid", require "util.hashes", require "util.encodings";
local st = require "util.stanza";

local function calls(f, argument)
	return function (n)
		for _ = 1, n do f(argument); end
	end;
end

local function escaping(name, argument)
	return function ()
		return calls(jid[name], argument), calls(prosody_jid[name], argument);
	end;
end

-- The same token with what Prosody has: HMAC-SHA-256 cut to 16 bytes, base64 and its other two digits.
local function lua_codec(key)
	local to_url, from_url = { ["+"] = "-"; ["/"] = "_"; ["="] = "" }, { ["-"] = "+"; ["_"] = "/" };
	local hmac, b64, unb64 = hashes.hmac_sha256, encodings.base64.encode, encodings.base64.decode;
	local function encode(user)
		return "@" .. b64(hmac(key, user):sub(1, 16) .. user):gsub("[+/=]", to_url);
	end
	local function decode(token)
		local digits = token:sub(2):gsub("[-_]", from_url);
		local packed = unb64(digits .. ("="):rep(-#digits % 4));
		local user = packed:sub(17);
		return hashes.equals(hmac(key, user):sub(1, 16), packed:sub(1, 16)) and user;
	end
	return encode, decode;
end

local function token_round_trip()
	local user = "juliet.capulet@verona.example.org/window"; -- 40 bytes
	local codec = jat.new(("k"):rep(16));
	local encode, decode = lua_codec(("k"):rep(16));
	assert(codec:decode(codec:encode(user)) == user and decode(encode(user)) == user);
	return function (n)
		for _ = 1, n do codec:decode(codec:encode(user)); end
	end, function (n)
		for _ = 1, n do decode(encode(user)); end
	end;
end

-- A message as a room of Prosody sends it.
local function room_message()
	return st.message({ type = "groupchat"; id = "a4f9c3e2"; to = "romeo@example.net/orchard"; from = "room@conference.example.com/juliet" },
			"Good evening, everybody; is \"this\" on?")
		:tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = "room@conference.example.com"; id = "f1e2d3c4b5a6" }):up()
		:tag("occupant-id", { xmlns = "urn:xmpp:occupant-id:0"; id = "ZGZzZGZzZGZzZGY=" }):up();
end

local function room_presence()
	return st.presence({ to = "romeo@example.net/orchard"; from = "room@conference.example.com/juliet" })
		:text_tag("show", "away")
		:tag("c", { xmlns = "http://jabber.org/protocol/caps"; hash = "sha-1"; node = "https://example.net"; ver = "QgayPKawpkPSDYmwT/WM94uA=" }):up()
		:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("item", { affiliation = "member"; role = "participant"; jid = "juliet@example.net/balcony" }):up()
			:tag("status", { code = "110" }):up():up();
end

-- An IQ as a client sends it.
local function request()
	return st.iq({ type = "get"; id = "a4f9c3e2"; to = "romeo@example.net/orchard"; from = "juliet@example.com/balcony"; ["xml:lang"] = "en" })
		:tag("query", { xmlns = "http://jabber.org/protocol/disco#info"; node = "https://example.net" });
end

-- altered(token, at) -> the token with another digit in that place
local function altered(token, at)
	return token:sub(1, at - 1) .. (token:sub(at, at) == "A" and "B" or "A") .. token:sub(at + 1);
end

local function on_method(object, name, argument)
	local method = object[name];
	return function (n)
		for _ = 1, n do method(object, argument); end
	end;
end

local function top_tag(stanza) return stanza:top_tag(); end

local function on_native(f)
	return function ()
		local ours, peer = native(request()), request();
		return function (n)
			for _ = 1, n do f(ours); end
		end, function (n)
			for _ = 1, n do f(peer); end
		end;
	end;
end

-- other(token), which is wrong in another place, against a token with a difference in the first digit of the tag: a decoder that stops at
-- the first difference is several times faster for one of them.
local function wrong_tokens(other)
	return function ()
		local codec = jat.new(("k"):rep(16));
		local token = codec:encode(("j"):rep(750)); -- the longest that there is
		return on_method(codec, "decode", other(token)), on_method(codec, "decode", altered(token, 2));
	end;
end

local function recipients(count)
	local list = fanout.new();
	for i = 1, count do list:add(("user%d@example.net/resource"):format(i), "nick" .. i); end
	return list;
end

-- Anything linear would make one of 40 000 JIDs cost a hundred times as much as one of 400.
local FEW, MANY = 400, 40000;

-- One repetition adds and removes 40 000 JIDs, in lists that grow to `size`. All have the same nick, which is the worst case of
-- its chain, or each has its own.
local function come_and_go(size, nick)
	local jids = {};
	for i = 1, size do jids[i] = "user@example.net/" .. i; end
	return function (n)
		for _ = 1, n * (MANY // size) do
			local list = fanout.new();
			for _, user in ipairs(jids) do list:add(user, nick or user); end
			for _, user in ipairs(jids) do list:remove(user); end
		end
	end;
end

local function sizes(nick)
	return function () return come_and_go(MANY, nick), come_and_go(FEW, nick); end;
end

local RECIPIENTS = 1000;

-- One repetition is a new stanza for all recipients.
local function broadcast(make_stanza, produce)
	return function ()
		local list, stanza = recipients(RECIPIENTS), make_stanza();
		return function (n)
			for _ = 1, n do produce(stanza, list); end
		end, function (n)
			for _ = 1, n do
				for to in list:each() do
					stanza.attr.to = to;
					local _ = tostring(stanza);
				end
			end
		end;
	end;
end

local function by_view(stanza, list)
	local view = fanout.view(stanza);
	local attr = view.attr;
	for to in list:each() do
		attr.to = to;
		local _ = tostring(view);
	end
end

local FANOUT = { unit = "ns per recipient"; repetition = RECIPIENTS; peer = "tostring for each" };
local LIST = { unit = "ns per JID"; repetition = MANY; peer = "a list of 400" };
local PLACE = "wrong in the first digit of the tag";

local function case(name, kind, make, limit)
	return { name = name; make = make; unit = kind.unit or "ns"; repetition = kind.repetition or 1; peer = kind.peer; limit = limit };
end

-- Views are checked before each copy; still several times cheaper than serialising.
local limits = { message_view = { ratio = 5 }; presence_view = { ratio = 4 }; stanza = { ratio = 3 } };
-- caches aside, and with room for a machine that others use, too
limits.constant = { ratio = 1 / 12 };
limits.same = { ratio = 1 / 1.5; ratio_at_most = 1.5 };

-- Each case: name, unit, peer (its name); repetition (how many units one repetition is); limit (as measure.report takes it, or nil); make() ->
-- ours, peer: functions that repeat their work n times. `make bench` prints the cases in this order.
return {
	case("jid.escape jabberchat@talk.example.com", { peer = "util.jid.escape" }, escaping("escape", "jabberchat@talk.example.com"), { ratio = 10 });
	case("jid.unescape of the result", { peer = "util.jid.unescape" }, escaping("unescape", "jabberchat\\40talk.example.com"), { ratio = 4 });
	case("jid.escape, nothing to escape", { peer = "util.jid.escape" }, escaping("escape", "jabberchat"), { ratio = 8 });
	case("jid.unescape, nothing to unescape", { peer = "util.jid.unescape" }, escaping("unescape", "jabberchat"));
	case("jat encode and decode of a 40-byte JID", { peer = "hmac_sha256 and base64 of util.*" }, token_round_trip, { ours = 400 });
	case("jat decode, wrong in the last digit", { peer = PLACE }, wrong_tokens(function (token) return altered(token, #token - 1); end), limits.same);
	case("jat decode, not a digit", { peer = PLACE }, wrong_tokens(function (token) return "@\0" .. token:sub(3); end), limits.same);
	case("recipients, each its own nick, 40000", LIST, sizes(), limits.constant);
	case("recipients, one nick for all, 40000", LIST, sizes("nick"), limits.constant);
	case("tostring of a native IQ", { peer = "util.stanza" }, on_native(tostring), limits.stanza);
	case("top_tag of a native IQ", { peer = "util.stanza" }, on_native(top_tag), limits.stanza);
	case("fan-out view of a message, 1000 recipients", FANOUT, broadcast(room_message, by_view), limits.message_view);
	case("fan-out view of a presence, 1000 recipients", FANOUT, broadcast(room_presence, by_view), limits.presence_view);
};
