-- SPDX-License-Identifier: MIT
-- Messages of users of other nodes (N12, N13), and the subject (N9) enter this room here, and go on to other nodes.

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local st = require "util.stanza";

local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local delivery = lib "room/delivery";
local errors = lib "errors";
local history = lib "node/history";
local hygiene = lib "link/hygiene";
local ids = lib "node/ids";
local links = lib "node/links";
local outage = lib "node/outage";
local outbox = lib "node/outbox";
local replica = lib "node/replica";
local trust = lib "link/trust";

local messages = {};

local function occupant_jid(room, nick)
	return room.jid .. "/" .. nick;
end

local function is_subject(stanza)
	return stanza:get_child("subject") and not stanza:get_child("body") and not stanza:get_child("thread");
end

-- subject(room, link, nick, stanza): the subject that the other node has. It decides that as it likes: the room has one subject (N9).
function messages.subject(room, link, nick, stanza)
	local text = stanza:get_child_text("subject");
	if text == "" then text = nil; end
	local from = occupant_jid(room, nick or "");
	if not nick then from = room.jid; end
	if room._data.subject == text and (room._data.subject_from or room.jid) == from then return; end
	room._data.subject, room._data.subject_from, room._data.subject_time = text, from, os.time();
	local message = hygiene.copy("message of a node", stanza, { by = { [room.jid] = true } });
	message.attr.from, message.attr.to, message.attr.xmlns = from, nil, nil;
	delivery.on_its_way(room, message).from_node = link;
	room:broadcast_message(message);
	room:save();
end

-- dumped_subject(room, link, nick, stanza): the same for the subject that a joining node gets. The other node cannot make somebody its author
-- who is here, and whom it did not bring.
function messages.dumped_subject(room, link, nick, stanza)
	local text = stanza:get_child_text("subject");
	if text ~= "" and nick and room._data.subject == text and room._data.subject_from == occupant_jid(room, nick) then return; end
	local entry = nick and links.brought(link)[nick];
	local is_of_another = nick and (not entry or entry.hidden) and room:get_occupant_by_nick(occupant_jid(room, nick));
	messages.subject(room, link, not is_of_another and nick or nil, stanza);
end

-- Whether that user is not here any more, with that nick
local function has_left(room, link, nick, real_jid)
	local person = links.person(room, nick, link);
	return not person or jid_bare(person.real_jid) ~= jid_bare(real_jid);
end

-- returned(room, link, nick, stanza, entry): the primary has shown what a user of this node, a replica, or of a node behind it has said. entry: of
-- replica.returned()
function messages.returned(room, link, nick, stanza, entry)
	if is_subject(stanza) then return messages.subject(room, link, nick, stanza); end
	local from = occupant_jid(room, nick);
	local is_waited_for = entry.at ~= nil;
	if not is_waited_for and history.is_known(room, stanza, from, ids.of(stanza, link.peer)) then return; end -- a restarted node says it again
	local id = ids.choose(room, link, stanza);
	local is_over = has_left(room, link, nick, entry.real_jid);
	local stamp = history.stamp_of(stanza, link.peer) or is_over and os.time();
	local message = stamp and history.dated(room, stanza, from, nil, stamp)
		or hygiene.copy("message of a node", stanza, { by = { [room.jid] = true } });
	message.attr.from, message.attr.to = from, nil;
	local way = delivery.on_its_way(room, message);
	way.stanza_id, way.except_link, way.from_node, way.is_returned = id, entry.except_link, links.get(room, entry.from_node or ""), link;
	way.author = is_over and entry.real_jid or nil; -- other nodes do not know the user, either
	room:broadcast_message(message);
end

-- Whether a user who is not here might not speak here
local function is_unwelcome(room, real_jid)
	local affiliation = room:get_affiliation(real_jid);
	local role = room:get_default_role(affiliation);
	return not role or role == "visitor" or room:get_password() ~= nil or room:get_members_only() and not affiliation;
end

-- Whether a rule of this room keeps the author of an old message from being heard. Another user may have the nick by now, here or there, and the
-- author may have left. author: real JID, or the address in the other room, if that is all the other node knows. is_repeated: as for old()
local function is_silenced(room, link, nick, author, is_repeated)
	local entry, is_unknown = links.brought(link)[nick], jid_bare(author) == link.peer;
	if entry and (is_unknown or jid_bare(author) == jid_bare(entry.real_jid)) then
		if entry.hidden then return entry.hidden == "refused" or entry.hidden == "kicked"; end
		local occupant = room:get_occupant_by_real_jid(entry.real_jid);
		return not occupant or occupant.role == "visitor";
	elseif is_unknown and not is_repeated then
		return false; -- the history of the other node
	end
	return is_unwelcome(room, author);
end

-- The author whose old message the other node sends -> as for is_silenced(); nil when the other node may not speak for that user (G19, O13)
local function old_author(link, nick, said, is_repeated)
	local author = jid_prep(said.real_jid) or link.peer .. "/" .. nick;
	local told = links.told(link)[nick];
	local is_ours = told and (jid_bare(author) == link.peer or jid_bare(author) == jid_bare(told.real_jid));
	if is_repeated and is_ours then return nil; end -- a user of this node has not said that there
	return trust.may_speak_for(jid_host(link.peer), author) and author or nil;
end

