-- SPDX-License-Identifier: MIT
-- What may cross a link of little bandwidth (G25, section 5 of the requirements): the levels, and what they make of a stanza.
--
--   full        everything
--   no-status   presences say who is there in which role, nothing else: no show, status, capabilities, avatars
--   messages    and of messages only those with a body, a subject, a correction or a retraction, without what goes along
--
-- A mirror keeps to its level, and names it in its joins: <fmuc from='…' bandwidth='messages'/> (our extension). A master of this module
-- keeps to it in what it sends to that mirror; other masters send what they send.

local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";

local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";

local xmlns_fmuc = lib "dialect/generation1".xmlns;

local bandwidth = { levels = { "full", "no-status", "messages" } };

local known = {};
for _, level in ipairs(bandwidth.levels) do known[level] = true; end

-- level(text) -> one of the levels; full for what is none
function bandwidth.level(text)
	return known[text] and text or "full";
end

-- Who it is, and in which role; and what the two servers say to each other
local kept_in_presence = {
	["http://jabber.org/protocol/muc#user"] = true;
	["http://jabber.org/protocol/muc"] = true;
	[xmlns_fmuc] = true;
	["urn:xmpp:occupant-id:0"] = true;
	["urn:xmpp:hats:0"] = true;
	["xmpp:prosody.im/protocol/hats:1"] = true;
};

-- is_payload(element) -> whether that child of a presence is its author's, and none that the room needs
function bandwidth.is_payload(element)
	return element.name ~= "error" and not kept_in_presence[element.attr.xmlns or ""];
end

local without_payload = { other = { stays = function (child) return not bandwidth.is_payload(child); end } };

-- strip_presence(stanza): takes such payloads out of the caller's own stanza
function bandwidth.strip_presence(stanza)
	stanza_lib.filter(stanza, without_payload);
end

-- with_payload_of(presence, copy) -> the copy, to which such payloads of the presence are added
function bandwidth.with_payload_of(presence, copy)
	for _, child in ipairs(presence.tags) do
		if bandwidth.is_payload(child) then copy:add_direct_child(st.clone(child)); end
	end
	return copy;
end

-- stripped_presence(stanza) -> a copy without them
function bandwidth.stripped_presence(stanza)
	return stanza_lib.copy(stanza, without_payload);
end

-- It passes, and nobody misses it who does not see it
local transient = {
	["http://jabber.org/protocol/chatstates"] = true;
	["urn:xmpp:chat-markers:0"] = true;
	["urn:xmpp:receipts"] = true;
};

-- What goes along with a message and may be left out: the body says the same
local dispensable = { ["http://jabber.org/protocol/xhtml-im"] = true; ["http://jabber.org/protocol/nick"] = true };

local without_dispensable = {};
for xmlns in pairs(transient) do without_dispensable[xmlns] = { ["*"] = false }; end
for xmlns in pairs(dispensable) do without_dispensable[xmlns] = { ["*"] = false }; end

-- They come along with anything
local incidental = { ["urn:xmpp:hints"] = true; ["urn:xmpp:sid:0"] = true; ["urn:xmpp:occupant-id:0"] = true };

local reactions = "urn:xmpp:reactions:0";

local function is_essential(child)
	local xmlns = child.attr.xmlns or "";
	if xmlns == "" then return child.name == "body" or child.name == "subject"; end
	return child.name == "retract" or child.name == "moderate" or child.name == "moderated" or child.name == "apply-to" or child.name == "encrypted";
end

-- What is said for the moment only (XEP-0085), and what goes along with anything
local passing = {
	["http://jabber.org/protocol/chatstates"] = true;
	[xmlns_fmuc] = true;
	["urn:xmpp:hints"] = true;
	["urn:xmpp:sid:0"] = true;
	["urn:xmpp:occupant-id:0"] = true;
};

-- is_passing(stanza) -> whether a message says no more than that somebody is typing, or has stopped to. After an outage that is not true any
-- more.
function bandwidth.is_passing(stanza)
	for _, child in ipairs(stanza.tags) do
		if not passing[child.attr.xmlns] and child.name ~= "thread" then return false; end
	end
	return true;
end

-- judge(stanza) -> how level "messages" sees a message: "essential"; "transient", which does not cross and is no loss; or "other"
function bandwidth.judge(stanza)
	if stanza.attr.type == "error" then return "essential"; end
	local verdict = "transient";
	for _, child in ipairs(stanza.tags) do
		local xmlns = child.attr.xmlns;
		if xmlns == reactions then return "other"; end -- with a body for those who do not know reactions, or without
		if is_essential(child) then
			verdict = "essential";
		elseif verdict == "transient" and not transient[xmlns] and not incidental[xmlns] and child.name ~= "thread" then
			verdict = "other";
		end
	end
	return verdict;
end

-- stripped_message(stanza) -> a copy without what an essential message can do without
function bandwidth.stripped_message(stanza)
	return stanza_lib.copy(stanza, without_dispensable);
end

-- Of a presence without its payload, which takes a few thousand bytes of heap
local max_shown_bytes = 16 * 1024;

-- What a presence says to a mirror of level no-status or messages: unchanged, it need not be sent again
local function is_news(link, stanza)
	local nick, state, own = stanza.attr.from, hygiene.lasting_part(stanza), link:own("bandwidth");
	own.shown = own.shown or {};
	if stanza.attr.type ~= nil then
		own.shown[nick] = nil;
		return true;
	end
	if own.shown[nick] and equivalent(own.shown[nick], stanza) then return false; end
	-- what is longer is rather sent again than kept
	own.shown[nick] = stanza_lib.heap_size(state) <= max_shown_bytes and state or nil;
	return true;
end

local function strip(level, stanza)
	if stanza.name == "presence" then
		return bandwidth.stripped_presence(stanza);
	elseif stanza.name == "message" and level == "messages" then
		return bandwidth.judge(stanza) == "essential" and bandwidth.stripped_message(stanza) or nil;
	end
	return stanza;
end

-- set_level(link, level): what the mirror wants to get from now on; nil: everything
function bandwidth.set_level(link, level)
	level = bandwidth.level(level);
	link:own("bandwidth").level = level ~= "full" and level or nil;
end

-- level_of(link) -> the level that the mirror wants, or nil for everything
function bandwidth.level_of(link)
	return link:own("bandwidth").level;
end

-- for_user(link, stanza) -> the stanza as one user behind that link of a master gets it, or nil when it does not cross
function bandwidth.for_user(link, stanza)
	local level = bandwidth.level_of(link) or "full";
	if level == "full" then return stanza; end
	return strip(level, stanza);
end

-- down(link, stanza, [is_answer]) -> the stanza as that link of a master (master/links) gets it, or nil when it need not. is_answer: the
-- mirror waits for it, whatever it says.
function bandwidth.down(link, stanza, is_answer)
	local copy = bandwidth.for_user(link, stanza);
	if not copy or not bandwidth.level_of(link) or stanza.name ~= "presence" then return copy; end
	return (is_news(link, copy) or is_answer) and copy or nil;
end

return bandwidth;
