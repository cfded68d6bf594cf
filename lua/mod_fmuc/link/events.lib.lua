-- SPDX-License-Identifier: MIT
-- Hooks the events of a role. Prosody calls handlers of equal priority in undefined order, so no event has two handlers of one priority.

local events = {};

-- hook(handlers): handlers[event] = list of { priority, handler }; false as the handler: not hooked
function events.hook(handlers)
	for event, list in pairs(handlers) do
		local known = {};
		for _, entry in ipairs(list) do
			local priority, handler = entry[1], entry[2];
			assert(not known[priority], event .. " has two handlers of one priority");
			known[priority] = true;
			if handler then module:hook(event, handler, priority); end
		end
	end
end

return events;