-- If that node is a replica, it waits for what its user has said, and does not get it. problem, detail: of errors.reply()
local function refuse_replica(room, link, nick, id, problem, detail)
	if not replica.is_of_primary(link) then return; end
	local question = st.message({ type = "groupchat"; id = id; from = link.peer .. "/" .. nick; to = room.jid });
	module:send(errors.reply(question, problem, detail));
end

-- The room does not show a message. Nodes behind it have their own rules; but those behind a replica hear what the primary has shown.
-- real_jid: of announce.relay()
local function pass_on(room, link, nick, stanza, real_jid)
	if not replica.is_behind(room, link) then announce.relay(room, nick, stanza, link, real_jid, link); end
end

-- Whether a message must go to the primary of this room, a replica, before it is shown
local function is_for_primary(room, link, stanza)
	return replica.is_behind(room, link) and not replica.stays_here(room, stanza);
end

-- A user of a node behind this one, a replica, has said that during an outage; stamp: when
local function late(room, link, nick, stanza, author, stamp)
	local from = occupant_jid(room, nick);
	if history.is_known(room, stanza, from, ids.of(stanza, link.peer)) then return; end
	local message = history.dated(room, stanza, from, nil, stamp);
	local problem, detail = replica.handle_late(room, link, nick, message, author);
	if problem then refuse_replica(room, link, nick, stanza.attr.id, problem, detail); end
end

-- old(room, link, nick, stanza, said, is_repeated): a message of the past (node/history)
function messages.old(room, link, nick, stanza, said, is_repeated)
	local sent = replica.returned(room, link, nick, stanza);
	if sent then return messages.returned(room, link, nick, stanza, sent); end
	local author = old_author(link, nick, said, is_repeated);
	if not author then return; end
	-- nodes behind this one know nothing of the other room
	local for_others = jid_bare(author) == link.peer and occupant_jid(room, nick) or author;
	if is_silenced(room, link, nick, author, is_repeated) then
		if is_repeated then refuse_replica(room, link, nick, stanza.attr.id, "not-heard-there", room.jid); end
		return pass_on(room, link, nick, stanza, for_others);
	end
	if is_repeated and is_for_primary(room, link, stanza) then return late(room, link, nick, stanza, author, history.stamp_of(stanza)); end
	local message = history.receive(room, link, nick, stanza, is_repeated);
	if message then announce.relay(room, nick, message, link, for_others); end
end

-- accept(link, said) -> whether a numbered message is new. If one before it is missing, both sides exchange what is there.
function messages.accept(link, said)
	local state = outbox.accept(link, said.number, said.former);
	if state == "gap" and link.state == "live" then outage.begin(link, "messages were lost", true); end
	return state == "new";
end

-- Whether the author of a foreign node's message is a user who has come unnoticed (O18)
local function is_newcomer(link, nick, real_jid)
	return not links.mark(link) and not links.told(link)[nick] and real_jid ~= link.peer .. "/" .. nick;
end

-- message(room, link, nick, stanza, said): a user of the other node says something to all
function messages.message(room, link, nick, stanza, said)
	local entry = links.brought(link)[nick];
	local real_jid = jid_prep(said.real_jid);
	if said.number and not messages.accept(link, said) then return; end
	local sent = replica.returned(room, link, nick, stanza);
	if sent then return messages.returned(room, link, nick, stanza, sent); end
	if said.number and history.stamp_of(stanza, link.peer) then return messages.old(room, link, nick, stanza, said, true); end
	if is_subject(stanza) and replica.is_from_primary(room, link) and links.told(link)[nick] then -- its answer was given up
		return messages.dumped_subject(room, link, nick, stanza);
	end
	if not entry and is_newcomer(link, nick, real_jid) then
		arrivals.available(room, link, nick, st.presence({ from = stanza.attr.from }), said);
		entry = links.brought(link)[nick];
	end
	if not entry or not real_jid or jid_bare(entry.real_jid) ~= jid_bare(real_jid) then return; end -- O13
	if link.direction == "up" then history.note(room, link.peer); end -- for the next join
	local is_about_subject = is_subject(stanza);
	local is_refused = entry.hidden ~= nil or is_about_subject and is_silenced(room, link, nick);
	if is_about_subject and not is_refused then return messages.subject(room, link, nick, stanza); end
	-- a node that shows the message at once cannot take it back
	if not is_refused and not replica.is_of_primary(link) and replica.problem(room) and is_for_primary(room, link, stanza) then
		return late(room, link, nick, stanza, entry.real_jid, os.time());
	end
	stanza = hygiene.copy("message of a node", stanza, { by = { [room.jid] = true } });
	stanza.attr.to = room.jid;
	if not is_refused then
		delivery.on_its_way(room, stanza).stanza_id = ids.choose(room, link, stanza);
		stanza.attr.from = entry.real_jid;
		delivery.on_its_way(room, stanza).from_node = link;
		room:handle_groupchat_to_room({ type = "component"; host = module.host; send = function () is_refused = true; end }, stanza);
	end
	if not is_refused then return; end
	local problem, detail = replica.problem(room);
	refuse_replica(room, link, nick, stanza.attr.id, problem or "not-heard-there", detail or room.jid);
	if entry.hidden ~= "taken" and entry.hidden ~= "elsewhere" then pass_on(room, link, nick, stanza); end
end

return messages;
