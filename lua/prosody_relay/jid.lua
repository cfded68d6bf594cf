-- SPDX-License-Identifier: MIT
-- XEP-0106 escaping and the addresses of Federated MUC mirrors. Requirements A1, A2, A4, A5.

local native = require "prosody_relay".native "jid_c";
local prepped_split = require "util.jid".prepped_split;
local jid_join = require "util.jid".join;

local jid = {};

-- escape(localpart) -> escaped string; nil for nil (XEP-0106 section 4, A1)
-- Any string of any length; the same result as Prosody's util.jid.escape. Returns the same string when there is nothing to escape.
jid.escape = native.escape;

-- unescape(localpart) -> unescaped string; nil for nil
-- The inverse: changes only the ten sequences of XEP-0106.
jid.unescape = native.unescape;

-- The bare form of a room's JID after stringprep, and its domain; or nil
local function prepped_room(room_jid)
	local node, host, resource = prepped_split(room_jid);
	if not node or resource then return nil; end
	return jid_join(node, host), host;
end

-- unmirror(mirror_jid) -> bare JID of the mirrored room, domain of the mirroring service; or nil, reason (A5, M1, G24)
-- mirror_jid is normalised by stringprep first.
-- reason:
--   "invalid-jid"
--   "no-node": a domain is no mirror
--   "resource": a mirror has no resource
--   "no-mirror": the localpart is not the escaped form of a room's bare JID; two spellings never name one room
--   "nested": the room would be on the mirroring service itself
function jid.unmirror(mirror_jid)
	if type(mirror_jid) ~= "string" then error(("bad argument #1 to 'unmirror' (string expected, got %s)"):format(type(mirror_jid)), 2); end
	local node, host, resource = prepped_split(mirror_jid);
	if not host then return nil, "invalid-jid"; end
	if not node then return nil, "no-node"; end
	if resource then return nil, "resource"; end
	local room, room_host = prepped_room(native.unescape(node));
	if not room or native.escape(room) ~= node then return nil, "no-mirror"; end
	if room_host == host then return nil, "nested"; end
	return room, host;
end

return jid;
