-- SPDX-License-Identifier: MIT
-- Wrapping of a delegated request and the checks of the answer (XEP-0355 section 4.3: D6, D8 to D11, R8). Pure: stanzas in, stanzas out.
--
-- Both sides of an exchange work on a record, plain data that survives a module reload:
--   from, to, id   of the initial stanza; `to` as the user wrote it, nil if she wrote none
--   inner_id       id of the forwarded stanza (B11: differs from id when that one is in flight already, or may not come back unchanged)
--   version        namespace of the protocol
--   address        JID the request is sent to

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;

local native = require "prosody_relay.stanza".native;

local stanza_mt = st.stanza_mt;

local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_client = "jabber:client";

-- st.stanza() would look at every character of what is known to be valid
local function element(name, attr, child)
	return setmetatable({ name = name; attr = attr; tags = { child }; child }, stanza_mt);
end

-- wrap(stanza, record, host, id) -> the request to the managing entity, which has the stanza itself in it: no copy
local function wrap(stanza, record, host, id)
	local attr = stanza.attr;
	attr.xmlns, attr.to, attr.id = xmlns_client, record.to, record.inner_id;
	local forwarded = element("forwarded", { xmlns = xmlns_forward }, stanza);
	local delegation = element("delegation", { xmlns = record.version }, forwarded);
	return native(element("iq", { type = "set"; from = host; to = record.address; id = id }, delegation));
end

-- Namespaces of the forwarded stanza, and of what in it has none of its own, by version of the protocol. Entities that know only version 1
-- leave the stanza in that of its wrapper (E1: go-xmpp).
local inner_namespaces = {
	["urn:xmpp:delegation:1"] = { [xmlns_client] = true; [xmlns_forward] = true };
	["urn:xmpp:delegation:2"] = { [xmlns_client] = true };
};

-- The forwarded stanza: exactly one, whatever white space or <delay/> stands beside it
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

-- Whether `from` is one of the addresses that the answer may come from: what the user asked, or, when that was her own account (no `to`,
-- or her bare JID), her bare JID, as some entities write it
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

-- Elements of the client's stream namespace have no xmlns of their own in a stanza, so that they fit the receiver's stream, whichever it
-- is. `inner`: the namespaces that stand for it
local function to_stream_namespace(stanza, inner)
	stanza.attr.xmlns = nil;
	for _, child in ipairs(stanza.tags) do
		if inner[child.attr.xmlns] then to_stream_namespace(child, inner); end
	end
end

-- unwrap(answer, record) -> stanza for the user; or nil and a key of `faults`. The stanza is taken out of the answer.
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
