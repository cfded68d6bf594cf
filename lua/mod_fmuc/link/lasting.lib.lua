-- SPDX-License-Identifier: MIT
-- What a presence says of an occupant that holds on (G28): who, and in which role. Who changed it, why, and the status codes belong to the
-- moment: newcomers do not get them. Both roles.

local hygiene = lib "link/hygiene";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local function is_state(child)
	return child.name == "item";
end

local function is_event(child)
	return child.name == "actor" or child.name == "reason";
end

local function find(element, matches)
	for _, child in ipairs(element.tags) do
		if matches(child) then return true; end
	end
	return false;
end

-- state_of(presence) -> the presence without what belongs to the event: itself when there is nothing of the kind, or a copy
return function (presence)
	local x = presence:get_child("x", xmlns_muc_user);
	if not x then return presence; end
	local item = x:get_child("item");
	local has_event = find(x, function (child) return not is_state(child); end) or item ~= nil and find(item, is_event);
	return has_event and hygiene.copy("presence to keep", presence) or presence;
end
