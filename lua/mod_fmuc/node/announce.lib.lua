-- SPDX-License-Identifier: MIT
-- What this node tells other nodes: its users and the users of other nodes behind it, what they say, and who leaves (N12 to N15, N18). Each
-- stanza goes once over each link, but not over the link that it came from.

local datetime = require "util.datetime";
local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local bandwidth = lib "node/bandwidth";
local generation2 = lib "dialect/generation2";
local hygiene = lib "link/hygiene";
local ids = lib "node/ids";
local delivery = lib "room/delivery";
local links = lib "node/links";
local outbox = lib "node/outbox";
local replica = lib "node/replica";
local remembered = lib "node/remembered";

local announce = {};

-- who(room, person) -> the person as another node is told: the real JID in the item follows the anonymity of this room (N6)
local function who(room, person, more)
	local description = more or {};
	description.nick, description.real_jid, description.since = person.nick, person.real_jid, person.since;
	description.is_registered = person.is_registered;
	description.affiliation = person.affiliation;
	if not description.type then description.role = person.role; end
	description.shown_jid = room:get_whois() == "anyone" and person.real_jid or nil;
	return description;
end

announce.who = who;

-- payload(link, presence) -> what the user has added to the presence, for that node; nil for nil. A foreign node never learns that a status has
-- changed, so it gets none.
local function payload(link, presence)
	if not presence then return nil; end
	local gets_status = links.mark(link) or presence.attr.type == "unavailable";
	return bandwidth.stripped(link, hygiene.copy(gets_status and "presence to a node" or "presence to a foreign node", presence));
end

announce.payload = payload;

-- What the other node shows of the user's presence. A node of this module that has not said so yet gets the status later.
local function shown(link, person)
	return links.mark(link) and bandwidth.level(link) == "full" and person.presence or nil;
end

-- note(link, person): the other node is told of that user
function announce.note(link, person)
	links.told(link)[person.nick] = { real_jid = person.real_jid; presence = shown(link, person); role = person.role;
		affiliation = person.affiliation };
	if not links.mark(link) then remembered.add(link, person.real_jid, person.nick); end
end

-- introduce(room, link, person): tells the other node of somebody whom it does not know
function announce.introduce(room, link, person)
	announce.note(link, person);
	link:send(generation2.presence(room.jid, link.peer, who(room, person), payload(link, person.presence)));
end

-- Only nodes of this module show a change: others log a warning, or harm their room (O7, section 3)
local function show_change(room, link, person)
	local told = links.told(link)[person.nick];
	if told.is_removed or told.presence == shown(link, person) and told.role == person.role and told.affiliation == person.affiliation then return; end
	announce.note(link, person);
	if links.mark(link) then
		link:send(generation2.presence(room.jid, link.peer, who(room, person), payload(link, person.presence)));
	end
end

-- Tells the other node that somebody has left. how: nil, or { codes, reason, actor, new_nick, presence (the last one) }
local function dismiss(room, link, nick, how)
	local told = links.told(link)[nick];
	how = how or {};
	links.told(link)[nick] = nil;
	if told.is_removed then return; end -- Openfire fails at the part of a user whom it has removed, and remembers the user (O16)
	remembered.leave(link, told.real_jid);
	local person = { nick = nick; real_jid = told.real_jid; affiliation = told.affiliation };
	link:send(generation2.presence(room.jid, link.peer, who(room, person, { type = "unavailable"; codes = how.codes; reason = how.reason;
		actor = how.actor; new_nick = how.new_nick }), payload(link, how.presence)));
end

-- A foreign node takes the last user's change of nick for the end of the link. The rooms would part unnoticed (section 3). So it gets a part, and
-- node/handshake joins again.
local function ends_link(link, nick)
	return link.direction == "up" and not links.mark(link) and next(links.told(link), nick) == nil and next(links.told(link)) == nick;
end

-- A foreign node would show two users with one nick. So it is not told of ours while it has one (O8).
local function is_withheld(link, nick)
	return not links.mark(link) and links.brought(link)[nick] ~= nil;
end

local function update_link(room, link, nick, how)
	local told, person = links.told(link)[nick], links.person(room, nick, link);
	if person and is_withheld(link, nick) then person = nil; end
	if told and (not person or jid_bare(person.real_jid) ~= jid_bare(told.real_jid)) then
		dismiss(room, link, nick, not (how and how.new_nick and ends_link(link, nick)) and how or nil);
		told = nil;
	end
	if not person then return; end
	if told then
		show_change(room, link, person);
	else
		announce.introduce(room, link, person);
	end
end

-- update(room, nick, [how]): something about that nick may have changed. how: see dismiss()
function announce.update(room, nick, how)
	for link in links.each(room) do
		if link.state == "live" then update_link(room, link, nick, how); end
	end
end

-- everybody(room, link): tells the other node of all whom it does not know yet, and of all who have left
function announce.everybody(room, link)
	local nicks = links.nicks(room);
	for nick in pairs(links.told(link)) do nicks[nick] = true; end
	remembered.together(function ()
		for nick in pairs(nicks) do update_link(room, link, nick); end
	end);
end

-- nobody(room, link): tells the other node that all have left
function announce.nobody(room, link)
	remembered.together(function ()
		for nick in pairs(links.told(link)) do dismiss(room, link, nick); end
	end);
end

-- recall(room_jid, peer, users): tells a foreign node that these are not there; users: of node/remembered. It may have forgotten some, and keeps
-- those whom it has kicked itself. Both leave only after they have come again (O16, O17).
function announce.recall(room_jid, peer, users)
	for real_jid, nick in pairs(users) do
		module:send(generation2.presence(room_jid, peer, { nick = nick; real_jid = real_jid; role = "participant" }));
		module:send(generation2.presence(room_jid, peer, { nick = nick; real_jid = real_jid; type = "unavailable" }));
	end
