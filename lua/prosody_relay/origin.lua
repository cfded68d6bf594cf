-- SPDX-License-Identifier: MIT
-- Whose error it is (requirement G26): the peer's word, or this server's own, which could not deliver a stanza. Decided by where the error
-- comes from, never by its condition: a peer may use any condition.

local origin = {};

-- is_undeliverable(event) -> whether the stanza of that event ({ origin, stanza }) is an error of this server in the peer's name
-- A peer speaks over a stream. These have none: the session that mod_s2s invents for what it cannot send, the host of mod_smacks, which
-- answers what a broken stream left unacknowledged, and the host of a component or client that is not there.
-- An unacknowledged stanza may have arrived: only the peer can tell.
function origin.is_undeliverable(event)
	return event.stanza.attr.type == "error" and not (event.origin and event.origin.conn);
end

return origin;
