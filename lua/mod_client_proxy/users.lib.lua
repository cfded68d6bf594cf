-- SPDX-License-Identifier: MIT
-- Users who wrote to the proxy recently, by translated address. The implementing client may write to them without being asked (X1, X3).
-- A translated address alone is not enough: anybody can make up the plain form, and a handle does not contain the JID.
--
-- The table is bounded in bytes. Each domain has a share, and one account may have a tenth of all.

local new_cache = require "prosody_relay.fair_cache".new;

local users = {};
local users_mt = { __index = users };

-- Memory of a user besides the addresses: three tables and their places in others
local overhead = 1100; -- bytes

-- new(bytes, ttl, encode, [saved]) -> users
--   bytes: how much memory they may take, the last users to write stay; ttl: seconds after which a silent user is forgotten;
--   encode: of addresses.lib; saved: result of :save() of an earlier instance
local function new(bytes, ttl, encode, saved)
	return setmetatable({ encode = encode; recent = new_cache(bytes, bytes // 10, ttl):restore(saved) }, users_mt);
end

local function size_of(user, address)
	return overhead + #user.jid + #address + #user.to + #(user.writes_to or user.to) + #(user.partner or "");
end

-- wrote(jid, to) -> user, translated address. To be called for every stanza of a user that is not an answer.
--   jid: the user's; to: the address of the proxy that the user wrote to
-- A user is a table: jid; to: the address that the user last wrote to. messages.lib keeps its fields in it, too.
function users:wrote(jid, to)
	local address = self.encode(jid);
	local user = self:at(address) or { jid = jid };
	user.to = to;
	self.recent:set(address, jid, user, size_of(user, address));
	return user, address;
end

-- at(address) -> the user with that translated address; nil for one who wrote nothing recently
function users:at(address)
	return self.recent:get(address);
end

-- known(jid) -> user, translated address; nil for a user who wrote nothing recently
function users:known(jid)
	local address = self.encode(jid);
	return self:at(address), address;
end

-- save() -> plain table for module.save()
function users:save()
	return self.recent:save();
end

return { new = new };
