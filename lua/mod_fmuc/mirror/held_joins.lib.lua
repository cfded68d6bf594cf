-- SPDX-License-Identifier: MIT
-- Checks whether a room can be mirrored. A plain room does not understand a mirror (section 2b of the requirements). Some servers do not answer,
-- and some answer with an error. Some take the mirror for an occupant, and its second user for a new nick of the first. So before the first user
-- enters, the mirror asks the master for its features. mirror/room_info asks once and remembers the answer. Users wait here meanwhile. If the admin
-- has listed masters in fmuc_allow_masters, no join waits here.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;
local relay_jid = require "prosody_relay.jid";
local shares = require "prosody_relay.shares";
local st = require "util.stanza";

local errors = lib "errors";
local again = lib "link/again";
local generation1 = lib "dialect/generation1";
local limits = lib "link/limits";
local once = lib "link/log".once;
local policy = lib "mirror/policy";
local refusal = lib "mirror/refusal";
local unavailable = lib "mirror/unavailable";

local xmlns_muc = "http://jabber.org/protocol/muc";

-- Limits of waiting joins: of all users, of one user, and for one room. Further joins get an error. limits.trimmed limits the size of each.
local max_held, max_held_of_user, max_held_for_room = 2000, 100, 200;

-- For a text of the master in the log, in bytes
local max_logged = 200;

local mirrored = lib "mirror/room";
local room_info = lib "mirror/room_info";

-- [room JID] = list of join presences, in order of arrival
local held = {};

local held_joins = {};

local places = shares.new(max_held, max_held_of_user);

local function release(room_jid, info)
	local joins = held[room_jid];
	if not joins then return; end
	held[room_jid] = nil;
	local err = unavailable.error_for(relay_jid.unmirror(room_jid), info);
	if err then
		local text = err:get_child_text("text", "urn:ietf:params:xml:ns:xmpp-stanzas") or err.tags[1].name;
		once("join\0" .. relay_jid.unmirror(room_jid), "info", "%s cannot be joined: %s", room_jid, text:sub(1, max_logged));
	end
	for _, join in ipairs(joins) do
		places:give(join.attr.from);
		if err then
			refusal.pass_on(join, st.clone(err));
		else
			again.pass("presence/full", join, info);
		end
	end
end

-- handle_info(event): the master has described a room, or has failed to do so
function held_joins.handle_info(event)
	release(event.room_jid, event.info);
end

local function find_held(stanza)
	local joins = held[jid_bare(stanza.attr.to)];
	for i, join in ipairs(joins or {}) do
		if join.attr.from == stanza.attr.from then return joins, i; end
	end
end

-- A waiting user leaves, with whatever nick: true when the user waited
local function take_back(stanza)
	local joins, i = find_held(stanza);
	if not joins then return; end
	table.remove(joins, i);
	places:give(stanza.attr.from);
	if not take_back(stanza) then -- the user may have sent several
		module:fire_event("fmuc-join-withdrawn", { room_jid = jid_bare(stanza.attr.to); user = stanza.attr.from });
	end
	return true;
end

-- A waiting user sends a new presence
local function renew(stanza)
	local joins, i = find_held(stanza);
	if not joins then return; end
	local join = limits.trimmed(st.clone(stanza)) or limits.bare_presence(stanza);
	join:add_child(joins[i]:get_child("x", xmlns_muc));
	join.attr.to, join.attr.id = joins[i].attr.to, joins[i].attr.id;
	joins[i] = join;
	return true;
end

local function hold(room_jid, master, stanza)
	local kept = limits.trimmed(st.clone(stanza));
	if not kept then return refusal.join(stanza, "presence-too-long"); end
	local joins = held[room_jid] or {};
	if #joins >= max_held_for_room or not places:take(stanza.attr.from) then
		return refusal.join(stanza, "too-many-waiting", master);
	end
	local is_first = held[room_jid] == nil;
	held[room_jid] = joins;
	joins[#joins + 1] = kept;
	if is_first and not room_info.fetch(room_jid, master) then
		held[room_jid] = nil;
		places:give(stanza.attr.from);
		return refusal.join(stanza, "too-many-servers");
	end
	return true;
end

-- A mirrored room is not mirrored again (G18). The refusal goes to the user at the other mirror, as a master's does (M8).
local function refuse_mirror(stanza)
	local answer = errors.reply(stanza, "mirror-by-a-mirror");
	answer.attr.from, answer.attr.to = jid_bare(stanza.attr.to), stanza.attr.from .. "/" .. jid_resource(stanza.attr.to);
	module:fire_event("fmuc-join-refused", { error = answer:get_child("error") });
	module:send(answer);
	return true;
end

local function is_from_mirror(stanza)
	local from = stanza.attr.from;
	return generation1.speaks(stanza) and not jid_resource(from) and from ~= relay_jid.unmirror(jid_bare(stanza.attr.to));
end

-- handle_presence(event): of a user who wants to join, or who waits here
function held_joins.handle_presence(event)
	local stanza = event.stanza;
	if stanza.attr.type == nil and is_from_mirror(stanza) then return refuse_mirror(stanza); end
	if stanza.attr.type == "unavailable" then return take_back(stanza); end
	if stanza.attr.type ~= nil then return; end
	if not stanza:get_child("x", xmlns_muc) then return renew(stanza); end
	local room_jid = jid_bare(stanza.attr.to);
	local master = relay_jid.unmirror(room_jid);
	if not master or mirrored.get(room_jid) or policy.lists_masters() then return; end
	if not policy.may_use(stanza.attr.from) or not policy.may_be_mirrored(master) then return; end -- mirror/users refuses them
	local info = not held[room_jid] and room_info.get(room_jid);
	if not info or info.failed ~= nil then return hold(room_jid, master, stanza); end -- a question that failed may succeed now
	local err = unavailable.error_for(master, info);
	if not err then return; end
	refusal.pass_on(stanza, err);
	return true;
end

-- handle_presence_to_room(event): of a user who waits here
function held_joins.handle_presence_to_room(event)
	local stanza = event.stanza;
	if stanza.attr.type == "unavailable" then return take_back(stanza); end
	if stanza.attr.type == nil and not stanza:get_child("x", xmlns_muc) then return renew(stanza); end
end

-- holds(room_jid, user) -> whether the session waits here
function held_joins.holds(room_jid, user)
	for _, join in ipairs(held[room_jid] or {}) do
		if join.attr.from == user then return true; end
	end
	return false;
end

-- close(): refuses all waiting joins
function held_joins.close()
	local everybody = held;
	held, places = {}, shares.new(max_held, max_held_of_user);
	for _, joins in pairs(everybody) do
		for _, join in ipairs(joins) do refusal.join(join, "mirror-closing"); end
	end
end

-- save() -> the waiting joins, for the next instance of the module
function held_joins.save()
	return held;
end

-- restore(saved): what save() of an earlier instance returned, or nil
function held_joins.restore(saved)
	held = saved or {};
	for _, joins in pairs(held) do
		for _, join in ipairs(joins) do places:hold(join.attr.from); end
	end
end

return held_joins;
