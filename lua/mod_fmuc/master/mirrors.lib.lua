-- SPDX-License-Identifier: MIT
-- What mirrors send to the rooms of a master, and others in the name of mirrors (M4 to M26). A mirrored user is an occupant like any other,
-- under the real JID that the mirror vouches for. What mirrors get: master/links.

local st = require "util.stanza";
local relay_jid = require "prosody_relay.jid";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_node = require "util.jid".node;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;

local generation1 = lib "dialect/generation1";
local delivery = lib "room/delivery";
local trust = lib "master/trust";
local stanza_ids = lib "master/ids";
local limits = lib "link/limits";
local hygiene = lib "link/hygiene";
local kicked = lib "master/kicked";
local dumps = lib "master/dumps";
local links = lib "master/links";
local once = lib "link/log".once;
local turns = lib "master/turns";
local resync = lib "master/resync";
local liveness = lib "master/liveness";
local muc = module:depends "muc";

local xmlns_muc = "http://jabber.org/protocol/muc";

local mirrors = {};

-- Answers of mod_muc to one mirrored user go to that user's full JID on the mirror (M8). join: what is to be known of the user's join
local function origin_for(origin, room_jid, user_on_mirror, join)
	local function send(reply)
		if reply.name == "presence" then
			module:fire_event("fmuc-join-refused", { error = reply:get_child("error") });
			reply = generation1.refusal(reply:get_child("error"), { id = reply.attr.id });
		end
		reply.attr.from, reply.attr.to = room_jid, user_on_mirror;
		module:send(reply);
		return true;
	end
	return setmetatable({ send = send; fmuc_join = join }, { __index = origin });
end

local function refuse(origin, stanza, user_on_mirror, ...)
	origin_for(origin, jid_bare(stanza.attr.to), user_on_mirror).send(st.error_reply(stanza, ...));
	return true;
end

-- room: nil, or one that has been destroyed, of which mod_muc remembers for a while where its occupants are to go
local function refuse_absent(origin, stanza, user_on_mirror, room)
	if not room or room._data.locked < os.time() then
		return refuse(origin, stanza, user_on_mirror, "cancel", "item-not-found", "There is no such room");
	end
	local reply = st.error_reply(stanza, "cancel", "gone", room._data.reason);
	if room._data.newjid then reply:get_child("error").tags[1]:text("xmpp:" .. room._data.newjid .. "?join"); end
	return origin_for(origin, room.jid, user_on_mirror).send(reply);
end

-- A presence as it is kept: without what its author has added, or with nothing, when it is too long
local function trimmed(presence)
	return limits.trimmed(presence) or st.clone(presence, true);
end

-- The join as if the user had come directly (M5). join: of generation1.read_join()
local function direct_join(stanza, join, real_jid)
	local presence = trimmed(hygiene.copy("join from a mirror", stanza));
	presence.attr.from = real_jid;
	generation1.add_direct_join(presence, join);
	return presence;
end

-- M1: a mirror of a room has its name, in the one form that there is, so that a service has one mirror of each, and no account is taken for one
local function is_mirror_of(link_jid, room_jid)
	return relay_jid.unmirror(link_jid) == room_jid;
end

