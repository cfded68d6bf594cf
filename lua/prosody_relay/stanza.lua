-- SPDX-License-Identifier: MIT
-- What util.stanza does not do, or does slowly: the bytes of a stanza from C (design decision 5), which are made of its present state each
-- time, and one linear pass that removes children. Prosody's maptags and remove_children shift all later children for each that they remove.

local native = require "prosody_relay".native "stanza_c";
local new_stream = require "util.xmppstream".new;
local st = require "util.stanza";

local stanza_mt = st.stanza_mt;
local native_serialise, native_size, native_top_tag = native.serialise, native.size, native.top_tag;

local stanza = {};

-- serialise(stanza) -> what tostring gives
function stanza.serialise(self)
	return native_serialise(self) or stanza_mt.__tostring(self);
end

-- top_tag(stanza) -> what stanza:top_tag() gives. Sessions ask for it with every stanza they send, for a line in the log that is rarely written.
function stanza.top_tag(self)
	return native_top_tag(self) or stanza_mt.top_tag(self);
end

-- size(stanza) -> the length of what serialise gives. Makes no string.
function stanza.size(self)
	return native_size(self) or #stanza_mt.__tostring(self);
end

local xmlns_stream, xmlns_bytes = "http://etherx.jabber.org/streams", "https://prosody-relay/stanza";
-- which the parser gives to stanzas that say nothing
local no_lang = "x-none";
local stream_header = ("<stream:stream xmlns='%s' xmlns:stream='%s' xml:lang='%s'>"):format(xmlns_bytes, xmlns_stream, no_lang);
local stream_callbacks = { default_ns = xmlns_bytes; stream_ns = xmlns_stream };

function stream_callbacks.streamopened(session) session.notopen = nil; end
function stream_callbacks.handlestanza(session, parsed) session.stanza = parsed; end
function stream_callbacks.error() end

-- parse(bytes) -> the stanza that serialise() made these bytes of; nil when they are not well-formed, as a module may have made the stanza
-- It is read as Prosody reads what comes over a stream (util.xml.parse loses xmlns=''). The default namespace is that of no stream, so that
-- what is in the namespace of the stream comes out without one, as it came in.
function stanza.parse(bytes)
	local session = { notopen = true };
	local stream = new_stream(session, stream_callbacks, #bytes + #stream_header);
	local parsed = stream:feed(stream_header) and stream:feed(bytes) and session.stanza;
	if not parsed then return nil; end
	if parsed.attr["xml:lang"] == no_lang then parsed.attr["xml:lang"] = nil; end
	return parsed;
end

-- heap_size(stanza) -> about how many bytes of Lua's heap the tables and strings of a stanza or element take, as if no string was shared;
-- math.huge when it is nested deeper than 1000 levels. An element takes 300 bytes at least, however short it is on the wire (F8). Makes no
-- string.
stanza.heap_size = native.heap_size;

local native_mt = {
	__name = stanza_mt.__name;
	__index = setmetatable({ top_tag = stanza.top_tag }, { __index = stanza_mt });
	__metatable = stanza_mt; -- so that util.stanza takes it for a stanza
	__tostring = stanza.serialise;
};

-- native(stanza) -> the same stanza, whose tostring and :top_tag() are in C from now on
-- To be called by who may change the stanza, such as the module that makes it. It is a stanza in every respect; st.clone gives an
-- ordinary one.
function stanza.native(self)
	-- getmetatable would not tell one that poses as an ordinary stanza's and cannot be replaced
	if debug.getmetatable(self) == stanza_mt then setmetatable(self, native_mt); end
	return self;
end

-- The rules of a pass (F7) say what becomes of the children of an element, by their namespace and name:
--
--   rules = { [xmlns] = { [name] = action; ["*"] = action for all other names }; other = action for all other children }
--   xmlns is "" for children in the namespace of the element itself
--   action = true (or nil): stays; false: goes; or a table, of which each part may be left out:
--     stays(child, context) -> boolean
--     once = true: the first that stays stays alone
--     within = rules for its children
--     change(child, context): changes its attributes
--
-- context is the caller's and goes to the functions. Text always stays. A pass visits each child once, however many go.

local function action_for(rules, parent, child)
	local xmlns = child.attr.xmlns;
	local names = rules[(xmlns == nil or xmlns == parent.attr.xmlns) and "" or xmlns];
	local action = names and names[child.name];
	if action == nil and names then action = names["*"]; end
	if action == nil then action = rules.other; end
	return action;
end

-- goes(rules, parent, child, context) -> whether the child goes, whatever came before it; else nil and its action, if that is a table
local function goes(rules, parent, child, context)
	local action = action_for(rules, parent, child);
	if action == nil or action == true then return nil; end
	if action == false or action.stays and not action.stays(child, context) then return true; end
	return nil, action;
end

-- judge(rules, parent, child, context, met) -> as goes(). met: actions with `once` that a child of the same parent has met
local function judge(rules, parent, child, context, met)
	local is_gone, action = goes(rules, parent, child, context);
	if is_gone or not action or not action.once then return is_gone, action; end
	if met[action] then return true; end
	met[action] = true;
	return nil, action;
end

-- filter(element, rules, [context]) -> element, changed in place. For who may change it: its own copy, or the children are shared
function stanza.filter(element, rules, context)
	local tags, count, tag_count = element.tags, #element, #element.tags;
	local kept, kept_tags, met = 0, 0, {};
	for i = 1, count do
		local child = element[i];
		local is_tag = type(child) == "table";
		local is_gone, action;
		if is_tag then is_gone, action = judge(rules, element, child, context, met); end
		if not is_gone then
			if action and action.within then stanza.filter(child, action.within, context); end
			if action and action.change then action.change(child, context); end
			kept = kept + 1;
			element[kept] = child;
			if is_tag then
				kept_tags = kept_tags + 1;
				tags[kept_tags] = child;
			end
		end
	end
	for i = count, kept + 1, -1 do element[i] = nil; end
	for i = tag_count, kept_tags + 1, -1 do tags[i] = nil; end
	return element;
end

-- copy(element, rules, [context]) -> as filter(st.clone(element), …), without copies of what goes. The element is not changed.
function stanza.copy(element, rules, context)
	local copy = st.clone(element, true);
	local tags, kept, kept_tags, met = copy.tags, 0, 0, {};
	for i = 1, #element do
		local child = element[i];
		local is_tag = type(child) == "table";
		local is_gone, action;
		if is_tag then is_gone, action = judge(rules, element, child, context, met); end
		if not is_gone then
			if is_tag then
				child = action and action.within and stanza.copy(child, action.within, context) or st.clone(child);
				if action and action.change then action.change(child, context); end
				kept_tags = kept_tags + 1;
				tags[kept_tags] = child;
			end
			kept = kept + 1;
			copy[kept] = child;
		end
	end
	return copy;
end

-- cleaned(element, rules, [context]) -> the element itself where nothing goes, else as copy(). For what is somebody else's and has to lose
-- some children: rules without `once`, `within` and `change`
function stanza.cleaned(element, rules, context)
	for _, child in ipairs(element.tags) do
		if goes(rules, element, child, context) then return stanza.copy(element, rules, context); end
	end
	return element;
end

return stanza;
