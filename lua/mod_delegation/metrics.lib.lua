-- SPDX-License-Identifier: MIT
-- What the module counts (README.markdown, "Metrics"): prosody_mod_delegation/..., with labels `host`, `namespace` and `entity`. Label values
-- come from the configuration, so their number has a limit.

local labels = { "namespace"; "entity" };
local buckets = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 }; -- seconds

local families = {
	forwarded = module:metric("counter", "forwarded", "", "Requests that were sent to the managing entity", labels);
	answered = module:metric("counter", "answered", "", "Requests that the managing entity has answered", labels);
	timeouts = module:metric("counter", "timeouts", "", "Requests that were not answered in time", labels);
	refused = module:metric("counter", "refused", "", "Requests that got an error instead of the entity's answer",
		{ "namespace"; "entity"; "reason" });
	pending = module:metric("gauge", "pending", "", "Requests that wait for an answer", labels);
	latency = module:metric("histogram", "latency", "seconds", "Time from request to answer", labels, { buckets = buckets });
};

local meter = {};
local meter_mt = { __index = meter };
local meters = {};

-- of(namespace, jid) -> the meter of what is delegated to this entity. Its field `pending` is the number of requests in flight.
local function of(namespace, jid)
	local key = namespace.." "..jid;
	local self = meters[key];
	if not self then
		self = setmetatable({ namespace = namespace; jid = jid; pending = 0 }, meter_mt);
		for name, family in pairs(families) do
			if name ~= "refused" then self[name.."_metric"] = family:with_labels(namespace, jid); end
		end
		meters[key] = self;
	end
	return self;
end

-- forwarded(): a request is in flight
function meter:forwarded()
	self.pending = self.pending + 1;
	self.forwarded_metric:add(1);
end

-- answered(seconds): the user got the entity's answer, after this time
function meter:answered(seconds)
	self.answered_metric:add(1);
	self.latency_metric:sample(seconds);
end

function meter:timed_out()
	self.timeouts_metric:add(1);
end

-- refused(reason): the user got an error that the entity did not send
function meter:refused(reason)
	families.refused:with_labels(self.namespace, self.jid, reason):add(1);
end

-- update(): for "stats-update"
local function update()
	for _, self in pairs(meters) do
		self.pending_metric:set(self.pending);
	end
end

return { of = of; update = update };
