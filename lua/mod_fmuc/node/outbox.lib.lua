-- SPDX-License-Identifier: MIT
-- The latest messages for another node of this module. Both sides count messages. When a link comes back, each side says how many it has got, and
-- the other side sends the rest again. So a message is neither lost nor doubled.
--
-- Messages without lasting content (chat states) and changes of the subject do not count.
--
-- link:own("outbox"): sent, received = numbers of messages; first, last, bytes; [number] = { text, nick, real_jid, time }

local bandwidth = lib "link/bandwidth";
local datetime = require "util.datetime";
local limits = lib "link/limits";
local parse = require "prosody_relay.stanza".parse;
local serialise = require "prosody_relay.stanza".serialise;

local xmlns_delay = "urn:xmpp:delay";

-- The oldest messages beyond that are dropped: number, bytes of text, seconds
local max_entries, max_bytes, max_age = 1000, 4 * 1024 * 1024, 24 * 3600;
-- What was said so many seconds before a link was lost may have been lost with it
local margin = 60;
-- of an entry, in addition to its text
local entry_bytes = 250;

local outbox = {};

local function own(link)
	local data = link:own("outbox");
	if not data.sent then data.sent, data.received, data.first, data.last, data.bytes = 0, 0, 1, 0, 0; end
	return data;
end

local function drop_first(data)
	data.bytes = data.bytes - #data[data.first].text - entry_bytes;
	data[data.first] = nil;
	data.first = data.first + 1;
end

local function trim(data)
	local oldest = os.time() - max_age;
	while data.first <= data.last
		and (data.last - data.first >= max_entries or data.bytes > max_bytes or data[data.first].time < oldest) do
		drop_first(data);
	end
end

-- counts(message) -> whether both sides count it
function outbox.counts(message)
	return not bandwidth.is_passing(message) and (message:get_child("body") ~= nil or not message:get_child("subject"));
end

-- text(message) -> the message for add()
outbox.text = serialise;

-- add(link, text, nick, real_jid): the other node is sent that message of that user, or is to get it later
function outbox.add(link, text, nick, real_jid)
	local data = own(link);
	data.sent, data.last = data.sent + 1, data.last + 1;
	data[data.last] = { text = text; nick = nick; real_jid = real_jid; time = os.time() };
	data.bytes = data.bytes + #text + entry_bytes;
	trim(data);
	if data.first <= data.last and not limits.has_memory_for(link.peer, #text + entry_bytes) then drop_first(data); end
end

limits.count_with(function (add)
	for link in lib "link/link".each("generation2") do add(link.peer, own(link).bytes); end
end);

-- is_waiting(link, lost_at) -> whether the other node may lack a message. lost_at: os.time() when the link was lost
function outbox.is_waiting(link, lost_at)
	local data = own(link);
	trim(data);
	return data.first <= data.last and data[data.last].time >= lost_at - margin;
end

-- count_received(link): such a message has come
function outbox.count_received(link)
	local data = own(link);
	data.received = data.received + 1;
end

-- caught_up(link, sent): nothing is missing of so many that the other node has sent
function outbox.caught_up(link, sent)
	own(link).received = sent;
end

-- restart(link, since): the other node has forgotten this link: both count anew, and it has to get what was said since that os.time()
function outbox.restart(link, since)
	local data = own(link);
	while data.first <= data.last and data[data.first].time < since do drop_first(data); end
	data.sent, data.received = data.last - data.first + 1, 0;
end

-- sent(link) -> how many the other node has been sent, or is to get
function outbox.sent(link)
	return own(link).sent;
end

-- received(link) -> how many have come
function outbox.received(link)
	return own(link).received;
end

-- begin(link): both sides count from zero
function outbox.begin(link)
	local data = own(link);
	for number = data.first, data.last do data[number] = nil; end
	data.sent, data.received, data.first, data.last, data.bytes = 0, 0, 1, 0, 0;
end

-- counts_of(link) -> sent, received; restore(link, sent, received): after a restart, which has lost the messages
function outbox.counts_of(link)
	local data = own(link);
	return data.sent, data.received;
end

function outbox.restore(link, sent, received)
	local data = own(link);
	data.sent, data.received = sent, received;
end

-- missing(link, received, room_jid) -> iterator of the messages that the other node has not got: delayed message, nick, real JID. received: how
-- many it has got
function outbox.missing(link, received, room_jid)
	local data = own(link);
	trim(data);
	local index = math.max(data.first, data.last - (data.sent - received) + 1);
	return function ()
		local entry, message;
		repeat -- modules make some stanzas that no parser accepts; they did not cross the link either
			entry, index = data[index], index + 1;
			message = entry and parse(entry.text);
		until message or not entry;
		if not message then return nil; end
		message:tag("delay", { xmlns = xmlns_delay; from = room_jid; stamp = datetime.datetime(entry.time) }):up();
		return message, entry.nick, entry.real_jid;
	end;
end

return outbox;
