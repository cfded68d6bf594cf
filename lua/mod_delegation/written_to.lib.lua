-- SPDX-License-Identifier: MIT
-- The address that a user wrote on her request (D8). If it is her own bare JID, Prosody's router removes `to` before any event. Then the request
-- looks like one without `to`. Only the filters of the stream see the stanza earlier, so a filter marks the request.

local add_filter = require "util.filters".add_filter;
local remove_filter = require "util.filters".remove_filter;

-- The key of the mark in the stanza. Code that reads a stanza's fields by name never meets this key. A weak table of marked stanzas would make
-- every request more expensive.
local ADDRESSED = {};

local function mark(stanza)
	if stanza.name == "iq" and stanza.attr.to then stanza[ADDRESSED] = true; end
	return stanza;
end

-- Only sessions with a resource send stanzas that are routed. The priority does not matter, as the filter does not change the stanza.
local function watch(session)
	add_filter(session, "stanzas/in", mark);
end

local function each_session(callback)
	for _, user in pairs(prosody.hosts[module.host].sessions) do
		for _, session in pairs(user.sessions) do
			callback(session);
		end
	end
end

module:hook("resource-bind", function (event) watch(event.session); end);
-- a resumed session gets the filters of the new connection
module:hook("smacks-hibernation-end", function (event) watch(event.resumed); end);
each_session(watch);

-- of(event) -> the address as the user wrote it (normalised), nil if she wrote none
local function of(event)
	local stanza, origin = event.stanza, event.origin;
	return stanza.attr.to or stanza[ADDRESSED] and origin.username.."@"..origin.host or nil;
end

-- stop(): removes the filters when the module unloads; Prosody does not remove them
local function stop()
	each_session(function (session) remove_filter(session, "stanzas/in", mark); end);
end

return { of = of; stop = stop };
