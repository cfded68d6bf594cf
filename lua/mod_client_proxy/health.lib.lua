-- SPDX-License-Identifier: MIT
-- Ejection of resources that fail request after request, and their way back (P5c).
--
-- A failure is silence, or an error that says the resource does not do what others did: feature-not-implemented or service-unavailable
-- to a payload whose namespace the pool has served. The last resource is never ejected, as there is nobody better to ask, and those who
-- are come back when everybody else has gone. An ejected resource comes back after a while in any case, on trial: the next failure
-- ejects it for twice as long.

local longest = 20; -- times the first ejection
local most_served = 1000; -- namespaces to remember; users choose them

local failures = { ["feature-not-implemented"] = true; ["service-unavailable"] = true };

local health = {};
local health_mt = { __index = health };

-- new(pool, limit, first, [saved]) -> health
--   limit: failures in a row that eject, 0 for never; first: seconds that the first ejection lasts; saved: result of :save()
local function new(pool, limit, first, saved)
	saved = saved or { records = {}; served = {} };
	local self = setmetatable({
		pool = pool; limit = limit; first = first; served = saved.served; served_count = 0; records = saved.records;
	}, health_mt);
	for _ in pairs(self.served) do self.served_count = self.served_count + 1; end
	for jid, record in pairs(self.records) do
		if record.ejected and record.duration then self:await(jid, record, record.duration); end
	end
	pool:set_rescue(function () self:rescue(); end);
	return self;
end

-- await(jid, record, seconds): ends the ejection later
function health:await(jid, record, seconds)
	local round = (record.round or 0) + 1;
	record.round = round;
	module:add_timer(seconds, function ()
		-- readmitted, perhaps to be ejected again, or gone and come anew, in the meantime
		if self.records[jid] == record and record.ejected and record.round == round then self:readmit(jid); end
	end);
end

-- rescue(): nobody is left to be asked but who has failed; who was left out by hand stays out
function health:rescue()
	for jid, record in pairs(self.records) do
		if record.ejected and record.duration then self:readmit(jid); end
	end
end

-- eject(jid, reason): until its time is over
function health:eject(jid, reason)
	local record = self.records[jid] or { strikes = 0 };
	self.records[jid] = record;
	record.duration = math.min((record.duration or self.first / 2) * 2, self.first * longest);
	record.ejected = true;
	self.pool:eject(jid, reason);
	module:log("warn", "%s", ("%s is left out for %g seconds: %s"):format(jid, record.duration, reason));
	self:await(jid, record, record.duration);
end

-- hold(jid) -> true when there is such a resource, which is now left out until it is readmitted
function health:hold(jid)
	if not self.pool:has(jid) then return false; end
	-- another record: the end of an earlier ejection does not concern it
	self.records[jid] = { strikes = 0; ejected = true };
	self.pool:eject(jid, "by an administrator");
	return true;
end

-- readmit(jid) -> true when it was left out; one that has failed is on trial
function health:readmit(jid)
	local record = self.records[jid];
	if not (record and record.ejected) then return false; end
	record.ejected, record.strikes = nil, record.duration and self.limit - 1 or 0;
	self.pool:eject(jid, nil);
	module:log("info", "%s is asked again", jid);
	return true;
end

local function strike(self, jid, reason)
	local member = self.pool:get(jid);
	if self.limit == 0 or not member or member.ejected then return; end
	local record = self.records[jid] or { strikes = 0 };
	self.records[jid] = record;
	record.strikes = record.strikes + 1;
	if record.strikes >= self.limit and member.list and self.pool:count_awake() > 1 then
		self:eject(jid, ("%d failures in a row, the last: %s"):format(record.strikes, reason));
	end
end

-- answered(jid, namespace, [condition]): a resource has answered a request whose payload is in that namespace, with an error
-- of that condition or a result
function health:answered(jid, namespace, condition)
	if failures[condition] then
		if self.served[namespace] then strike(self, jid, condition); end
		return;
	end
	local record = self.records[jid];
	if record and not record.ejected then self.records[jid] = nil; end
	if not condition and not self.served[namespace] and self.served_count < most_served then
		self.served[namespace], self.served_count = true, self.served_count + 1;
	end
end

-- silent(jid): a resource has not answered a request in time
function health:silent(jid)
	strike(self, jid, "no answer");
end

-- forget(jid): the resource has gone
function health:forget(jid)
	self.records[jid] = nil;
end

-- save() -> plain table for module.save()
function health:save()
	return { records = self.records; served = self.served };
end

return { new = new };
