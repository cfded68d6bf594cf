-- SPDX-License-Identifier: MIT
-- Sessions of this server's accounts that hibernate (XEP-0198): the connection is gone, but the client may come back for some minutes.
-- Stanzas to these sessions have to wait. So a module that chooses a session of an account chooses these last (case C6).

local jid_split = require "util.jid".split;

local sessions = {};

local function find(full_jid)
	local node, host, resource = jid_split(full_jid);
	local user = prosody.hosts[host] and prosody.hosts[host].sessions and prosody.hosts[host].sessions[node];
	return user and user.sessions[resource];
end

-- is_hibernating(full_jid) -> whether it is a session of this server whose client has lost its connection
function sessions.is_hibernating(full_jid)
	local session = find(full_jid);
	return session ~= nil and session.hibernating ~= nil;
end

-- is_connected(full_jid) -> whether it is a session of this server whose client is connected
function sessions.is_connected(full_jid)
	local session = find(full_jid);
	return session ~= nil and session.conn ~= nil and not session.destroyed;
end

-- is_throttled(full_jid) -> whether it is a session of this server that mod_limits makes wait now (case C8)
-- The network backend epoll, the default of both versions, keeps the end of the pause in a field; with another backend: false.
function sessions.is_throttled(full_jid)
	local session = find(full_jid);
	return session ~= nil and type(session.conn) == "table" and session.conn._pausefor ~= nil;
end

-- watch(module, host, callback): callback(full JID, is_hibernating) when a session of an account of that host begins or ends to
-- hibernate. A session that never comes back sends unavailable presence in the end, as others do. The host may be activated later.
function sessions.watch(module, host, callback)
	local function hook()
		local host_module = module:context(host);
		host_module:hook("smacks-hibernation-start", function (event) callback(event.origin.full_jid, true); end);
		host_module:hook("smacks-hibernation-end", function (event) callback(event.resumed.full_jid, false); end);
	end
	if prosody.hosts[host] then hook(); end
	module:hook_global("host-activated", function (name)
		if name == host then hook(); end
	end);
end

return sessions;