-- The join of a session whose turn it is
local function join_room(origin, stanza, wanted, real_jid)
	local link_jid, occupant_jid = stanza.attr.from, stanza.attr.to;
	local room_jid, nick = jid_bare(occupant_jid), jid_resource(occupant_jid);
	local user_on_mirror = link_jid .. "/" .. nick;
	local peer = jid_host(link_jid);

	local room = muc.get_room_from_jid(room_jid);
	if not room or room._data.destroyed then return refuse_absent(origin, stanza, user_on_mirror, room); end
	local link = links.get(room, link_jid);
	if link then link:count_received(); end -- whatever becomes of it
	-- our extension (G3): the user was in the room all the time, as far as the mirror knows
	local kick = wanted.again and kicked.presence(room, link_jid, nick);
	if kick then
		kick.attr.to, kick.attr.id = user_on_mirror, stanza.attr.id;
		module:send(kick);
		return true;
	end
	local held = link and link.nicks[nick];
	local present_as = room:get_occupant_jid(real_jid);
	if present_as and present_as ~= occupant_jid and link and link == room.fmuc.link_of[real_jid] then
		-- M27: a mirror must not let its users change their nick
		return refuse(origin, stanza, user_on_mirror, "cancel", "not-acceptable", "Nicknames cannot be changed through a mirror");
	elseif (present_as and not held) or (held and jid_bare(held) ~= jid_bare(real_jid)) then
		return refuse(origin, stanza, user_on_mirror, "cancel", "conflict");
	elseif link and not held and not limits.has_place(link, link.nicks) then
		once("full\0" .. peer, "info", "Refused %s in %s: %s brings %d others (fmuc_max_occupants)", real_jid, room_jid, link_jid, limits.max_occupants);
		return refuse(origin, stanza, user_on_mirror, "wait", "service-unavailable", "This mirror brings too many users");
	end

	-- Our extension (G3): a limit of history in a join through a mirror asks for a resync; "0" says that nothing but this user is missing
	local history = wanted.history;
	local wants_all = history and history.maxstanzas ~= "0";
	if link and link.state == "lost" and not wants_all and not held then
		liveness.nudge(room_jid, link_jid); -- it has missed something, and is to resync before anything else
		return true;
	end

	local newcomer = not link;
	-- Only a mirror that knows nothing yet, or that lost what it knew and joins again, gets occupants, history and subject
	local dumping = newcomer or wants_all or held ~= nil and not history;
	local sent_before = dumps.sent(link);
	if dumping and not dumps.may_have(link_jid) then
		once("dumps\0" .. peer, "info", "Put off %s, which asks for %s too often", link_jid, room_jid);
		return refuse(origin, stanza, user_on_mirror, "wait", "resource-constraint", "This mirror has asked for the room too often");
	end
	link = links.add_user(room, link_jid, nick, real_jid);
	links.set_bandwidth(room, link, wanted.bandwidth);
	if dumping then
		link:fire("dump");
		link:answered();
	end
	if wants_all then module:fire_event("fmuc-resync"); end
	if wants_all then link:restart_count(nil, 0); elseif newcomer then link:restart_count(nil, 1); end
	local ids = wanted.ids and stanza_ids.offer(room, link, wanted.ids);
	if ids then links.send(room, link, ids); end -- first, for what the user says as soon as the answer is there
	local stanza_in_room = direct_join(stanza, wanted, real_jid);
	local join = {
		occupant_jid = occupant_jid; dumping = dumping;
		resyncing = wants_all and { nick = nick; is_complete = resync.is_remembered(room, stanza_in_room) };
	};
	local for_user = origin_for(origin, room_jid, user_on_mirror, join);
	links.while_joining(room, link, real_jid, join, function ()
		if held == real_jid and present_as then return resync.handle(room, for_user, stanza_in_room, dumping); end
		return room:handle_normal_presence(for_user, stanza_in_room);
	end);
	if dumping then
		link:fire("dumped");
		dumps.count(link_jid, dumps.sent(link) - sent_before);
	end
	if join.is_over then return true; end
	-- after a restart of the mirror the user may have another resource
	if held and held ~= real_jid then links.replace_session(room, nick, held); end
	if room:get_occupant_jid(real_jid) ~= occupant_jid then
		links.remove_user(room, link, nick);
	elseif not wanted.again then
		kicked.forget(room, link_jid, nick);
	end
	return true;
end

local function handle_join(event, wanted)
	local origin, stanza = event.origin, event.stanza;
	local link_jid, occupant_jid = stanza.attr.from, stanza.attr.to;
	local room_jid = jid_bare(occupant_jid);
	local user_on_mirror = link_jid .. "/" .. jid_resource(occupant_jid);
	local real_jid = jid_prep(wanted.real_jid);
	local peer = jid_host(link_jid);

	if not real_jid or not jid_node(real_jid) or not jid_resource(real_jid) then
		return refuse(origin, stanza, user_on_mirror, "modify", "jid-malformed", "The mirror did not name the user's full JID");
	elseif not trust.may_federate(peer) or not trust.may_speak_for(peer, real_jid) then
		once("trust\0" .. peer, "info", "Refused %s, which wanted to bring %s into %s", link_jid, real_jid, room_jid);
		return refuse(origin, stanza, user_on_mirror, "auth", "forbidden", peer .. " may not speak for this user here");
	elseif not is_mirror_of(link_jid, room_jid) then
		once("name\0" .. peer, "info", "Refused %s, which does not have the name of a mirror of %s", link_jid, room_jid);
		return refuse(origin, stanza, user_on_mirror, "cancel", "not-allowed", "This is not the address of a mirror of the room");
	end
	if turns.take(room_jid, real_jid, function () join_room(origin, stanza, wanted, real_jid); end) then return true; end
	return refuse(origin, stanza, user_on_mirror, "wait", "resource-constraint", "The room has yet to deal with earlier presences");
end

-- check_nick(event): M26: a nick is accepted as it is or not at all
function mirrors.check_nick(event)
	local join = event.origin.fmuc_join;
	if join and event.occupant.nick ~= join.occupant_jid then
		event.origin.send(st.error_reply(event.stanza, "cancel", "not-acceptable",
			"You must join with your registered nickname, " .. jid_resource(event.occupant.nick)));
		return true;
	end
end

-- check_join(event): other modules' handlers of a join may have waited, and the room has gone on: it may have been destroyed, somebody else
-- may have taken the nick, or another session of the user has come or gone.
function mirrors.check_join(event)
	local room, occupant = event.room, event.occupant;
	local join = event.origin.fmuc_join;
	if join and (join.is_over or muc.get_room_from_jid(room.jid) ~= room) then
		event.origin.send(st.error_reply(event.stanza, "cancel", "item-not-found", "There is no such room"));
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

