-- SPDX-License-Identifier: MIT
-- What the presence of the target accounts means for the pool and the subscriptions (P3 to P5, P14, P15).

local admission_lib = module:require "admission";
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local targets = {};
local targets_mt = { __index = targets };

local function log_pool(self, jid, event)
	module:log("debug", "%s %s, %d resources", jid, event, self.pool:count());
end

-- new(rules, pool, health, subscriptions, on_gone) -> targets
--   rules: of admission.lib; on_gone(jid): called when a resource has gone, for the requests it had
local function new(rules, pool, health, subscriptions, on_gone)
	local self = setmetatable({ pool = pool; health = health; subscriptions = subscriptions; on_gone = on_gone }, targets_mt);
	self.admission = admission_lib.new(rules, function (jid, reason)
		pool:bar(jid, reason);
		log_pool(self, jid, reason and "is not asked: " .. reason or "is admitted");
	end);
	return self;
end

function targets:update_resource(jid, account, priority, show, caps)
	local before = self.pool:get(jid);
	local barred_before = before and before.barred;
	local barred = self.admission:judge(jid, priority, show, caps);
	if self.pool:update(jid, account, priority, show, caps, barred) or barred ~= barred_before then
		log_pool(self, jid, barred and "is not asked: " .. barred or before and "is admitted" or "has come");
	end
end

function targets:remove_resource(jid)
	if self.pool:remove(jid) then
		self.admission:forget(jid);
		self.health:forget(jid);
		log_pool(self, jid, "has gone");
		self.on_gone(jid);
	end
end

function targets:remove_account(account)
	for _, jid in ipairs(self.pool:of(account)) do self:remove_resource(jid); end
end

-- review(): applies the settings to the pool of the instance before a reload
function targets:review()
	for _, member in ipairs(self.pool:save()) do
		if self.subscriptions:is_target(member.account) then
			self:update_resource(member.jid, member.account, member.priority, member.show, member.caps);
		else
			self:remove_resource(member.jid);
		end
	end
end

local function read_priority(stanza)
	local priority = tonumber(stanza:get_child_text("priority"));
	return priority and math.max(-128, math.min(127, priority)) or 0;
end

-- What each type of presence from a target means; of the other types there is nothing to learn
local on_presence = {
	available = function (self, from, account, stanza)
		if from == account then return; end
		self:update_resource(from, account, read_priority(stanza), stanza:get_child_text("show"), admission_lib.caps(stanza));
	end;

	unavailable = function (self, from, account)
		if from == account then self:remove_account(account); else self:remove_resource(from); end
	end;

	error = function (self, from, account, stanza)
		-- from a full JID it concerns that resource only (P14); from the account, the subscription or the way there
		if from ~= account then return self:remove_resource(from); end
		local _, condition, text = stanza:get_error();
		module:log("info", "The presence of %s cannot be seen: %s (%s)", account, condition, text or "no text");
		self.subscriptions:lose(account);
		self:remove_account(account);
	end;

	subscribed = function (self, _, account)
		if self.subscriptions:approve(account) then
			module:log("info", "%s has approved the subscription to its presence", account);
		end
	end;

	unsubscribed = function (self, _, account)
		if not self.subscriptions:lose(account) then
			module:log("info", "%s has declined the subscription to its presence", account);
			return;
		end
		module:log("warn", "%s has revoked the subscription to its presence, no requests can be relayed to it", account);
		self:remove_account(account);
	end;

	subscribe = function (_, _, account)
		module:send(st.presence({ type = "subscribed"; from = module.host; to = account }));
	end;
};

-- handle_presence(stanza) -> true when it was of a target, to the proxy itself
function targets:handle_presence(stanza)
	local from = stanza.attr.from;
	local account = jid_bare(from);
	if stanza.attr.to ~= module.host or not self.subscriptions:is_target(account) then return nil; end
	local handler = on_presence[stanza.attr.type or "available"];
	if handler then handler(self, from, account, stanza); end
	return true;
end

return { new = new };
