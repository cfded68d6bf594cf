-- SPDX-License-Identifier: MIT
-- prosody_relay.metrics: labels that others cannot choose.

local lu = require "luaunit";
local metrics = require "prosody_relay.metrics";

local TestMetrics = {};

function TestMetrics.test_conditions_of_rfc_6120_are_their_own_label()
	for _, condition in ipairs { "bad-request", "forbidden", "jid-malformed", "remote-server-timeout", "unexpected-request" } do
		lu.assertEquals(metrics.condition(condition), condition);
	end
end

function TestMetrics.test_what_somebody_made_up_shares_a_label()
	for _, condition in pairs { "made-up", "", "Forbidden", "forbidden ", 1, false } do
		lu.assertEquals(metrics.condition(condition), "other");
	end
	lu.assertEquals(metrics.condition(nil), "other");
end

function TestMetrics.test_a_plain_metric_has_no_labels()
	local module, made, chosen = {}, nil, nil;
	function module:metric(...) -- luacheck: ignore 212/self
		made = { ... };
		return { with_labels = function (_, ...)
			chosen = select("#", ...);
			return "the metric";
		end };
	end
	lu.assertEquals(metrics.plain(module, "histogram", "latency", "seconds", "Time", { buckets = { 1 } }), "the metric");
	lu.assertEquals(made, { "histogram", "latency", "seconds", "Time", {}, { buckets = { 1 } } });
	lu.assertEquals(chosen, 0);
end

return TestMetrics;
