-- SPDX-License-Identifier: MIT
-- Hooks the events of a role. Prosody calls handlers of equal priority in undefined order, so no event has two handlers of one priority.

local events = {};

-- hook_for_users(events_of_users, handler, priority): hooks these events on all hosts of this server that have users, also on hosts that come later
function events.hook_for_users(events_of_users, handler, priority)
	local function hook_host(name)
		if prosody.hosts[name].type ~= "local" then return; end
		for _, event in ipairs(events_of_users) do module:context(name):hook(event, handler, priority); end
	end
	for name in pairs(prosody.hosts) do hook_host(name); end
	module:hook_global("host-activated", hook_host);
end

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
