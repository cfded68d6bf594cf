-- SPDX-License-Identifier: MIT
-- The options that say what a mirror does for whom (requirements section 5, M21, M28, G20, G25).

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;

local settings = lib "settings";

local policy = {};

local parent_host = module.host:match("^[^.]+%.(.+)$");
local allowed_users, allowed_masters = settings.allow_users or { parent_host }, settings.allow_masters;

-- may_use(jid) -> boolean: whether that user may use the mirror; by default those of the parent host, so that no mirror is an open relay
function policy.may_use(jid)
	local bare, host = jid_bare(jid), jid_host(jid);
	for _, allowed in ipairs(allowed_users) do
		if allowed == bare or allowed == host then return true; end
	end
	return false;
end

-- may_be_mirrored(room_jid) -> boolean: by default all rooms but those served here
function policy.may_be_mirrored(room_jid)
	local host = jid_host(room_jid);
	if not allowed_masters then return prosody.hosts[host] == nil; end
	for _, allowed in ipairs(allowed_masters) do
		if allowed == host then return true; end
	end
	return false;
end

-- lists_masters() -> whether the masters are listed, and so known to be masters
function policy.lists_masters()
	return allowed_masters ~= nil;
end

-- What may cross the link (link/bandwidth)
policy.bandwidth = settings.bandwidth;

-- is_nomirror(room_jid) -> whether messages to that room are fired and forgotten (M21)
function policy.is_nomirror(room_jid)
	local nomirror = settings.nomirror;
	return nomirror == true or nomirror ~= false and nomirror[room_jid] == true;
end

return policy;