-- hear(room, link, event) -> whether a stanza from the mirror's address is what it says, and no error
local function hear(room, link, event)
	if event.stanza.attr.type == "error" then
		liveness.failed(room, link, event);
		return false;
	end
	liveness.heard(link);
	link:count_received();
	return true;
end

-- A presence of a mirrored session whose turn it is
local function update(origin, stanza, room_jid, link_jid)
	local room, nick = muc.get_room_from_jid(room_jid), jid_resource(stanza.attr.to);
	local link = links.get(room, link_jid);
	local real_jid = link and link.nicks[nick];
	if not real_jid then return; end -- has left while an earlier stanza of the same session was on its way
	stanza.attr.from = real_jid;
	room:handle_presence_to_occupant(origin_for(origin, room_jid, link_jid .. "/" .. nick), stanza);
	if stanza.attr.type == "unavailable" and links.get(room, link_jid) == link then links.remove_user(room, link, nick); end
end

local function handle_update(event, room, link)
	local origin, stanza = event.origin, event.stanza;
	local nick = jid_resource(stanza.attr.to);
	local real_jid = link.nicks[nick];
	if not hear(room, link, event) then return true; end
	if link.state == "lost" and stanza.attr.type ~= "unavailable" then
		link:count_received(-1); -- nobody hears it, which the mirror learns by the count
		liveness.nudge(room.jid, link.peer);
	elseif not real_jid then
		if stanza.attr.type ~= "unavailable" then
			return refuse(origin, stanza, link.peer .. "/" .. nick, "cancel", "item-not-found", "You are not currently connected to this chat");
		end
	else
		stanza = trimmed(hygiene.cleaned("from anybody", stanza));
		local has_turn = turns.take(room.jid, real_jid, function () update(origin, stanza, room.jid, link.peer); end,
			stanza.attr.type == "unavailable");
		if not has_turn then
			return refuse(origin, stanza, link.peer .. "/" .. nick, "wait", "resource-constraint", "The room has yet to deal with earlier presences");
		end
	end
	return true;
end

-- One session cannot be in the room twice; where would its stanzas go?
local function handle_direct(event)
	local origin, stanza = event.origin, event.stanza;
	if stanza.attr.type ~= nil or not stanza:get_child("x", xmlns_muc) then return; end
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	if not room or not room.fmuc or not room.fmuc.link_of[stanza.attr.from] then return; end
	origin.send(st.error_reply(stanza, "cancel", "conflict", "You are in this room through a mirror"));
	return true;
end

-- handle_presence(event): to an occupant
function mirrors.handle_presence(event)
	local stanza = event.stanza;
	local from = stanza.attr.from;
	if jid_resource(from) then
		event.stanza = hygiene.cleaned("from anybody", stanza);
		return handle_direct(event);
	end
	local wanted = generation1.read_join(stanza);
	if wanted then return handle_join(event, wanted); end
	local room = muc.get_room_from_jid(jid_bare(stanza.attr.to));
	local link = links.get(room, from);
	if link then return handle_update(event, room, link); end
	event.stanza = hygiene.cleaned("from anybody", stanza);
end

-- clean(event): what others than mirrors say in the name of FMUC would be taken for this service's word (G21)
function mirrors.clean(event)
	event.stanza = hygiene.cleaned("from anybody", event.stanza);
end

-- handle_message(event): M17: from a mirrored user to the room
function mirrors.handle_message(event)
	local origin, stanza = event.origin, event.stanza;
	local from = stanza.attr.from;
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, jid_bare(from));
	if not link then return mirrors.clean(event); end
	if not hear(room, link, event) then return true; end
	local nick = jid_resource(from);
	local real_jid = nick and link.nicks[nick];
	if not real_jid or link.state == "lost" then
		return refuse(origin, stanza, from, "cancel", "not-acceptable", "You are not currently connected to this chat");
	end
	local except_link = generation1.is_nomirror(stanza) and link.peer; -- M22
	local stanza_id = stanza_ids.read(room, stanza, link);
	stanza = hygiene.cleaned("message from a mirror", stanza, { by = { [link.peer] = true } });
	stanza.attr.from = real_jid;
	if except_link then
		local way = delivery.on_its_way(room, stanza);
		way.except_link, way.stanza_id = except_link, stanza_id;
	end
	room:handle_message_to_room(origin_for(origin, room.jid, from), stanza);
	return true;
end

-- handle_left(event): the room has lost an occupant, for whatever reason
function mirrors.handle_left(event)
	local room, nick = event.room, jid_resource(event.nick);
	if not room.fmuc then return; end
	local left = {}; -- a user may have come through several mirrors
	for _, link in pairs(room.fmuc.links) do
		if link.nicks[nick] then left[#left + 1] = link; end
	end
	for _, link in ipairs(left) do links.remove_user(room, link, nick); end
end

return mirrors;
