-- SPDX-License-Identifier: MIT
-- Joins of users that are already in the room, as far as the master knows. The mirror was cut off or restarted, and asks what it missed
-- (G3). The room shows such a join only if something about the user has changed.

local datetime = require "util.datetime";
local st = require "util.stanza";

local linked = lib "room/linked";
local equivalent = lib "link/equivalent";
local hygiene = lib "link/hygiene";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local journal, links = lib "master/journal", lib "master/links";

local resync = {};

local function without_muc(join)
	return hygiene.copy("presence without the mark of a join", join);
end

-- handle(room, origin, join, wants_all): join: the presence as if the user had joined directly; wants_all: the mirror gets occupants,
-- history and subject, not only the user's own presence
function resync.handle(room, origin, join, wants_all)
	local real_jid = join.attr.from;
	local occupant = room:get_occupant_by_real_jid(real_jid);
	-- other modules may add to it or refuse it, as with any presence of an occupant
	local change = { room = room; origin = origin; stanza = join; orig_occupant = occupant; dest_occupant = occupant };
	if module:fire_event("muc-occupant-pre-change", change) then return; end
	if not equivalent(occupant:get_presence(real_jid), without_muc(join)) then
		return room:handle_normal_presence(origin, wants_all and join or without_muc(join));
	end
	occupant:set_session(real_jid, join); -- with the id by which the mirror knows the answer
	room:save_occupant(occupant);
	if wants_all then
		room:send_occupant_list(real_jid, function (nick) return nick ~= occupant.nick; end);
	end
	local x = st.stanza("x", { xmlns = xmlns_muc_user });
	if wants_all and room:get_whois() == "anyone" then x:tag("status", { code = "100" }):up(); end -- the room may have been semi-anonymous before
	room:publicise_occupant_status(occupant, x, nil, nil, nil, nil, false, occupant);
	if wants_all then -- history and subject
		module:fire_event("muc-occupant-session-new", { room = room; nick = occupant.nick; occupant = occupant; stanza = join;
			origin = origin; jid = real_jid });
	end
end

-- The time from which on the mirror asks for messages, or nil. The mirror names a time by its clock, and seconds before its question.
-- Clocks may differ, and a question may be slow: the earlier of the two times is the safe one.
local function wanted_since(join)
	local history = join:find("{" .. xmlns_muc .. "}x/history");
	if not history then return nil; end
	local seconds, since = tonumber(history.attr.seconds), history.attr.since and datetime.parse(history.attr.since);
	seconds = seconds and os.time() - seconds;
	return seconds and since and math.min(seconds, since) or seconds or since;
end

-- is_remembered(room, join) -> whether the journal has all messages that the mirror asks for
function resync.is_remembered(room, join)
	local since, _, complete_from = wanted_since(join), journal.since(room.jid, 0);
	return since ~= nil and since >= complete_from;
end

local function stamp_of(message, room_jid)
	for delay in message:childtags("delay", xmlns_delay) do
		if delay.attr.from == room_jid then return datetime.parse(delay.attr.stamp); end
	end
end

-- The messages between two times from the room's history, or its archive
local function history_between(event, since, time)
	local room = event.room;
	local history = { room = room; stanza = event.stanza; to = event.to; since = since; next_stanza = function () end; before_journal = true };
	module:fire_event("muc-get-history", history);
	return function ()
		local message = history.next_stanza();
		local stamp = message and stamp_of(message, room.jid);
		return stamp and stamp <= time and message or nil;
	end
end

-- tell_history(event): gives a mirror that resyncs all messages that it missed
function resync.tell_history(event)
	local room = event.room;
	local link = linked.link_of(room, event.to, "generation1");
	local join = link and links.join_of(link, event.to);
	if not join or not join.resyncing or event.before_journal then return; end
	local since = wanted_since(event.stanza);
	if not since then return; end
	local next_message, complete_from = journal.since(room.jid, since);
	local next_earlier = since < complete_from and history_between(event, since, complete_from) or function () end;
	function event.next_stanza()
		local message = next_earlier() or next_message();
		if message then message.attr.to = event.to; end
		return message;
	end
	return true;
end

return resync;
