-- SPDX-License-Identifier: MIT
-- All options of the module, checked (requirements section 5). A wrong value raises an error of one line that names the option. The module reads
-- this file before its first hook, and again before a reload ends the running instance (case F23).
--
-- -> { grace_period, join_timeout (seconds), max_occupants }
--    of a mirror also: allow_users, allow_masters (lists of JIDs; nil: the default), outage_policy, bandwidth, nomirror (boolean, or set of room
--    JIDs)
--    of a master also: trust (domain -> set of domains), allow_peers (set of domains, or nil), deny_peers (set of domains)

local configmanager = require "core.configmanager";
local options = require "prosody_relay.options";
local nameprep = require "util.encodings".stringprep.nameprep;
local to_unicode = require "util.encodings".idna.to_unicode;

local settings = {
	format = 5; -- prosody_relay.loading
	grace_period = options.number(module, "fmuc_grace_period", 60, 1);
	join_timeout = options.number(module, "fmuc_join_timeout", 30, 1);
	max_occupants = options.integer(module, "fmuc_max_occupants", 2000, 1);
};

-- canonical(domain) -> the domain in one spelling: some servers write bücher.example, others xn--bcher-kva.example
function settings.canonical(domain)
	return nameprep(to_unicode(domain) or domain) or domain;
end

local function canonical_domain(text)
	local domain, expected = options.prepped_domain(text);
	return domain and settings.canonical(domain), expected;
end

local function set_of(list)
	if not list then return nil; end
	local set = {};
	for _, item in ipairs(list) do set[item] = true; end
	return set;
end

local function read_nomirror()
	local value = module:get_option("fmuc_nomirror");
	if type(value) == "table" then return set_of(options.list(module, "fmuc_nomirror", nil, options.prepped_jid)); end
	if value ~= nil and type(value) ~= "boolean" then options.refuse("fmuc_nomirror", "true, false or a list of room JIDs", value); end
	return value or false;
end

local function read_trust()
	local value = module:get_option("fmuc_trust");
	local expected = "a table { [\"mirror.example.com\"] = { \"example.com\", … }, … } of domains";
	if value == nil then return {}; end
	if type(value) ~= "table" then options.refuse("fmuc_trust", expected, value); end
	local trusted = {};
	local function domain(text)
		return type(text) == "string" and canonical_domain(text) or options.refuse("fmuc_trust", expected, text);
	end
	for peer, domains in pairs(value) do
		local host = domain(peer);
		if type(domains) ~= "table" then options.refuse("fmuc_trust", expected, domains); end
		trusted[host] = {};
		for _, user_domain in ipairs(domains) do trusted[host][domain(user_domain)] = true; end
	end
	return trusted;
end

settings.bandwidth = options.enum(module, "fmuc_bandwidth", lib "link/bandwidth".levels, "full");
if configmanager.get(module.host, "component_module") == "fmuc" then
	settings.allow_users = options.list(module, "fmuc_allow_users", nil, options.prepped_jid);
	settings.allow_masters = options.list(module, "fmuc_allow_masters", nil, options.prepped_domain);
	settings.outage_policy = options.enum(module, "fmuc_outage_policy", { "replica", "autonomous" }, "replica");
	settings.nomirror = read_nomirror();
else
	settings.trust = read_trust();
	settings.allow_peers = set_of(options.list(module, "fmuc_allow_peers", nil, canonical_domain));
	settings.deny_peers = set_of(options.list(module, "fmuc_deny_peers", {}, canonical_domain));
end

return settings;
