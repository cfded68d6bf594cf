-- SPDX-License-Identifier: MIT
-- Questions: IQ requests that a module sends itself, each with one answer (requirement G13). A question is open until its answer comes, or
-- until its deadline. Only the entity that was asked may answer, and only to the address that asked.
--
-- A record says what a question is about. It is a table of plain data, so open questions outlive a reload.

local new_id = require "util.id".medium;
local new_pending = require "prosody_relay.pending".new;
local st = require "util.stanza";

local questions = {};
local questions_mt = { __index = questions };

-- new(module, on_silence, [saved]) -> questions, none open but for the saved ones
--   module: the Prosody module that asks
--   on_silence(record): no answer came in time; the question is not open any more
--   saved: result of :save() of an earlier instance, across a module reload
local function new(module, on_silence, saved)
	return setmetatable({ module = module; open = new_pending(module, function (_, record) on_silence(record); end, saved) }, questions_mt);
end

-- get(from, to) -> IQ of type get without a payload, for ask(), which gives it an id
local function get(from, to)
	return st.iq({ type = "get"; from = from; to = to; id = "" });
end

-- ask(iq, record, timeout): sends the question. iq: of type get or set, with `from` and `to`; it gets an id. timeout: seconds. The fields own,
-- peer (the addresses that ask and are asked) and question_id of the record are set here. The answer may come before this function returns.
function questions:ask(iq, record, timeout)
	local id = new_id();
	iq.attr.id = id;
	record.own, record.peer, record.question_id = iq.attr.from, iq.attr.to, id;
	self.open:add(id, record, timeout);
	self.module:send(iq);
end

-- take(stanza) -> record of the open question that the IQ answers; the question is not open any more. Or nil
function questions:take(stanza)
	local attr = stanza.attr;
	if attr.type ~= "result" and attr.type ~= "error" then return nil; end
	local record = self.open:get(attr.id);
	if not record or record.peer ~= attr.from or record.own ~= attr.to then return nil; end
	return self.open:remove(attr.id);
end

-- withdraw(record): nobody wants the answer any more
function questions:withdraw(record)
	self.open:remove(record.question_id);
end

-- each() -> iterator of id, record; questions may be withdrawn while iterating, not asked
function questions:each()
	return self.open:each();
end

-- count() -> number of open questions
function questions:count()
	return self.open:count();
end

-- save() -> plain table for module.save()
function questions:save()
	return self.open:save();
end

return { new = new; get = get };
