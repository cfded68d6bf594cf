-- SPDX-License-Identifier: MIT
-- Which resources of a target may be asked at all (P5c): by priority, show, name and feature.

local jid_resource = require "util.jid".resource;
local features = module:require "features";
local options = require "prosody_relay.options";

local shows = { away = true; chat = true; dnd = true; xa = true };

local admission = {};
local admission_mt = { __index = admission };

local function check_show(text)
	if not shows[text] then return nil, "\"away\", \"chat\", \"dnd\" or \"xa\""; end
	return text;
end

-- string.find raises when the resource is too long for the pattern.
local function matches(resource, pattern)
	local ok, found = pcall(string.find, resource, pattern);
	return ok and found ~= nil;
end

-- read_options() -> rules; raises like those of prosody_relay.options
local function read_options()
	local skip = {};
	for _, show in ipairs(options.list(module, "client_proxy_skip_show", { "dnd" }, check_show)) do skip[show] = true; end
	return {
		-- RFC 6121 4.7.2.3: a resource with a negative priority only wants stanzas that are addressed to it
		min_priority = options.integer(module, "client_proxy_min_priority", 0, -128, 127);
		skip_show = skip;
		pattern = options.pattern(module, "client_proxy_resource_pattern", nil);
		feature = options.string(module, "client_proxy_required_feature", nil);
	};
end

-- new(rules, on_verdict, [saved]) -> admission
--   on_verdict(jid, [reason]): called when judge() did not know a feature and it is known now; saved: result of :save() of an earlier instance
local function new(rules, on_verdict, saved)
	return setmetatable({ rules = rules; features = rules.feature and features.new(rules.feature, on_verdict, saved) }, admission_mt);
end

-- judge(jid, priority, [show], [caps]) -> nil when the resource is admitted; else the reason, and true while the resource has not yet
-- answered a question; caps: of features.lib
function admission:judge(jid, priority, show, caps)
	local rules = self.rules;
	if priority < rules.min_priority then
		return ("priority %d is below %d"):format(priority, rules.min_priority);
	elseif rules.skip_show[show] then
		return "show is " .. show;
	elseif rules.pattern and not matches(jid_resource(jid), rules.pattern) then
		return "resource does not match the pattern";
	end
	if self.features then return self.features:check(jid, caps); end
end

-- forget(jid): the resource has gone
function admission:forget(jid)
	if self.features then self.features:forget(jid); end
end

-- save() -> plain table for module.save(), or nil
function admission:save()
	return self.features and self.features:save();
end

return { new = new; read_options = read_options; caps = features.caps; shows = shows };
