-- SPDX-License-Identifier: MIT
-- The metrics of the module (README.markdown, "Metrics"): prosody_mod_client_proxy/..., with label `host`.

local shared = require "prosody_relay.metrics";

local metrics = {};
local metrics_mt = { __index = metrics };

local buckets = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 }; -- seconds

local function plain(...)
	return shared.plain(module, ...);
end

local function count_condition(errors, condition)
	errors:with_labels(shared.condition(condition)):add(1);
end

-- new(pool_size, in_flight) -> metrics; both functions return the present number, when Prosody asks
local function new(pool_size, in_flight)
	local size = plain("gauge", "resources", "", "Resources that can be asked");
	local flying = plain("gauge", "in_flight", "", "Requests that wait for an answer");
	return setmetatable({
		update = function ()
			size:set(pool_size());
			flying:set(in_flight());
		end;
		requests = plain("counter", "requests", "", "Requests of users");
		replies = plain("counter", "replies", "", "Results that were sent to users");
		errors = module:metric("counter", "errors", "", "Errors that were sent to users", { "condition" });
		timeouts = plain("counter", "timeouts", "", "Requests that nobody answered in time");
		retries = plain("counter", "retries", "", "Requests that were sent to another resource");
		replies_refused = module:metric("counter", "replies_refused", "", "Results and errors that answered no request in flight", { "reason" });
		messages = module:metric("counter", "messages", "", "Messages that passed", { "direction" });
		messages_refused = module:metric("counter", "messages_refused", "", "Messages that did not pass", { "reason" });
		outbound_requests = plain("counter", "outbound_requests", "", "Requests that were sent to users");
		outbound_refusals = module:metric("counter", "outbound_refused", "", "Requests to users that were not sent", { "condition" });
		outbound_replies = plain("counter", "outbound_replies", "", "Results of users");
		outbound_errors = module:metric("counter", "outbound_errors", "", "Errors in answer to requests to users", { "condition" });
		outbound_timeouts = plain("counter", "outbound_timeouts", "", "Requests that the user did not answer in time");
		latency = plain("histogram", "latency", "seconds", "Time from request to result", { buckets = buckets });
	}, metrics_mt);
end

-- start(): gives Prosody the present numbers from now on
function metrics:start()
	module:hook_global("stats-update", self.update);
end

function metrics:requested() self.requests:add(1); end
function metrics:timed_out() self.timeouts:add(1); end
function metrics:retried() self.retries:add(1); end

-- answered(seconds): a result went to the user
function metrics:answered(seconds)
	self.replies:add(1);
	self.latency:sample(seconds);
end

-- failed([condition]): an error went to the user
function metrics:failed(condition)
	count_condition(self.errors, condition);
end

-- refused(reason): a reply was dropped
function metrics:refused(reason)
	self.replies_refused:with_labels(reason):add(1);
end

-- message_passed(direction): "to-client" or "to-user"; message_refused(reason): the module dropped it, or answered with an error
function metrics:message_passed(direction) self.messages:with_labels(direction):add(1); end
function metrics:message_refused(reason) self.messages_refused:with_labels(reason):add(1); end

-- Requests of the implementing client are sent to the user, or refused. Each one that was sent is answered, or fails.
function metrics:outbound_sent() self.outbound_requests:add(1); end
function metrics:outbound_refused(condition) count_condition(self.outbound_refusals, condition); end
function metrics:outbound_answered() self.outbound_replies:add(1); end
function metrics:outbound_failed(condition) count_condition(self.outbound_errors, condition); end
function metrics:outbound_timed_out() self.outbound_timeouts:add(1); end

return { new = new };
