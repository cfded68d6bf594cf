-- SPDX-License-Identifier: MIT
-- IQ requests that this module sends for somebody else. Each ends once: with its answer, or with none at its deadline (G13).
--
-- What is to be done with the answer is a record and the name of its kind, not a function, so that requests outlive a reload.

local compat = require "prosody_relay.compat";
local origin = require "prosody_relay.origin";
local pending = require "prosody_relay.pending";
local shares = require "prosody_relay.shares";
local new_id = require "util.id".medium;
local st = require "util.stanza";

-- How many requests may be on their way, by who was asked, and how many users may wait for answers, by who waits. A peer that never answers,
-- or a user who asks too much, keeps nobody else from asking. What the service asks of its own accord, before somebody may join, takes no
-- user's share, and users leave half of the requests to it.
local max_outstanding, max_waiting, max_of_one_user = 4000, 2000, 100;

local id_prefix = "fmuc-iq-";

local requests = {};
local handlers = {};

local by_peer, by_user = shares.new(max_outstanding), shares.new(max_waiting, max_of_one_user);

-- [kind and peer] = the latest such request
local latest = {};

local function key_of(kind, peer)
	return kind .. "\0" .. peer;
end

local function count(record)
	by_peer:hold(record.peer);
	for _, user in ipairs(record.users) do by_user:hold(user); end
	latest[key_of(record.kind, record.peer)] = record;
end

local function finish(record, ...)
	local key = key_of(record.kind, record.peer);
	by_peer:give(record.peer);
	for _, user in ipairs(record.users) do by_user:give(user); end
	if latest[key] == record then latest[key] = nil; end
	handlers[record.kind](record, ...);
end

local table_of_requests = pending.new(module, function (_, record) finish(record, nil); end, module.saved_state and module.saved_state.requests);
for _, record in table_of_requests:each() do count(record); end

-- on(kind, handler): handler(record, answer, is_undeliverable) is called for each request of that kind; answer: stanza of type result or
-- error from the entity that was asked, or nil when there was none in time; is_undeliverable: the error is this server's own, and says why
function requests.on(kind, handler)
	handlers[kind] = handler;
end

-- get(from, to) -> IQ of type get, for send()
function requests.get(from, to)
	return st.iq({ type = "get"; from = from; to = to; id = id_prefix .. new_id() });
end

-- send(kind, iq, record, timeout) -> true; or nil when too many are on their way. iq: stanza with `from` and `to`, its id is replaced;
-- record: table, what the handler needs; its fields kind, own, peer and users are ours, user or asker (JIDs) is
-- for whom it is, if for anybody
function requests.send(kind, iq, record, timeout)
	local user = record.user or record.asker;
	if by_peer:refusal(iq.attr.to) or user and by_user:refusal(user) then return nil; end
	record.kind, record.own, record.peer, record.users = kind, iq.attr.from, iq.attr.to, { user };
	count(record);
	iq.attr.id = id_prefix .. new_id();
	table_of_requests:add(iq.attr.id, record, timeout);
	module:send(iq);
	return true;
end

-- find(kind, peer) -> the record of the latest request of that kind to that peer, while it has no answer; or nil
function requests.find(kind, peer)
	return latest[key_of(kind, peer)];
end

-- wait(record, user) -> true, and one more user (JID) waits for the answer to that request; or nil when that user waits for too many
function requests.wait(record, user)
	if not by_user:take(user) then return nil; end
	table.insert(record.users, user);
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
		finish(table_of_requests:remove(id), nil);
	end
end
-- after the role has told its users of the end, while the streams to users and other servers still stand
compat.on_stopping(module, requests.close, -1);

-- save() -> for the saved_state.requests of the next instance
function requests.save()
	return table_of_requests:save();
end

-- handle_answer(event): an IQ to a room or an occupant has come
function requests.handle_answer(event)
	local stanza = event.stanza;
	if stanza.attr.type ~= "result" and stanza.attr.type ~= "error" then return; end
	local record = table_of_requests:get(stanza.attr.id);
	-- nobody answers for somebody else
	if not record or record.peer ~= stanza.attr.from or record.own ~= stanza.attr.to then return; end
	table_of_requests:remove(stanza.attr.id);
	finish(record, origin.explained(event), origin.is_undeliverable(event));
	return true;
end

return requests;
