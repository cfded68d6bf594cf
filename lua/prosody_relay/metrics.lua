-- SPDX-License-Identifier: MIT
-- What the modules' metrics have in common (README.markdown of each, "Metrics").

local metrics = {};

local conditions = {};
for condition in ([[bad-request conflict feature-not-implemented forbidden gone internal-server-error item-not-found jid-malformed
	not-acceptable not-allowed not-authorized policy-violation recipient-unavailable redirect registration-required
	remote-server-not-found remote-server-timeout resource-constraint service-unavailable subscription-required
	undefined-condition unexpected-request]]):gmatch("%S+") do
	conditions[condition] = true;
end

-- condition(name) -> a label for that condition of an error, or for nil: "other" for one that is not in RFC 6120 section 8.3.3. Peers
-- choose conditions, and Prosody never forgets a label.
function metrics.condition(name)
	return conditions[name] and name or "other";
end

-- plain(module, type, name, unit, text, [conf]) -> the metric of a family without labels. Arguments as for module:metric().
function metrics.plain(module, type, name, unit, text, conf)
	return module:metric(type, name, unit, text, {}, conf):with_labels();
end

return metrics;
