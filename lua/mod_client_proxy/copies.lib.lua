-- SPDX-License-Identifier: MIT
-- A copy of a request, for asking another resource (case C5): the same stanza without from, to, id and type. The copy is kept as bytes,
-- which take much less memory than a stanza.

local parse = require "prosody_relay.stanza".parse;
local serialise = require "prosody_relay.stanza".serialise;
local st = require "util.stanza";

-- The language that Prosody writes into its stream headers. It gives this language to stanzas of clients that set none, as most do.
local stream_lang = "en";

local envelope = { from = true; to = true; id = true; type = true };

-- One stanza for all copies: making a new one takes longer than writing its bytes.
local kept, no_attr = st.stanza("iq"), {};

-- copy(iq) -> bytes; iq: a stanza with one child
local function copy(iq)
	local others;
	for name, value in pairs(iq.attr) do
		if not envelope[name] and not (name == "xml:lang" and value == stream_lang) then
			others = others or {};
			others[name] = value;
		end
	end
	kept.attr, kept[1], kept.tags[1] = others or no_attr, iq.tags[1], iq.tags[1];
	local bytes = serialise(kept);
	kept[1], kept.tags[1] = nil, nil;
	return bytes;
end

-- stanza(bytes, attr) -> the stanza of a copy with these attributes (table) besides its own; nil when a module had made invalid XML
local function stanza(bytes, attr)
	local iq = parse(bytes);
	if not iq then return nil; end
	iq.attr["xml:lang"] = iq.attr["xml:lang"] or stream_lang;
	for name, value in pairs(attr) do iq.attr[name] = value; end
	return iq;
end

-- namespace(bytes) -> namespace of the child of a copy; "" for the namespace of the stream
local function namespace(bytes)
	return bytes:match("^<iq[^>]*><[^>]-%sxmlns=['\"]([^'\"]*)") or "";
end

return { copy = copy; stanza = stanza; namespace = namespace };
