-- SPDX-License-Identifier: MIT
-- The join of a user whom the master takes to be in the room already: the mirror was cut off, or restarted, and wants to know what it
-- missed (G3). The room hears of it only if something about the user has changed.

local datetime = require "util.datetime";
local st = require "util.stanza";

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

-- handle(room, origin, join, wants_all): join is the presence as if the user had joined directly; wants_all: the mirror gets occupants,
-- history and subject, not only the user's own presence
function resync.handle(room, origin, join, wants_all)
	local real_jid = join.attr.from;
	local occupant = room:get_occupant_by_real_jid(real_jid);
	-- as for any presence of an occupant: other modules may add to it, or refuse it
	local change = { room = room; origin = origin; stanza = join; orig_occupant = occupant; dest_occupant = occupant };
	if module:fire_event("muc-occupant-pre-change", change) then return; end
	if not equivalent(occupant:get_presence(real_jid), without_muc(join)) then
		return room:handle_normal_presence(origin, wants_all and join or without_muc(join));
	end
	occupant:set_session(real_jid, join); -- with the id that the answer is known by
	room:save_occupant(occupant);
	if wants_all then
		room:send_occupant_list(real_jid, function (nick) return nick ~= occupant.nick; end);
	end
	local x = st.stanza("x", { xmlns = xmlns_muc_user });
	if wants_all and room:get_whois() == "anyone" then x:tag("status", { code = "100" }):up(); end -- it may not have been so before
	room:publicise_occupant_status(occupant, x, nil, nil, nil, nil, false, occupant);
	if wants_all then -- history and subject
		module:fire_event("muc-occupant-session-new", { room = room; nick = occupant.nick; occupant = occupant; stanza = join;
			origin = origin; jid = real_jid });
	end
end

-- From when on the mirror wants to know, or nil: it says so by the clock, and counted back from its question. Clocks may differ, and
-- questions take a while: the earlier of the two is the safe one.
local function wanted_since(join)
	local history = join:find("{" .. xmlns_muc .. "}x/history");
	if not history then return nil; end
	local seconds, since = tonumber(history.attr.seconds), history.attr.since and datetime.parse(history.attr.since);
	seconds = seconds and os.time() - seconds;
	return seconds and since and math.min(seconds, since) or seconds or since;
end

-- is_remembered(room, join) -> whether the journal has everything that the mirror asks for
function resync.is_remembered(room, join)
	local since, _, complete_from = wanted_since(join), journal.since(room.jid, 0);
	return since ~= nil and since >= complete_from;
end

local function stamp_of(message, room_jid)
	for delay in message:childtags("delay", xmlns_delay) do
		if delay.attr.from == room_jid then return datetime.parse(delay.attr.stamp); end
	end
end

-- What the room's history, or its archive, has from the one time to the other
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

-- tell_history(event): a mirror that resyncs gets what it missed, however much that is
function resync.tell_history(event)
	local room = event.room;
	local link = room.fmuc and room.fmuc.link_of[event.to];
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
