-- SPDX-License-Identifier: MIT
-- The questions that a mirrored room asks its master, one at a time (G7): is it there, is the mirror in the room, is anything missing? The
-- answer of a master of this module says how many stanzas have crossed (our extension), so that a connection that broke without any loss
-- costs one small question and no resync. Whatever the answer is: all that the master sent before it is here then.

local is_undeliverable = require "prosody_relay.origin".is_undeliverable;
local new_id = require "util.id".medium;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_ping = "urn:xmpp:ping";

local id_prefix = "fmuc-ping-";

local parts; -- backfill, mirrored, outbox, outage, resync, from_master, former

local probe = {};

-- ask(room, kind, stanza, [extra]): sends the question and waits for its answer
function probe.ask(room, kind, stanza, extra)
	local asked = extra or {};
	asked.kind, asked.id, asked.at, asked.sent, asked.patience = kind, stanza.attr.id, now(), room.fmuc.line.sent, 1;
	asked.question = stanza;
	room.fmuc.line.asked = asked; -- first: the answer may be an error that comes at once
	module:send(st.clone(stanza));
end

-- repeat_question(room): there has been no answer, but no error either. It may have been swallowed, or the link may need longer for it,
-- and more so next time: the question is the same, so that whichever answer comes is one.
function probe.repeat_question(room)
	local asked = room.fmuc.line.asked;
	asked.at, asked.patience, asked.in_doubt_since = now(), asked.patience * 2, nil;
	if asked.kind == "join" then room.fmuc.line.sent = 0; end
	module:send(st.clone(asked.question));
end

-- new_id() -> id for an IQ of ask(), whose answer is recognised by it
function probe.new_id()
	return id_prefix .. new_id();
end

local function new_ping(room, id)
	return st.iq({ type = "get"; id = id; from = room.jid; to = room.fmuc.master }):tag("ping", { xmlns = xmlns_ping }):up();
end

-- ping(room, kind): one question for the whole mirror (G7). Whatever the answer is, all that the master sent before is here then. After a
-- connection broke the question says how much has come (our extension), so that the master knows as well whether anything is missing.
function probe.ping(room, kind)
	local question = new_ping(room, probe.new_id());
	if kind == "probe" then
		question:get_child("ping", xmlns_ping):tag("fmuc", { xmlns = xmlns_fmuc; received = tostring(room.fmuc.line.received) }):up();
	end
	probe.ask(room, kind, question);
end

-- What to do without the answer, by the kind of the question; the others are repeated after a silence
local unanswered = {
	rejoin = function (room) parts.resync.ignored(room); end;
	archive = function (room)
		room.fmuc.line.asked = nil;
		parts.backfill.finish(room);
	end;
};

-- check(room): the master talks, but not about the question. It answers one after the other: when this is answered, the other will not be.
function probe.check(room)
	local asked = room.fmuc.line.asked;
	if not unanswered[asked.kind] then return; end
	asked.check = probe.new_id();
	module:send(new_ping(room, asked.check));
end

local function take_counts(room, asked, answer)
	local counts = answer:get_child("fmuc", xmlns_fmuc);
	local sent, received = counts and tonumber(counts.attr.sent), counts and tonumber(counts.attr.received);
	local line = room.fmuc.line;
	if not sent or not received then return nil; end
	line.counts = true;
	return sent == line.received and received == asked.sent;
end

-- What to do with the answer, by the kind of the question
local handlers = {};

-- nothing had been heard for long
function handlers.silence(room, asked, answer)
	local complete = take_counts(room, asked, answer);
	local line = room.fmuc.line;
	-- The mirror may not be in the room any more. Some masters say so in any case.
	local refuses, refused = select(2, answer:get_error()) == "not-acceptable", line.refused;
	line.refused = refuses;
	if complete then
		parts.outbox.settle(room.jid);
	elseif complete == false or line.counts or refuses and not refused then
		parts.outage.lost(room, "something did not arrive", true);
	else
		line.counts = false;
	end
end

-- is anything missing after what happened to the connection?
function handlers.probe(room, asked, answer)
	if take_counts(room, asked, answer) then
		parts.outbox.settle(room.jid);
		parts.outage.over(room);
		return parts.resync.continue(room);
	end
	if room.fmuc.line.counts == nil then room.fmuc.line.counts = false; end
	room.fmuc.line.must_join = true;
	parts.resync.begin(room);
end

-- is that all of the dump?
function handlers.dump(room)
	parts.resync.dumped(room);
end

-- is there more in the archive?
function handlers.archive(room, _, answer)
	parts.backfill.answered(room, answer);
end

-- is that all for the first user?
function handlers.greeting(room, asked, answer)
	parts.greeting.complete(room, take_counts(room, asked, answer) == false);
end

-- failed(room, id): the question with that id could not be delivered
function probe.failed(room, id)
	local line = room.fmuc.line;
	if not line.asked or line.asked.id ~= id then return; end
	local kind = line.asked.kind;
	line.asked = nil;
	if line.phase ~= "live" then
		parts.outage.retry(room);
	elseif kind == "silence" then
		parts.outage.lost(room, "no way there");
	end
end

-- handle_answer(event): an IQ to the room has come
function probe.handle_answer(event)
	local stanza = event.stanza;
	local id, type = stanza.attr.id, stanza.attr.type;
	if type ~= "result" and type ~= "error" or id:sub(1, #id_prefix) ~= id_prefix then return; end
	local room = parts.mirrored.get(stanza.attr.to);
	local asked = room and room.fmuc.line.asked;
	if not asked or asked.id ~= id and asked.check ~= id or stanza.attr.from ~= room.fmuc.master then return true; end
	if is_undeliverable(event) then
		probe.failed(room, id);
		return true;
	end
	parts.outage.heard(room, stanza);
	if asked.check == id then
		unanswered[asked.kind](room);
		return true;
	end
	room.fmuc.line.asked = nil;
	handlers[asked.kind](room, asked, stanza);
	return true;
end

-- handle_ping(event): the master asks whether the mirror is there (G7)
function probe.handle_ping(event)
	local stanza = event.stanza;
	local room = parts.mirrored.get(stanza.attr.to);
	if not parts.former.is_known(stanza.attr.to) and (not room or stanza.attr.from ~= room.fmuc.master) then return; end
	module:send(st.reply(stanza));
	return true;
end

-- shared: the mirror's parts by name, filled before anything happens
return function (shared)
	parts = shared;
	return probe;
end;
