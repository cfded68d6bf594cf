-- SPDX-License-Identifier: MIT
-- What the functions in C gain over what Prosody has (requirement A13): the cases that `make bench` prints and that
-- spec/native/test_speed.lua holds to their limits.

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

local function recipients(count)
	local list = fanout.new();
	for i = 1, count do list:add(("user%d@example.net/resource"):format(i), "nick" .. i); end
	return list;
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

local function by_template(stanza, list)
	local template = fanout.template(stanza);
	for to in list:each() do template:render(to); end
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

local function case(name, kind, make)
	return { name = name; make = make; unit = kind.unit or "ns"; repetition = kind.repetition or 1; peer = kind.peer };
end

-- Each: name, unit, peer (its name), repetition (how many units one repetition is), make() -> ours, peer: functions that repeat their
-- work n times.
return {
	escape = case("jid.escape jabberchat@talk.example.com", { peer = "util.jid.escape" }, escaping("escape", "jabberchat@talk.example.com"));
	unescape = case("jid.unescape of the result", { peer = "util.jid.unescape" }, escaping("unescape", "jabberchat\\40talk.example.com"));
	escape_nothing = case("jid.escape, nothing to escape", { peer = "util.jid.escape" }, escaping("escape", "jabberchat"));
	unescape_nothing = case("jid.unescape, nothing to unescape", { peer = "util.jid.unescape" }, escaping("unescape", "jabberchat"));
	jat = case("jat encode and decode of a 40-byte JID", { peer = "hmac_sha256 and base64 of util.*" }, token_round_trip);
	serialise = case("tostring of a native IQ", { peer = "util.stanza" }, on_native(tostring));
	top_tag = case("top_tag of a native IQ", { peer = "util.stanza" }, on_native(top_tag));
	message = case("fan-out bytes of a message, 1000 recipients", FANOUT, broadcast(room_message, by_template));
	presence = case("fan-out bytes of a presence, 1000 recipients", FANOUT, broadcast(room_presence, by_template));
	message_view = case("fan-out view of a message, 1000 recipients", FANOUT, broadcast(room_message, by_view));
	presence_view = case("fan-out view of a presence, 1000 recipients", FANOUT, broadcast(room_presence, by_view));
};
