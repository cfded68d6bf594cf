-- SPDX-License-Identifier: MIT
-- How often users may be asked (C8). What counts is how often somebody asked about somebody, not what came of it: so the limits say nothing
-- about accounts and who is online (D32, C2).

local new_throttle = require "util.throttle".create;

local pending = require "prosody_relay.pending";

local hour = 3600;
-- Beyond this many askers and users within the hour nobody can ask
local max_total = 20000;

-- kind -> { at once, seconds in which that many are allowed }
local limits = {
	pair = { 20, hour };   -- an entity asks one user
	user = { 40, hour };   -- anybody asks one user
	entity = { 60, 60 };   -- an entity (all resources of an account) asks anybody
	domain = { 120, 60 };  -- all accounts of a domain ask anybody
};

local rates = {};
local rates_mt = { __index = rates };

-- new(module) -> rates
local function new(module)
	local self = setmetatable({}, rates_mt);
	-- an idle throttle is as good as a new one after its period
	self.throttles = pending.new(module, function (key, throttle)
		if not throttle:peek(throttle.max) then self.throttles:add(key, throttle, hour); end
	end);
	return self;
end

function rates:throttle(kind, name)
	local key = kind.."\0"..name;
	local throttle = self.throttles:get(key);
	if not throttle and self.throttles:count() < max_total then
		throttle = new_throttle(limits[kind][1], limits[kind][2]);
		self.throttles:add(key, throttle, hour);
	end
	return throttle;
end

-- allow(entity, domain, user) -> boolean: whether this one may ask, which then counts
--   entity: bare JID of the asker; domain: its domain; user: name of the account
function rates:allow(entity, domain, user)
	local throttles = {};
	for kind, name in pairs { pair = entity.."\0"..user, user = user, entity = entity, domain = domain } do
		local throttle = self:throttle(kind, name);
		-- what is refused here must not use up the limits of others
		if not throttle or not throttle:peek(1) then return false; end
		throttles[#throttles + 1] = throttle;
	end
	for _, throttle in ipairs(throttles) do throttle:poll(1); end
	return true;
end

return { new = new };
