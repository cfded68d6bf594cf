-- SPDX-License-Identifier: MIT
-- Masters that are listed in fmuc_allow_masters are joined without a question first (gate.lib.lua): some support mirrors and do not say so.
-- One that knows no mirrors, or not the room, may be silent about a join (Openfire is). Its description of the room says what is wrong, if
-- it does not answer the join. Servers answer in order: when a ping that was sent after the join has been answered, the join will not be.

local st = require "util.stanza";

local policy = module:require "policy";
local unavailable = module:require "unavailable";

local deadline = module:require "settings".join_timeout;

local mirrored, requests, room_info, refuse_join;

local listed = {};

-- The <error/> for those who want to join the room, if the master has said that there is something wrong
local function doubt(room)
	local info = room_info.get(room.jid);
	if not info or info.failed == false or info.is_undeliverable then return nil; end
	return unavailable.error_for(room.fmuc.master, info);
end

-- check(room): its description is here, or another join has been sent
function listed.check(room)
	if not policy.lists_masters() or room.fmuc.synced or not doubt(room) then return; end
	if requests.find("is-join-ignored", room.fmuc.master) then return; end
	local joins = {};
	for occupant_jid, record in pairs(room.fmuc.waiting) do
		if record.sent and not record.accepted then joins[occupant_jid] = record.id; end
	end
	if next(joins) == nil then return; end
	local ping = requests.get(room.jid, room.fmuc.master):tag("ping", { xmlns = "urn:xmpp:ping" }):up();
	requests.send("is-join-ignored", ping, { joins = joins }, deadline);
end

local function handle_answer(record, answer, is_undeliverable)
	local room = mirrored.get(record.own);
	local err = room and doubt(room);
	if not err or not answer or is_undeliverable then return; end
	for occupant_jid, id in pairs(record.joins) do
		local join = room.fmuc and room.fmuc.waiting[occupant_jid];
		if join and join.id == id and not join.accepted then refuse_join(occupant_jid, join, st.clone(err)); end
	end
	if mirrored.get(record.own) == room then listed.check(room); end -- those who have come meanwhile
end

module:hook("fmuc-room-info", function (event)
	local room = mirrored.get(event.room_jid);
	if room then listed.check(room); end
end, -1); -- after those who waited for it have been let through (gate.lib.lua)

-- shared: mirrored (mirrored_room.lib.lua), requests, room_info; refuse_join(occupant_jid, record, err): ends a join with that <error/>
return function (shared)
	mirrored, requests, room_info, refuse_join = shared.mirrored, shared.requests, shared.room_info, shared.refuse_join;
	requests.on("is-join-ignored", handle_answer);
	return listed;
end;
