-- SPDX-License-Identifier: MIT
-- Requests that a privileged entity sends in the name of a user (XEP-0356 section 7, D17). The module that allows this (mod_privilege)
-- takes the request out of its wrapper and routes it, now or later, as the user's own. If the namespace is delegated to this same entity, it
-- asks what the server makes of it, and must not get it back.

local cache = require "util.cache";

local privileged_iq = "urn:xmpp:privilege:2:privileged_iq";

-- Wrapped requests that have not been routed yet, user and id -> the entity. Those that mod_privilege refuses stay until newer ones take
-- their place; no user can send what they wait for, as the `from` of her own requests is a full JID.
local announced = cache.new(1000);
-- Routed ones -> the entity
local senders = setmetatable({}, { __mode = "k" });

local function key_of(user, id)
	return user.."\0"..id;
end

-- ahead of mod_privilege (0)
module:hook("iq/bare/"..privileged_iq, function (event)
	local outer = event.stanza;
	local wrapped = outer.tags[1].tags[1];
	if outer.attr.to and wrapped and wrapped.attr.id then announced:set(key_of(outer.attr.to, wrapped.attr.id), outer.attr.from); end
end, 10);

-- sender_of(stanza) -> the JID that a request really comes from: `from`, or the privileged entity
local function sender_of(stanza)
	local from = stanza.attr.from;
	if announced:count() > 0 and stanza.attr.id then
		local key = key_of(from, stanza.attr.id);
		local entity = announced:get(key);
		if entity then
			announced:set(key, nil);
			-- one request can be looked at more than once
			senders[stanza] = entity;
		end
	end
	return senders[stanza] or from;
end

return { sender_of = sender_of };
