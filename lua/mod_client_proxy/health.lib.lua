-- SPDX-License-Identifier: MIT
-- Ejects resources that fail many requests in a row, and readmits them (P5c).
--
-- One user must not be able to eject a resource (case C1). So a failure counts only when another resource has done better:
-- - feature-not-implemented or service-unavailable, when another one then answered the same request (a strike). A resource that has answered in
--   some namespaces need not know others, so only these count.
-- - silence to many requests in a row, when another one answers the last request (trials.lib asks it)
-- A request that no client answers proves nothing. An answer ends the row of failures.
--
-- The last resource is never ejected, because there is no better one. Ejected resources come back when all others have gone.
-- Each comes back after some time anyway, on trial: the next failure ejects it for twice as long.

local longest = 20; -- times the first ejection
-- So many namespaces of each resource are remembered, of so many bytes at most
local max_namespaces, max_namespace = 50, 256;

local health = {};
local health_mt = { __index = health };

-- new(pool, limit, first, [saved]) -> health
--   limit: failures in a row that eject, 0 for never; first: seconds that the first ejection lasts; saved: result of :save()
local function new(pool, limit, first, saved)
	saved = saved or { records = {}; served = {} };
	local self = setmetatable({ pool = pool; limit = limit; first = first; records = saved.records; served = saved.served }, health_mt);
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
		-- in the meantime the resource may have been readmitted and ejected again, or have left and joined again
		if self.records[jid] == record and record.ejected and record.round == round then self:readmit(jid); end
	end);
end

-- rescue(): all other resources have gone: readmits those that have failed, not those that an admin has left out
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

-- hold(jid) -> true when there is such a resource; it is now left out until an admin readmits it
function health:hold(jid)
	if not self.pool:has(jid) then return false; end
	-- another record: the end of an earlier ejection does not concern it
	self.records[jid] = { strikes = 0; ejected = true };
	self.pool:eject(jid, "by an administrator");
	return true;
end

-- readmit(jid) -> true when the resource was left out; if it had failed it is now on trial
function health:readmit(jid)
	local record = self.records[jid];
	if not (record and record.ejected) then return false; end
	record.ejected, record.strikes, record.silences = nil, record.duration and self.limit - 1 or 0, nil;
	self.pool:eject(jid, nil);
	module:log("info", "%s is asked again", jid);
	return true;
end

-- -> the record of a resource that may be ejected, or nil
local function suspect(self, jid)
	local member = self.pool:get(jid);
	if self.limit == 0 or not member or member.ejected or member.is_hibernating then return nil; end
	local record = self.records[jid] or { strikes = 0 };
	self.records[jid] = record;
	return record;
end

-- No other resource can take its place
local function is_last(self, jid)
	return not self.pool:is_usable(jid) or self.pool:count_awake() < 2;
end

local function note_served(self, jid, namespace)
	local served = self.served[jid] or { count = 0; namespaces = {} };
	self.served[jid] = served;
	if served.namespaces[namespace] or served.count >= max_namespaces or #namespace > max_namespace then return; end
	served.count, served.namespaces[namespace] = served.count + 1, true;
end

-- answered(jid, [namespace]): a resource has answered a request with a result, or with an error that is no failure
--   namespace: of a request that it has answered with a result
function health:answered(jid, namespace)
	if namespace and self.pool:has(jid) then note_served(self, jid, namespace); end
	local record = self.records[jid];
	if record and not record.ejected then self.records[jid] = nil; end
end

-- outdone(jid, condition, namespace): another resource has answered a request in the namespace that this one refused with that error
function health:outdone(jid, condition, namespace)
	local record, served = suspect(self, jid), self.served[jid];
	if not record or served and not served.namespaces[namespace] then return; end
	record.strikes = record.strikes + 1;
	if record.strikes >= self.limit and not is_last(self, jid) then
		self:eject(jid, ("%d failures in a row, the last: %s"):format(record.strikes, condition));
	end
end

-- silent(jid) -> whether a proof is due; a resource has not answered a request in time
function health:silent(jid)
	local record = suspect(self, jid);
	if not record then return false; end
	record.silences = (record.silences or 0) + 1;
	return record.silences + record.strikes >= self.limit and not is_last(self, jid);
end

-- proven(jid): another resource has answered a request that this one did not answer
function health:proven(jid)
	local record = suspect(self, jid);
	if not record or is_last(self, jid) then return; end
	self:eject(jid, ("%d failures in a row, the last: no answer"):format((record.silences or 0) + record.strikes));
end

-- forget(jid): the resource has gone
function health:forget(jid)
	self.records[jid], self.served[jid] = nil, nil;
end

-- save() -> plain table for module.save()
function health:save()
	return { records = self.records; served = self.served };
end

return { new = new };
