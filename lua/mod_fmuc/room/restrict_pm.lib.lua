-- SPDX-License-Identifier: MIT
-- Who may send private messages in a room (muc#roomconfig_allowpm, XEP-0045 section 7.5; mod_muc has it since 13.0). Messages between two
-- users of one mirror never reach the master (G12). So the master announces the rule in the room's description (XEP-0045 section 6.4), and
-- the mirror applies it.

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local field_allowpm, field_moderators = "muc#roomconfig_allowpm", "{xmpp:prosody.im}muc#allow_modpm";

-- Names in XEP-0045, in Prosody, and in the community's module; any other value means everybody
local names = {
	participants = "participants"; participant = "participants"; moderators = "moderators"; moderator = "moderators";
	members = "members"; affiliated = "members"; none = "none";
};
local who_may = { participants = "participants"; moderators = "moderators"; members = "members"; none = "nobody" };

local ranks = { visitor = 1; participant = 2; moderator = 3 };
local needed = { participants = 2; moderators = 3; none = math.huge };

local restrict_pm = {};

-- describe(event): adds the rule to the description of a master's room
function restrict_pm.describe(event)
	local room, form, formdata = event.room, event.form, event.formdata;
	local rule = names[room._data.allow_pm];
	if not rule then return; end
	table.insert(form, { name = field_allowpm; label = "Who can send private messages" });
	formdata[field_allowpm] = rule;
	if not room._data.allow_modpm then return; end
	table.insert(form, { name = field_moderators; type = "boolean"; label = "Private messages to and from moderators are always allowed" });
	formdata[field_moderators] = true;
end

-- read(form) -> { who, moderators }, from the description of a room; nil when everybody may, or when it names no rule. form: stanza or nil
function restrict_pm.read(form)
	local rule = {};
	for field in (form and form:childtags("field") or function () end) do
		local value = field:get_child_text("value");
		if field.attr.var == field_allowpm then rule.who = names[value]; end
		if field.attr.var == field_moderators then rule.moderators = value == "1" or value == "true"; end
	end
	return rule.who and rule;
end

local function item_of(room, occupant_jid)
	local copy = room.fmuc.copies[occupant_jid];
	local item = copy and copy:find("{" .. xmlns_muc_user .. "}x/item");
	return item and item.attr or {};
end

-- refusal(room, from, to) -> nil when occupant `from` of a mirrored room may write to occupant `to` (occupant JIDs); else who may
function restrict_pm.refusal(room, from, to)
	local rule = room.fmuc.info and room.fmuc.info.allowpm;
	if not rule then return nil; end
	if room:get_occupant_by_nick(from).bare_jid == room:get_occupant_by_nick(to).bare_jid then return nil; end
	local sender, recipient = item_of(room, from), item_of(room, to);
	if rule.moderators and (sender.role == "moderator" or recipient.role == "moderator") then return nil; end
	if rule.who == "members" then
		if (sender.affiliation or "none") ~= "none" then return nil; end
	elseif (ranks[sender.role] or 0) >= needed[rule.who] then
		return nil;
	end
	return who_may[rule.who];
end

return restrict_pm;
