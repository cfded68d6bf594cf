-- SPDX-License-Identifier: MIT
-- How often users may be asked (C8). Every request about a user counts, with any outcome. So the limits do not reveal which accounts exist, or
-- who is online (D32, C2).

local cache = require "util.cache";
local new_throttle = require "util.throttle".create;
local sha1 = require "util.hashes".sha1;

local family_of = require "prosody_relay.shares".family_of;
local new_shares = require "prosody_relay.shares".new;
local pending = require "prosody_relay.pending";

-- How often an asker may ask: { kind, at once, seconds in which that many are allowed }. A request that one limit stops does not count for the
-- limits after it.
local limits = {
	{ "domain", 120, 60 }; -- all accounts of a domain
	{ "entity", 60, 60 };  -- all resources of an account
};
-- How many askers of each kind are remembered. Above that, the asker that asked longest ago is forgotten, and may start again. After a minute
-- it could do that anyway.
local max_known = 5000;

local hour = 3600;
-- How often in an hour a user may be asked, and all users together. A domain may use as much of each as it leaves to others (E5).
local max_of_user, max_of_all = 40, 20000;

local rates = {};
local rates_mt = { __index = rates };

-- Of the same length for names of any length
local function key_of(name)
	return sha1(name, true);
end

-- The same for a domain; prosody_relay.shares must put the result into the same family as the domain's siblings
local function key_of_domain(domain)
	local family = family_of(domain);
	local key = key_of(family)..".x";
	return domain == family and key or key_of(domain).."."..key;
end

-- new(module) -> rates
local function new(module)
	local self = setmetatable({ of_all = new_shares(max_of_all); of_user = {}; serial = 0 }, rates_mt);
	for _, limit in ipairs(limits) do self[limit[1]] = cache.new(max_known); end
	-- the requests of the last hour
	self.asked = pending.new(module, function (_, record)
		self.of_all:give(record.domain);
		local of_user = self.of_user[record.user];
		of_user:give(record.domain);
		if of_user.used == 0 then self.of_user[record.user] = nil; end
	end);
	return self;
end

-- allow(entity, domain, user) -> boolean: whether the entity may ask; if so, the request is counted
--   entity: bare JID of the asker; domain: its domain; user: name of the account
function rates:allow(entity, domain, user)
	local names, throttles = { domain = key_of_domain(domain), entity = key_of(entity) }, {};
	for i, limit in ipairs(limits) do
		local kind = limit[1];
		local throttle = self[kind]:get(names[kind]);
		if not throttle then
			throttle = new_throttle(limit[2], limit[3]);
			self[kind]:set(names[kind], throttle);
		end
		-- a request that is refused here must not count for the other limits
		if not throttle:peek(1) then return false; end
		throttles[i] = throttle;
	end
	local record = { user = key_of(user); domain = names.domain };
	local of_user = self.of_user[record.user] or new_shares(max_of_user);
	if of_user:refusal(record.domain) or self.of_all:refusal(record.domain) then return false; end
	for _, throttle in ipairs(throttles) do throttle:poll(1); end
	of_user:hold(record.domain);
	self.of_all:hold(record.domain);
	self.of_user[record.user] = of_user;
	self.serial = self.serial + 1;
	self.asked:add(self.serial, record, hour);
	return true;
end

return { new = new };
