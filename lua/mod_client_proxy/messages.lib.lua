-- SPDX-License-Identifier: MIT
-- Messages between users and the implementing client, with translated addresses (X1). Each user has a partner: the resource the user
-- talks to, as long as it is there. Ids and payloads are not changed, so receipts, chat states and corrections work.

local errors = module:require "errors";
local jid_bare = require "util.jid".bare;
local readdress = module:require "addresses".readdress;

local messages = {};
local messages_mt = { __index = messages };

-- reason: for the metrics; name: of errors.lib, nil for an error, which is not answered
local function refuse(self, event, reason, name)
	self.metrics:message_refused(reason);
	local type = event.stanza.attr.type;
	-- RFC 6121 section 8.5.2.2: a headline gets no error when nobody is online
	if type ~= "error" and not (type == "headline" and reason == "no-resource") then
		errors.answer(event, name);
	end
	return true;
end

-- new(users, pool, metrics) -> messages; the parts are those of the libs of these names
local function new(users, pool, metrics)
	return setmetatable({ users = users; pool = pool; metrics = metrics }, messages_mt);
end

local function pass(self, direction, ...)
	self.metrics:message_passed(direction);
	module:send(readdress(...));
	return true;
end

-- An error goes to the partner, who wrote the last message. The partner may have left the pool.
local function error_from_user(self, event)
	local stanza = event.stanza;
	local user, address = self.users:known(stanza.attr.from);
	if not (user and user.partner) then return refuse(self, event, "no-resource"); end
	return pass(self, "to-client", stanza, address, user.partner, stanza.attr.id);
end

-- from_user(event): a message from anybody to the proxy; handled in any case
function messages:from_user(event)
	local stanza = event.stanza;
	local attr = stanza.attr;
	if attr.type == "error" then return error_from_user(self, event); end
	if attr.type == "groupchat" then
		-- RFC 6121 section 8.5.2: the condition for a recipient that is no room
		return refuse(self, event, "groupchat", "service-is-no-room");
	end
	local user, address = self.users:wrote(attr.from, attr.to);
	user.writes_to = attr.to;
	-- a resource that gets no requests gets no messages either
	if not self.pool:is_preferred(user.partner) then user.partner = self.pool:pick(jid_bare(attr.from), attr.from); end
	if not user.partner then
		return refuse(self, event, "no-resource", "no-client-online");
	end
	return pass(self, "to-client", stanza, address, user.partner, attr.id);
end

-- from_client(event): a message from a resource of a target account to a translated address; handled in any case
-- The user's answers go to the resource that wrote last: another resource cannot use a receipt or an error.
function messages:from_client(event)
	local stanza = event.stanza;
	local attr = stanza.attr;
	local user = self.users:at(attr.to);
	if not user then
		return refuse(self, event, "unknown-user", "user-unknown");
	end
	if attr.type == "groupchat" then return refuse(self, event, "groupchat", "user-is-no-room"); end
	if attr.type ~= "error" then user.partner = attr.from; end
	-- to a user who has sent requests only, from the address of the last request
	return pass(self, "to-user", stanza, user.writes_to or user.to, user.jid, attr.id);
end

return { new = new };
