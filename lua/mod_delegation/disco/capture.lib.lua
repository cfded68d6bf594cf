-- SPDX-License-Identifier: MIT
-- What the server would answer: runs the handlers of an event, but keeps the answer they give instead of sending it.

-- capture(handlers, event_name, event) -> result of the handlers, their answer (a stanza) or nil
--   handlers: as given to an event wrapper, or anything that is called like it. Only the first answer is kept; others, and an answer
--   that comes after the handlers have returned, go to the asker directly.
return function (handlers, event_name, event)
	local origin, answer, running = event.origin, nil, true;
	local asker = setmetatable({
		send = function (stanza)
			if running and not answer then
				answer = stanza;
				return true;
			end
			return origin.send(stanza);
		end;
	}, { __index = origin; __newindex = origin });
	local copy = {};
	for key, value in pairs(event) do copy[key] = value; end
	copy.origin = asker;
	local handled = handlers(event_name, copy);
	running = false;
	return handled, answer;
end
