-- SPDX-License-Identifier: MIT
-- The occupant that the master's presence is about, and what local users may see of it (G10, G14, G21).

local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;

local generation1 = lib "dialect/generation1";
local hygiene = lib "link/hygiene";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local ids = lib "mirror/ids";
local mirrored = lib "mirror/room";

local presences = {};

local function local_occupant(room, real_jid)
	local jid = real_jid and jid_prep(real_jid);
	return jid and room:get_occupant_jid(jid);
end

-- subject(room, stanza) -> occupant JID that the presence is about, or nil: by its nick, then by item@jid, only then by fmuc@from (G14). An error
-- is about the user who receives it.
function presences.subject(room, stanza)
	local nick = jid_resource(stanza.attr.from) or jid_resource(stanza.attr.to);
	if stanza.attr.type == "error" then nick = jid_resource(stanza.attr.to) or nick; end
	if nick then return room.jid .. "/" .. nick; end
	return local_occupant(room, stanza:find("{" .. xmlns_muc_user .. "}x/item@jid"))
		or local_occupant(room, (generation1.read_mark(stanza) or {}).real_jid);
end

-- addressee(room, stanza) -> occupant JID of the only user who gets the presence
function presences.addressee(room, stanza)
	return room.jid .. "/" .. jid_resource(stanza.attr.to);
end

-- for_local_users(room, stanza, occupant_jid, [is_for_one]) -> the presence as local users get it, without `to` and `id`. is_for_one: for one user;
-- the master has decided what that user may see
function presences.for_local_users(room, stanza, occupant_jid, is_for_one)
	local context = ids.from_master(room);
	-- the answer to a join comes last, and says whether everybody may see real JIDs
	local state = room.fmuc.authority.state;
	local is_known = state ~= "joining" and state ~= "syncing";
	context.is_hidden = not is_for_one and is_known and room:get_whois() ~= "anyone";
	local copy = hygiene.copy("presence from the master", stanza, context);
	copy.attr.from, copy.attr.to, copy.attr.id = occupant_jid, nil, nil;
	return copy;
end

-- take_own_codes(room, copy, [is_rejoin]): removes codes for the joining user alone from the copy; mod_muc sends them to the user. is_rejoin: the
-- master may leave the codes out, because the user knows them
function presences.take_own_codes(room, copy, is_rejoin)
	local info = room.fmuc.info; -- as old as the answer; XEP-0045 requires the code as well
	local whois = is_rejoin and room:get_whois() or info and info.features.muc_nonanonymous and "anyone" or "moderators";
	local logged = is_rejoin and room.fmuc.logged or nil;
	local x = copy:get_child("x", xmlns_muc_user);
	for status in x:childtags("status") do
		if status.attr.code == "100" then whois = "anyone"; end
		if status.attr.code == "170" then logged = true; end
	end
	hygiene.filter("own codes of the joining user", x);
	mirrored.set_whois(room, whois);
	room.fmuc.logged = logged;
end

return presences;
