-- SPDX-License-Identifier: MIT
-- Fan-out of a room: the recipients, and the bytes that they receive. Requirements A8, A9.

local relay = require "prosody_relay";
local recipients = relay.native "recipients_c";
local templates = relay.native "template_c";
local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";
local random_bytes = require "util.random".bytes;

local stanza_mt = st.stanza_mt;
local serialise = stanza_lib.serialise;
local render_known = templates.render_known;

local fanout = {};

-- new() -> empty recipient list (A8). All operations except `each` and `by_nick` take constant time. A recipient costs less than 100 bytes
-- besides its strings. JIDs, nicks and groups are strings and are compared byte by byte: give them normalised.
--
-- list:add(jid, nick, group) -> true; or nil, "exists" and no change when the list already has the JID
--   group: name of the link over which the recipient is reached; nil for a local session
-- list:remove(jid) -> its nick, its group; or nil
-- list:by_nick(nick) -> array of the JIDs with that nick, empty when there is none; linear in their number
-- list:count() -> number of recipients
-- list:count_group(group) -> number of recipients behind that link; with nil: of local sessions
-- list:each([except_group]) -> iterator of jid, nick, group
--   First each local session in the order of arrival. Then each other link once, with its oldest member. Recipients may be removed and added
--   while iterating: removed and added ones are not visited. Linear in the number of visits.
function fanout.new()
	return recipients.new(random_bytes(16));
end

local TEMPLATE = {}; -- key of a view's template in the view: no code that reads a stanza's fields by name finds it

-- The template makes the bytes while nothing but `to` and `from` has changed, in the stanza or in its children. Otherwise the stanza is
-- serialised, and the result is the next template.
local function view_tostring(view)
	local template = view[TEMPLATE];
	if template then
		local text = render_known(template, view);
		if text then return text; end
	end
	local text = serialise(view);
	view[TEMPLATE] = templates.capture(text, view.name, view);
	return text;
end

local view_mt = {
	__name = stanza_mt.__name;
	__index = setmetatable({ top_tag = stanza_lib.top_tag }, { __index = stanza_mt });
	__metatable = stanza_mt; -- util.stanza takes it for a stanza
	__tostring = view_tostring;
};

-- view(stanza) -> a stanza for many recipients: the caller sets its attributes `to` and `from` before each one (design decision 5)
-- It works as any stanza: its own attributes and children may be changed, and st.clone gives an ordinary one. It shares its children with
-- the original. Only tostring and :top_tag() are in C. While nothing else has changed, tostring copies the bytes.
function fanout.view(stanza)
	if not st.is_stanza(stanza) then error(("bad argument #1 to 'view' (stanza expected, got %s)"):format(type(stanza)), 2); end
	local view = st.clone(stanza, true);
	table.move(stanza, 1, #stanza, 1, view);
	table.move(stanza.tags, 1, #stanza.tags, 1, view.tags);
	return setmetatable(view, view_mt);
end

return fanout;
