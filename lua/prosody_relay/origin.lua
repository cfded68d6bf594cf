-- SPDX-License-Identifier: MIT
-- Whose error it is (requirement G26): the peer's, or this server's, which could not deliver a stanza. The connection of the error decides,
-- never its condition: a peer may use any condition.

local jid_host = require "util.jid".host;
local st = require "util.stanza";

local origin = {};

local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Whether a module of this server answers for that host: it needs no stream, and is always there
local function is_served_here(host)
	local component = prosody.hosts[host];
	return component ~= nil and component.type == "component" and not component.modules.component;
end

-- is_undeliverable(event) -> whether the stanza of that event ({ origin, stanza }) is an error of this server in the peer's name
-- A peer's error comes over a stream. Three of this server's errors do not:
-- - mod_s2s cannot send a stanza, and answers from a session of its own
-- - mod_smacks answers for stanzas that a broken stream left unacknowledged; such a stanza may have arrived, which only the peer knows
-- - a component or client is not there, and its host answers
function origin.is_undeliverable(event)
	local stanza = event.stanza;
	return stanza.attr.type == "error" and not (event.origin and event.origin.conn) and not is_served_here(jid_host(stanza.attr.from));
end

-- explained(event) -> the stanza of that event, with an error that its reader understands. mod_smacks answers recipient-unavailable for an
-- unacknowledged stanza, but the recipient may be there. Errors with a text, and a peer's errors, are not changed.
function origin.explained(event)
	if not origin.is_undeliverable(event) or select(3, event.stanza:get_error()) then return event.stanza; end
	local stanza = st.clone(event.stanza);
	stanza:remove_children("error");
	return stanza:tag("error", { type = "wait" })
		:tag("remote-server-timeout", { xmlns = xmlns_stanzas }):up()
		:text_tag("text", "The connection to " .. jid_host(stanza.attr.from) .. " broke, so this may not have arrived", { xmlns = xmlns_stanzas })
		:up();
end

return origin;
