-- SPDX-License-Identifier: MIT
-- The address a user wrote on her request (D8). Prosody's router removes `to` when it is the sender's own bare JID, before any event, so
-- that it looks like a request without `to`; only the filters of the stream see the stanza before. The request is marked there.

local add_filter = require "util.filters".add_filter;
local remove_filter = require "util.filters".remove_filter;

-- The key of the mark in the stanza: no code that walks over a stanza's fields by name meets it. A weak table of the marked stanzas would
-- cost every request of every user more.
local ADDRESSED = {};

local function mark(stanza)
	if stanza.name == "iq" and stanza.attr.to then stanza[ADDRESSED] = true; end
	return stanza;
end

-- Sessions that have a resource are those that can be routed; the priority does not matter as the stanza is not changed.
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
-- a resumed session takes the filters of the new connection
module:hook("smacks-hibernation-end", function (event) watch(event.resumed); end);
each_session(watch);

-- of(event) -> the address as the user wrote it (normalised), nil if she wrote none
local function of(event)
	local stanza, origin = event.stanza, event.origin;
	return stanza.attr.to or stanza[ADDRESSED] and origin.username.."@"..origin.host or nil;
end

-- stop(): for when the module unloads; filters outlive it otherwise
local function stop()
	each_session(function (session) remove_filter(session, "stanzas/in", mark); end);
end

return { of = of; stop = stop };
