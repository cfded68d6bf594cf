-- SPDX-License-Identifier: MIT
-- Requests in order (XEP-0355 section 11.3, D31): after a forwarded request, its stream waits for the answer. The deadline of
-- the request limits that time. Prosody handles the stanzas of a stream in a coroutine, which may wait. Meanwhile Prosody does not read from
-- this connection. All other connections go on.

local async = require "util.async";
local now = require "util.time".monotonic;

-- Many users share the stream of another server. Requests of one of them may not stop it for longer than one deadline in so many seconds.
local period = 60;
-- stream -> { began, spent }: seconds that it has waited in this period
local waits = setmetatable({}, { __mode = "k" });

local function waits_of(origin)
	local record = waits[origin];
	if not record or now() - record.began >= period then
		record = { began = now(); spent = 0 };
		waits[origin] = record;
	end
	return record;
end

-- Whether an entity sends its answers over this stream. Such an answer, to this or another request, would wait behind the request.
local function carries_answers(origin, entities)
	for _, managing in pairs(entities) do
		if managing.address and managing.address == origin.full_jid then return true; end
		if origin.hosts and origin.hosts[managing.host] then return true; end
	end
	return false;
end

-- waiter(origin, entities, timeout) -> wait, done; or nil for a sender that cannot wait, such as a component or a module, or waits no more for now
--   wait(): returns after done() was called; call it while a stanza of origin is processed. timeout: seconds, of the request
local function waiter(origin, entities, timeout)
	if not origin.thread or not async.ready() or carries_answers(origin, entities) then return nil; end
	if origin.type == "c2s" then return async.waiter(); end
	if waits_of(origin).spent >= timeout then return nil; end
	local wait, done = async.waiter();
	return function ()
		local began = now();
		wait();
		local record = waits_of(origin);
		record.spent = record.spent + now() - began;
	end, done;
end

return { waiter = waiter };
