-- SPDX-License-Identifier: MIT
-- Which users of a link get a stanza that the room sends to its occupants (M8, G27). "link": all of them, by one copy to the bare JID of
-- the mirror. "user": one user, by a copy to the user's full JID there. nil: none, as they know it.

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local audience = {};

-- seen_by(room, occupant, prev_role, force_unavailable) -> who sees that change of the occupant's status (arguments as for mod_muc's
-- publicise_occupant_status). It depends on the roles whose presence the room broadcasts. "all": all see the same. "self": only the
-- occupant sees it. "others": the others see the occupant leave, but the occupant stays.
function audience.seen_by(room, occupant, prev_role, force_unavailable)
	local is_seen = room:get_presence_broadcast();
	if force_unavailable then return occupant.role ~= nil and "others" or "all"; end
	if is_seen[occupant.role or "none"] then return "all"; end
	if not prev_role or not is_seen[prev_role] then return "self"; end
	return occupant.role == nil and "all" or "others";
end

-- of_change(public, link, join, to) -> the audience of a presence for session `to`, when an occupant's status is made public. Each link
-- gets one copy. A link of the occupant gets the copy for the occupant. That copy has all status codes, and the id that a mirror waits for.
-- Any other link gets the first of the other copies. public: see master/links; join: of that session, or nil
function audience.of_change(public, link, join, to)
	local is_own = public.own[link] and link.nicks[public.nick] == to;
	if public.recipient then return join and is_own and public.seen_by == "all" and "link" or "user"; end
	if public.own[link] then
		if public.seen_by ~= "all" then return "user"; end
		return is_own and "link" or nil;
	elseif public.seen_by == "self" then
		return "user";
	elseif public.sent[link] then
		return nil;
	end
	public.sent[link] = true;
	return "link";
end

-- of_list(room, join, stanza) -> the audience of a presence in the list of occupants for one session. A mirror that knows the room has what
-- all may see.
function audience.of_list(room, join, stanza)
	local role = stanza:find("{" .. xmlns_muc_user .. "}x/item@role") or "none";
	if not join or not room:get_presence_broadcast()[role] then return "user"; end
	return join.dumping and "link" or nil;
end

return audience;
