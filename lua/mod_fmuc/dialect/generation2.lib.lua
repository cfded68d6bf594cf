-- SPDX-License-Identifier: MIT
-- Generation 2 (XEP-0289 version 0.2, federated nodes): its stanzas. This file makes and reads all forms, with those of our extensions (README,
-- "For developers"). Pure: no server is needed.
--
-- A node is a room. It speaks for its users, and for the users of the nodes behind it. It names the user's real JID in each stanza.

local st = require "util.stanza";

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local xmlns = "http://isode.com/protocol/fmuc";

local generation2 = {
	xmlns = xmlns;
	-- the feature of a room that is a node of this module (our extension)
	xmlns_node = "urn:x-prosody-relay:fmuc:node:0";
	-- How many bytes the list of rooms in a mark may have, and what each room takes beside its JID. The rest is not read.
	max_rooms_bytes = 16 * 1024;
	room_bytes = 16;
};

-- Numbers in a mark, see join()
local mark_numbers = { "sent", "received", "stanzas" };

-- Adds <fmuc/> to a stanza about a user, or about the room itself (user: its bare JID). more: attributes; mark: see join()
local function add_fmuc(stanza, user, more, mark)
	local attr = more or {};
	attr.xmlns, attr.from = xmlns, user;
	if mark then
		attr.link, attr.mode, attr.known = mark.id, mark.mode, mark.is_known and "true" or nil;
		attr.series, attr.theirs, attr.bandwidth = mark.series, mark.theirs, mark.bandwidth;
		for _, name in ipairs(mark_numbers) do attr[name] = mark[name] and ("%d"):format(mark[name]) or nil; end
	end
	stanza:tag("fmuc", attr);
	for _, room_jid in ipairs(mark and mark.rooms or {}) do stanza:text_tag("room", room_jid, nil); end
	return stanza:up();
end

local function add_item(stanza, who)
	local x = stanza:tag("x", { xmlns = xmlns_muc_user });
	x:tag("item", { affiliation = who.affiliation or "none"; role = who.role or "none"; jid = who.shown_jid; nick = who.new_nick });
	if who.actor then x:tag("actor", { nick = who.actor }):up(); end
	if who.reason then x:text_tag("reason", who.reason, nil); end
	x:up();
	for _, code in ipairs(who.codes or {}) do x:tag("status", { code = code }):up(); end
	return stanza:up();
end

-- What decides about a nick that two users have (our extension)
local function extra_of(who)
	return { since = who.since; registered = who.is_registered and "true" or nil };
end

-- join(room_jid, peer, who, [history], [mark], [original]) -> the presence that asks the room `peer` to federate, and brings the first user (N3, N4)
--   who       nick, real_jid, role, affiliation, shown_jid (real JID that the item names, or nil)
--   history   attributes of <history/>, or nil for no limit
--   mark      of a node of this module (ours): id (of this link, chosen by the joining node), rooms (list: all rooms known to be behind
--             this node), mode, bandwidth (level, see node/bandwidth; nil for everything), series and sent (of its messages, see node/outbox),
--             theirs and received (series of the other node, and the last number that has come). In an answer also is_known (the joined node
--             knows the series), stanzas (sent since the join, with this one)
--   original  as for presence()
function generation2.join(room_jid, peer, who, history, mark, original)
	local presence = original and st.clone(original) or st.presence();
	presence.attr = { from = room_jid .. "/" .. who.nick; to = peer .. "/" .. who.nick; ["xml:lang"] = presence.attr["xml:lang"] };
	add_fmuc(presence, who.real_jid, extra_of(who), mark):tag("x", { xmlns = xmlns_muc });
	if history then presence:tag("history", history):up(); end
	return add_item(presence:up(), who);
end

-- presence(room_jid, peer, who, [original]) -> the presence of one user for that node (N6, N14, N15). It goes to the bare room: some nodes
-- show a presence to a full JID as the presence of that occupant (O5).
--   who: as for join(), and type ("unavailable" or nil), codes (list of status codes), new_nick (with 303), actor (nick), reason, since (when the
--   user joined, our extension)
--   original: stanza with the payload of the presence, without what rooms add
function generation2.presence(room_jid, peer, who, original)
	local presence = original and st.clone(original) or st.presence();
	presence.attr = { from = room_jid .. "/" .. who.nick; to = peer; type = who.type; ["xml:lang"] = presence.attr["xml:lang"] };
	add_item(presence, who);
	return add_fmuc(presence, who.real_jid, extra_of(who));
end

