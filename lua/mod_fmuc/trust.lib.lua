-- SPDX-License-Identifier: MIT
-- For whom a peer service may speak (requirements M28, G19, G20; design decision 6).

local options = require "prosody_relay.options";
local jid_split = require "util.jid".split;

local trust = {};

local function read_trust()
	local value = module:get_option("fmuc_trust");
	local expected = "a table { [\"mirror.example.com\"] = { \"example.com\", … }, … } of domains";
	if value == nil then return {}; end
	if type(value) ~= "table" then options.refuse("fmuc_trust", expected, value); end
	local trusted = {};
	local function domain(text)
		return type(text) == "string" and options.prepped_domain(text) or options.refuse("fmuc_trust", expected, text);
	end
	for peer, domains in pairs(value) do
		local host = domain(peer);
		if type(domains) ~= "table" then options.refuse("fmuc_trust", expected, domains); end
		trusted[host] = {};
		for _, user_domain in ipairs(domains) do trusted[host][domain(user_domain)] = true; end
	end
	return trusted;
end

local function domain_set(name)
	local list = options.list(module, name, nil, options.prepped_domain);
	if not list then return nil; end
	local set = {};
	for _, domain in ipairs(list) do set[domain] = true; end
	return set;
end

local trusted = read_trust();
local allowed_peers = domain_set("fmuc_allow_peers");
local denied_peers = domain_set("fmuc_deny_peers") or {};

-- may_federate(peer_host) -> boolean: whether that service may mirror rooms here at all
function trust.may_federate(peer_host)
	return not denied_peers[peer_host] and (not allowed_peers or allowed_peers[peer_host] == true);
end

-- may_speak_for(peer_host, user_jid) -> boolean: users of the peer's own host, of its parent domain, and of the domains configured for
-- it. That server could send as those users anyway. Nobody speaks for a user of this server.
function trust.may_speak_for(peer_host, user_jid)
	local _, domain = jid_split(user_jid);
	if not domain or prosody.hosts[domain] then return false; end
	return domain == peer_host or domain == peer_host:match("^[^.]+%.(.+)$")
		or (trusted[peer_host] ~= nil and trusted[peer_host][domain] == true);
end

return trust;
