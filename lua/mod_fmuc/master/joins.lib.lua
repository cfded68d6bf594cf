-- SPDX-License-Identifier: MIT
-- Joins that a mirror sends for its users (M4, M5, M26 to M28): who may join, what the mirror gets, and how the user enters the room.
--
-- request: origin, stanza, wanted (of generation1.read_join()), real_jid, link_jid, peer (host of the mirror), room_jid, occupant_jid,
-- nick, user_on_mirror (address for answers). At the session's turn also: room, link (nil: a mirror that is new to the room), held (the
-- real JID that the mirror has brought with that nick), present_as (occupant JID of the session).

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_node = require "util.jid".node;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local hygiene = lib "link/hygiene";
local limits = lib "link/limits";
local once = lib "link/log".once;
local answers = lib "master/answers";
local dumps = lib "link/dumps";
local kicked = lib "master/kicked";
local links = lib "master/links";
local liveness = lib "master/liveness";
local resync = lib "master/resync";
local stanza_ids = lib "master/ids";
local trust = lib "link/trust";
local turns = lib "room/turns";
local muc = module:depends "muc";

local joins = {};

local function refuse(request, ...)
	return answers.refuse(request.origin, request.stanza, request.user_on_mirror, ...);
end

-- M1: the name of a mirror follows from the room, in one form only. So a service has one mirror of each room, and no account passes for a
-- mirror.
local function is_mirror_of(link_jid, room_jid)
	return relay_jid.unmirror(link_jid) == room_jid;
end

-- An objection to the mirror -> name of an error (errors.lib.lua), argument of its text; or nil
local function objection_to_mirror(request)
	local real_jid, peer, link_jid = request.real_jid, request.peer, request.link_jid;
	if not real_jid or not jid_node(real_jid) or not jid_resource(real_jid) then
		return "no-real-jid";
	elseif not trust.may_federate(peer) or not trust.may_speak_for(peer, real_jid) then
		once("trust\0" .. peer, "info", "Refused %s, which wanted to bring %s into %s", link_jid, real_jid, request.room_jid);
		return "mirror-not-trusted", peer;
	elseif not is_mirror_of(link_jid, request.room_jid) then
		once("name\0" .. peer, "info", "Refused %s, which does not have the name of a mirror of %s", link_jid, request.room_jid);
		return "no-name-of-mirror";
	end
end

-- An objection to the user that the room itself cannot raise
local function objection_to_user(request)
	local room, link, held = request.room, request.link, request.held;
	local is_elsewhere = request.present_as and request.present_as ~= request.occupant_jid;
	if is_elsewhere and link and link == room.fmuc.link_of[request.real_jid] then
		return "nick-stays-at-master"; -- M27
	elseif request.present_as and not held or held and jid_bare(held) ~= jid_bare(request.real_jid) then
		return "nick-taken";
	elseif link and not held and not limits.has_place(link, link.nicks) then
		once("full\0" .. request.peer, "info", "Refused %s in %s: %s brings %d others (fmuc_max_occupants)",
			request.real_jid, request.room_jid, request.link_jid, limits.max_occupants);
		return "too-many-mirrored";
	end
end

-- The room does not exist, or is destroyed. mod_muc remembers for a while to which room its occupants should go.
local function refuse_absent(request)
	local room = request.room;
	if not room or room._data.locked < os.time() then return refuse(request, "no-room"); end
	local reply = st.error_reply(request.stanza, "cancel", "gone", room._data.reason);
	if room._data.newjid then reply:get_child("error").tags[1]:text("xmpp:" .. room._data.newjid .. "?join"); end
	return answers.origin(request.origin, room.jid, request.user_on_mirror).send(reply);
end

-- Our extension (G3): the mirror believes that the user was in the room all the time -> whether the user was kicked; then the mirror is told
local function tell_kick(request)
	local kick = request.wanted.again and kicked.presence(request.room, request.link_jid, request.nick);
	if not kick then return false; end
	kick.attr.to, kick.attr.id = request.user_on_mirror, request.stanza.attr.id;
	module:send(kick);
	return true;
end

-- The join as if the user had come directly (M5), without what makes it too long
local function direct_join(request)
	local presence = hygiene.copy("join from a mirror", request.stanza);
	presence = limits.trimmed(presence) or limits.bare_presence(presence);
	presence.attr.from = request.real_jid;
	generation1.add_direct_join(presence, request.wanted);
	return presence;
end

-- Our extension (G3): a history limit in a mirror's join asks for a resync; "0" says that only this user is missing
local function wants_all(request)
	local history = request.wanted.history;
	return history ~= nil and history.maxstanzas ~= "0";
end

-- Only a new mirror, or one that lost its data and joins again, gets occupants, history and subject
local function is_to_be_dumped(request)
	return not request.link or wants_all(request) or request.held ~= nil and not request.wanted.history;
end

