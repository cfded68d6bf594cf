-- SPDX-License-Identifier: MIT
-- Rooms are administered at the master (M25). mod_muc's own means would report success and change nothing there, or take everybody out of a
-- room that lives on (F17): its ad-hoc commands are taken away from a mirror, and what the shell or another module asks of a mirrored room
-- is refused. A local user may be kicked: that user leaves.

local administration = {};

local muc_commands = "http://prosody.im/protocol/muc#";

local delivery = lib "room/delivery";
local muc = module:depends "muc";

-- hide(item): an ad-hoc command
function administration.hide(item)
	if type(item.node) ~= "string" or item.node:sub(1, #muc_commands) ~= muc_commands then return; end
	prosody.hosts[module.host].modules.muc.module:remove_item("adhoc-provider", item);
end

for _, item in ipairs(module:get_host_items("adhoc-provider")) do administration.hide(item); end

local function refuse()
	return nil, "cancel", "not-allowed";
end

-- In place of those of mod_muc in a mirrored room, which has them from delivery.attach()
administration.methods = {
	set_affiliation = refuse;
	destroy = function (room) return nil, "This room is administered at " .. room.fmuc.authority.peer; end;
};

function administration.methods.set_role(room, actor, occupant_jid, role, ...)
	local is_kick = not role or role == "none";
	if not is_kick or not delivery.is_local(room, occupant_jid) then return refuse(); end
	return getmetatable(room).__index.set_role(room, actor, occupant_jid, role, ...);
end

-- mod_muc's function, which has been another one if an earlier instance of this module has replaced it
local shared = module:shared("create_room");
if muc.create_room ~= shared.refuse then shared.stock = muc.create_room; end
shared.refuse = function () return nil, "A mirror has no rooms of its own"; end;
muc.create_room = shared.refuse;

-- create(room_jid, config) -> room or nil, as mod_muc's create_room()
function administration.create(room_jid, config)
	return shared.stock(room_jid, config);
end

return administration;
