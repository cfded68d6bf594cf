-- SPDX-License-Identifier: MIT
-- Refuses rooms of other servers that want to join as nodes (generation 2, XEP-0289 version 0.2). No node is configured here, so each join
-- is answered by <reject/> (N5, F13, G30). Both roles.
--
-- An ordinary answer would do harm. Openfire takes the occupants in it for users who join its own room, and answers each.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_node = require "util.jid".node;
local jid_resource = require "util.jid".resource;
local new_throttle = require "util.throttle".create;
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

local generation2 = lib "dialect/generation2";
local links = lib "link/link";
local once = lib "link/log".once;


-- How many joins of one domain are answered: at once, and each second. Openfire waits forever for an answer, so an honest server should
-- never meet the limit.
local max_at_once, max_per_second = 100, 10;

local throttles = cache.new(256); -- domain of the peer -> throttle

local muc = module:depends "muc";

local function may_answer(domain)
	local throttle = throttles:get(domain) or new_throttle(max_at_once, max_at_once / max_per_second);
	throttles:set(domain, throttle);
	return throttle:poll(1);
end

local function is_user_here(jid)
	local host = prosody.hosts[jid_host(jid)];
	return host ~= nil and host.type == "local";
end

-- Whether the bare JID is at the other end of a link with that room, open or about to begin
local function is_link(jid, room_jid)
	return links.get(room_jid, jid) ~= nil or relay_jid.unmirror(room_jid) == jid;
end

local function is_occupant(jid, room_jid)
	local room = muc.get_room_from_jid(room_jid);
	return room ~= nil and room ~= false and room:get_occupant_by_real_jid(jid) ~= nil;
end

-- Whether a node sends this. A node speaks for its room, or for an occupant by naming the real JID (section 2b of the requirements). A
-- mirror of generation 1 also joins from its bare JID, but to an occupant.
local function is_from_node(stanza, said)
	local from, room_jid = stanza.attr.from, jid_bare(stanza.attr.to);
	if not jid_node(from) or is_user_here(from) or is_link(jid_bare(from), room_jid) then return false; end
	if not jid_resource(from) then return said.is_from_room or not jid_resource(stanza.attr.to); end
	return said.real_jid ~= nil and not is_occupant(from, room_jid);
end

local function reject(stanza)
	local node, room_jid = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	if not may_answer(jid_host(node)) then return; end
	once("node\0" .. jid_host(node), "info", "Refused %s, which wanted to join %s as a federated room (generation 2)", node, room_jid);
	module:fire_event("fmuc-join-refused", { error = st.stanza("error"):tag("not-allowed"):up() });
	module:send(generation2.reject(room_jid, node, "This room does not federate with other rooms"));
end

local uninvited = {};

-- handle(event): handles a presence or message to a room
function uninvited.handle(event)
	local stanza = event.stanza;
	local said = generation2.read(stanza);
	if not said or not is_from_node(stanza, said) then return; end
	if said.is_join then reject(stanza); end
	return true; -- Nobody gets what a node says that has not joined. An error would make some nodes lose a user (O18).
end

return uninvited;
