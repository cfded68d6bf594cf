-- SPDX-License-Identifier: MIT
-- The options, checked; README.markdown describes them. This file also does all else that can fail, before the first hook (case F23).
--
-- -> { delegations, problems (lines for the log), max_pending }, and client: what "client/mode" is started with

local options = require "prosody_relay.options";

local config = module:require "config";
local parse_allowlist = module:require "client/namespaces".parse;

local function open_store(name)
	local store, err = module:open_store(name);
	return store or error(("The store '%s' cannot be opened: %s"):format(name, err or "unknown error"), 0);
end

module:depends("adhoc"); -- for the commands
local timeout = options.number(module, "delegation_timeout", 30, 1);
local configured = module:get_option("delegations", {});
if type(configured) ~= "table" then options.refuse("delegations", "a table of namespaces", configured); end
local delegations, problems = config.parse(configured, module.host, timeout);
local allowed, more_problems = parse_allowlist(options.list(module, "delegation_client_namespaces", {}), config.canonical);
table.move(more_problems, 1, #more_problems, #problems + 1, problems);
local is_client_mode = options.boolean(module, "delegation_client_mode", false);

return {
	format = 1; -- prosody_relay.loading
	delegations = delegations; problems = problems; max_pending = options.integer(module, "delegation_max_pending", 10000, 1);
	client = {
		enabled = is_client_mode; may_persist = options.boolean(module, "delegation_client_persist", false); timeout = timeout;
		allowed = allowed; store = is_client_mode and open_store("delegation_grants") or nil;
	};
};
