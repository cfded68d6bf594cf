-- SPDX-License-Identifier: MIT
-- Rooms of other servers that want to join as nodes (generation 2, XEP-0289 version 0.2). No node is configured here, so each join is
-- refused with <reject/> (N5, F13, G30). Both roles.
--
-- An ordinary answer would harm: Openfire takes the occupants that it is shown for users who join its own room, and answers each.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_node = require "util.jid".node;
local jid_resource = require "util.jid".resource;
local new_throttle = require "util.throttle".create;
local st = require "util.stanza";

local once = lib "link/log".once;

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc = "http://jabber.org/protocol/muc";

-- Joins of one domain that are answered: so many at once, then so many a second. Openfire waits for ever for an answer, so that an honest
-- server should never meet the limit.
local max_at_once, max_per_second = 100, 10;

local throttles = cache.new(256); -- domain of the peer -> throttle

local muc, is_link;

local function may_answer(domain)
	local throttle = throttles:get(domain) or new_throttle(max_at_once, max_at_once / max_per_second);
	throttles:set(domain, throttle);
	return throttle:poll(1);
end

local function is_user_here(jid)
	local host = prosody.hosts[jid_host(jid)];
	return host ~= nil and host.type == "local";
end

local function is_occupant(jid, room_jid)
	local room = muc.get_room_from_jid(room_jid);
	return room ~= nil and room ~= false and room:get_occupant_by_real_jid(jid) ~= nil;
end

-- What a node's room itself says: of changes of its occupants, and <left/> or <reject/>. A mirror of generation 1 speaks from its bare
-- JID as well, when it joins: to an occupant.
local function is_from_room(stanza, fmuc)
	return not jid_resource(stanza.attr.to) or fmuc:get_child("left") ~= nil or fmuc:get_child("reject") ~= nil;
end

-- Whether a node says this: it speaks for an occupant of its own room, whose real JID is fmuc@from (section 2b of the requirements), or for
-- the room
local function is_from_node(stanza)
	local from, fmuc = stanza.attr.from, stanza:get_child("fmuc", xmlns_fmuc);
	if not fmuc or not jid_node(from) or is_user_here(from) then return false; end
	local room_jid = jid_bare(stanza.attr.to);
	if is_link(jid_bare(from), room_jid) then return false; end
	if not jid_resource(from) then return is_from_room(stanza, fmuc); end
	return fmuc.attr.from ~= nil and not is_occupant(from, room_jid);
end

-- From bare room to bare room, and not of type error: that is the one refusal which Openfire understands (O2)
local function reject(stanza)
	local node, room_jid = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	if not may_answer(jid_host(node)) then return; end
	once("node\0" .. jid_host(node), "info", "Refused %s, which wanted to join %s as a federated room (generation 2)", node, room_jid);
	module:fire_event("fmuc-join-refused", { error = st.stanza("error"):tag("not-allowed"):up() });
	module:send(st.presence({ from = room_jid; to = node })
		:tag("fmuc", { xmlns = xmlns_fmuc })
			:text_tag("reject", "This room does not federate with other rooms"));
end

local uninvited = {};

-- handle(event): a presence or message to a room
function uninvited.handle(event)
	local stanza = event.stanza;
	if stanza.attr.type == "error" or not is_from_node(stanza) then return; end
	if stanza.name == "presence" and stanza.attr.type == nil and stanza:get_child("x", xmlns_muc) then reject(stanza); end
	return true; -- what a node says that has not joined is for nobody, and an error would make some of them lose a user (O18)
end

-- shared: muc (environment of mod_muc), is_link(jid, room_jid) -> whether the bare JID is at the other end of a link with that room
return function (shared)
	muc, is_link = shared.muc, shared.is_link;
	return uninvited;
end;
