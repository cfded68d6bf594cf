-- SPDX-License-Identifier: MIT
-- The differences between Prosody 0.12 and 13.0 that the modules meet, in one place.

local compat = {};

-- on_started(module, callback): calls back once the server has started and all its hosts are active; at once when that is the case already.
function compat.on_started(module, callback)
	if prosody.start_time then
		callback();
	else
		-- COMPAT w/0.12: module.ready and module:on_ready are new in 13.0; the event exists in both
		module:hook_global("server-started", callback);
	end
end

return compat;
