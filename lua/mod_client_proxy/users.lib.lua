-- SPDX-License-Identifier: MIT
-- Who wrote to the proxy of late, by translated address: the users that the implementing client may write to of its own accord
-- (X1, X3). A translated address alone says nothing: anybody can make up the plain form, and a handle leads back to nobody.
--
-- The cache holds the last to write first, so that the last in it is the first to expire: no timer, and each entry is dropped once.

local new_cache = require "util.cache".new;
local now = require "util.time".monotonic;

local users = {};
local users_mt = { __index = users };

-- new(size, ttl, encode, [saved]) -> users
--   size: at most so many, the last to write stay; ttl: seconds after which a user who wrote nothing is forgotten;
--   encode: of addresses.lib; saved: result of :save() of an earlier instance
local function new(size, ttl, encode, saved)
	local self = setmetatable({ ttl = ttl; encode = encode; recent = new_cache(size) }, users_mt);
	saved = saved or {};
	for i = #saved, 1, -1 do
		self.recent:set(saved[i].address, saved[i].user);
	end
	return self;
end

local function is_fresh(self, user)
	return user.seen + self.ttl > now();
end

local function expire(self)
	local address, user = self.recent:tail();
	while address and not is_fresh(self, user) do
		self.recent:set(address, nil);
		address, user = self.recent:tail();
	end
end

-- wrote(jid, to) -> user, translated address. To be called for every stanza that a user sends of their own accord.
--   jid: the user's; to: the address of the proxy they wrote to
-- A user is a table: jid; to: the address they last wrote to; seen: when. messages.lib keeps its fields in it, too.
function users:wrote(jid, to)
	local address = self.encode(jid);
	local user = self:at(address) or { jid = jid };
	user.to, user.seen = to, now();
	self.recent:set(address, user);
	expire(self);
	return user, address;
end

-- at(address) -> the user with that translated address; nil when they wrote nothing of late
function users:at(address)
	local user = self.recent:get(address);
	return user and is_fresh(self, user) and user or nil;
end

-- known(jid) -> user, translated address; nil when they wrote nothing of late
function users:known(jid)
	local address = self.encode(jid);
	return self:at(address), address;
end

-- save() -> plain table for module.save()
function users:save()
	local saved = {};
	for address, user in self.recent:items() do
		saved[#saved + 1] = { address = address; user = user };
	end
	return saved;
end

return { new = new };
