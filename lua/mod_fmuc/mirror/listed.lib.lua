-- SPDX-License-Identifier: MIT
-- If the admin lists masters in fmuc_allow_masters, the mirror joins without asking first (mirror/held_joins). Some masters support mirrors but do
-- not announce it. A server without support for mirrors, or without the room, may not answer a join (Openfire does not). So the mirror asks for a
-- description of the room at the same time. Servers answer in order. If the description shows a problem, and the join stays unanswered, the users
-- get the problem as an error.

local st = require "util.stanza";

local policy = lib "mirror/policy";
local unavailable = lib "mirror/unavailable";

-- Seconds to wait for the join's answer after the description. On a slow link: twice the time that the description took
local patience = 2;

local refuse_join = lib "mirror/users".refuse_join;
local room_info = lib "mirror/room_info";

local listed = {};

-- check(room_jid, state, time): once a second until the first user has entered. state: room.fmuc of the room, which mod_muc may have unloaded
function listed.check(room_jid, state, time)
	local info = policy.lists_masters() and room_info.of(room_jid, state);
	if not info or info.failed == false or info.is_undeliverable then return; end
	local err = unavailable.error_for(state.authority.peer, info);
	if not err then return; end
	local ignored, limit = {}, math.max(patience, 2 * info.took);
	for occupant_jid, record in pairs(state.waiting) do
		local since = math.max(record.sent_at or 0, info.at);
		if record.sent and not record.accepted and time - since >= limit then ignored[occupant_jid] = record; end
	end
	for occupant_jid, record in pairs(ignored) do refuse_join(occupant_jid, record, st.clone(err)); end
end

return listed;
