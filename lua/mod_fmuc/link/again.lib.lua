-- SPDX-License-Identifier: MIT
-- Brings stanzas to their handlers that were held, or that this service makes for a user.

local again = {};

-- the origin of such a stanza, which sends the answers
again.origin = { type = "component"; host = module.host; send = function (reply) return module:send(reply); end };

-- pass(event, stanza, [info]): the stanza goes its way now. info: description of the room, if the stanza waited for that
function again.pass(event, stanza, info)
	module:fire_event(event, { origin = again.origin; stanza = stanza; fmuc_info = info });
end

return again;
