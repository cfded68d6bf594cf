-- SPDX-License-Identifier: MIT
-- Approves the proxy's subscription for a target account on this server, in place of its user (P4). The admin who writes the
-- configuration may do that. Users of other servers approve the subscription themselves.

local jid_split = require "util.jid".split;
local rostermanager = require "core.rostermanager";
local st = require "util.stanza";
local user_exists = require "core.usermanager".user_exists;

-- approve(jid) -> true when the account is on this server and lets the proxy see its presence now
local function approve(jid)
	local user, host = jid_split(jid);
	local target_host = prosody.hosts[host];
	if not target_host or target_host.type ~= "local" or not user_exists(user, host) then return false; end
	if rostermanager.is_contact_subscribed(user, host, module.host) then return true; end
	-- the same steps as for a request and the user's approval
	local request = st.presence({ type = "subscribe"; from = module.host; to = jid });
	local ok = rostermanager.set_contact_pending_in(user, host, module.host, request) and rostermanager.subscribed(user, host, module.host);
	if not ok then
		module:log("warn", "The roster of %s could not be changed: its user has to approve the subscription of %s", jid, module.host);
		return false;
	end
	rostermanager.roster_push(user, host, module.host);
	module:log("info", "Approved the subscription to the presence of %s, an account of this server", jid);
	return true;
end

return { approve = approve };
