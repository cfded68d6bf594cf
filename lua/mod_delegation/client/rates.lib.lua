-- SPDX-License-Identifier: MIT
-- How often users may be asked (C8). What counts is how often somebody asked about somebody, not what came of it: so the limits say nothing
-- about accounts and who is online (D32, C2).

local cache = require "util.cache";
local new_throttle = require "util.throttle".create;
local sha1 = require "util.hashes".sha1;

local family_of = require "prosody_relay.shares".family_of;
local new_shares = require "prosody_relay.shares".new;
local pending = require "prosody_relay.pending";

-- How often an asker may ask anybody: { kind, at once, seconds in which that many are allowed }. Whoever is stopped by one leaves no trace in
-- those behind it.
local limits = {
	{ "domain", 120, 60 }; -- all accounts of a domain
	{ "entity", 60, 60 };  -- all resources of an account
};
-- How many of each kind are remembered. Beyond that the one that asked longest ago is forgotten, and may start anew, which the minute would
-- have let it do as well.
local max_known = 5000;

local hour = 3600;
-- How often a user may be asked in an hour, and all together. A domain may use as much of either as it leaves to others (E5).
local max_of_user, max_of_all = 40, 20000;

local rates = {};
local rates_mt = { __index = rates };

-- Of the same length for names of any length
local function key_of(name)
	return sha1(name, true);
end

-- The same for a domain, as one that prosody_relay.shares puts into the same family as its siblings
local function key_of_domain(domain)
	local family = family_of(domain);
	local key = key_of(family)..".x";
	return domain == family and key or key_of(domain).."."..key;
end

-- new(module) -> rates
local function new(module)
	local self = setmetatable({ of_all = new_shares(max_of_all); of_user = {}; serial = 0 }, rates_mt);
	for _, limit in ipairs(limits) do self[limit[1]] = cache.new(max_known); end
	-- each time that somebody asked in the last hour
	self.asked = pending.new(module, function (_, record)
		self.of_all:give(record.domain);
		local of_user = self.of_user[record.user];
		of_user:give(record.domain);
		if of_user.used == 0 then self.of_user[record.user] = nil; end
	end);
	return self;
end

-- allow(entity, domain, user) -> boolean: whether this one may ask, which then counts
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
		-- what is refused here must not use up the limits of others
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
