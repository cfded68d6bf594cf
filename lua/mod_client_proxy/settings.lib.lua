-- SPDX-License-Identifier: MIT
-- The options of the component's section, checked; README.markdown describes them.

local jid_split = require "util.jid".split;
local options = require "prosody_relay.options";
local read_disco = module:require "disco".read_options;
local strategies = module:require "strategies".names;
local read_rules = module:require "admission".read_options;

local function check_target(text)
	local jid = options.prepped_jid(text);
	local node, host, resource = jid_split(jid);
	if not node or resource or host == module.host then
		return nil, "the address of an account, such as \"user@example.com\"";
	end
	return jid;
end

-- client_proxy_timeouts: namespace -> seconds
local function read_timeouts()
	local value = module:get_option("client_proxy_timeouts");
	if value == nil then return {}; end
	local expected = "a table of seconds, at least 1, by namespace";
	if type(value) ~= "table" then options.refuse("client_proxy_timeouts", expected, value); end
	for namespace, seconds in pairs(value) do
		if type(namespace) ~= "string" then options.refuse("client_proxy_timeouts", expected, namespace); end
		if type(seconds) ~= "number" or seconds < 1 or seconds ~= seconds then options.refuse("client_proxy_timeouts", expected, seconds); end
	end
	return value;
end

-- client_proxy_sticky_by: "bare", "full", or a path to a text or an attribute of the payload
local function read_sticky_by()
	local value = options.string(module, "client_proxy_sticky_by", "bare");
	-- A path for stanza:find(), which does not report mistakes in it. Namespaces may have any character.
	local steps, namespaces = value:gsub("{[^}]+}", "");
	local is_path = namespaces > 0 and value:find("^{") and (steps:find("^[^{@#]+#$") or steps:find("^[^{@#]*@[^@#]+$"));
	if value ~= "bare" and value ~= "full" and not is_path then
		options.refuse("client_proxy_sticky_by", "\"bare\", \"full\", or a path such as \"{urn:example}query@session\"", value);
	end
	return value;
end

local targets = options.list(module, "target_address", nil, check_target);
if not targets or #targets == 0 then
	options.refuse("target_address", "the address of the account that implements the service", nil);
end
local settings = {
	format = 3; -- prosody_relay.loading
	targets = targets;
	jat = options.enum(module, "client_proxy_jat", { "auto", "token" }, "auto");
	timeout = options.number(module, "client_proxy_timeout", 60, 1);
	timeouts = read_timeouts();
	max_pending = options.integer(module, "client_proxy_max_pending", 10000, 1);
	max_pending_per_user = options.integer(module, "client_proxy_max_pending_per_user", 100, 1);
	max_pending_per_resource = options.integer(module, "client_proxy_max_pending_per_resource", nil, 1);
	sticky_by = read_sticky_by();
	strategy = options.enum(module, "client_proxy_strategy", strategies, "random");
	admission = read_rules();
	eject_after = options.integer(module, "client_proxy_eject_after", 5, 0);
	eject_time = options.number(module, "client_proxy_eject_time", 30, 1);
	messages = options.boolean(module, "client_proxy_messages", false);
	outbound = options.boolean(module, "client_proxy_outbound_iq", false);
	presence = options.boolean(module, "client_proxy_presence", false);
	disco = read_disco();
	user_ttl = options.number(module, "client_proxy_user_ttl", 3600, 1);
};

-- here, because Prosody's own modules may fail to load as well
module:depends("adhoc");
if settings.disco.mode ~= "forward" then module:depends("disco"); end

return settings;
