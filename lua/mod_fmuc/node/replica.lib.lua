-- SPDX-License-Identifier: MIT
-- Rooms in mode primary-replica (N2, N20): a message goes to the primary first. It is shown when it comes back. So both rooms have one order.
-- While the primary cannot be reached, nothing can be said here.
--
-- Only a node of this module returns messages. It knows from the join that this node is a replica.
--
-- link:own("replica"): list of the messages that have not come back: { nick, id, real_jid, at (monotonic time), from_node (the node that brought it),
-- except_link (of room/delivery) }

local now = require "util.time".monotonic;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local bandwidth = lib "node/bandwidth";
local config = lib "node/config";
local delivery = lib "room/delivery";
local errors = lib "errors";
local generation2 = lib "dialect/generation2";
local hygiene = lib "link/hygiene";
local links = lib "node/links";
local outbox = lib "node/outbox";
local settings = lib "settings";
local muc = module:depends "muc";

-- Messages of one room that have not come back, and of one user
local max_waiting, max_of_user = 500, 50;
local max_id = lib "link/occupant_requests".max_id;

local replica = {};

local function waiting(link)
	return link:own("replica");
end

-- uplink(room) -> link to the primary if the room is a replica, or nil; whether it is one
function replica.uplink(room)
	local peer, mode = config.outbound(room);
	if not peer or mode ~= "primary-replica" then return nil, false; end
	return links.get(room, peer), true;
end

-- is_from_primary(room, link) -> whether the room is a replica of that node
function replica.is_from_primary(room, link)
	local uplink, is_replica = replica.uplink(room);
	return is_replica and uplink == link;
end

-- is_behind(room, link) -> whether the room is a replica, and that node is not its primary
function replica.is_behind(room, link)
	local uplink, is_replica = replica.uplink(room);
	return is_replica and uplink ~= link;
end

-- is_of_primary(link) -> whether the other node of that link is a replica of this room
function replica.is_of_primary(link)
	local mark = links.mark(link);
	return link.direction == "down" and mark ~= nil and mark.mode == "primary-replica";
end

-- stays_here(room, stanza) -> whether the link to the primary is too narrow for that message, which is shown here only
function replica.stays_here(room, stanza)
	local uplink = replica.uplink(room);
	return uplink ~= nil and bandwidth.verdict(uplink, stanza) ~= "essential";
end

local function count_of(link, nick)
	local count = 0;
	for _, entry in ipairs(waiting(link)) do
		if entry.nick == nick then count = count + 1; end
	end
	return count;
end

local function refuse(event, name, detail)
	event.origin.send(errors.reply(event.stanza, name, detail));
	return true;
end

-- author: the real JID for the primary
local function send_to_primary(room, link, stanza, nick, author)
	local cleaned = bandwidth.stripped(link, hygiene.copy("message to a node", stanza));
	-- it may be on its way when the link is cut
	local number = outbox.counts(cleaned) and outbox.add(link, outbox.text(cleaned), nick, author, stanza.attr.id) or nil;
	if link.state == "live" then link:send(generation2.message(cleaned, room.jid, link.peer, nick, author, nil, number)); end
end

-- entry: of the list of messages that have not come back, but for id and time
local function wait_for(link, id, entry)
	entry.id, entry.at = id, now();
	table.insert(waiting(link), entry);
end

-- Why one more message of that user cannot wait for the primary, as the name of an error; or nil
local function excess(link, nick, id)
	if #(id or "") > max_id then return "id-too-long"; end
	if #waiting(link) >= max_waiting or count_of(link, nick) >= max_of_user then return "too-many-messages"; end
end

