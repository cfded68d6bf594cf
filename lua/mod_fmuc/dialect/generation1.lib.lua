-- SPDX-License-Identifier: MIT
-- Generation 1 (ProtoXEP "Federated MUC for constrained environments" 0.0.1): its stanzas, and what it means for a link. This file makes
-- and reads all forms, with those of our extensions (README, "For developers"). Pure: no server is needed.
--
-- The functions add_…() change the caller's own stanza. The functions read_…() return nil for any other form.

local new_id = require "util.id".short;
local st = require "util.stanza";

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_ping = "urn:xmpp:ping";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local xmlns = "http://isode.com/protocol/fmuc";

-- of <history/> (XEP-0045 section 7.2.14)
local limits = { "maxchars", "maxstanzas", "seconds", "since" };

local generation1 = {
	-- the feature of a service and of a room that may be mirrored
	xmlns = xmlns;
	-- the feature of a service that accepts private messages and requests for occupants (our extension)
	xmlns_private = "urn:x-prosody-relay:fmuc:private:0";
	-- the other side returns the messages of this side, and users see a message when its copy comes back
	echoes = true;
	-- which side decides about occupants
	authority = "joined";
};

local join_prefix = "fj-"; -- short: it crosses the link twice for each user

-- new_join_id() -> id for a join presence. If the master returns it, the mirror knows by it which join is answered.
function generation1.new_join_id()
	return join_prefix .. new_id();
end

