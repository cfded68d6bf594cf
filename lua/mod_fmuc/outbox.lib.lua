-- SPDX-License-Identifier: MIT
-- What local users of a mirror say to the room: on its way to the master, and until its copy comes back (M17, M18, M21, M23).

local pending = require "prosody_relay.pending";
local policy = module:require "policy";
local jid_bare = require "util.jid".bare;
local new_id = require "util.id".medium;
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local echo_timeout = 60;

-- Groupchat messages whose copy has not come back. Key: occupant JID, NUL, id; record: real JID of the sender
local echoes;

local outbox = {};

local function echo_key(occupant_jid, id)
	return occupant_jid .. "\0" .. (id or "");
end

local function on_echo_timeout(key, real_jid)
	local occupant_jid, id = key:match("^(.-)%z(.*)$");
	module:send(st.error_reply(st.message({ from = real_jid; to = jid_bare(occupant_jid); type = "groupchat"; id = id }),
		"wait", "remote-server-timeout", "The room's server did not return this message"));
end

-- take_echo(occupant_jid, id) -> real JID of the sender whose message has come back or was refused, or nil
function outbox.take_echo(occupant_jid, id)
	return echoes:remove(echo_key(occupant_jid, id));
end

local function send_message(stanza, occupant_jid, master, nomirror)
	local copy = st.clone(stanza);
	copy:remove_children("nomirror", xmlns_fmuc);
	copy:remove_children("x", xmlns_muc_user);
	copy.attr.from, copy.attr.to = occupant_jid, master; -- M17
	if nomirror then copy:tag("nomirror", { xmlns = xmlns_fmuc }):up(); end
	module:send(copy);
end

-- handle_groupchat(stanza, room) -> true when the message was dealt with; nil leaves it to mod_muc
function outbox.handle_groupchat(stanza, room)
	local user = stanza.attr.from;
	local occupant = room:get_occupant_by_real_jid(user);
	if not occupant or not room.fmuc then return; end -- mod_muc refuses
	local master = room.fmuc.master;
	stanza.attr.id = stanza.attr.id or new_id();
	local changes_subject = stanza:get_child("subject") and not stanza:get_child("body");
	if policy.is_nomirror(master) and not changes_subject then
		-- M21, M23; who has no voice is refused by mod_muc at once, and by nobody a second time
		if occupant.role ~= "visitor" then send_message(stanza, occupant.nick, master, true); end
		return;
	end
	local key = echo_key(occupant.nick, stanza.attr.id);
	if echoes:get(key) then -- the second of two with the same id: nobody can tell their copies apart
		module:send(st.error_reply(stanza, "modify", "bad-request", "A message with this id is on its way already"));
		return true;
	end
	echoes:add(key, user, echo_timeout);
	send_message(stanza, occupant.nick, master);
	return true;
end

-- save() -> the messages that wait for their copy, for the next instance of the module
function outbox.save()
	return echoes:save();
end

-- saved: of save() of an earlier instance, or nil
return function (saved)
	echoes = pending.new(module, on_echo_timeout, saved);
	return outbox;
end;
