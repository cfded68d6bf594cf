-- SPDX-License-Identifier: MIT
-- What the specs of metrics and of the commands of administrators share.

local st = require "util.stanza";

local operation = {};

local xmlns_commands, xmlns_form = "http://jabber.org/protocol/commands", "jabber:x:data";

-- metrics(node, module_name, host) -> values of all metrics of the module on that host: "name" or "name label label" -> number
function operation.metrics(node, module_name, host)
	return node:eval(([[
		prosody.events.fire_event("stats-update");
		local values = {};
		for family_name, family in pairs(require "core.statsmanager".get_metric_registry():get_metric_families()) do
			local name = family_name:match("^prosody_mod_%s/(.*)");
			for labels, metric in family:iter_metrics() do
				for suffix, extra, value in metric:iter_samples() do
					if name and labels[1] == %q and suffix ~= "_created" and not next(extra or {}) then
						values[table.concat({ name .. (suffix or ""), table.unpack(labels, 2) }, " ")] = value;
					end
				end
			end
		end
		return values;
	]]):format(module_name, host));
end

local command = {};
local command_mt = { __index = command };

-- command(host, node) -> the ad-hoc command of that host
function operation.command(host, node)
	return setmetatable({ host = host; node = node }, command_mt);
end

-- run(client, [session, values]) -> reply: without values to its first step, which has the form
function command:run(client, session, values)
	local tag = st.iq({ type = "set"; id = "c"; to = self.host })
		:tag("command", { xmlns = xmlns_commands; node = self.node; sessionid = session; action = values and "complete" or "execute" });
	if values then
		tag:tag("x", { xmlns = xmlns_form; type = "submit" });
		for name, value in pairs(values) do tag:tag("field", { var = name }):text_tag("value", value):up(); end
	end
	client:send(tag);
	return client:expect { "iq", id = "c", from = self.host };
end

-- field(client, name) -> that field of the form, or nil
function command:field(client, name)
	for tag in self:run(client).tags[1]:get_child("x", xmlns_form):childtags("field") do
		if tag.attr.var == name then return tag; end
	end
end

-- overview(client) -> list of the lines in the form's field of that name
function command:overview(client)
	local lines = {};
	for value in self:field(client, "overview"):childtags("value") do lines[#lines + 1] = value:get_text(); end
	return lines;
end

-- act(client, values) -> what the command says to the form filled in so
function command:act(client, values)
	local session = self:run(client).tags[1].attr.sessionid;
	return self:run(client, session, values):find("{" .. xmlns_commands .. "}command/note#");
end

return operation;
