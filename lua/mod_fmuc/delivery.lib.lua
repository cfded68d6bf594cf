-- SPDX-License-Identifier: MIT
-- A room whose recipients lie in a fan-out list (design decisions 4 and 5). Some methods of that one room object are replaced, other
-- rooms of the service are untouched; what mod_muc does on its own goes through the replaced methods as well.
--
-- room.fmuc, made by the role, has at least
--   recipients          prosody_relay.fanout list: real JID, occupant JID, group
--   group_of(jid)       name of the link behind which that session is; nil: a local session; false: no delivery at all
--   send_to_link(room, link, stanza)   sends the one copy for a link

local fanout = require "prosody_relay.fanout";

local delivery = {};

local function restore(state, key, former, ok, ...)
	state[key] = former;
	if not ok then error((...), 0); end
	return ...;
end

-- during(state, key, value, f, …) -> results of f(…), while which state[key] is `value`. f runs handlers of other modules; one that fails
-- must not leave the room as it was in the middle of something.
function delivery.during(state, key, value, f, ...)
	local former = state[key];
	state[key] = value;
	return restore(state, key, former, xpcall(f, debug.traceback, ...));
end

-- How many copies went to local users so far; other parts of the module have instances of this file of their own
local deliveries = module:shared("deliveries");
deliveries.count = deliveries.count or 0;

-- to_all(room, stanza, [except_nick]): to all local sessions but those of one occupant. Their addressee is all that changes.
function delivery.to_all(room, stanza, except_nick)
	local view, copies = fanout.view(stanza), 0;
	for jid, nick, link in room.fmuc.recipients:each() do
		if not link and nick ~= except_nick then
			copies = copies + 1;
			view.attr.to = jid;
			room:route_stanza(view);
		end
	end
	deliveries.count = deliveries.count + copies;
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

-- Keeps the recipients of one occupant in step with its sessions
function methods.save_occupant(room, occupant)
	local recipients = room.fmuc.recipients;
	for _, jid in ipairs(recipients:by_nick(occupant.nick)) do recipients:remove(jid); end
	local saved = stock(room).save_occupant(room, occupant);
	if saved then add_sessions(room.fmuc, saved); end
	return saved;
end

-- broadcast(room, stanza, [condition]): as mod_muc's, and one copy for each link. A condition selects single occupants, which a copy for a
-- whole link cannot do: links get none.
function delivery.broadcast(room, stanza, condition)
	local state = room.fmuc;
	local view, copies = fanout.view(stanza), 0;
	for jid, nick, link in state.recipients:each(nil, state.except_link) do
		if link then
			if not condition then state.send_to_link(room, link, stanza); end
		elseif not condition or condition(nick, room._occupants[nick]) then
			copies = copies + 1;
			view.attr.to = jid;
			room:route_stanza(view);
		end
	end
	deliveries.count = deliveries.count + copies;
end

methods.broadcast = delivery.broadcast;

-- attach(room, state, more): makes `state` the room's and replaces the methods, those in table `more` too
function delivery.attach(room, state, more)
	room.fmuc = state;
	state.recipients = fanout.new();
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
