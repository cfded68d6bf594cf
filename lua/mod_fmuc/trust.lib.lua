-- SPDX-License-Identifier: MIT
-- For whom a peer service may speak (requirements M28, G19, G20; design decision 6).

local options = require "prosody_relay.options";
local nameprep = require "util.encodings".stringprep.nameprep;
local to_unicode = require "util.encodings".idna.to_unicode;
local jid_split = require "util.jid".split;

local trust = {};

-- The one form of a domain's two spellings: each server chooses whether to say bücher.example or xn--bcher-kva.example
local function canonical(domain)
	return nameprep(to_unicode(domain) or domain) or domain;
end

local function canonical_domain(text)
	local domain, expected = options.prepped_domain(text);
	return domain and canonical(domain), expected;
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

local function domain_set(name)
	local list = options.list(module, name, nil, canonical_domain);
	if not list then return nil; end
	local set = {};
	for _, domain in ipairs(list) do set[domain] = true; end
	return set;
end

local trusted = read_trust();
local allowed_peers = domain_set("fmuc_allow_peers");
local denied_peers = domain_set("fmuc_deny_peers") or {};

local function is_denied(host)
	while host do
		if denied_peers[host] then return true; end
		host = host:match("%.(.*)$");
	end
	return false;
end

-- may_federate(peer_host) -> boolean: whether that service may mirror rooms here at all. Who is denied is so with all its subdomains, of
-- which it may have as many as it likes.
function trust.may_federate(peer_host)
	peer_host = canonical(peer_host);
	return not is_denied(peer_host) and (not allowed_peers or allowed_peers[peer_host] == true);
end

local function is_local(domain)
	if prosody.hosts[domain] then return true; end
	if not domain:find("[\128-\255]") then return false; end -- has no other spelling
	for host in pairs(prosody.hosts) do
		if canonical(host) == domain then return true; end
	end
	return false;
end

-- may_speak_for(peer_host, user_jid) -> boolean: users of the peer's own host, of its parent domain, and of the domains configured for
-- it. That server could send as those users anyway, except where the parent is a top-level domain. Nobody speaks for a user of this server.
function trust.may_speak_for(peer_host, user_jid)
	local _, domain = jid_split(user_jid);
	if not domain then return false; end
	domain, peer_host = canonical(domain), canonical(peer_host);
	if is_local(domain) then return false; end
	return domain == peer_host or domain == peer_host:match("^[^.]+%.([^.]+%..+)$")
		or (trusted[peer_host] ~= nil and trusted[peer_host][domain] == true);
end

return trust;
