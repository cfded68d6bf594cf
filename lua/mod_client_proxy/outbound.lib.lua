-- SPDX-License-Identifier: MIT
-- Requests of the implementing client to users (X3). A request comes from the address that the user wrote to, with a fresh id: no request
-- in the other direction has it. One answer comes back: from that user to that address, or an error of this module.

local errors = module:require "errors";
local new_pending = require "prosody_relay.pending".new;
local new_id = require "util.id".medium;
local new_shares = require "prosody_relay.shares".new;
local readdress = module:require "addresses".readdress;
local st = require "util.stanza";

-- for the ids of the implementing client
local most_bytes = 4 * 1024 * 1024;

local outbound = {};
local outbound_mt = { __index = outbound };

-- from, to and id of the answer; NUL occurs in no XML
local function key_of(user, asked_from, id)
	return user .. "\0" .. asked_from .. "\0" .. id;
end

-- name: of errors.lib
local function fail(self, record, name)
	local request = st.iq({ type = "get"; from = record.asker; to = record.address; id = record.id });
	self.metrics:outbound_failed(errors.error(name).condition);
	errors.refuse(request, name);
end

-- new(users, dialogues, settings, metrics, [saved]) -> outbound
--   users, dialogues: of the libs of these names; settings: of settings.lib, for the deadlines and how many can be in flight;
--   saved: result of :save() of an earlier instance
local function new(users, dialogues, settings, metrics, saved)
	local self = setmetatable({
		users = users; dialogues = dialogues; settings = settings; metrics = metrics; bytes = new_shares(most_bytes);
	}, outbound_mt);
	self.pending = new_pending(module, function (_, record)
		self.bytes:give(record.asker, #record.id);
		metrics:outbound_timed_out();
		fail(self, record, "user-silent");
	end, saved);
	for _, record in self.pending:each() do self.bytes:hold(record.asker, #record.id); end
	return self;
end

local function take(self, key)
	local record = self.pending:remove(key);
	if record then self.bytes:give(record.asker, #record.id); end
	return record;
end

local function refuse(self, event, name)
	self.metrics:outbound_refused(errors.error(name).condition);
	return errors.answer(event, name);
end

-- ask(event): a well-formed get or set from a resource of a target account to a translated address; handled in any case
function outbound:ask(event)
	local stanza, settings = event.stanza, self.settings;
	local attr = stanza.attr;
	local user = self.users:at(attr.to);
	if not user then return refuse(self, event, "user-unknown"); end
	if self.pending:count() >= settings.max_pending or not self.bytes:take(attr.from, #attr.id) then
		return refuse(self, event, "too-many-requests-to-users");
	end
	local id = new_id();
	local record = { asker = attr.from; address = attr.to; id = attr.id };
	local timeout = settings.timeouts[stanza.tags[1].attr.xmlns] or settings.timeout;
	self.pending:add(key_of(user.jid, user.to, id), record, timeout);
	self.dialogues:bind(user.jid, stanza.tags[1], attr.from);
	self.metrics:outbound_sent();
	module:send(readdress(stanza, user.to, user.jid, id));
	return true;
end

-- answer(stanza) -> true when the result or error with an id was the user's answer to a request, and was sent on
function outbound:answer(stanza)
	local attr = stanza.attr;
	local record = take(self, key_of(attr.from, attr.to, attr.id));
	if not record then return false; end
	if attr.type == "error" then
		self.metrics:outbound_failed((select(2, stanza:get_error())));
	else
		self.metrics:outbound_answered();
	end
	module:send(readdress(stanza, record.address, record.asker, record.id));
	return true;
end

-- shut_down(): answers everything in flight
function outbound:shut_down()
	local records = {};
	for key in self.pending:each() do
		records[#records + 1] = take(self, key);
	end
	for _, record in ipairs(records) do
		fail(self, record, "shutting-down");
	end
end

-- save() -> plain table for module.save()
function outbound:save()
	return self.pending:save();
end

return { new = new };
