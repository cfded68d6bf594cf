-- SPDX-License-Identifier: MIT
-- Sessions between a user and the implementing client. A session stays with its resource, whatever the strategy (case C9). Sessions are
-- the steps of a command (XEP-0050, attribute sessionid), and streams and calls (XEP-0047, XEP-0065, XEP-0166: attribute sid). Either side
-- names the session in the first element of a request or an answer.

local digest = require "util.hashes".sha1;
local new_cache = require "prosody_relay.fair_cache".new;

local most, most_of_user = 10000, 1000; -- sessions, of all users and of one
local lifetime = 3600; -- seconds without a request
local longest_key = 128; -- bytes of a key that is remembered as it is

local dialogues = {};
local dialogues_mt = { __index = dialogues };

-- new([saved]) -> dialogues; saved: result of :save() of an earlier instance
local function new(saved)
	return setmetatable({ recent = new_cache(most, most_of_user, lifetime):restore(saved) }, dialogues_mt);
end

-- nil when the element names no session
local function key_of(user, payload)
	local id = payload and (payload.attr.sessionid or payload.attr.sid);
	if not id then return nil; end
	local key = user .. "\0" .. id;
	return #key > longest_key and digest(key) or key;
end

-- bind(user, payload, resource): if the element names a session, it belongs to that resource from now on
--   user: full JID; payload: an element, or nil
function dialogues:bind(user, payload, resource)
	local key = key_of(user, payload);
	if not key then return; end
	local status = payload.attr.status;
	if status == "completed" or status == "canceled" then return self.recent:set(key, user, nil); end
	self.recent:set(key, user, resource);
end

-- resource(user, payload) -> full JID of the resource of the session that the element names; nil when it names none, or an unknown one
function dialogues:resource(user, payload)
	local key = key_of(user, payload);
	return key and self.recent:get(key);
end

-- save() -> plain table for module.save()
function dialogues:save()
	return self.recent:save();
end

return { new = new };
