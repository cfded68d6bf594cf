-- SPDX-License-Identifier: MIT
-- Which requests may be asked again after the stream of their resource broke. The request may have been the cause: an answer larger than
-- c2s_stanza_size_limit ends the stream of the client that sends it. So one request breaks two streams at most. If the same user soon sends
-- another such request, it breaks one (case C7).

local jid_bare = require "util.jid".bare;
local new_cache = require "prosody_relay.fair_cache".new;
local now = require "util.time".monotonic;

local most = 10000; -- users
local wary_time = 60; -- seconds
local one_break = 1; -- seconds in which all requests of a broken stream come back

local breaks = {};
local breaks_mt = { __index = breaks };

-- new() -> breaks
local function new()
	return setmetatable({ recent = new_cache(most, nil, wary_time) }, breaks_mt);
end

-- allows(record) -> whether a request (of requests.lib) whose resource has gone may be asked again
function breaks:allows(record)
	for _, reason in pairs(record.tried or {}) do
		if reason == "broken" then return false; end
	end
	local user = jid_bare(record.user);
	local last = self.recent:get(user);
	-- the same break also returned the user's other requests to this resource
	if last then return last.resource == record.resource and now() - last.at < one_break; end
	return self.recent:set(user, user, { resource = record.resource; at = now() });
end

return { new = new };
