-- SPDX-License-Identifier: MIT
-- Finds out what the server would answer: runs the handlers of an event, and returns their answer instead of sending it.

-- capture(handlers, event_name, event) -> result of the handlers, their answer (a stanza) or nil
--   handlers: as given to an event wrapper, or a function of the same form. Only the first answer is kept. Further answers, and
--   answers after the handlers have returned, are sent.
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
