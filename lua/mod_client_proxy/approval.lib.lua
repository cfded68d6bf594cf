-- SPDX-License-Identifier: MIT
-- Approval of the proxy's subscription in the name of a target account on this server: whoever writes the configuration may do what
-- its user would have to (P4). Accounts of other servers approve themselves.

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
	-- what the account's server does with a request and its user's answer
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