-- message(message, room_jid, peer, nick, real_jid, [mark], [number], [former]) -> the groupchat message of that user for that node (N12, N13): a
-- copy. nick, real_jid: nil for the room itself. mark: as for join(), in the message with the subject, which ends what a joining node gets.
-- number, former: see node/outbox (ours)
function generation2.message(message, room_jid, peer, nick, real_jid, mark, number, former)
	local copy = st.clone(message);
	local from = nick and room_jid .. "/" .. nick or room_jid;
	copy.attr.from, copy.attr.to = from, peer;
	local numbers = { n = number and ("%d"):format(number); after = former and ("%d"):format(former) };
	return add_fmuc(copy, real_jid or from, numbers, mark);
end

-- private(message, from, to, real_jid) -> makes the caller's message a private one, from one occupant JID to another (N19)
function generation2.private(message, from, to, real_jid)
	message.attr.from, message.attr.to = from, to;
	return add_fmuc(message, real_jid);
end

local function of_room(room_jid, peer, name, text)
	return st.presence({ from = room_jid; to = peer }):tag("fmuc", { xmlns = xmlns }):text_tag(name, text or "", nil):up();
end

-- reject(room_jid, peer, text) -> the presence that refuses the join of that node's room (N5). It goes from bare room to bare room, without type
-- error: Openfire understands no other refusal (O2).
function generation2.reject(room_jid, peer, text)
	return of_room(room_jid, peer, "reject", text);
end

-- left(room_jid, peer) -> the presence that confirms that the node has left (N16)
function generation2.left(room_jid, peer)
	return of_room(room_jid, peer, "left");
end

-- complete(room_jid, peer, id, sent) -> the presence with which a joining node says that it has named all its users and repeated its messages
--   (ours); id: of the join; sent: number of its last message
function generation2.complete(room_jid, peer, id, sent)
	return add_fmuc(st.presence({ from = room_jid; to = peer }), nil, { complete = "true" }, { id = id; sent = sent });
end

local function count_of(text)
	local count = math.tointeger(tonumber(text));
	return count and count >= 0 and count or nil;
end

local function short(text, max)
	return text and #text <= max and text or nil;
end

-- A node of this module has no longer ones
local max_id, max_date = 128, 40;

local function read_mark(fmuc)
	local id, mode = fmuc.attr.link, fmuc.attr.mode;
	if not id or #id > max_id then return nil; end
	local mark = { id = id; mode = short(mode, max_id); is_known = fmuc.attr.known == "true"; series = short(fmuc.attr.series, max_id) or "";
		theirs = short(fmuc.attr.theirs, max_id); bandwidth = short(fmuc.attr.bandwidth, max_id); rooms = {}; size = 0 };
	for _, name in ipairs(mark_numbers) do mark[name] = count_of(fmuc.attr[name]); end
	for room in fmuc:childtags("room") do
		local text = room:get_text();
		mark.size = mark.size + #text + generation2.room_bytes;
		if mark.size <= generation2.max_rooms_bytes then table.insert(mark.rooms, text); end
	end
	return mark;
end

local function read_item(said, x)
	local item = x and x:get_child("item");
	if not item then return; end
	said.role, said.affiliation, said.item_jid, said.new_nick = item.attr.role, item.attr.affiliation, item.attr.jid, item.attr.nick;
	said.reason = item:get_child_text("reason");
	local actor = item:get_child("actor");
	said.actor = actor and actor.attr.nick;
end

-- read(stanza) -> what a node says in a presence or message; nil when no node says that
--   real_jid        that <fmuc/> names, or nil
--   is_join         a presence that asks to federate, or brings a user
--   is_from_room    the node's room itself says it: it has left (is_left), or refuses (is_reject, with text)
--   is_complete     a joining node has named all its users (ours)
--   role, affiliation, item_jid, new_nick, reason, actor, codes (set of status codes): from the item
--   since, is_registered   when the user joined, whether the user has registered the nick at the own node (ours)
--   number, former  of a message, see node/outbox
--   mark            see join(); size: bytes of its rooms, also of those that were not read
function generation2.read(stanza)
	local fmuc = stanza:get_child("fmuc", xmlns);
	if not fmuc or stanza.attr.type == "error" then return nil; end
	local said = { real_jid = fmuc.attr.from; codes = {}; mark = read_mark(fmuc);
		since = short(fmuc.attr.since, max_date); is_registered = fmuc.attr.registered == "true";
		is_join = stanza.name == "presence" and stanza.attr.type == nil and stanza:get_child("x", xmlns_muc) ~= nil;
		is_left = fmuc:get_child("left") ~= nil; is_reject = fmuc:get_child("reject") ~= nil;
		is_complete = fmuc.attr.complete == "true"; text = fmuc:get_child_text("reject") };
	said.number, said.former = count_of(fmuc.attr.n), count_of(fmuc.attr.after);
	said.is_from_room = said.is_left or said.is_reject;
	local x = stanza:get_child("x", xmlns_muc_user);
	read_item(said, x);
	for status in (x or st.stanza("x")):childtags("status") do said.codes[status.attr.code or ""] = true; end
	return said;
end

return generation2;
