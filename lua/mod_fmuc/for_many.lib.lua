-- SPDX-License-Identifier: MIT
-- What one occupant may know of a presence and many others may not (G21). Both roles.

-- "this is you", or what comes of entering the room, which is between a room and its user
local own_codes = { ["110"] = true; ["201"] = true; ["210"] = true };

-- for_many(x, is_hidden): changes the element {muc#user}x of a presence. is_hidden: real JIDs are not for all who get it
return function (x, is_hidden)
	x:maptags(function (child)
		if child.name == "status" and own_codes[child.attr.code] then return nil; end
		if child.name == "item" and is_hidden then
			local actor = child:get_child("actor");
			child.attr.jid = nil;
			if actor then actor.attr.jid = nil; end
		end
		return child;
	end);
end;
