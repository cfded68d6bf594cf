-- SPDX-License-Identifier: MIT
-- IQ requests that this module sends for somebody else. Each request ends once: with its answer, or without one at its deadline (G13).
--
-- A record and the name of a kind say what to do with the answer. They replace a function, so requests outlive a reload.

local origin = require "prosody_relay.origin";
local questions = require "prosody_relay.questions";
local shares = require "prosody_relay.shares";

-- Limits for open requests, by the entity that was asked, and for waiting users. A peer that never answers, or a user who asks too much,
-- keeps nobody else from asking. Requests of the service itself, before a user may join, take no user's share. Users leave half of the
-- requests to the service.
local max_outstanding, max_waiting, max_of_one_user = 4000, 2000, 100;

local requests = {
	-- get(from, to) -> IQ of type get, for send()
	get = questions.get;
};
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

local open = questions.new(module, function (record) finish(record, nil); end, module.saved_state and module.saved_state.requests);
for _, record in open:each() do count(record); end

-- on(kind, handler): registers handler(record, answer, is_undeliverable) for each request of that kind. answer: stanza of type result or
-- error from the entity that was asked, or nil when none came in time. is_undeliverable: the error is this server's own, and gives the
-- reason
function requests.on(kind, handler)
	handlers[kind] = handler;
end

-- send(kind, iq, record, timeout) -> true; or nil when too many requests are open. iq: stanza with `from` and `to`; its id is replaced.
-- record: table with what the handler needs. Its fields kind, users, and those that questions:ask() sets are ours; user or asker: JID of the
-- user who waits, if any
function requests.send(kind, iq, record, timeout)
	local user = record.user or record.asker;
	if by_peer:refusal(iq.attr.to) or user and by_user:refusal(user) then return nil; end
	record.kind, record.peer, record.users = kind, iq.attr.to, { user };
	count(record);
	open:ask(iq, record, timeout);
	return true;
end

-- find(kind, peer) -> the record of the latest open request of that kind to that peer; or nil
function requests.find(kind, peer)
	return latest[key_of(kind, peer)];
end

-- wait(record, user) -> true: one more user (JID) waits for the answer to that request; nil: that user waits for too many
function requests.wait(record, user)
	if not by_user:take(user) then return nil; end
	table.insert(record.users, user);
	return true;
end

-- each() -> iterator of id, record
function requests.each()
	return open:each();
end

-- close(): ends all requests, as no answer can come any more
function requests.close()
	local outstanding = {};
	for _, record in open:each() do outstanding[#outstanding + 1] = record; end
	for _, record in ipairs(outstanding) do
		open:withdraw(record);
		finish(record, nil);
	end
end

-- save() -> data for saved_state.requests of the next instance
function requests.save()
	return open:save();
end

-- drop_without_id(event): drops an IQ without an id (RFC 6120 section 8.1.3), which nobody could answer. Prosody checks only those of its own
-- clients.
function requests.drop_without_id(event)
	if not event.stanza.attr.id then return true; end
end

-- handle_answer(event): handles an IQ to a room or an occupant, which may be an answer
function requests.handle_answer(event)
	local record = open:take(event.stanza);
	if not record then return; end
	finish(record, origin.explained(event), origin.is_undeliverable(event));
	return true;
end

return requests;
