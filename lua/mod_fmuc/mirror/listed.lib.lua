-- SPDX-License-Identifier: MIT
-- Masters that are listed in fmuc_allow_masters are joined without a question first (mirror/held_joins): some support mirrors and do not say so.
-- One that knows no mirrors, or not the room, may be silent about a join (Openfire is). It is asked for a description of the room at the
-- same time. Servers answer in order, so if the description says that something is wrong, and the join is not answered soon after, the
-- users are told what is wrong.

local st = require "util.stanza";

local policy = lib "mirror/policy";
local unavailable = lib "mirror/unavailable";

-- seconds for which an answer may follow the description, on a fast link; on a slow one twice as long as the description took
local patience = 2;

local refuse_join = lib "mirror/users".refuse_join;
local room_info = lib "mirror/room_info";

local listed = {};

-- check(room_jid, state, time): once a second while the first user has not been let in. state: of the room, which may have been put aside
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
