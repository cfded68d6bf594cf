-- SPDX-License-Identifier: MIT
-- The latest messages for another node of this module. Each message has a number, so none is lost or doubled. The other node drops a
-- number that it has got. It asks for the rest when one is missing. When a link comes back, each side says which number it has got last.
-- For a foreign node: what was said while it could not be reached.
--
-- Messages without lasting content (chat states) and changes of the subject have no number.
--
-- link:own("outbox"):
--   series            name of these numbers. It is new when this node has forgotten the link.
--   sent              the last number; first = the first that is kept; bytes; [number] = { text, nick, real_jid, time, id }
--   theirs, received  series of the other node, and the last number that has come

local bandwidth = lib "link/bandwidth";
local datetime = require "util.datetime";
local limits = lib "link/limits";
local new_id = require "util.id".short;
local parse = require "prosody_relay.stanza".parse;
local serialise = require "prosody_relay.stanza".serialise;

local xmlns_delay = "urn:xmpp:delay";

-- The oldest messages beyond that are dropped: number, bytes of text, seconds
local max_entries, max_bytes, max_age = 1000, 4 * 1024 * 1024, 24 * 3600;
-- Messages of so many seconds before a link was lost may have been lost with it
local margin = 60;
-- of an entry, in addition to its text
local entry_bytes = 250;

local outbox = {};

local function own(link)
	local data = link:own("outbox");
	if not data.series then data.series, data.sent, data.first, data.bytes, data.received = new_id(), 0, 1, 0, 0; end
	return data;
end

local function drop_first(data)
	data.bytes = data.bytes - #data[data.first].text - entry_bytes;
	data[data.first] = nil;
	data.first = data.first + 1;
end

local function trim(data)
	local oldest = os.time() - max_age;
	while data.first <= data.sent
		and (data.sent - data.first >= max_entries or data.bytes > max_bytes or data[data.first].time < oldest) do
		drop_first(data);
	end
end

-- counts(message) -> whether the message gets a number
function outbox.counts(message)
	return not bandwidth.is_passing(message) and (message:get_child("body") ~= nil or not message:get_child("subject"));
end

-- text(message) -> the message for add()
outbox.text = serialise;

local function put(data, entry)
	data.sent = data.sent + 1;
	data[data.sent] = entry;
	data.bytes = data.bytes + #entry.text + entry_bytes;
end

-- add(link, text, nick, real_jid, [id]) -> number: the other node is sent that message of that user, or is to get it later. id: for author()
function outbox.add(link, text, nick, real_jid, id)
	local data = own(link);
	put(data, { text = text; nick = nick; real_jid = real_jid; time = os.time(); id = id });
	trim(data);
	if data.first <= data.sent and not limits.has_memory_for(link.peer, #text + entry_bytes) then drop_first(data); end
	return data.sent;
end

limits.count_with(function (add)
	for link in lib "link/link".each("generation2") do add(link.peer, own(link).bytes); end
end);

-- is_waiting(link, lost_at) -> whether the other node may lack a message. lost_at: os.time() when the link was lost
function outbox.is_waiting(link, lost_at)
	local data = own(link);
	trim(data);
	return data.first <= data.sent and data[data.sent].time >= lost_at - margin;
end

-- author(link, nick, id) -> real JID of the author of that user's message, if it is among those that are kept; or nil
function outbox.author(link, nick, id)
	local data = own(link);
	for number = data.sent, data.first, -1 do
		if id and data[number].id == id and data[number].nick == nick then return data[number].real_jid; end
	end
end

-- numbers(link) -> series, sent, theirs, received: what the other node needs to know
function outbox.numbers(link)
	local data = own(link);
	return data.series, data.sent, data.theirs, data.received;
end

-- learn(link, theirs, received): the other node has this series, and nothing is missing up to that number; unless this node knows the series already
-- -> whether it did
function outbox.learn(link, theirs, received)
	local data = own(link);
	if data.theirs == theirs then return true; end
	data.theirs, data.received = theirs, received;
	return false;
end

-- accept(link, number, [former]) -> "new"; "repeated" when that message has come before; "gap" when another one before it is missing
--   former: the last number of which this node knows, when the messages between the two are not there any more
function outbox.accept(link, number, former)
	local data = own(link);
	if number <= data.received then return "repeated"; end
	if number ~= data.received + 1 and former ~= data.received then return "gap"; end
	data.received = number;
	return "new";
end

-- reach(link, number): the other node has sent all up to that number
function outbox.reach(link, number)
	local data = own(link);
	data.received = math.max(data.received, number);
end

-- since(link, lost_at) -> the last number that the other node has certainly got, although it has forgotten the link. lost_at: as for is_waiting()
function outbox.since(link, lost_at)
	local data = own(link);
	local number = data.first;
	while number <= data.sent and data[number].time < lost_at - margin do number = number + 1; end
	return number - 1;
end

-- forget(link): the other node does not count
function outbox.forget(link)
	local data = own(link);
	while data.first <= data.sent do drop_first(data); end
end

-- save(link) -> what a restarted server needs; restore(link, saved). All messages are kept if the link is not up. Else the latest ones are kept: the
-- link may be cut, and nobody has noticed that yet.
function outbox.save(link)
	local data = own(link);
	local saved = { series = data.series; sent = data.sent; theirs = data.theirs; received = data.received; messages = {} };
	local first = link.state == "live" and outbox.since(link, os.time()) + 1 or data.first;
	for number = first, data.sent do table.insert(saved.messages, data[number]); end
	return saved;
end

function outbox.restore(link, saved)
	local data = own(link);
	data.series, data.theirs, data.received = saved.series, saved.theirs, saved.received;
	data.sent = saved.sent - #saved.messages;
	data.first = data.sent + 1;
	for _, entry in ipairs(saved.messages) do put(data, entry); end
end

-- missing(link, received, known, room_jid) -> iterator of the messages that the other node has not got: delayed message, nick, real JID, number,
-- former (see accept). received: the last number that it has got; known: the last one of which it knows
function outbox.missing(link, received, known, room_jid)
	local data = own(link);
	trim(data);
	local number, former = math.max(data.first, received + 1), known;
	return function ()
		local entry, message;
		repeat -- modules make some stanzas that no parser accepts; they did not cross the link either
			entry, number = data[number], number + 1;
			message = entry and parse(entry.text);
		until message or not entry;
		if not message then return nil; end
		message:tag("delay", { xmlns = xmlns_delay; from = room_jid; stamp = datetime.datetime(entry.time) }):up();
		local before = former;
		former = number - 1;
		return message, entry.nick, entry.real_jid, number - 1, before ~= number - 2 and before or nil;
	end;
end

return outbox;
