-- SPDX-License-Identifier: MIT
-- Answers to users of the mirror who cannot enter a room, or are not in it.

local st = require "util.stanza";

local errors = lib "errors";

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local refusal = {};

-- pass_on(join, error_element, [is_repeated]): answers a failed join, from the occupant JID and with the user's id (XEP-0045 section 7.2).
-- is_repeated: another join of the session follows
function refusal.pass_on(join, error_element, is_repeated)
	module:fire_event("fmuc-join-refused", { error = error_element; join = join; is_repeated = is_repeated });
	module:send(st.presence({ type = "error"; id = join.attr.id; from = join.attr.to; to = join.attr.from })
		:tag("x", { xmlns = xmlns_muc }):up():add_child(error_element));
end

-- join(join, name, …) -> true; the user gets this error (errors.lib.lua)
function refusal.join(join, ...)
	refusal.pass_on(join, errors.element(...));
	return true;
end

-- absent(user, occupant_jid): tells a client that it is not in the room. The client was unreachable when the user was removed (XEP-0045 sections
-- 7.1, 7.14)
function refusal.absent(user, occupant_jid)
	local absent = st.presence({ type = "unavailable"; from = occupant_jid; to = user })
		:tag("x", { xmlns = xmlns_muc_user })
			:tag("item", { affiliation = "none"; role = "none" }):up();
	for _, code in ipairs { "110", "307", "333" } do absent:tag("status", { code = code }):up(); end
	module:send(absent);
end

return refusal;
