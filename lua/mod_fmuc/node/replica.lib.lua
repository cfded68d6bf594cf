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

-- is_of_primary(link) -> whether the other node of that link is a replica of this room
function replica.is_of_primary(link)
	local mark = links.mark(link);
	return link.direction == "down" and mark ~= nil and mark.mode == "primary-replica";
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

local function send_to_primary(room, link, event, nick, real_jid)
	local stanza = event.stanza;
	local way = delivery.way_of(room, stanza);
	table.insert(waiting(link), { nick = nick; id = stanza.attr.id; real_jid = event.from; at = now(); except_link = way.except_link or nil;
		from_node = way.from_node and way.from_node.peer });
	local cleaned = bandwidth.stripped(link, hygiene.copy("message to a node", stanza));
	-- it may be on its way when the link is cut
	local number = outbox.counts(cleaned) and outbox.add(link, outbox.text(cleaned), nick, real_jid, stanza.attr.id) or nil;
	link:send(generation2.message(cleaned, room.jid, link.peer, nick, real_jid, nil, number));
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
	elseif #(event.stanza.attr.id or "") > max_id then
		return refuse(event, "id-too-long");
	elseif #waiting(link) >= max_waiting or count_of(link, nick) >= max_of_user then
		return refuse(event, "too-many-messages");
	end
	if bandwidth.verdict(link, event.stanza) ~= "essential" then return; end -- it is shown here only
	send_to_primary(room, link, event, nick, told.real_jid);
	return true;
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

-- returned(room, link, nick, stanza) -> whether that message of the primary is one of this node's users, which comes back; and the entry. The message
-- may come back after an answer was given up, or after a restart. The primary cannot put another one into the mouth of these users (O13).
function replica.returned(room, link, nick, stanza)
	if not replica.is_from_primary(room, link) or not links.person(room, nick, link) then return false; end
	local entry = take(link, nick, stanza.attr.id);
	return entry ~= nil or outbox.has(link, nick, stanza.attr.id), entry;
end

local function answer(room, link, entry, name)
	local question = st.message({ type = "groupchat"; id = entry.id; from = entry.real_jid; to = room.jid });
	local reply = errors.reply(question, name, link.peer);
	local occupant = room:get_occupant_by_nick(room.jid .. "/" .. entry.nick);
	if occupant and occupant.sessions[entry.real_jid] then room:route_stanza(reply); end
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
		if room then answer(room, link, entry, "message-not-returned"); end
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
