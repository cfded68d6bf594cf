-- SPDX-License-Identifier: MIT
-- Private messages and IQ (G12, G13): what both ends of a link agree on. The specification has neither. A service that accepts them
-- announces a feature (dialect/generation1); other services are sent none.

local st = require "util.stanza";

local errors = lib "errors";

-- max_id: the longest stanza id, in bytes, that is kept until an answer may come. Clients use a few dozen bytes.
local occupant_requests = { max_id = 256 };

local avatar_nodes = { ["urn:xmpp:avatar:data"] = true; ["urn:xmpp:avatar:metadata"] = true };

-- may_cross(iq) -> whether that request may cross a link: only cheap requests that clients send to occupants by themselves
function occupant_requests.may_cross(iq)
	local payload = iq.tags[1];
	if iq.attr.type ~= "get" or #iq.tags ~= 1 or #(iq.attr.id or "") > occupant_requests.max_id then return false; end
	local xmlns = payload.attr.xmlns;
	if xmlns == "vcard-temp" then return payload.name == "vCard"; end
	if xmlns == "urn:xmpp:ping" then return payload.name == "ping"; end
	local items = payload.tags[1];
	return xmlns == "http://jabber.org/protocol/pubsub" and #payload.tags == 1 and items.name == "items" and avatar_nodes[items.attr.node] == true;
end

-- is_stray_error(room, stanza) -> whether that is an error to a private message, for an occupant who is not there. Nobody gets it; mod_muc
-- of 0.12 would raise an error of its own.
function occupant_requests.is_stray_error(room, stanza)
	return stanza.attr.type == "error" and stanza.name == "message" and room:get_occupant_by_nick(stanza.attr.to) == nil;
end

-- answer(record, answer) -> the stanza for the asker. record: asker, asked (addresses), id; answer: stanza, or nil when there was none
function occupant_requests.answer(record, answer)
	if not answer then
		local question = st.iq({ type = "get"; from = record.asker; to = record.asked; id = record.id });
		return errors.reply(question, "occupant-silent");
	end
	local copy = st.clone(answer);
	copy.attr.from, copy.attr.to, copy.attr.id = record.asked, record.asker, record.id;
	return copy;
end

return occupant_requests;
