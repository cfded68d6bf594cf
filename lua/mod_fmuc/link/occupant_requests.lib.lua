-- SPDX-License-Identifier: MIT
-- What both ends of a link agree on for private messages and IQ (G12, G13). The specification has neither: a service that takes them
-- announces a feature (dialect/generation1), and nothing is sent to one that does not.

local st = require "util.stanza";

local errors = lib "errors";

-- max_id: bytes of a stanza's id that are kept until its answer may come; clients use a few dozen
local occupant_requests = { max_id = 256 };

local avatar_nodes = { ["urn:xmpp:avatar:data"] = true; ["urn:xmpp:avatar:metadata"] = true };

-- may_cross(iq) -> whether that request may cross a link: what clients ask occupants for of their own accord, and cheap
function occupant_requests.may_cross(iq)
	local payload = iq.tags[1];
	if iq.attr.type ~= "get" or #iq.tags ~= 1 or #(iq.attr.id or "") > occupant_requests.max_id then return false; end
	local xmlns = payload.attr.xmlns;
	if xmlns == "vcard-temp" then return payload.name == "vCard"; end
	if xmlns == "urn:xmpp:ping" then return payload.name == "ping"; end
	local items = xmlns == "http://jabber.org/protocol/pubsub" and payload:get_child("items");
	return items ~= nil and items ~= false and avatar_nodes[items.attr.node] == true;
end

-- is_stray_error(room, stanza) -> whether that is an error for an occupant who is not there, of a private message that nobody has sent. It is for
-- nobody; mod_muc of 0.12 would raise an error of its own.
function occupant_requests.is_stray_error(room, stanza)
	return stanza.attr.type == "error" and stanza.name == "message" and room:get_occupant_by_nick(stanza.attr.to) == nil;
end

-- answer(record, answer) -> the stanza for who asked. record: asker, asked (addresses), id; answer: stanza, or nil when there was none
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
