-- SPDX-License-Identifier: MIT
-- Wraps a delegated request and checks the answer (XEP-0355 section 4.3: D6, D8 to D11, R8). Pure: stanzas in, stanzas out.
--
-- Both sides of an exchange work on a record, plain data that survives a module reload:
--   from, to, id   of the initial stanza; `to` as the user wrote it, nil if she wrote none
--   inner_id       id of the forwarded stanza (B11: not `id` if that is in flight already, or may not come back unchanged)
--   version        namespace of the protocol
--   address        JID the request is sent to

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;

local native = require "prosody_relay.stanza".native;

local stanza_mt = st.stanza_mt;

local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_client = "jabber:client";

-- Not with st.stanza(), which checks every character, because these texts are known to be valid
local function element(name, attr, child)
	return setmetatable({ name = name; attr = attr; tags = { child }; child }, stanza_mt);
end

-- wrap(stanza, record, host, id) -> the request to the managing entity; it contains the stanza itself, not a copy
local function wrap(stanza, record, host, id)
	local attr = stanza.attr;
	attr.xmlns, attr.to, attr.id = xmlns_client, record.to, record.inner_id;
	local forwarded = element("forwarded", { xmlns = xmlns_forward }, stanza);
	local delegation = element("delegation", { xmlns = record.version }, forwarded);
	return native(element("iq", { type = "set"; from = host; to = record.address; id = id }, delegation));
end

-- Namespaces of the forwarded stanza, and of its children without an own namespace, by version of the protocol. Entities that know only
-- version 1 leave the stanza in the namespace of the wrapper (E1: go-xmpp).
local inner_namespaces = {
	["urn:xmpp:delegation:1"] = { [xmlns_client] = true; [xmlns_forward] = true };
	["urn:xmpp:delegation:2"] = { [xmlns_client] = true };
};

-- The forwarded stanza; nil unless there is exactly one. White space or <delay/> may stand beside it.
local function forwarded_iq(answer, version)
	local delegation = answer:get_child("delegation", version);
	local forwarded = delegation and delegation:get_child("forwarded", xmlns_forward);
	local found;
	for _, child in ipairs(forwarded and forwarded.tags or {}) do
		if child.name == "iq" and inner_namespaces[version][child.attr.xmlns] then
			if found then return nil; end
			found = child;
		end
	end
	return found;
end

-- reason for which an answer is refused -> what to tell administrators
local faults = {
	["error"] = "an error"; ["not-wrapped"] = "no forwarded stanza"; ["wrong-type"] = "wrong type"; ["wrong-id"] = "wrong id";
	["wrong-to"] = "wrong to"; ["wrong-from"] = "wrong from"; ["unsendable"] = "what cannot be sent, such as elements nested very deeply";
};

-- Whether the answer may come from this address. It may come from the address that the user asked. If that was her own account (no `to`, or
-- her bare JID), it may also come from her bare JID. Some entities write that.
local function is_asked(from, record)
	if from == nil or from == record.to then return true; end
	return record.to == nil and from == jid_bare(record.from);
end

local function fault_of(iq, record)
	local attr = iq.attr;
	if attr.type ~= "result" and not (attr.type == "error" and iq:get_child("error")) then
		return "wrong-type";
	elseif attr.id ~= record.inner_id then
		return "wrong-id";
	elseif attr.to ~= record.from then
		return "wrong-to";
	elseif not is_asked(attr.from, record) then
		return "wrong-from";
	end
end

-- Removes xmlns from elements of the stream's namespace, so that the stanza fits any receiver's stream. `inner`: the namespaces that stand for
-- the stream's namespace
local function to_stream_namespace(stanza, inner)
	stanza.attr.xmlns = nil;
	for _, child in ipairs(stanza.tags) do
		if inner[child.attr.xmlns] then to_stream_namespace(child, inner); end
	end
end

-- unwrap(answer, record) -> stanza for the user; or nil and a key of `faults`. The stanza is removed from the answer.
local function unwrap(answer, record)
	if answer.attr.type ~= "result" then return nil, "error"; end
	local iq = forwarded_iq(answer, record.version);
	if not iq then return nil, "not-wrapped"; end
	local fault = fault_of(iq, record);
	if fault then return nil, fault; end
	to_stream_namespace(iq, inner_namespaces[record.version]);
	iq.attr.id = record.id;
	iq.attr.from = iq.attr.from or record.to;
	return native(iq);
end

return { wrap = wrap; unwrap = unwrap; faults = faults };
