-- SPDX-License-Identifier: MIT
-- What local users of a mirror say to the room: on its way to the master, and until its copy comes back (M17, M18, M21, M23, G16).

local pending = require "prosody_relay.pending";
local delivery = module:require "delivery";
local policy = module:require "policy";
local jid_bare = require "util.jid".bare;
local new_id = require "util.id".medium;
local sha1 = require "util.hashes".sha1;
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_sid = "urn:xmpp:sid:0";

local echo_timeout = 60;
-- of one occupant; who says more before the first has come back has to wait
local max_echoes = 100;

-- Groupchat messages whose copy has not come back. Key: occupant JID, NUL, id on the link; record: user (real JID of the sender), id (as
-- the sender knows it), hash of the body, number (they come back in order)
local echoes;

-- occupant JID -> how many of these are its own
local counts = {};

local number = 0;

local ids;

local outbox = {};

local function echo_key(occupant_jid, id)
	return occupant_jid .. "\0" .. (id or "");
end

local function count(occupant_jid, change)
	local new = (counts[occupant_jid] or 0) + change;
	counts[occupant_jid] = new > 0 and new or nil;
end

local function body_hash(stanza)
	return sha1(stanza:get_child_text("body") or "");
end

local function on_echo_timeout(key, record)
	local occupant_jid = key:match("^(.-)%z");
	count(occupant_jid, -1);
	module:send(st.error_reply(st.message({ from = record.user; to = jid_bare(occupant_jid); type = "groupchat"; id = record.id }),
		"wait", "remote-server-timeout", "The room's server did not return this message"));
end

-- The oldest of the occupant's with that text: of a master that does not reflect ids
local function find_by_body(occupant_jid, stanza)
	local hash = body_hash(stanza);
	local prefix, found, found_record = echo_key(occupant_jid), nil, nil;
	for key, record in echoes:each() do
		if record.hash == hash and (not found or record.number < found_record.number) and key:sub(1, #prefix) == prefix then
			found, found_record = key, record;
		end
	end
	return found;
end

-- take_echo(occupant_jid, stanza) -> { user, id } of the message that has come back as that stanza, or was refused by it; or nil
function outbox.take_echo(occupant_jid, stanza)
	if not counts[occupant_jid] then return nil; end
	local key = echo_key(occupant_jid, stanza.attr.id);
	if not echoes:get(key) then key = stanza.attr.type == "groupchat" and find_by_body(occupant_jid, stanza); end
	local record = key and echoes:remove(key);
	if record then count(occupant_jid, -1); end
	return record or nil;
end

-- The message as the master gets it (M17)
local function for_master(stanza, room, occupant_jid)
	local copy = st.clone(stanza);
	copy:remove_children("nomirror", xmlns_fmuc);
	copy:remove_children("fmuc", xmlns_fmuc);
	copy:remove_children("x", xmlns_muc_user);
	copy.attr.from, copy.attr.to = occupant_jid, room.fmuc.master;
	return copy;
end

-- M21, M23: local users see it at once. Its identifier is this side's, and the master's if that adopts it (G9).
local function fire_and_forget(origin, stanza, room, occupant)
	-- who has no voice is refused by mod_muc at once, and by nobody a second time
	if occupant.role == "visitor" then return; end
	local stanza_id = ids.new_stanza_id(stanza, room);
	local copy = for_master(stanza, room, occupant.nick);
	copy:tag("nomirror", { xmlns = xmlns_fmuc }):up();
	if stanza_id then copy:tag("stanza-id", { xmlns = xmlns_sid; by = room.jid; id = stanza_id }):up(); end
	module:send(copy);
	ids.add_occupant_id(stanza, room, occupant.nick);
	return delivery.during(room.fmuc, "stanza_id", stanza_id, room.handle_message_to_room, room, origin, stanza);
end

-- handle_groupchat(origin, stanza, room) -> true when the message was dealt with; nil leaves it to mod_muc
function outbox.handle_groupchat(origin, stanza, room)
	local user = stanza.attr.from;
	local occupant = room:get_occupant_by_real_jid(user);
	if not occupant or not room.fmuc then return; end -- mod_muc refuses
	ids.clean_from_user(stanza, room);
	stanza.attr.id = stanza.attr.id or new_id();
	local changes_subject = stanza:get_child("subject") and not stanza:get_child("body");
	if policy.is_nomirror(room.fmuc.master) and not changes_subject then
		return fire_and_forget(origin, stanza, room, occupant);
	elseif (counts[occupant.nick] or 0) >= max_echoes then
		module:send(st.error_reply(stanza, "wait", "resource-constraint", "Too many messages are on their way already"));
		return true;
	end
	local copy = for_master(stanza, room, occupant.nick);
	-- the second of two with the same id gets another, or nobody could tell their copies apart
	if echoes:get(echo_key(occupant.nick, copy.attr.id)) then copy.attr.id = new_id(); end
	number = number + 1;
	echoes:add(echo_key(occupant.nick, copy.attr.id), { user = user; id = stanza.attr.id; hash = body_hash(stanza); number = number },
		echo_timeout);
	count(occupant.nick, 1);
	module:send(copy);
	return true;
end

-- save() -> the messages that wait for their copy, for the next instance of the module
function outbox.save()
	return echoes:save();
end

-- shared: ids (ids.lib.lua); saved (of save() of an earlier instance, or nil)
return function (shared)
	ids = shared.ids;
	echoes = pending.new(module, on_echo_timeout, shared.saved);
	for key, record in echoes:each() do
		count(key:match("^(.-)%z"), 1);
		number = math.max(number, record.number);
	end
	return outbox;
end;
