-- SPDX-License-Identifier: MIT
-- Who wrote to the proxy of late, by translated address: the users that the implementing client may write to of its own accord
-- (X1, X3). A translated address alone says nothing: anybody can make up the plain form, and a handle leads back to nobody.
--
-- Bounded in bytes, each domain by a share of its own, of which one account may have a tenth of all.

local new_cache = require "prosody_relay.fair_cache".new;

local users = {};
local users_mt = { __index = users };

-- What a user takes besides the addresses: three tables and their places in others
local overhead = 1100; -- bytes

-- new(bytes, ttl, encode, [saved]) -> users
--   bytes: how much memory they may take, the last to write stay; ttl: seconds after which a user who wrote nothing is forgotten;
--   encode: of addresses.lib; saved: result of :save() of an earlier instance
local function new(bytes, ttl, encode, saved)
	return setmetatable({ encode = encode; recent = new_cache(bytes, bytes // 10, ttl):restore(saved) }, users_mt);
end

local function size_of(user, address)
	return overhead + #user.jid + #address + #user.to + #(user.writes_to or user.to) + #(user.partner or "");
end

-- wrote(jid, to) -> user, translated address. To be called for every stanza that a user sends of their own accord.
--   jid: the user's; to: the address of the proxy they wrote to
-- A user is a table: jid; to: the address they last wrote to. messages.lib keeps its fields in it, too.
function users:wrote(jid, to)
	local address = self.encode(jid);
	local user = self:at(address) or { jid = jid };
	user.to = to;
	self.recent:set(address, jid, user, size_of(user, address));
	return user, address;
end

-- at(address) -> the user with that translated address; nil when they wrote nothing of late
function users:at(address)
	return self.recent:get(address);
end

-- known(jid) -> user, translated address; nil when they wrote nothing of late
function users:known(jid)
	local address = self.encode(jid);
	return self:at(address), address;
end

-- save() -> plain table for module.save()
function users:save()
	return self.recent:save();
end

return { new = new };
