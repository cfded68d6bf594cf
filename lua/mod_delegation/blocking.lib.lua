-- SPDX-License-Identifier: MIT
-- Requests in order (XEP-0355 section 11.3, D31): after a forwarded request, its stream waits for the answer. The deadline of
-- the request limits that time. Prosody handles the stanzas of a stream in a coroutine, which may wait. Meanwhile Prosody does not read from
-- this connection. All other connections go on.

local async = require "util.async";

-- Whether an entity sends its answers over this stream. Such an answer, to this or another request, would wait behind the request.
local function carries_answers(origin, entities)
	for _, managing in pairs(entities) do
		if managing.address and managing.address == origin.full_jid then return true; end
		if origin.hosts and origin.hosts[managing.host] then return true; end
	end
	return false;
end

-- waiter(origin, entities) -> wait, done; or nil for a sender that cannot wait, such as a component or a module
--   wait(): returns after done() was called; call it while a stanza of origin is processed
local function waiter(origin, entities)
	if not origin.thread or not async.ready() or carries_answers(origin, entities) then return nil; end
	return async.waiter();
end

return { waiter = waiter };
