-- SPDX-License-Identifier: MIT
-- Rooms are administered at the master (M25). The commands of mod_muc would report success without effect there. Or they would remove all users
-- from a room that still exists (F17). So this file removes the ad-hoc commands of mod_muc from a mirror. It also refuses changes of mirrored rooms
-- by the shell or by other modules. They may kick a local user: that user leaves.

local administration = {};

local muc_commands = "http://prosody.im/protocol/muc#";

local delivery = lib "room/delivery";
local muc = module:depends "muc";

-- hide(item): removes an ad-hoc command of mod_muc
function administration.hide(item)
	if type(item.node) ~= "string" or item.node:sub(1, #muc_commands) ~= muc_commands then return; end
	prosody.hosts[module.host].modules.muc.module:remove_item("adhoc-provider", item);
end

for _, item in ipairs(module:get_host_items("adhoc-provider")) do administration.hide(item); end

local function refuse()
	return nil, "cancel", "not-allowed";
end

-- Methods that delivery.attach() puts in place of mod_muc's in a mirrored room
administration.methods = {
	set_affiliation = refuse;
	destroy = function (room) return nil, "This room is administered at " .. room.fmuc.authority.peer; end;
};

function administration.methods.set_role(room, actor, occupant_jid, role, ...)
	local is_kick = not role or role == "none";
	if not is_kick or not delivery.is_local(room, occupant_jid) then return refuse(); end
	return getmetatable(room).__index.set_role(room, actor, occupant_jid, role, ...);
end

-- mod_muc's own function, also when an earlier instance of this module has replaced it
local shared = module:shared("create_room");
if muc.create_room ~= shared.refuse then shared.stock = muc.create_room; end
shared.refuse = function () return nil, "A mirror has no rooms of its own"; end;
muc.create_room = shared.refuse;

-- create(room_jid, config) -> room or nil, as mod_muc's create_room()
function administration.create(room_jid, config)
	return shared.stock(room_jid, config);
end

return administration;
