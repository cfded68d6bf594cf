-- SPDX-License-Identifier: MIT
-- Options about what a mirror does, and for which users and rooms (requirements section 5, M21, M28, G20, G25).

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;

local settings = lib "settings";

local policy = {};

local parent_host = module.host:match("^[^.]+%.(.+)$");
local allowed_users, allowed_masters = settings.allow_users or { parent_host }, settings.allow_masters;

-- may_use(jid) -> boolean: whether the user may use the mirror. The default is the users of the parent host, so that no mirror is an open relay
function policy.may_use(jid)
	local bare, host = jid_bare(jid), jid_host(jid);
	for _, allowed in ipairs(allowed_users) do
		if allowed == bare or allowed == host then return true; end
	end
	return false;
end

-- may_be_mirrored(room_jid) -> boolean: by default true for all rooms except those of this server
function policy.may_be_mirrored(room_jid)
	local host = jid_host(room_jid);
	if not allowed_masters then return prosody.hosts[host] == nil; end
	for _, allowed in ipairs(allowed_masters) do
		if allowed == host then return true; end
	end
	return false;
end

-- lists_masters() -> whether the admin has listed the masters, so that they need no check
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
