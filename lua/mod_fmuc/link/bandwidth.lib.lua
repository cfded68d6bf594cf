-- SPDX-License-Identifier: MIT
-- What may cross a link of little bandwidth (G25, section 5 of the requirements). The levels:
--
--   full        everything
--   no-status   presences say who is there in which role, and nothing else: no show, status, capabilities, avatars
--   messages    as no-status. Messages cross only with a body, a subject, a correction or a retraction, and without chat states, receipts,
--               markers, XHTML and nick.
--
-- A mirror follows its level, and names it in its joins: <fmuc from='…' bandwidth='messages'/> (our extension). A master of this module
-- follows that level, too, in what it sends to the mirror. Other masters ignore it.

local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";

local xmlns_fmuc = lib "dialect/generation1".xmlns;

local bandwidth = { levels = { "full", "no-status", "messages" } };

local known = {};
for _, level in ipairs(bandwidth.levels) do known[level] = true; end

-- level(text) -> the level of that name; "full" when there is none
function bandwidth.level(text)
	return known[text] and text or "full";
end

-- Who the occupant is and in which role, and what the two servers tell each other
local kept_in_presence = {
	["http://jabber.org/protocol/muc#user"] = true;
	["http://jabber.org/protocol/muc"] = true;
	[xmlns_fmuc] = true;
	["urn:xmpp:occupant-id:0"] = true;
	["urn:xmpp:hats:0"] = true;
	["xmpp:prosody.im/protocol/hats:1"] = true;
};

-- is_payload(element) -> whether that child of a presence comes from its author, and the room does not need it
function bandwidth.is_payload(element)
	return element.name ~= "error" and not kept_in_presence[element.attr.xmlns or ""];
end

local without_payload = { other = { stays = function (child) return not bandwidth.is_payload(child); end } };

-- strip_presence(stanza): removes such payloads from the caller's own stanza
function bandwidth.strip_presence(stanza)
	stanza_lib.filter(stanza, without_payload);
end

-- with_payload_of(presence, copy) -> the copy, with such payloads of the presence added
function bandwidth.with_payload_of(presence, copy)
	for _, child in ipairs(presence.tags) do
		if bandwidth.is_payload(child) then copy:add_direct_child(st.clone(child)); end
	end
	return copy;
end

-- stripped_presence(stanza) -> a copy without such payloads
function bandwidth.stripped_presence(stanza)
	return stanza_lib.copy(stanza, without_payload);
end

-- Signals of the moment: a user who does not get them misses nothing
local transient = {
	["http://jabber.org/protocol/chatstates"] = true;
	["urn:xmpp:chat-markers:0"] = true;
	["urn:xmpp:receipts"] = true;
};

-- Parts of a message that may be left out, because the body says the same
local dispensable = { ["http://jabber.org/protocol/xhtml-im"] = true; ["http://jabber.org/protocol/nick"] = true };

local without_dispensable = {};
for xmlns in pairs(transient) do without_dispensable[xmlns] = { ["*"] = false }; end
for xmlns in pairs(dispensable) do without_dispensable[xmlns] = { ["*"] = false }; end

-- Elements that may accompany any payload
local incidental = { ["urn:xmpp:hints"] = true; ["urn:xmpp:sid:0"] = true; ["urn:xmpp:occupant-id:0"] = true };

local reactions = "urn:xmpp:reactions:0";

local function is_essential(child)
	local xmlns = child.attr.xmlns or "";
	if xmlns == "" then return child.name == "body" or child.name == "subject"; end
	return child.name == "retract" or child.name == "moderate" or child.name == "moderated" or child.name == "apply-to" or child.name == "encrypted";
end

-- Chat states (XEP-0085), and elements that may accompany any payload
local passing = {
	["http://jabber.org/protocol/chatstates"] = true;
	[xmlns_fmuc] = true;
	["urn:xmpp:hints"] = true;
	["urn:xmpp:sid:0"] = true;
	["urn:xmpp:occupant-id:0"] = true;
};

-- is_passing(stanza) -> whether a message only says that somebody is typing or has stopped. After an outage that is out of date.
function bandwidth.is_passing(stanza)
	for _, child in ipairs(stanza.tags) do
		if not passing[child.attr.xmlns] and child.name ~= "thread" then return false; end
	end
	return true;
end

-- judge(stanza) -> how level "messages" treats a message: "essential" crosses; "transient" does not cross, and nobody misses it; "other"
-- does not cross
function bandwidth.judge(stanza)
	if stanza.attr.type == "error" then return "essential"; end
	local verdict = "transient";
	for _, child in ipairs(stanza.tags) do
		local xmlns = child.attr.xmlns;
		if xmlns == reactions then return "other"; end -- with or without a body for clients that do not know reactions
		if is_essential(child) then
			verdict = "essential";
		elseif verdict == "transient" and not transient[xmlns] and not incidental[xmlns] and child.name ~= "thread" then
			verdict = "other";
		end
	end
	return verdict;
end

-- stripped_message(stanza) -> a copy without the parts that an essential message does not need
function bandwidth.stripped_message(stanza)
	return stanza_lib.copy(stanza, without_dispensable);
end

-- stripped(level, stanza) -> the stanza, or a copy, as it crosses at that level; nil when it does not cross
function bandwidth.stripped(level, stanza)
	if level == "full" then return stanza; end
	if stanza.name == "presence" then
		return bandwidth.stripped_presence(stanza);
	elseif stanza.name == "message" and level == "messages" then
		return bandwidth.judge(stanza) == "essential" and bandwidth.stripped_message(stanza) or nil;
	end
	return stanza;
end

return bandwidth;
