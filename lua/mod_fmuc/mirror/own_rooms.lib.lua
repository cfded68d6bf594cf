-- SPDX-License-Identifier: MIT
-- A mirror has no rooms but mirrored ones. mod_muc stays when this module is unloaded from a mirror, or fails to load there, and would make an
-- ordinary room of a mirrored room's name for whoever joins it.

local errors = lib "errors";

local own_rooms = {};

-- refuse(muc): mod_muc (its environment) makes no room for who joins. The hook is mod_muc's, so that it holds as long as mod_muc is loaded.
function own_rooms.refuse(muc)
	local host = module.host;
	if rawget(muc, "fmuc_refuses_rooms") then return; end -- an earlier instance has hooked it
	rawset(muc, "fmuc_refuses_rooms", true);
	muc.module:hook("muc-room-pre-create", function (event)
		local is_in_service = prosody.hosts[host].modules.fmuc ~= nil;
		event.origin.send(is_in_service and errors.reply(event.stanza, "own-rooms")
			or errors.reply(event.stanza, "mirror-out-of-service"));
		return true;
	end, 2); -- before mod_muc sets one up
end

-- clear(muc, is_mirrored): ends all rooms that were made nevertheless, before this module was loaded. is_mirrored: set of room JIDs
function own_rooms.clear(muc, is_mirrored)
	local others = {};
	for room in muc.all_rooms() do
		if not is_mirrored[room.jid] then others[#others + 1] = room; end
	end
	for _, room in ipairs(others) do
		module:log("info", "Removing the room %s, which is not a mirror of any room", room.jid);
		room:set_persistent(false); -- or mod_muc would remember that it was destroyed
		room:destroy(nil, "This is a mirror, which has no rooms of its own");
	end
end

return own_rooms;
