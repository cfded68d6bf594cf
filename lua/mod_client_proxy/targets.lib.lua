-- SPDX-License-Identifier: MIT
-- What the presence of the target accounts means for the pool and the subscriptions (P3 to P5, P14, P15).

local admission_lib = module:require "admission";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local sessions = require "prosody_relay.sessions";
local st = require "util.stanza";

local patience = 5; -- seconds in which a resource must send presence after a probe

local targets = {};
local targets_mt = { __index = targets };

local function log_pool(self, jid, event)
	module:log("debug", "%s %s, %d resources", jid, event, self.pool:count());
end

-- new(rules, pool, health, subscriptions, on_gone, on_asleep, [saved]) -> targets
--   rules: of admission.lib; on_gone(is_gone, has_left): called when resources have gone, for the requests they had;
--   is_gone(full JID): is it one of them?; has_left: the client wanted to leave, and its connection works;
--   on_asleep(full JID): called when a resource hibernates; saved: result of :save() of an earlier instance
local function new(rules, pool, health, subscriptions, on_gone, on_asleep, saved)
	local self = setmetatable({
		pool = pool; health = health; subscriptions = subscriptions; on_gone = on_gone; on_asleep = on_asleep; rounds = {};
	}, targets_mt);
	self.admission = admission_lib.new(rules, function (jid, reason)
		pool:bar(jid, reason);
		log_pool(self, jid, reason and "is not asked: " .. reason or "is admitted");
	end, saved);
	return self;
end

function targets:update_resource(jid, account, priority, show, caps)
	local before = self.pool:get(jid);
	local barred_before = before and before.barred;
	if not before and self.pool:is_full() then
		module:log("debug", "%s is not asked: there are too many resources", jid);
		return;
	end
	local barred, is_open = self.admission:judge(jid, priority, show, caps);
	-- an admitted resource stays admitted until it answers, above all over a reload
	if is_open and before and not barred_before then barred = nil; end
	local is_new = self.pool:update(jid, account, priority, show, caps, barred, sessions.is_hibernating(jid));
	if is_new or barred ~= barred_before then
		log_pool(self, jid, barred and "is not asked: " .. barred or before and "is admitted" or "has come");
	end
end

-- start(accounts): learns from now on when a client of an account of this server hibernates; accounts: array of bare JIDs
function targets:start(accounts)
	local hosts = {};
	for _, account in ipairs(accounts) do hosts[jid_host(account)] = true; end
	for host in pairs(hosts) do
		sessions.watch(module, host, function (jid, is_hibernating)
			if not self.pool:has(jid) then return; end
			self.pool:hibernate(jid, is_hibernating);
			log_pool(self, jid, is_hibernating and "hibernates" or "is awake");
			if is_hibernating then self.on_asleep(jid); end
		end);
	end
end

local function drop(self, jid)
	if self.pool:remove(jid) then
		self.admission:forget(jid);
		self.health:forget(jid);
		log_pool(self, jid, "has gone");
	end
end

function targets:remove_resource(jid)
	drop(self, jid);
	self.on_gone(function (other) return other == jid; end, sessions.is_connected(jid));
end

local function drop_account(self, account)
	for _, jid in ipairs(self.pool:of(account)) do drop(self, jid); end
end

function targets:remove_account(account)
	drop_account(self, account);
	self.on_gone(function (jid) return jid_bare(jid) == account; end);
end

local function log_unseen(account, condition, text)
	module:log("info", "The presence of %s cannot be seen: %s (%s)", account, condition, text or "no text");
end

-- unreachable(account, condition, [text]): its server cannot be reached. Requests in flight may still be answered.
function targets:unreachable(account, condition, text)
	if self.subscriptions:lose(account) then log_unseen(account, condition, text); end
	drop_account(self, account);
end

-- One round of doubts at a time for an account: after a probe, the doubted resources have some time to send presence.
local function start_round(self, account, jids)
	local round = { doubted = jids; later = {} };
	self.rounds[account] = round;
	module:add_timer(patience, function ()
		self.rounds[account] = nil;
		for jid in pairs(round.is_answered and round.doubted or {}) do self:remove_resource(jid); end
		if next(round.later) then start_round(self, account, round.later); end
	end);
	if not self.subscriptions:probe(account) then round.doubted = {}; end
end

-- doubt(jid): an error says that the resource is not there. Its server answers a probe with the presence of all resources (RFC 6121 section
-- 4.3.2). A resource that is not among them has gone silently, for example when that server crashed.
function targets:doubt(jid)
	local account = jid_bare(jid);
	local round = self.rounds[account];
	if not self.pool:has(jid) then return; end
	if not round then
		start_round(self, account, { [jid] = true });
	elseif not round.doubted[jid] then
		round.later[jid] = true;
	end
end

-- A resource is there. Presence of any resource counts as the answer to the probe; a late resource comes back with its presence.
local function settle_doubt(self, jid, account)
	local round = self.rounds[account];
	if not round then return; end
	round.doubted[jid], round.later[jid], round.is_answered = nil, nil, true;
end

-- search(): a user asks, and no resource is online
function targets:search()
	self.subscriptions:search();
end

-- review(): applies the settings to the pool that was saved over a reload
function targets:review()
	for _, member in ipairs(self.pool:save()) do
		if self.subscriptions:is_target(member.account) then
			self:update_resource(member.jid, member.account, member.priority, member.show, member.caps);
		else
			self:remove_resource(member.jid);
		end
	end
end

-- Clients can write anything: the other files need an integer within the range of RFC 6121 section 4.7.2.3
local function read_priority(stanza)
	local priority = tonumber(stanza:get_child_text("priority"));
	return priority and math.floor(math.max(-128, math.min(127, priority))) or 0;
end

-- and one of the four values of section 4.7.2.1, or nil
local function read_show(stanza)
	local show = stanza:get_child_text("show");
	return admission_lib.shows[show] and show or nil;
end

-- What each type of presence from a target means; other types are ignored
local on_presence = {
	available = function (self, from, account, stanza)
		if from == account then return; end
		settle_doubt(self, from, account);
		self:update_resource(from, account, read_priority(stanza), read_show(stanza), admission_lib.caps(stanza));
	end;

	unavailable = function (self, from, account)
		if from ~= account then return self:remove_resource(from); end
		local is_lost = self.pool:of(account)[1] ~= nil;
		self:remove_account(account);
		-- a server sends this before the approval, too, and it may arrive after newer presence: the proxy asks once more
		if is_lost and not prosody.hosts[jid_host(account)] then self.subscriptions:probe(account); end
	end;

	error = function (self, from, account, stanza)
		-- from a full JID it concerns that resource only (P14); from the account, the subscription or the connection
		if from ~= account then return self:remove_resource(from); end
		local _, condition, text = stanza:get_error();
		log_unseen(account, condition, text);
		self.subscriptions:lose(account);
		self:remove_account(account);
	end;

	subscribed = function (self, _, account)
		if self.subscriptions:approve(account) then
			module:log("info", "%s has approved the subscription to its presence", account);
		end
	end;

	unsubscribed = function (self, _, account)
		if not self.subscriptions:lose(account, true) then
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

-- handle_presence(stanza) -> true when it came from a target, to the proxy itself
function targets:handle_presence(stanza)
	local from = stanza.attr.from;
	local account = jid_bare(from);
	if stanza.attr.to ~= module.host or not self.subscriptions:is_target(account) then return nil; end
	local handler = on_presence[stanza.attr.type or "available"];
	if handler then handler(self, from, account, stanza); end
	return true;
end

-- save() -> plain table for module.save(), or nil
function targets:save()
	return self.admission:save();
end

return { new = new };
