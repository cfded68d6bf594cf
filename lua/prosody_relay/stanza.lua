-- SPDX-License-Identifier: MIT
-- What util.stanza does not do, or does slowly. C makes the bytes of a stanza from its present state (design decision 5). One linear pass
-- removes children: Prosody's maptags and remove_children shift all later children for each one that they remove.

local native = require "prosody_relay".native "stanza_c";
local new_stream = require "util.xmppstream".new;
local st = require "util.stanza";

local stanza_mt = st.stanza_mt;
local native_serialise, native_size, native_top_tag = native.serialise, native.size, native.top_tag;

local stanza = {};

-- serialise(stanza) -> the same as tostring
function stanza.serialise(self)
	return native_serialise(self) or stanza_mt.__tostring(self);
end

-- top_tag(stanza) -> the same as stanza:top_tag(). Sessions call it for every stanza they send, for a log line that is rarely written.
function stanza.top_tag(self)
	return native_top_tag(self) or stanza_mt.top_tag(self);
end

-- size(stanza) -> the length of the result of serialise. Makes no string.
function stanza.size(self)
	return native_size(self) or #stanza_mt.__tostring(self);
end

local xmlns_stream, xmlns_bytes = "http://etherx.jabber.org/streams", "https://prosody-relay/stanza";
-- the parser gives it to stanzas without a language
local no_lang = "x-none";
local stream_header = ("<stream:stream xmlns='%s' xmlns:stream='%s' xml:lang='%s'>"):format(xmlns_bytes, xmlns_stream, no_lang);
local stream_callbacks = { default_ns = xmlns_bytes; stream_ns = xmlns_stream };

function stream_callbacks.streamopened(session) session.notopen = nil; end
function stream_callbacks.handlestanza(session, parsed) session.stanza = parsed; end
function stream_callbacks.error() end

-- parse(bytes) -> the stanza from which serialise() made these bytes; nil when they are not well-formed, as a module may have made the stanza
-- The bytes are parsed as from a stream (util.xml.parse loses xmlns=''). The default namespace is one that no stream has. So elements in the
-- namespace of the stream get none, as before.
function stanza.parse(bytes)
	local session = { notopen = true };
	local stream = new_stream(session, stream_callbacks, #bytes + #stream_header);
	local parsed = stream:feed(stream_header) and stream:feed(bytes) and session.stanza;
	if not parsed then return nil; end
	if parsed.attr["xml:lang"] == no_lang then parsed.attr["xml:lang"] = nil; end
	return parsed;
end

-- heap_size(stanza) -> about how many bytes of Lua's heap a stanza or element takes, as if no string was shared;
-- math.huge when it is nested deeper than 1000 levels. An element takes 300 bytes at least, however short it is on the wire (F8). Makes no
-- string.
stanza.heap_size = native.heap_size;

local native_mt = {
	__name = stanza_mt.__name;
	__index = setmetatable({ top_tag = stanza.top_tag }, { __index = stanza_mt });
	__metatable = stanza_mt; -- util.stanza takes it for a stanza
	__tostring = stanza.serialise;
};

-- native(stanza) -> the same stanza, whose tostring and :top_tag() are in C from now on
-- Only for a module that may change the stanza, such as the one that made it. It works as any stanza; st.clone gives an ordinary one.
function stanza.native(self)
	-- getmetatable would also accept a metatable with __metatable, which setmetatable cannot replace
	if debug.getmetatable(self) == stanza_mt then setmetatable(self, native_mt); end
	return self;
end

-- The rules of a pass (F7) say which children of an element stay, by their namespace and name:
--
--   rules = { [xmlns] = { [name] = action; ["*"] = action for all other names }; other = action for all other children }
--   xmlns is "" for children in the namespace of the element itself
--   action = true (or nil): stays; false: goes; or a table with any of these:
--     stays(child, context) -> boolean
--     once = true: only the first child with this action that stays
--     within = rules for its children
--     change(child, context): changes its attributes
--
-- The functions get the caller's context. Text always stays. A pass visits each child once, however many go.

local function action_for(rules, parent, child)
	local xmlns = child.attr.xmlns;
	local names = rules[(xmlns == nil or xmlns == parent.attr.xmlns) and "" or xmlns];
	local action = names and names[child.name];
	if action == nil and names then action = names["*"]; end
	if action == nil then action = rules.other; end
	return action;
end

-- goes(rules, parent, child, context) -> true when the child goes even without `once`; else nil and its action, if that is a table
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

-- filter(element, rules, [context]) -> element, changed in place. Only for a copy of the caller: others may share the children
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

-- copy(element, rules, [context]) -> as filter(st.clone(element), …), without copies of children that go. The element is not changed.
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

-- cleaned(element, rules, [context]) -> the element itself when no child goes, else as copy(). For stanzas of other modules that have to
-- lose some children; rules without `once`, `within` and `change`
function stanza.cleaned(element, rules, context)
	for _, child in ipairs(element.tags) do
		if goes(rules, element, child, context) then return stanza.copy(element, rules, context); end
	end
	return element;
end

return stanza;
