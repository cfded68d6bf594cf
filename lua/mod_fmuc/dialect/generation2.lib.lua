-- SPDX-License-Identifier: MIT
-- Generation 2 (XEP-0289 version 0.2, federated nodes), as far as this module needs it to refuse joins (N5, F13). Pure: no server is needed.

local st = require "util.stanza";

local xmlns_muc = "http://jabber.org/protocol/muc";

local generation2 = { name = "generation 2"; xmlns = "http://isode.com/protocol/fmuc" };

-- read(stanza) -> { real_jid (of the user in question, or nil), is_join, is_from_room (the node's room itself says it: it has left, or
-- refuses) }; nil when no node says that
function generation2.read(stanza)
	local fmuc = stanza:get_child("fmuc", generation2.xmlns);
	if not fmuc or stanza.attr.type == "error" then return nil; end
	return { real_jid = fmuc.attr.from;
		is_join = stanza.name == "presence" and stanza.attr.type == nil and stanza:get_child("x", xmlns_muc) ~= nil;
		is_from_room = fmuc:get_child("left") ~= nil or fmuc:get_child("reject") ~= nil };
end

-- reject(room_jid, node, text) -> the presence that refuses the join of that node's room. It goes from bare room to bare room, without type
-- error: Openfire understands no other refusal (O2).
function generation2.reject(room_jid, node, text)
	return st.presence({ from = room_jid; to = node }):tag("fmuc", { xmlns = generation2.xmlns }):text_tag("reject", text):up();
end

return generation2;
