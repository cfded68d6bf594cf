-- SPDX-License-Identifier: MIT
-- Wrapping of a delegated request and the checks of the answer (XEP-0355 section 4.3: D6, D8 to D11, R8). Pure: stanzas in, stanzas out.
--
-- Both sides of an exchange work on a record, plain data that survives a module reload:
--   from, to, id   of the initial stanza; `to` as the user wrote it, nil if she wrote none
--   own            the sender's bare JID when she asked her own account (no `to`, or her bare JID); entities may write it as `from`
--   inner_id       id of the forwarded stanza (B11: differs from id when that one is in flight already)
--   version        namespace of the protocol
--   address        JID the request is sent to

local st = require "util.stanza";

local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_client = "jabber:client";

-- wrap(stanza, record, host, id) -> the request to the managing entity; stanza is left as it is
local function wrap(stanza, record, host, id)
	local inner = st.clone(stanza);
	inner.attr.xmlns = xmlns_client;
	inner.attr.to = record.to;
	inner.attr.id = record.inner_id;
	return st.iq({ type = "set"; from = host; to = record.address; id = id })
		:tag("delegation", { xmlns = record.version })
			:tag("forwarded", { xmlns = xmlns_forward })
				:add_child(inner)
		:reset();
end

-- The forwarded stanza: exactly one, whatever white space or <delay/> stands beside it
local function forwarded_iq(answer, version)
	local delegation = answer:get_child("delegation", version);
	local forwarded = delegation and delegation:get_child("forwarded", xmlns_forward);
	local found;
	for _, child in ipairs(forwarded and forwarded.tags or {}) do
		if child.name == "iq" and child.attr.xmlns == xmlns_client then
			if found then return nil; end
			found = child;
		end
	end
	return found;
end

local function fault_of(iq, record)
	local attr = iq.attr;
	if attr.type ~= "result" and not (attr.type == "error" and iq:get_child("error")) then
		return "wrong type";
	elseif attr.id ~= record.inner_id then
		return "wrong id";
	elseif attr.to ~= record.from then
		return "wrong to";
	elseif attr.from ~= nil and attr.from ~= record.to and attr.from ~= record.own then
		return "wrong from";
	end
end

-- Elements of the client's stream namespace have no xmlns of their own in a stanza, so that they fit the receiver's stream, whichever it is
local function to_stream_namespace(element)
	element.attr.xmlns = nil;
	for _, child in ipairs(element.tags) do
		if child.attr.xmlns == xmlns_client then to_stream_namespace(child); end
	end
end

-- unwrap(answer, record) -> stanza for the user, or nil and what is wrong with the answer. The stanza is taken out of the answer.
local function unwrap(answer, record)
	if answer.attr.type ~= "result" then return nil, "an error"; end
	local iq = forwarded_iq(answer, record.version);
	if not iq then return nil, "no forwarded stanza"; end
	local fault = fault_of(iq, record);
	if fault then return nil, fault; end
	to_stream_namespace(iq);
	iq.attr.id = record.id;
	iq.attr.from = iq.attr.from or record.to;
	return iq;
end

-- refusal(record) -> what the user gets instead of an answer (XEP-0355 section 4.3, NB1 and NB2)
local function refusal(record)
	return st.error_reply(st.iq({ type = "get"; from = record.from; to = record.to; id = record.id }), "cancel", "service-unavailable");
end

return { wrap = wrap; unwrap = unwrap; refusal = refusal };
