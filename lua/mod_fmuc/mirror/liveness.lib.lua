-- SPDX-License-Identifier: MIT
-- Questions that a mirrored room asks its master, one at a time (G7). Is the master there? Is the mirror in the room? Is anything missing? A master
-- of this module answers with its counts of stanzas (our extension). So a connection that broke without loss costs one small question and no
-- resync. When any answer arrives, everything that the master sent before has arrived too.

local is_undeliverable = require "prosody_relay.origin".is_undeliverable;
local new_id = require "util.id".medium;
local st = require "util.stanza";

local generation1 = lib "dialect/generation1";
local mirrored = lib "mirror/room";
local restart = lib "mirror/restart";

local id_prefix = "fmuc-ping-";

local liveness = {};

-- [kind of question] = its handlers, see on()
local kinds = {};

-- on(kind, { answered, failed, unanswered }): for questions of this kind, each a function or nil
--   answered(room, asked, answer)   the master has answered; asked: see link/link
--   failed(room)                    this server could not deliver the question
--   unanswered(room)                the master has answered a later question, so it will not answer this one. Without this function, the question
--                                   is repeated after a silence.
function liveness.on(kind, handlers)
	kinds[kind] = handlers;
end

-- new_id() -> id for an IQ, by which its answer is recognised
function liveness.new_id()
	return id_prefix .. new_id();
end

local function new_ping(room, received)
	return generation1.ping(room.jid, room.fmuc.authority.peer, liveness.new_id(), received);
end

-- ping(room, kind): asks one question for the whole mirror (G7). When any answer arrives, everything that the master sent before has arrived. After
-- a broken connection the question contains the count of received stanzas (our extension). So the master also learns whether anything is missing.
function liveness.ping(room, kind)
	local authority = room.fmuc.authority;
	authority:ask(kind, new_ping(room, kind == "probe" and authority.received or nil));
end

-- repeat_question(room): neither an answer nor an error has come. The question may be lost, or the link may need more time. The mirror asks the
-- same question again and waits longer, so the answer to either copy counts.
function liveness.repeat_question(room)
	local authority = room.fmuc.authority;
	if authority.asked.kind == "join" then authority:restart_count(0); end
	authority:ask_again();
end

-- check(room): the master sends stanzas but has not answered the question. Sends a ping: servers answer in order, so when the pong arrives, the
-- question will never be answered.
function liveness.check(room)
	local authority = room.fmuc.authority;
	if kinds[authority.asked.kind].unanswered then authority:check(new_ping(room)); end
end

-- is_complete(room, asked, answer) -> whether nothing is missing, by the counts in the answer; nil when it has none
function liveness.is_complete(room, asked, answer)
	local sent, received = generation1.read_pong(answer);
	local authority = room.fmuc.authority;
	if not sent then return nil; end
	authority:learn_counting(true);
	return sent == authority.received and received == asked.sent;
end

-- failed(room, id): the question with this id could not be delivered
function liveness.failed(room, id)
	local authority = room.fmuc.authority;
	if not authority.asked or authority.asked.id ~= id then return; end
	local failed = kinds[authority:answered().kind].failed;
	if failed then failed(room); end
end

-- handle_answer(event): an IQ to the room has come
function liveness.handle_answer(event)
	local stanza = event.stanza;
	local id, type = stanza.attr.id, stanza.attr.type;
	if type ~= "result" and type ~= "error" or id:sub(1, #id_prefix) ~= id_prefix then return; end
	local room = mirrored.get(stanza.attr.to);
	local authority = room and room.fmuc.authority;
	local asked = authority and authority.asked;
	if not asked or asked.id ~= id and asked.check ~= id or stanza.attr.from ~= authority.peer then return true; end
	if is_undeliverable(event) then
		liveness.failed(room, id);
		return true;
	end
	authority:hear();
	if asked.check == id then
		kinds[asked.kind].unanswered(room);
		return true;
	end
	authority:answered();
	kinds[asked.kind].answered(room, asked, stanza);
	return true;
end

-- handle_ping(event): the master asks whether the mirror is there (G7)
function liveness.handle_ping(event)
	local stanza = event.stanza;
	local room = mirrored.get(stanza.attr.to);
	if not restart.is_known(stanza.attr.to) and (not room or stanza.attr.from ~= room.fmuc.authority.peer) then return; end
	module:send(st.reply(stanza));
	return true;
end

return liveness;
