-- SPDX-License-Identifier: MIT
-- Subscriptions of users to the presence of the proxy (X2). Each address of the proxy is available while the pool has a resource.
-- Every user who asks is approved; subscribers.lib keeps the subscriptions.

local errors = module:require "errors";
local on_started = require "prosody_relay.compat".on_started;
local jid_bare = require "util.jid".bare;
local new_subscribers = module:require "subscribers".new;
local st = require "util.stanza";

local presence = {};
local presence_mt = { __index = presence };

-- new(pool, [saved]) -> presence; saved: result of :save() of an earlier instance
local function new(pool, saved)
	saved = saved or {};
	return setmetatable({
		pool = pool; available = saved.available; subscribers = new_subscribers(saved.subscribers);
		-- users whose server could not deliver presence, until they or their server ask again
		paused = saved.paused or {};
	}, presence_mt);
end

local function send(address, to, type)
	module:send(st.presence({ from = address; to = to; type = type }));
end

local function send_current(self, address, to)
	send(address, to, self.pool:count() == 0 and "unavailable" or nil);
end

local function remove(self, user, address)
	self.subscribers:remove(user, address);
	if not self.subscribers:has(user) then self.paused[user] = nil; end
end

local on = {};

function on.subscribe(self, user, address, event)
	if not self.subscribers:has(user, address) then
		local ok, name = self.subscribers:add(user, address);
		if not ok then return errors.answer(event, name); end
	end
	self.paused[user] = nil;
	send(address, user, "subscribed");
	send_current(self, address, user);
end

function on.unsubscribe(self, user, address)
	if not self.subscribers:has(user, address) then return; end
	remove(self, user, address);
	send(address, user, "unavailable"); -- RFC 6121 section 3.3.3
end

-- RFC 6121 section 4.3.2
function on.probe(self, user, address, event)
	if not self.subscribers:has(user, address) then return send(address, user, "unsubscribed"); end
	self.paused[user] = nil;
	send_current(self, address, event.stanza.attr.from);
end

-- RFC 6121 section 4.4.2: no more presence to a user whose server cannot deliver it. The server probes when the user is back.
function on.error(self, user, address, event)
	if not self.subscribers:has(user, address) then return; end
	local _, condition = event.stanza:get_error();
	if condition == "gone" or condition == "item-not-found" then
		remove(self, user, address);
	else
		self.paused[user] = true;
		module:log("debug", "The presence of the service cannot be sent to %s: %s", user, condition);
	end
end

-- from_user(event): presence from anybody to the proxy; handled in any case. The module ignores directed presence, and answers to
-- subscriptions: it asks no user for one.
function presence:from_user(event)
	local attr = event.stanza.attr;
	local handler = on[attr.type];
	if handler then handler(self, jid_bare(attr.from), jid_bare(attr.to), event); end
	return true;
end

local function announce(self, type)
	-- a list: an answer may come at once and change the table
	for _, pair in ipairs(self.subscribers:list()) do
		if not self.paused[pair[2]] then send(pair[1], pair[2], type); end
	end
end

-- Tells the subscribers when the pool has become empty, or is no longer empty
local function update(self)
	local available = self.pool:count() > 0;
	if available == self.available then return; end
	self.available = available;
	announce(self, not available and "unavailable" or nil);
end

-- start(): tells the subscribers of every change from now on, and once at the start: users of other servers do not know that this server
-- was down.
function presence:start()
	self.pool:watch(function () update(self); end);
	on_started(module, function () update(self); end);
end

-- close(): tells the subscribers that the service ends
function presence:close()
	if self.available then announce(self, "unavailable"); end
	self.available = false;
end

-- save() -> plain table for module.save()
function presence:save()
	return { available = self.available; paused = self.paused; subscribers = self.subscribers:save() };
end

return { new = new };
