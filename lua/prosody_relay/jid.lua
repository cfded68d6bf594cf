-- SPDX-License-Identifier: MIT
-- XEP-0106 escaping and the addresses of Federated MUC mirrors. Requirements A1 to A5.

local native = require "prosody_relay".native "jid_c";
local prepped_split = require "util.jid".prepped_split;
local jid_join = require "util.jid".join;

local PART_MAX = 1023; -- RFC 7622 section 3.1

local jid = {};

-- escape(localpart) -> escaped string; nil for nil (XEP-0106 section 4, A1)
-- Any string of any length; equal to Prosody's util.jid.escape on every input. The same string comes back when nothing is to be escaped.
jid.escape = native.escape;

-- unescape(localpart) -> unescaped string; nil for nil
-- The inverse: touches the ten sequences of XEP-0106 and nothing else.
jid.unescape = native.unescape;

local function check_string(value, position, name)
	if type(value) ~= "string" then
		error(("bad argument #%d to '%s' (string expected, got %s)"):format(position, name, type(value)), 3);
	end
end

-- escape_node(s) -> escaped localpart of a real JID, or nil, reason (A3)
-- reason: "empty", "space" (leading or trailing: XEP-0106 forbids \20 at either end), "too-long" (over 1023 bytes after escaping)
function jid.escape_node(s)
	check_string(s, 1, "escape_node");
	local escaped = native.escape(s);
	if escaped == "" then return nil, "empty"; end
	if escaped:find("^\\20") or escaped:find("\\20$") then return nil, "space"; end
	if #escaped > PART_MAX then return nil, "too-long"; end
	return escaped;
end

-- The bare form of a room's JID after stringprep, or nil, reason.
local function prepped_room(room_jid)
	local node, host, resource = prepped_split(room_jid);
	if not host then return nil, "invalid-jid"; end
	if not node then return nil, "no-node"; end
	if resource then return nil, "resource"; end
	return jid_join(node, host), host;
end

-- mirror(room_jid, host) -> JID of the mirror of that room on `host`, or nil, reason (A5, M1, G24)
-- room_jid: bare JID of a room; host: domain of the mirroring service. Both are normalised by stringprep first.
-- reason: "invalid-jid", "no-node" (a domain is no room), "resource" (a room's JID has none), "nested" (the room is itself on
-- `host`), "invalid-host", "too-long" (escaped localpart over 1023 bytes), "unstable" (stringprep would change the result)
function jid.mirror(room_jid, host)
	check_string(room_jid, 1, "mirror");
	check_string(host, 2, "mirror");
	local host_node, prepped_host, host_resource = prepped_split(host);
	if not prepped_host or host_node or host_resource then return nil, "invalid-host"; end
	local room, room_host = prepped_room(room_jid);
	if not room then return nil, room_host; end
	if room_host == prepped_host then return nil, "nested"; end
	local node, reason = jid.escape_node(room);
	if not node then return nil, reason; end
	local result = jid_join(node, prepped_host);
	if jid_join(prepped_split(result)) ~= result then return nil, "unstable"; end
	return result;
end

-- unmirror(mirror_jid) -> bare JID of the mirrored room, domain of the mirroring service; or nil, reason (A5, M1, G24)
-- reason: "invalid-jid", "no-node", "resource" as above; "no-mirror" (the localpart is not the escaped form of a room's
-- bare JID, so that two spellings never name one room), "nested" (the room would be on the mirroring service itself)
function jid.unmirror(mirror_jid)
	check_string(mirror_jid, 1, "unmirror");
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
