-- SPDX-License-Identifier: MIT
-- Fan-out of a room: the recipients, and the bytes that they receive. Requirements A8, A9.

local relay = require "prosody_relay";
local recipients = relay.native "recipients_c";
local templates = relay.native "template_c";
local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";
local random_bytes = require "util.random".bytes;

local stanza_mt, xml_escape = st.stanza_mt, st.xml_escape;
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

local IS_SHARED = {}; -- key of a method-like mark that views and shared stanzas have

local methods = setmetatable({ top_tag = stanza_lib.top_tag; [IS_SHARED] = true }, { __index = stanza_mt });

local view_mt = {
	__name = stanza_mt.__name;
	__index = methods;
	__metatable = stanza_mt; -- util.stanza takes it for a stanza
	__tostring = view_tostring;
};

-- A stanza for one recipient needs no template. So the second recipient begins it.
local function shared_tostring(stanza)
	if stanza[TEMPLATE] ~= nil then return view_tostring(stanza); end
	stanza[TEMPLATE] = false;
	return serialise(stanza);
end

local shared_mt = { __name = stanza_mt.__name; __index = methods; __metatable = stanza_mt; __tostring = shared_tostring };

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

-- share(stanza): the stanza itself becomes one for many recipients, as a view() of it would be. It may be one already.
function fanout.share(stanza)
	if not stanza[IS_SHARED] then setmetatable(stanza, shared_mt); end
end

local FORM = {}; -- key of the form of a letter that nobody has opened

-- form(stanza, make) -> what letter() needs to make that stanza again, for other recipients: its text, and its attributes. A stanza takes more
-- memory. make() -> such a stanza, a new one each time, for those who look at its children. Its name and attributes do not matter.
function fanout.form(stanza, make)
	local to, mark = stanza.attr.to, "\1"; -- which no attribute can have
	local attr = {};
	for name, value in pairs(stanza.attr) do attr[name] = value; end
	attr.to, stanza.attr.to = nil, mark;
	local text = tostring(stanza);
	stanza.attr.to = to;
	local first, last = text:find(mark, 1, true);
	local count = 1; -- with `to`
	for _ in pairs(attr) do count = count + 1; end
	return { make = make; name = stanza.name; attr = attr; count = count; before = text:sub(1, first - 1); after = text:sub(last + 1) };
end

local function letter_text(form, to)
	return form.before .. xml_escape(to) .. form.after;
end

-- Makes an ordinary stanza of a letter
local function open(letter)
	local form = rawget(letter, FORM);
	if not form then return; end
	local stanza = form.make();
	letter[FORM] = nil;
	letter.tags = stanza.tags;
	table.move(stanza, 1, #stanza, 1, letter);
end

local function is_untouched(letter, form)
	local count = 0;
	for name, value in pairs(letter.attr) do
		if name ~= "to" and form.attr[name] ~= value then return false; end
		count = count + 1;
	end
	return count == form.count and letter.name == form.name;
end

local letter_mt = {
	__name = stanza_mt.__name;
	__metatable = stanza_mt;
	__index = function (letter, key)
		local method = methods[key];
		if method ~= nil then return method; end
		if key ~= "tags" and type(key) ~= "number" then return nil; end
		open(letter);
		return rawget(letter, key);
	end;
	__len = function (letter)
		open(letter);
		return rawlen(letter);
	end;
	__tostring = function (letter)
		local form = rawget(letter, FORM);
		if form and is_untouched(letter, form) then return letter_text(form, letter.attr.to); end
		open(letter);
		return serialise(letter);
	end;
};

-- letter(form, to, [former]) -> the stanza for that recipient. It works as any stanza: who looks at its children finds them. former: a letter that
-- nobody needs any more. It may become the new one.
function fanout.letter(form, to, former)
	local letter = former;
	if letter and rawget(letter, FORM) then
		for name in pairs(letter.attr) do letter.attr[name] = nil; end
	else
		letter = setmetatable({ attr = {} }, letter_mt);
	end
	letter.name, letter[FORM] = form.name, form;
	for name, value in pairs(form.attr) do letter.attr[name] = value; end
	letter.attr.to = to;
	return letter;
end

return fanout;