-- handle_groupchat(event): what an occupant says goes to the primary ("muc-occupant-groupchat", after the handlers that may refuse or change it)
function replica.handle_groupchat(event)
	local room, occupant = event.room, event.occupant;
	local link, is_replica = replica.uplink(room);
	if not is_replica or not occupant then return; end
	local nick = jid_resource(occupant.nick);
	local told = link and links.told(link)[nick];
	if not told then
		local peer = config.outbound(room);
		-- a user of the primary itself, whose message has come from there
		if link and links.entry_of(room, occupant) and delivery.way_of(room, event.stanza).from_node == link then return; end
		return refuse(event, "replica-cut-off", peer);
	elseif link.state ~= "live" then
		return refuse(event, "replica-cut-off", link.peer);
	end
	local stanza = event.stanza;
	local problem = excess(link, nick, stanza.attr.id);
	if problem then return refuse(event, problem); end
	if replica.stays_here(room, stanza) then return; end
	local way = delivery.way_of(room, stanza);
	wait_for(link, stanza.attr.id, { nick = nick; real_jid = event.from; except_link = way.except_link or nil;
		from_node = way.from_node and way.from_node.peer });
	send_to_primary(room, link, stanza, nick, told.real_jid);
	return true;
end

-- problem(room) -> why nobody can speak in a room that is a replica, as an error and its detail; nil if users can
function replica.problem(room)
	local link, is_replica = replica.uplink(room);
	if is_replica and not (link and link.state == "live") then return "replica-cut-off", (config.outbound(room)); end
end

-- handle_late(room, link, nick, stanza, author): a user of a node behind a replica has said that during an outage. The primary gets it now, or when
-- it can be reached. -> why it does not, as an error and its detail, or nil
function replica.handle_late(room, link, nick, stanza, author)
	local uplink = replica.uplink(room);
	if not uplink then return replica.problem(room); end
	if outbox.author(uplink, nick, stanza.attr.id) then return; end -- it has it
	local problem = excess(uplink, nick, stanza.attr.id);
	if problem and replica.is_of_primary(link) then return problem; end
	-- other nodes have shown it already, so all must get it, however many there are (within the bounds of node/outbox)
	if not problem then wait_for(uplink, stanza.attr.id, { nick = nick; real_jid = author; from_node = link.peer }); end
	send_to_primary(room, uplink, stanza, nick, author);
end

-- handle_subject(event): the same for a change of the subject, before mod_muc makes it
function replica.handle_subject(event)
	local stanza, occupant = event.stanza, event.occupant;
	if not stanza:get_child("subject") or stanza:get_child("body") or stanza:get_child("thread") then return; end
	local may_change = occupant and (occupant.role == "moderator" or occupant.role == "participant" and event.room:get_changesubject());
	if may_change then return replica.handle_groupchat(event); end
end

local function take(link, nick, id)
	local list = waiting(link);
	for i, entry in ipairs(list) do
		if entry.nick == nick and entry.id == id then return table.remove(list, i); end
	end
end

-- returned(room, link, nick, stanza) -> if that message of the primary is one that this node has sent, and that comes back: its entry, which has at
-- least real_jid. The message may come back after an answer was given up, after a restart, or when its author has left. The primary cannot put
-- another one into the mouth of these users (O13).
function replica.returned(room, link, nick, stanza)
	if not replica.is_from_primary(room, link) then return nil; end
	local entry = take(link, nick, stanza.attr.id);
	local author = not entry and outbox.author(link, nick, stanza.attr.id);
	return entry or author and { real_jid = author };
end

local function answer(room, link, entry, name)
	local question = st.message({ type = "groupchat"; id = entry.id; from = entry.real_jid; to = room.jid });
	local reply = errors.reply(question, name, link.peer);
	if room:get_occupant_by_real_jid(entry.real_jid) then room:route_stanza(reply); end -- whatever the nick is now
end

-- refused(room, link, stanza): the primary has answered a message with an error
function replica.refused(room, link, stanza)
	local entry = take(link, jid_resource(stanza.attr.to) or "", stanza.attr.id);
	if not entry then return; end
	local copy = hygiene.copy("from anybody", stanza);
	copy.attr.from, copy.attr.to = room.jid, entry.real_jid;
	room:route_stanza(copy);
end

local function check(link, time)
	local list = waiting(link);
	while list[1] and time - list[1].at >= settings.grace_period do
		local entry, room = table.remove(list, 1), muc.get_room_from_jid(link.room_jid);
		if room and not entry.from_node then answer(room, link, entry, "message-not-returned"); end -- other nodes answer their users themselves
	end
end

-- start(): gives up what does not come back in time
function replica.start()
	module:add_timer(1, function ()
		for link in links.all() do check(link, now()); end
		return 1;
	end);
end

return replica;
