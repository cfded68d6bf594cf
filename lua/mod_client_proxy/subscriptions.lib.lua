-- SPDX-License-Identifier: MIT
-- The presence subscriptions to the target accounts: presence tells the proxy which resources a target has (P3, P4).
--
-- A request can get lost: the target's host may be activated later than the proxy's, or its server may be down. The user may be slow to
-- approve. So the proxy repeats the request, less and less often, until it is approved. Then the proxy sends a probe: some servers
-- confirm an old subscription without sending presence again (P21). It sends no probe before: Prosody would drop a request that
-- waits for approval.
--
-- Presence can get lost as well, when the connection breaks. So the proxy probes approved targets again from time to time. It probes targets
-- on other servers at once when a user asks and no resource is there.

local approve_locally = module:require "approval".approve;
local jid_host = require "util.jid".host;
local on_started = require "prosody_relay.compat".on_started;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local first_delay, last_delay = 5, 600; -- seconds
local search_interval = 5; -- seconds

local subscriptions = {};
local subscriptions_mt = { __index = subscriptions };

local schedule;

local function ask(self, jid)
	local approved, revoked = self.targets[jid].approved, self.targets[jid].revoked;
	-- a target on this server answers at once, so the timer comes first
	schedule(self, jid);
	if not approved and not revoked then approve_locally(jid); end
	module:send(st.presence({ type = approved and "probe" or "subscribe"; from = module.host; to = jid }));
end

local function unschedule(target)
	if target.timer then target.timer:stop(); end
	target.timer = nil;
end

function schedule(self, jid)
	local target = self.targets[jid];
	unschedule(target);
	target.timer = module:add_timer(target.approved and last_delay or target.delay, function ()
		target.timer = nil;
		ask(self, jid);
	end);
	target.delay = target.approved and first_delay or math.min(target.delay * 2, last_delay);
end

-- new(jids, [saved]) -> subscriptions
--   jids: array of bare JIDs; saved: result of :save() of an earlier instance
local function new(jids, saved)
	local self = setmetatable({ targets = {} }, subscriptions_mt);
	for _, jid in ipairs(jids) do
		self.targets[jid] = { approved = saved and saved[jid] or false; delay = first_delay };
	end
	return self;
end

-- start(): asks as soon as the server has started; the handlers for the answers must be there before
function subscriptions:start()
	on_started(module, function ()
		for jid in pairs(self.targets) do ask(self, jid); end
		-- low priority: after the presence module of that host was loaded
		module:hook_global("host-activated", function (host) self:ask_host(host); end, -1);
	end);
end

-- ask_host(host): asks the targets on a host that has just become reachable
function subscriptions:ask_host(host)
	for jid, target in pairs(self.targets) do
		if jid_host(jid) == host then
			target.delay = first_delay;
			ask(self, jid);
		end
	end
end

-- is_target(bare JID) -> boolean
function subscriptions:is_target(jid)
	return self.targets[jid] ~= nil;
end

-- approve(jid) -> true when the target had not approved the subscription before
function subscriptions:approve(jid)
	local target = self.targets[jid];
	if target.approved then return false; end
	target.approved = true;
	ask(self, jid);
	return true;
end

-- lose(jid, [revoked]) -> true when there was an approved subscription. It is gone or not reliable; the proxy will ask for it again.
--   revoked: its user has revoked it, and only the user can approve it from now on
function subscriptions:lose(jid, revoked)
	local target = self.targets[jid];
	target.revoked = revoked or target.revoked;
	if not target.approved then return false; end
	target.approved = false;
	schedule(self, jid);
	return true;
end

-- probe(jid) -> true when the target is approved; the proxy then asks which resources it has now
function subscriptions:probe(jid)
	local approved = self.targets[jid].approved;
	if approved then ask(self, jid); end
	return approved;
end

-- search(): a user asks, and no resource is known to be online: asks the targets, whose presence may have got lost
function subscriptions:search()
	for jid, target in pairs(self.targets) do
		-- on this server no presence gets lost
		local is_remote = not prosody.hosts[jid_host(jid)];
		if is_remote and target.approved and not (target.searched and now() - target.searched < search_interval) then
			target.searched = now();
			ask(self, jid);
		end
	end
end

-- save() -> plain table for module.save()
function subscriptions:save()
	local saved = {};
	for jid, target in pairs(self.targets) do saved[jid] = target.approved; end
	return saved;
end

return { new = new };
