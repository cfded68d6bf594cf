-- SPDX-License-Identifier: MIT
-- Sessions of this server's accounts that hibernate (XEP-0198): the connection is gone, the client may come back for some minutes. Who
-- chooses among the sessions of an account asks these last: what they are sent waits (case C6).

local jid_split = require "util.jid".split;

local sessions = {};

-- is_hibernating(full_jid) -> whether that is a session of this server whose client has lost its connection
function sessions.is_hibernating(full_jid)
	local node, host, resource = jid_split(full_jid);
	local user = prosody.hosts[host] and prosody.hosts[host].sessions and prosody.hosts[host].sessions[node];
	local session = user and user.sessions[resource];
	return session ~= nil and session.hibernating ~= nil;
end

-- watch(module, host, callback): callback(full JID, is_hibernating) when a session of an account of that virtual host begins or ends to
-- hibernate. A session that never comes back sends unavailable presence at last, as any other does.
function sessions.watch(module, host, callback)
	local host_module = module:context(host);
	host_module:hook("smacks-hibernation-start", function (event) callback(event.origin.full_jid, true); end);
	host_module:hook("smacks-hibernation-end", function (event) callback(event.resumed.full_jid, false); end);
end

return sessions;
