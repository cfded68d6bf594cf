-- SPDX-License-Identifier: MIT
-- IQ requests that this module sends for somebody else. Each ends once: with its answer, or with none at its deadline (G13).
--
-- What is to be done with the answer is a record and the name of its kind, not a function, so that requests outlive a reload.

local compat = require "prosody_relay.compat";
local origin = require "prosody_relay.origin";
local pending = require "prosody_relay.pending";
local jid_bare = require "util.jid".bare;
local new_id = require "util.id".medium;
local st = require "util.stanza";

-- A request is at most this much, so that a peer who never answers cannot fill the memory
local max_outstanding, max_of_one_user = 1000, 300;

local id_prefix = "fmuc-iq-";

local requests = {};
local handlers = {};

local table_of_requests = pending.new(module, function (_, record)
	handlers[record.kind](record, nil);
end, module.saved_state and module.saved_state.requests);

-- on(kind, handler): handler(record, answer, is_undeliverable) is called for each request of that kind; answer: stanza of type result or
-- error from the entity that was asked, or nil when there was none in time; is_undeliverable: the error is this server's own, and says why
function requests.on(kind, handler)
	handlers[kind] = handler;
end

-- get(from, to) -> IQ of type get, for send()
function requests.get(from, to)
	return st.iq({ type = "get"; from = from; to = to; id = id_prefix .. new_id() });
end

-- How many requests are for that user, if they are many
local function count_for(user)
	if table_of_requests:count() < max_of_one_user then return 0; end
	local count = 0;
	for _, record in table_of_requests:each() do
		if record.asker and jid_bare(record.asker) == user then count = count + 1; end
	end
	return count;
end

-- send(kind, iq, record, timeout) -> true; or nil when too many are on their way. iq: stanza with `from` and `to`, its id is replaced;
-- record: table, what the handler needs; its fields kind, own and peer are ours, asker (JID) is the user for whom it is
function requests.send(kind, iq, record, timeout)
	if table_of_requests:count() >= max_outstanding then return nil; end
	if record.asker and count_for(jid_bare(record.asker)) >= max_of_one_user then return nil; end
	record.kind, record.own, record.peer = kind, iq.attr.from, iq.attr.to;
	iq.attr.id = id_prefix .. new_id();
	table_of_requests:add(iq.attr.id, record, timeout);
	module:send(iq);
	return true;
end

-- each() -> iterator of id, record
function requests.each()
	return table_of_requests:each();
end

-- close(): no answer can come any more
function requests.close()
	local outstanding = {};
	for id in table_of_requests:each() do outstanding[#outstanding + 1] = id; end
	for _, id in ipairs(outstanding) do
		local record = table_of_requests:remove(id);
		handlers[record.kind](record, nil);
	end
end
-- after the role has told its users of the end, while the streams to users and other servers still stand
compat.on_stopping(module, requests.close, -1);

-- save() -> for the saved_state.requests of the next instance
function requests.save()
	return table_of_requests:save();
end

local function handle_answer(event)
	local stanza = event.stanza;
	if stanza.attr.type ~= "result" and stanza.attr.type ~= "error" then return; end
	local record = table_of_requests:get(stanza.attr.id);
	-- nobody answers for somebody else
	if not record or record.peer ~= stanza.attr.from or record.own ~= stanza.attr.to then return; end
	table_of_requests:remove(stanza.attr.id);
	handlers[record.kind](record, origin.explained(event), origin.is_undeliverable(event));
	return true;
end
module:hook("iq/bare", handle_answer, 10); -- ahead of those who route IQ of rooms and occupants
module:hook("iq/full", handle_answer, 10);

return requests;
