-- SPDX-License-Identifier: MIT
-- How much history a newcomer gets (F22): the room's rule also holds for users behind a mirror. The master names two numbers in the room's
-- description, unless they are mod_muc's defaults. One is the most messages, the other is for a user who asks for no number. The mirror
-- keeps and gives no more than that.

-- the first is from XEP-0045, the second is mod_muc's name in the configuration form
local field_most, field_usual = "muc#maxhistoryfetch", "muc#roomconfig_defaulthistorymessages";

-- of mod_muc
local default_length = 20;

local history = {};

-- describe(event): adds the rule to the description of a master's room
function history.describe(event)
	local form, formdata = event.form, event.formdata;
	local most, usual = event.room:get_historylength(), event.room._data.default_history_messages;
	if most ~= default_length then
		table.insert(form, { name = field_most; label = "Maximum number of history messages" });
		formdata[field_most] = ("%d"):format(most);
	end
	if usual then
		table.insert(form, { name = field_usual; label = "Default number of history messages" });
		formdata[field_usual] = ("%d"):format(usual);
	end
end

local function read_number(text)
	local number = tonumber(text);
	return number and number >= 0 and math.tointeger(math.floor(number)) or nil;
end

-- read(form) -> { most, usual }, numbers or nil, from the description of a room. form: stanza or nil
function history.read(form)
	local limits = {};
	for field in (form and form:childtags("field") or function () end) do
		if field.attr.var == field_most then limits.most = read_number(field:get_child_text("value")); end
		if field.attr.var == field_usual then limits.usual = read_number(field:get_child_text("value")); end
	end
	return limits;
end

-- trim(room): forgets messages beyond the limit
function history.trim(room)
	local entries, most = room._history or {}, room:get_historylength();
	local excess = #entries - most;
	if excess <= 0 then return; end
	room._history = most > 0 and table.move(entries, excess + 1, #entries, 1, {}) or nil;
end

-- limit(room, limits): applies the master's rule to a mirrored room
function history.limit(room, limits)
	room._data.history_length, room._data.default_history_messages = limits.most, limits.usual;
	history.trim(room);
end

return history;