-- Opens the link with that user -> link, and the join for master/links
local function begin(request, stanza, dumping)
	local room, is_new, is_resync = request.room, request.link == nil, wants_all(request);
	local link = links.add_user(room, request.link_jid, request.nick, request.real_jid);
	links.set_bandwidth(room, link, request.wanted.bandwidth);
	if dumping then
		link:fire("dump");
		link:answered();
	end
	if is_resync then
		module:fire_event("fmuc-resync");
		link:restart_count(nil, 0);
	elseif is_new then
		link:restart_count(nil, 1);
	end
	local ids = request.wanted.ids and stanza_ids.offer(room, link, request.wanted.ids);
	if ids then links.send(room, link, ids); end -- before the user can answer, so that the mirror has the prefix by then
	return link, { occupant_jid = request.occupant_jid; dumping = dumping;
		resyncing = is_resync and { nick = request.nick; is_complete = resync.is_remembered(room, stanza) } };
end

-- Lets the user enter the room, which decides
local function admit(request)
	local room, nick, real_jid, held = request.room, request.nick, request.real_jid, request.held;
	local dumping, sent_before = is_to_be_dumped(request), dumps.sent(request.link);
	local stanza = direct_join(request);
	local link, join = begin(request, stanza, dumping);
	local origin = answers.origin(request.origin, room.jid, request.user_on_mirror, join);
	links.while_joining(room, link, real_jid, join, function ()
		if held == real_jid and request.present_as then return resync.handle(room, origin, stanza, dumping); end
		return room:handle_normal_presence(origin, stanza);
	end);
	if dumping then
		link:fire("dumped");
		dumps.count(request.link_jid, dumps.sent(link) - sent_before);
	end
	if join.is_over then return; end
	room = links.current(room); -- another object, if mod_muc has put the room aside
	-- after a restart of the mirror the user may have another resource
	if held and held ~= real_jid then links.replace_session(room, nick, held); end
	if room:get_occupant_jid(real_jid) ~= request.occupant_jid then
		links.remove_user(room, link, nick);
	elseif not request.wanted.again then
		kicked.forget(room, request.link_jid, nick);
	end
end

-- Handles a join when it is the session's turn
local function join_room(request)
	local room = muc.get_room_from_jid(request.room_jid);
	request.room = room;
	if not room or room._data.destroyed then return refuse_absent(request); end
	local link = links.get(room, request.link_jid);
	if link then link:count_received(); end -- even if the join is refused
	if tell_kick(request) then return; end
	request.link, request.held, request.present_as = link, link and link.nicks[request.nick], room:get_occupant_jid(request.real_jid);
	local objection = objection_to_user(request);
	if objection then return refuse(request, objection); end
	if link and link.state == "lost" and not wants_all(request) and not request.held then
		return liveness.nudge(room.jid, link.peer); -- the mirror has missed something, and must resync first
	elseif is_to_be_dumped(request) and not dumps.may_have(request.link_jid) then
		once("dumps\0" .. request.peer, "info", "Put off %s, which asks for %s too often", request.link_jid, room.jid);
		return refuse(request, "too-many-dumps");
	end
	admit(request);
end

-- handle(event, wanted) -> true: handles a join through a mirror; wanted: of generation1.read_join()
function joins.handle(event, wanted)
	local stanza = event.stanza;
	local link_jid, occupant_jid = stanza.attr.from, stanza.attr.to;
	local nick = jid_resource(occupant_jid);
	local request = { origin = event.origin; stanza = stanza; wanted = wanted; real_jid = jid_prep(wanted.real_jid); link_jid = link_jid;
		peer = jid_host(link_jid); room_jid = jid_bare(occupant_jid); occupant_jid = occupant_jid; nick = nick;
		user_on_mirror = link_jid .. "/" .. nick };
	local objection, detail = objection_to_mirror(request);
	if objection then return refuse(request, objection, detail); end
	if turns.take(request.room_jid, request.real_jid, function () join_room(request); end) then return true; end
	return refuse(request, "earlier-presences");
end

-- check_nick(event): accepts a nick unchanged or not at all (M26), after all other handlers that may change it
function joins.check_nick(event)
	local join = event.origin.fmuc_join;
	if join and event.occupant.nick ~= join.occupant_jid then
		event.origin.send(errors.reply(event.stanza, "nick-registered", jid_resource(event.occupant.nick)));
		return true;
	end
end

-- check_join(event): checks again, as other modules' handlers of a join may have waited. Meanwhile the room may be destroyed, the nick
-- taken, or another session of the user have come or gone.
function joins.check_join(event)
	local room, occupant = event.room, event.occupant;
	local join = event.origin.fmuc_join;
	if join and (join.is_over or links.current(room) ~= room or module.loaded == false) then
		event.origin.send(errors.reply(event.stanza, join.is_over and "no-room" or "earlier-presences"));
		return true;
	elseif not room.fmuc or event.is_new_room then
		return;
	end
	local current = room:get_occupant_by_nick(occupant.nick);
	if current and current.bare_jid ~= occupant.bare_jid then
		event.origin.send(st.error_reply(event.stanza, "cancel", "conflict", nil, room.jid));
		return true;
	end
	occupant.sessions, occupant.jid = current and current.sessions or {}, current and current.jid;
	if current and event.is_first_session then occupant.role = current.role; end
end

return joins;
