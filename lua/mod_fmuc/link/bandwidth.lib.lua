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

local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";

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

-- Heap bytes of a presence without payload. Usual ones take a few thousand.
local max_shown_bytes = 16 * 1024;

-- Whether a presence is new to a mirror of level no-status or messages. An unchanged one need not be sent again.
local function is_news(link, stanza)
	local nick, state, own = stanza.attr.from, hygiene.lasting_part(stanza), link:own("bandwidth");
	own.shown = own.shown or {};
	if stanza.attr.type ~= nil then
		own.shown[nick] = nil;
		return true;
	end
	if own.shown[nick] and equivalent(own.shown[nick], stanza) then return false; end
	-- a longer one is sent again and not kept
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

-- set_level(link, level): sets what the mirror gets from now on; nil: everything
function bandwidth.set_level(link, level)
	level = bandwidth.level(level);
	link:own("bandwidth").level = level ~= "full" and level or nil;
end

-- level_of(link) -> the level that the mirror asked for, or nil for everything
function bandwidth.level_of(link)
	return link:own("bandwidth").level;
end

-- for_user(link, stanza) -> the stanza for one user behind that link of a master, or nil when it does not cross
function bandwidth.for_user(link, stanza)
	local level = bandwidth.level_of(link) or "full";
	if level == "full" then return stanza; end
	return strip(level, stanza);
end

-- down(link, stanza, [is_answer]) -> the stanza for that link of a master (master/links), or nil when it need not cross. is_answer: the
-- mirror waits for it, so it crosses even when it is not new.
function bandwidth.down(link, stanza, is_answer)
	local copy = bandwidth.for_user(link, stanza);
	if not copy or not bandwidth.level_of(link) or stanza.name ~= "presence" then return copy; end
	return (is_news(link, copy) or is_answer) and copy or nil;
end

return bandwidth;
