-- SPDX-License-Identifier: MIT
-- Whose error it is (requirement G26): the peer's word, or this server's own, which could not deliver a stanza. Decided by where the error
-- comes from, never by its condition: a peer may use any condition.

local jid_host = require "util.jid".host;
local st = require "util.stanza";

local origin = {};

local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Whether a module of this server speaks for that host: it needs no stream, and is always there
local function is_served_here(host)
	local component = prosody.hosts[host];
	return component ~= nil and component.type == "component" and not component.modules.component;
end

-- is_undeliverable(event) -> whether the stanza of that event ({ origin, stanza }) is an error of this server in the peer's name
-- A peer speaks over a stream. These have none: the session that mod_s2s invents for what it cannot send, the host of mod_smacks, which
-- answers what a broken stream left unacknowledged, and the host of a component or client that is not there.
-- An unacknowledged stanza may have arrived: only the peer can tell.
function origin.is_undeliverable(event)
	local stanza = event.stanza;
	return stanza.attr.type == "error" and not (event.origin and event.origin.conn) and not is_served_here(jid_host(stanza.attr.from));
end

-- explained(event) -> the stanza of that event, with an error that its reader understands. mod_smacks says recipient-unavailable of what was
-- not acknowledged, which is not true of the recipient; other errors of this server have a text that says why, and a peer's stay as they are.
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
