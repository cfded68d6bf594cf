-- SPDX-License-Identifier: MIT
-- The bytes of a stanza from C, for stanzas that one module changes and sends on (design decision 5). They are made of the stanza's
-- present state each time: nothing is remembered, whoever changes it in between.

local native = require "prosody_relay".native "stanza_c";
local st = require "util.stanza";

local stanza_mt = st.stanza_mt;
local native_serialise, native_top_tag = native.serialise, native.top_tag;

local stanza = {};

-- serialise(stanza) -> what tostring gives
function stanza.serialise(self)
	return native_serialise(self) or stanza_mt.__tostring(self);
end

-- sessions ask for it with every stanza they send, for a line in the log that is rarely written
local function top_tag(self)
	return native_top_tag(self) or stanza_mt.top_tag(self);
end

local native_mt = {
	__name = stanza_mt.__name;
	__index = setmetatable({ top_tag = top_tag }, { __index = stanza_mt });
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

return stanza;
