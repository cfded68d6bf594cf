-- SPDX-License-Identifier: MIT
-- A mirror has only mirrored rooms. When this module is unloaded, or fails to load, mod_muc stays. It would then create an ordinary room for a user
-- who joins a mirrored room.

local errors = lib "errors";

local own_rooms = {};

-- refuse(muc): mod_muc (its environment) creates no room for users who join. The hook belongs to mod_muc, so it stays as long as mod_muc is loaded.
function own_rooms.refuse(muc)
	local host = module.host;
	if rawget(muc, "fmuc_refuses_rooms") then return; end -- an earlier instance has hooked it
	rawset(muc, "fmuc_refuses_rooms", true);
	muc.module:hook("muc-room-pre-create", function (event)
		local is_in_service = prosody.hosts[host].modules.fmuc ~= nil;
		event.origin.send(is_in_service and errors.reply(event.stanza, "own-rooms")
			or errors.reply(event.stanza, "mirror-out-of-service"));
		return true;
	end, 2); -- before mod_muc creates the room
end

-- clear(muc, is_mirrored): destroys all other rooms, which were created before this module was loaded. is_mirrored: set of room JIDs
function own_rooms.clear(muc, is_mirrored)
	local others = {};
	for room in muc.all_rooms() do
		if not is_mirrored[room.jid] then others[#others + 1] = room; end
	end
	for _, room in ipairs(others) do
		module:log("info", "Removing the room %s, which is not a mirror of any room", room.jid);
		room:set_persistent(false); -- else mod_muc would remember that it was destroyed
		room:destroy(nil, "This is a mirror, which has no rooms of its own");
	end
end

return own_rooms;
