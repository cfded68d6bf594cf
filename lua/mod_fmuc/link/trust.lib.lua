-- SPDX-License-Identifier: MIT
-- The users for whom a peer service may speak (requirements M28, G19, G20; design decision 6).

local jid_split = require "util.jid".split;

local settings = lib "settings";

local trust = {};

local canonical = settings.canonical;

local function is_denied(host)
	while host do
		if settings.deny_peers[host] then return true; end
		host = host:match("%.(.*)$");
	end
	return false;
end

-- may_federate(peer_host) -> boolean: whether that service may mirror rooms here at all. A denied domain is denied with all its subdomains,
-- as it could make new ones without end.
function trust.may_federate(peer_host)
	peer_host = canonical(peer_host);
	return not is_denied(peer_host) and (not settings.allow_peers or settings.allow_peers[peer_host] == true);
end

local function is_local(domain)
	if prosody.hosts[domain] then return true; end
	if not domain:find("[\128-\255]") then return false; end -- ASCII has no other spelling
	for host in pairs(prosody.hosts) do
		if canonical(host) == domain then return true; end
	end
	return false;
end

-- may_speak_for(peer_host, user_jid) -> boolean: users of the peer's own host, of its parent domain, and of the domains configured for it.
-- That server could send as those users anyway, except where the parent is a top-level domain. No peer speaks for a user of this server.
function trust.may_speak_for(peer_host, user_jid)
	local _, domain = jid_split(user_jid);
	if not domain then return false; end
	domain, peer_host = canonical(domain), canonical(peer_host);
	if is_local(domain) then return false; end
	return domain == peer_host or domain == peer_host:match("^[^.]+%.([^.]+%..+)$")
		or (settings.trust[peer_host] ~= nil and settings.trust[peer_host][domain] == true);
end

return trust;
