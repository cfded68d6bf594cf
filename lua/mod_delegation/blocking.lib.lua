-- SPDX-License-Identifier: MIT
-- Requests in order (XEP-0355 section 11.3, D31): a stream whose request was forwarded is not processed further until that has been
-- answered, which the deadline of the request bounds. Prosody handles the stanzas of a stream in a coroutine that may wait; meanwhile it
-- does not read from the connection, and everything else goes on.

local async = require "util.async";

-- Whether the answer of one of the entities, to this or to another request, would come over this stream, and wait behind the request
local function carries_answers(origin, entities)
	for _, managing in pairs(entities) do
		if managing.address and managing.address == origin.full_jid then return true; end
		if origin.hosts and origin.hosts[managing.host] then return true; end
	end
	return false;
end

-- waiter(origin, entities) -> wait, done; or nil for a sender that cannot wait, such as a component or a module
--   wait(): returns after done() was called; to be called while a stanza of origin is processed
local function waiter(origin, entities)
	if not origin.thread or not async.ready() or carries_answers(origin, entities) then return nil; end
	return async.waiter();
end

return { waiter = waiter };
