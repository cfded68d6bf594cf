-- SPDX-License-Identifier: MIT
-- A room with its recipients in a fan-out list (design decisions 4 and 5). Some methods of that one room object are replaced; other rooms
-- of the service are untouched. mod_muc itself calls the replaced methods, too.
--
-- room.fmuc, made by the role, has at least
--   recipients          prosody_relay.fanout list: real JID, occupant JID, group
--   group_of(jid)       name of the link of that session; nil: a local session; false: a session that gets nothing
--   send_to_link(room, link, stanza)   sends the one copy for a link
--   send_to_users(room, link, stanza, condition)   sends a copy to each user of a link for whom condition(nick, occupant) holds
--
-- Handlers of other modules may wait (util.async) in the middle of one stanza, while other stanzas pass. So data about one stanza never
-- lies in a field of the room. It lies in an argument, in the event, in mod_muc's `origin`, or in on_its_way().

local fanout = require "prosody_relay.fanout";

local delivery = {};

-- on_its_way(room, stanza) -> table of data about that groupchat message until it has been delivered:
--   except_link   name of the link that does not get it
--   stanza_id     the id that the room gives it
-- mod_muc hands the same stanza object from handler to handler.
function delivery.on_its_way(room, stanza)
	local ways = room.fmuc.ways;
	ways[stanza] = ways[stanza] or {};
	return ways[stanza];
end

-- way_of(room, stanza) -> the data of on_its_way(), or an empty table
local nothing = {};
function delivery.way_of(room, stanza)
	return room.fmuc.ways[stanza] or nothing;
end

-- How many copies have gone to local users
delivery.count = 0;

-- to_all(room, stanza, [except_nick]): sends to all local sessions except those of one occupant. Only the addressee changes.
function delivery.to_all(room, stanza, except_nick)
	local view, copies = fanout.view(stanza), 0;
	for jid, nick, link in room.fmuc.recipients:each() do
		if not link and nick ~= except_nick then
			copies = copies + 1;
			view.attr.to = jid;
			room:route_stanza(view);
		end
	end
	delivery.count = delivery.count + copies;
end

-- is_local(room, occupant_jid) -> whether a session of that occupant is a recipient here
function delivery.is_local(room, occupant_jid)
	return #room.fmuc.recipients:by_nick(occupant_jid) > 0;
end

local methods = {};

local function stock(room)
	return getmetatable(room).__index;
end

local function add_sessions(state, occupant)
	for jid, presence in occupant:each_session() do
		local group = state.group_of(jid);
		if presence.attr.type == nil and group ~= false then state.recipients:add(jid, occupant.nick, group or nil); end
	end
end

-- Updates the recipients of one occupant after a change of its sessions
function methods.save_occupant(room, occupant)
	local recipients = room.fmuc.recipients;
	for _, jid in ipairs(recipients:by_nick(occupant.nick)) do recipients:remove(jid); end
	local saved = stock(room).save_occupant(room, occupant);
	if saved then add_sessions(room.fmuc, saved); end
	return saved;
end

-- Whether a condition on occupants holds for all of them
local function selects_all(room, condition)
	for occupant_jid, occupant in pairs(room._occupants) do
		if not condition(occupant_jid, occupant) then return false; end
	end
	return true;
end

-- broadcast(room, stanza, [condition]): as mod_muc's. A stanza for everybody goes to each link as one copy. Otherwise each user of a link
-- for whom the condition holds gets a copy (G27).
function delivery.broadcast(room, stanza, condition)
	local state = room.fmuc;
	local view, copies = fanout.view(stanza), 0;
	if condition and selects_all(room, condition) then condition = nil; end
	for jid, nick, link in state.recipients:each(delivery.way_of(room, stanza).except_link) do
		if not link then
			if not condition or condition(nick, room._occupants[nick]) then
				copies = copies + 1;
				view.attr.to = jid;
				room:route_stanza(view);
			end
		elseif condition then
			state.send_to_users(room, link, stanza, condition);
		else
			state.send_to_link(room, link, stanza);
		end
	end
	delivery.count = delivery.count + copies;
end

methods.broadcast = delivery.broadcast;

-- attach(room, state, more): gives the room its `state` and replaces its methods, also those in table `more`
function delivery.attach(room, state, more)
	room.fmuc = state;
	state.recipients = fanout.new();
	state.ways = setmetatable({}, { __mode = "k" });
	for name, method in pairs(methods) do room[name] = method; end
	for name, method in pairs(more) do room[name] = method; end
	for _, occupant in pairs(room._occupants) do add_sessions(state, occupant); end
end

-- detach(room, more): gives the room its own methods back
function delivery.detach(room, more)
	for name in pairs(methods) do room[name] = nil; end
	for name in pairs(more) do room[name] = nil; end
	room.fmuc = nil;
end

return delivery;