end

-- take_back(room_jid, peer, [only_present]): the same for all whom it may have (N20). only_present: not those of whom it was told that they have left
function announce.take_back(room_jid, peer, only_present)
	announce.recall(room_jid, peer, remembered.users(room_jid, peer, only_present));
end

-- repeat_user(room, link, nick): the other node seems to have missed that user
function announce.repeat_user(room, link, nick)
	links.told(link)[nick] = nil;
	update_link(room, link, nick);
end

-- removed(link, nick): the other node has removed that user there
function announce.removed(link, nick)
	local told = links.told(link)[nick];
	if told and not links.mark(link) then told.is_removed = true; end
end

-- A stanza of this room that asks the user's own node to kick the user (N17). how: see dismiss()
function announce.kick(room, link, entry, how)
	link:send(generation2.presence(room.jid, link.peer, who(room, entry, { type = "unavailable"; codes = { "307" }; reason = how.reason;
		actor = how.actor })));
end

local function codes_of(x)
	local codes = {};
	for status in x:childtags("status") do codes[#codes + 1] = status.attr.code; end
	return codes;
end

-- handle_presence(event): the room is about to show its users that something about an occupant has changed ("muc-broadcast-presence")
function announce.handle_presence(event)
	local room, occupant = event.room, event.occupant;
	if not room.fmuc or not next(room.fmuc.nodes) then return; end
	local actor = event.actor and room:get_occupant_jid(event.actor);
	announce.update(room, jid_resource(occupant.nick), { codes = codes_of(event.x); reason = event.reason;
		actor = actor and jid_resource(actor); new_nick = event.nick; presence = event.stanza.attr.type and event.stanza });
end

-- Whom the other node knows, or will know, under that nick
local function author(room, link, nick)
	local told = links.told(link)[nick];
	if told and told.is_removed then return nil; end
	return told or link.state ~= "live" and links.person(room, nick, link);
end

-- A message as it crosses links of one level: { message, counts (see node/outbox), text (for that) }; or false
local function form(link, message)
	local crossing = bandwidth.stripped(link, hygiene.copy("message to a node", message));
	return crossing and { message = crossing; counts = outbox.counts(crossing) } or false;
end

local function send_message(room, link, nick, user, of_level)
	local number;
	if of_level.counts and (links.may_count(link) or link.state ~= "live") then
		of_level.text = of_level.text or outbox.text(of_level.message);
		number = outbox.add(link, of_level.text, nick, user.real_jid);
	end
	if link.state == "live" then link:send(generation2.message(of_level.message, room.jid, link.peer, nick, user.real_jid, nil, number)); end
end

-- relay(room, nick, message, [except_link], [real_jid], [never_to]): sends a message of that user over all links whose nodes know the user; with
-- real_jid over all links. A node that cannot be reached gets it later. except_link: over which it has come. A replica
-- waits for what has come from there; never_to: link whose node does not
function announce.relay(room, nick, message, except_link, real_jid, never_to)
	local forms = {};
	for link in links.each(room) do
		local user = link ~= except_link and (real_jid and { real_jid = real_jid } or author(room, link, nick));
		if link == except_link and replica.is_of_primary(link) then
			user = real_jid and { real_jid = real_jid } or links.brought(link)[nick]; -- it waits for that
		end
		if link == never_to then user = nil; end
		if user then
			local level = bandwidth.level(link);
			if forms[level] == nil then forms[level] = form(link, message); end
			if forms[level] then send_message(room, link, nick, user, forms[level]); end
		end
	end
end

-- repeat_missing(room, link, received, known): sends what the other node has not got; received, known: as for outbox.missing()
function announce.repeat_missing(room, link, received, known)
	for message, nick, real_jid, number, former in outbox.missing(link, received, known, room.jid) do
		link:send(generation2.message(message, room.jid, link.peer, nick, real_jid, nil, number, former));
	end
end

-- repeat_waiting(room, link): sends a foreign node what was said while it could not be reached, by users whom it knows. It fails at others.
function announce.repeat_waiting(room, link)
	for message, nick, real_jid in outbox.missing(link, 0, 0, room.jid) do
		local told = links.told(link)[nick];
		if told and not told.is_removed and told.real_jid == real_jid then
			link:send(generation2.message(message, room.jid, link.peer, nick, real_jid));
		end
	end
	outbox.forget(link);
end

-- handle_message(event): the room is about to show a message to its users ("muc-broadcast-message")
function announce.handle_message(event)
	local room, stanza = event.room, event.stanza;
	local nick = jid_resource(stanza.attr.from);
	if not nick or not room.fmuc or not next(room.fmuc.nodes) then return; end
	ids.note(room, stanza);
	local way = delivery.way_of(room, stanza);
	announce.relay(room, nick, stanza, way.from_node, way.author, way.is_returned);
end

-- subject(room, link, mark): the last stanza of what a joining node gets (N9)
function announce.subject(room, link, mark)
	local from = room._data.subject and jid_resource(room._data.subject_from);
	local message = st.message({ type = "groupchat" }):text_tag("subject", room._data.subject or "", nil);
	if room._data.subject_time then
		message:tag("delay", { xmlns = "urn:xmpp:delay"; from = room.jid; stamp = datetime.datetime(room._data.subject_time) }):up();
	end
	link:send(generation2.message(message, room.jid, link.peer, from, nil, mark));
end

return announce;
