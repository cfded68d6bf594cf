-- SPDX-License-Identifier: MIT
-- Old messages between nodes (N4, N8). A joining node is sent this room's history. The history of another node joins the room's own one, in
-- the order of time. Users who are here get it as delayed messages.

local datetime = require "util.datetime";
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local archive = lib "room/archive";
local bandwidth = lib "node/bandwidth";
local delivery = lib "room/delivery";
local generation2 = lib "dialect/generation2";
local hygiene = lib "link/hygiene";
local links = lib "node/links";
local stanza_ids = lib "node/ids";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_sid = "urn:xmpp:sid:0";

-- Seconds that a question for what was missed reaches further back, because clocks and links are slow. Known messages are not shown again.
local margin = 60;

local history = {};

-- limiter(room, peer) -> attributes of <history/> for a join: what came since the last message of that node, or as much as the room keeps
function history.limiter(room, peer)
	local seen = history.seen_at(room, peer);
	if seen then return { seconds = ("%d"):format(math.max(0, os.time() - seen) + margin) }; end
	return { maxstanzas = ("%d"):format(room:get_historylength()) };
end

-- seen_at(room, peer) -> when the last message of that node came, as os.time(); or nil
function history.seen_at(room, peer)
	return room._data.fmuc_seen and room._data.fmuc_seen[peer];
end

-- note(room, peer): a message of the node has come that this room has joined. There is one.
function history.note(room, peer)
	room._data.fmuc_seen = { [peer] = os.time() };
end

local function since_of(attr)
	local seconds, since = tonumber(attr.seconds), attr.since and datetime.parse(attr.since);
	seconds = seconds and os.time() - seconds;
	return seconds and since and math.max(seconds, since) or seconds or since;
end

-- send(room, link, join): sends what the room remembers, as the join limits it
function history.send(room, link, join)
	local limiter = join:find("{" .. xmlns_muc .. "}x/history");
	local attr = limiter and limiter.attr or {};
	local event = { room = room; stanza = st.presence({ from = link.peer; to = room.jid }):tag("x", { xmlns = xmlns_muc }):up(); to = link.peer;
		maxchars = tonumber(attr.maxchars); maxstanzas = tonumber(attr.maxstanzas); since = since_of(attr);
		next_stanza = function () end };
	if not limiter then event.maxstanzas = room._data.default_history_messages; end
	module:fire_event("muc-get-history", event);
	for message in event.next_stanza, event do
		local cleaned = hygiene.copy(links.mark(link) and "message to a node" or "old message to a foreign node", message);
		cleaned = bandwidth.stripped(link, cleaned);
		if cleaned then link:send(generation2.message(cleaned, room.jid, link.peer, jid_resource(message.attr.from))); end
	end
end

-- The examples of the specification have <x xmlns='urn:xmpp:delay'/>, with a stamp without hyphens and zone
local function parse_stamp(text)
	local day, time = (text or ""):match("^(%d%d%d%d%d%d%d%d)T(%d%d:%d%d:%d%d)");
	if day then text = ("%s-%s-%sT%sZ"):format(day:sub(1, 4), day:sub(5, 6), day:sub(7, 8), time); end
	return text and datetime.parse(text);
end

-- stamp_of(stanza, [by]) -> when a message of the past was said, as os.time(); nil for any other. by: only that JID may say so
function history.stamp_of(stanza, by)
	for _, child in ipairs(stanza.tags) do
		if child.attr.xmlns == xmlns_delay and (child.name == "delay" or child.name == "x") and (not by or child.attr.from == by) then
			local stamp = parse_stamp(child.attr.stamp);
			if stamp then return math.min(math.floor(stamp), os.time()); end -- nothing was said in the future
		end
	end
end

-- is_before(stanza, time) -> whether an old message was said clearly before that time, as os.time(); false when time is nil
function history.is_before(stanza, time)
	local stamp = time and history.stamp_of(stanza);
	return stamp and stamp < time - margin or false;
end

local function ids_of(stanza)
	local ids = {};
	for child in stanza:childtags("stanza-id", xmlns_sid) do ids[child.attr.id or ""] = true; end
	return ids;
end

local function has_same_id(ids, stanza)
	for child in stanza:childtags("stanza-id", xmlns_sid) do
		if ids[child.attr.id or ""] then return true; end
	end
	return false;
end

-- is_known(room, stanza, from, id) -> whether the room has that message of an occupant already. id: its stanza-id, if it has one for this room
function history.is_known(room, stanza, from, id)
	if id and stanza_ids.is_used(room, id) then return true; end
	if not stanza_ids.has_id(stanza) and stanza_ids.has_shown(room, jid_resource(from), stanza) then return true; end
	local ids, body = ids_of(stanza), stanza:get_child_text("body");
	for _, entry in ipairs(room._history or {}) do
		local known = entry.stanza;
		if has_same_id(ids, known) then return true; end
		if not next(ids) and known.attr.from == from and known.attr.id == stanza.attr.id and known:get_child_text("body") == body then return true; end
	end
	return false;
end

local function insert(room, stanza, stamp)
	local most = room:get_historylength();
	if most == 0 then return; end
	local entries = room._history or {};
	room._history = entries;
	local index = #entries + 1;
	while index > 1 and entries[index - 1].timestamp > stamp do index = index - 1; end
	table.insert(entries, index, { stanza = stanza; timestamp = stamp });
	if #entries > most then table.remove(entries, 1); end
end

-- dated(room, stanza, from, id, stamp) -> that old message of an occupant, as this room shows it. id: its stanza-id here, or nil
function history.dated(room, stanza, from, id, stamp)
	local copy = hygiene.copy("old message of a node", stanza, { by = { [room.jid] = true } });
	copy.attr.from, copy.attr.to, copy.attr.xmlns = from, nil, nil;
	if id then copy:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = id })); end
	return copy:tag("delay", { xmlns = xmlns_delay; from = room.jid; stamp = datetime.datetime(stamp) }):up();
end

-- receive(room, link, nick, stanza, [is_repeated]) -> an old message of the other node, as this room has shown it; nil when the room knows it, or
-- does not show it. is_repeated: a message that this room has missed, not the history of the other node
function history.receive(room, link, nick, stanza, is_repeated)
	local from, stamp = room.jid .. "/" .. nick, history.stamp_of(stanza);
	local id = stanza_ids.of(stanza, link.peer);
	if stanza.attr.type ~= "groupchat" or not stamp or history.is_known(room, stanza, from, id) then return nil; end
	local is_historic = module:fire_event("muc-message-is-historic", { room = room; stanza = stanza });
	if not is_historic and not is_repeated then return nil; end
	local message = history.dated(room, stanza, from, id, stamp);
	stanza_ids.note(room, message);
	if is_historic then
		insert(room, message, stamp);
		if id and archive.is_on(room) and archive.may_choose_ids() then archive.keep(room, message, id, stamp); end
	end
	delivery.broadcast(room, message);
	return message;
end

return history;