-- is_join_id(id) -> whether new_join_id() made it; id may be nil
function generation1.is_join_id(id)
	return id ~= nil and id:sub(1, #join_prefix) == join_prefix;
end

-- add_join(presence, join): the presence brings a user into the room at the other side (M4). join:
--   real_jid    of the user
--   again       the mirror believes that the user is in the room already (ours)
--   ids         the stanza-id prefix that the mirror knows, or "" (ours, see master/ids)
--   history     attributes of <history/>, or nil. { } asks for everything, { maxstanzas = "0" } for nothing, since and seconds for what was
--               missed
--   password    text or nil
function generation1.add_join(presence, join)
	presence:tag("fmuc", { xmlns = xmlns; from = join.real_jid; again = join.again and "true" or nil; ids = join.ids });
	if join.history then presence:tag("history", join.history):up(); end
	if join.password then presence:text_tag("password", join.password); end -- G22
	presence:up();
end

-- read_join(presence) -> the same, with bandwidth (the level that the mirror asks for, or nil); or nil
function generation1.read_join(presence)
	local fmuc = presence.attr.type == nil and presence:get_child("fmuc", xmlns);
	if not fmuc or not fmuc.attr.from then return nil; end
	local element, history = fmuc:get_child("history"), nil;
	if element then
		history = {};
		for _, name in ipairs(limits) do history[name] = element.attr[name]; end
	end
	return { real_jid = fmuc.attr.from; again = fmuc.attr.again ~= nil; ids = fmuc.attr.ids; bandwidth = fmuc.attr.bandwidth;
		history = history; password = fmuc:get_child_text("password") };
end

-- add_bandwidth(presence, level): the join asks for no more than that level (ours)
function generation1.add_bandwidth(presence, level)
	local fmuc = presence:get_child("fmuc", xmlns);
	if fmuc then fmuc.attr.bandwidth = level; end
end

-- add_direct_join(presence, join): makes it the presence of a user who joins directly, with what the mirror may pass on for the user
function generation1.add_direct_join(presence, join)
	presence:tag("x", { xmlns = xmlns_muc });
	-- each child names its namespace, as a parser would write it
	if join.password then presence:text_tag("password", join.password, { xmlns = xmlns_muc }); end
	if join.history then
		local history = { xmlns = xmlns_muc };
		for _, name in ipairs(limits) do history[name] = join.history[name]; end
		presence:tag("history", history):up();
	end
	presence:up();
end

-- refusal(error_element, attr) -> the presence that refuses a join (M8). attr: from, to, id
function generation1.refusal(error_element, attr)
	return st.presence({ type = "error"; from = attr.from; to = attr.to; id = attr.id }):tag("x", { xmlns = xmlns_muc }):up():add_child(error_element);
end

-- part(room_jid, occupant_jid, [status]) -> the presence that takes a user out of the room (M12). status: <status/> element
function generation1.part(room_jid, occupant_jid, status)
	local part = st.presence({ type = "unavailable"; from = room_jid; to = occupant_jid });
	if status then part:add_child(status); end
	return part;
end

-- How many stanzas have crossed, as the other side says; nil when that is no such number
local function count_of(text)
	local count = math.tointeger(tonumber(text));
	return count and count >= 0 and count or nil;
end

-- add_mark(presence, mark): marks the presence of a user whom the mirror itself has brought (ours, G3). mark: real_jid; sent (how many
-- stanzas have crossed, only for the user who asks); is_complete (the mirror will get all messages that it missed)
function generation1.add_mark(presence, mark)
	presence:tag("fmuc", { xmlns = xmlns; from = mark.real_jid; sent = mark.sent and ("%d"):format(mark.sent) or nil;
		complete = mark.is_complete and "true" or nil }):up();
end

-- read_mark(presence) -> the same, or nil
function generation1.read_mark(presence)
	local fmuc = presence:get_child("fmuc", xmlns);
	return fmuc and { real_jid = fmuc.attr.from; sent = count_of(fmuc.attr.sent); is_complete = fmuc.attr.complete == "true" } or nil;
end

-- add_nomirror(message), is_nomirror(message): the mirror has already shown it, and gets no copy (M21, M22)
function generation1.add_nomirror(message)
	message:tag("nomirror", { xmlns = xmlns }):up();
end

function generation1.is_nomirror(message)
	return message:get_child("nomirror", xmlns) ~= nil;
end

-- prefix(room_jid, prefix) -> the presence that tells a mirror the prefix of its stanza-ids (ours, see master/ids)
function generation1.prefix(room_jid, prefix)
	return st.presence({ from = room_jid }):tag("fmuc", { xmlns = xmlns; ids = prefix }):up();
end

-- read_prefix(presence) -> the prefix, or nil
function generation1.read_prefix(presence)
	if presence.attr.type ~= nil then return nil; end
	return presence:find("{" .. xmlns .. "}fmuc@ids");
end

-- ping(from, to, id, [received]) -> the question whether the other side is there and the link works. received: how many stanzas have come
-- (ours, G7)
function generation1.ping(from, to, id, received)
	local iq = st.iq({ type = "get"; from = from; to = to; id = id }):tag("ping", { xmlns = xmlns_ping });
	if received then iq:tag("fmuc", { xmlns = xmlns; received = ("%d"):format(received) }):up(); end
	return iq:up();
end

-- read_ping(iq) -> how many stanzas the other side says it has got, or nil
function generation1.read_ping(iq)
	return count_of((iq:find("{" .. xmlns_ping .. "}ping/{" .. xmlns .. "}fmuc@received")));
end

-- pong(iq, sent, received) -> the answer to a ping, with how many stanzas have crossed (ours)
function generation1.pong(iq, sent, received)
	return st.reply(iq):tag("fmuc", { xmlns = xmlns; sent = ("%d"):format(sent); received = ("%d"):format(received) }):up();
end

-- read_pong(iq) -> sent, received, as the other side counts; or nil
function generation1.read_pong(iq)
	local fmuc = iq:get_child("fmuc", xmlns);
	local sent, received = fmuc and count_of(fmuc.attr.sent), fmuc and count_of(fmuc.attr.received);
	if sent and received then return sent, received; end
end

-- unknown(from, to) -> the presence that says: the other side, or that occupant of it, is not in the room and must join again (G4)
function generation1.unknown(from, to)
	return st.presence({ type = "error"; from = from; to = to })
		:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = xmlns_stanzas }):up():up();
end

-- speaks(stanza) -> whether it has an element of this protocol
function generation1.speaks(stanza)
	return stanza:get_child("fmuc", xmlns) ~= nil;
end

return generation1;
