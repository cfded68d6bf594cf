-- SPDX-License-Identifier: MIT
-- How often users may be asked (C8). What counts is how often somebody asked about somebody, not what came of it: so the limits say nothing
-- about accounts and who is online (D32, C2).

local cache = require "util.cache";
local new_throttle = require "util.throttle".create;

local hour = 3600;
-- How many of each kind are remembered. Beyond that the one that asked, or was asked, longest ago is forgotten, and may start anew: nobody
-- can keep others from asking.
local max_known = 5000;

-- { kind, at once, seconds in which that many are allowed }. Whoever is stopped by one leaves no trace in those behind it.
local limits = {
	{ "domain", 120, 60 }; -- all accounts of a domain ask anybody
	{ "entity", 60, 60 };  -- an entity (all resources of an account) asks anybody
	{ "user", 40, hour };  -- anybody asks one user
	{ "pair", 20, hour };  -- an entity asks one user
};

local rates = {};
local rates_mt = { __index = rates };

-- new() -> rates
local function new()
	local self = setmetatable({}, rates_mt);
	for _, limit in ipairs(limits) do self[limit[1]] = cache.new(max_known); end
	return self;
end

-- allow(entity, domain, user) -> boolean: whether this one may ask, which then counts
--   entity: bare JID of the asker; domain: its domain; user: name of the account
function rates:allow(entity, domain, user)
	local names, throttles = { domain = domain, entity = entity, user = user, pair = entity.."\0"..user }, {};
	for i, limit in ipairs(limits) do
		local kind = limit[1];
		local throttle = self[kind]:get(names[kind]);
		if not throttle then
			throttle = new_throttle(limit[2], limit[3]);
			self[kind]:set(names[kind], throttle);
		end
		-- what is refused here must not use up the limits of others
		if not throttle:peek(1) then return false; end
		throttles[i] = throttle;
	end
	for _, throttle in ipairs(throttles) do throttle:poll(1); end
	return true;
end

return { new = new };
