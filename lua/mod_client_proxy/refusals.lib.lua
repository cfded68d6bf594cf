-- SPDX-License-Identifier: MIT
-- Results and errors that answer no request in flight: forged, late, or sent twice (P10). They are dropped, and counted by reason.
-- Only this file looks up the reason, so good replies pay nothing for it.

local refusals = {};
local refusals_mt = { __index = refusals };

-- new(pool, requests, addresses, [users], metrics) -> refusals
--   users: of users.lib when the implementing client can send them requests; the other parts are those of the libs of these names
local function new(pool, requests, addresses, users, metrics)
	return setmetatable({ pool = pool; requests = requests; addresses = addresses; users = users; metrics = metrics }, refusals_mt);
end

local function is_of_other(self, stanza)
	for jid in self.pool:each() do
		if self.requests:is_asked(jid, stanza) then return true; end
	end
	return false;
end

-- Requests to a user come from the address the user last wrote to.
local function is_of_user(self, attr)
	local user = self.users and self.users:known(attr.from);
	return user and user.to == attr.to;
end

local function reason_for(self, stanza)
	local attr = stanza.attr;
	if not self.pool:has(attr.from) then return is_of_user(self, attr) and "not-asked" or "third-party"; end
	if is_of_other(self, stanza) then return "other-resource"; end
	if self.requests:is_repeated(stanza) then return "duplicate"; end
	return self.addresses.is_given(attr.to) and "stale-token" or "unknown-token";
end

-- count(stanza): a result or error with an id that answers no request
function refusals:count(stanza)
	local attr, reason = stanza.attr, reason_for(self, stanza);
	self.metrics:refused(reason);
	module:log("debug", "Refused reply from %s to %s, id %s: %s", attr.from, attr.to, attr.id, reason);
end

return { new = new };
