-- SPDX-License-Identifier: MIT
-- Whom another kind of node (Openfire) may have from a room here (O16, O17). Such a node keeps them for ever, also users whom it has kicked
-- itself. It does not answer a join while it has somebody. So this is stored at each change, and outlives a crash.
--
-- Each pair of rooms has its own record, so a change costs nothing for the others. The key is a hash, as the JIDs may be too long for a file name.
-- record = { room and peer (JIDs of the rooms), direction of the link, users = { [real JID] = { nick, gone } } }
--   gone   os.time() when the other node was told that the user has left. The stanza may be lost.

local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local sha256 = require "util.hashes".sha256;
local shares = require "prosody_relay.shares";
local stores = require "prosody_relay.stores";

local all_links = lib "link/link";
local limits = lib "link/limits";
local once = lib "link/log".once;

local store = module:open_store("fmuc_remembered", "map"); -- in a database, a single value is one row
local everything = module:open_store("fmuc_remembered", "keyval");

-- Seconds after which a part has certainly arrived, or the outage is known
local doubt = 600;
-- The oldest users of a record who are gone are forgotten beyond that
local max_gone = 200;
-- Further links have no record
local max_records = 5000;

-- [JID of the room here][JID of the other room] = record
local records = {};
local held = shares.new(max_records);
-- [record] = counter of its users, for limits.has_place()
local counters = setmetatable({}, { __mode = "k" });

-- Set of records that are written when together() ends; nil: at once
local changed;

local remembered = {};

local function key_of(room_jid, peer)
	return sha256(room_jid .. "\0" .. peer, true);
end

-- record: nil to remove it
local function write(room_jid, peer, record)
	local called, ok, err = pcall(store.set, store, key_of(room_jid, peer), "record", record);
	if not called or not ok then module:log("error", "Could not store who of %s is in %s: %s", room_jid, peer, called and err or ok); end
end

local function get(room_jid, peer)
	return records[room_jid] and records[room_jid][peer];
end

local function keep(record)
	records[record.room] = records[record.room] or {};
	records[record.room][record.peer] = record;
end

local function save(record)
	if changed then changed[record] = true; else write(record.room, record.peer, record); end
end

-- together(f, ...): calls f(...), and writes each record that this changes once. Nothing is on the wire before the next tick of the server.
function remembered.together(f, ...)
	if changed then return f(...); end
	changed = {};
	local ok, err = xpcall(f, debug.traceback, ...);
	local to_write = changed;
	changed = nil;
	for record in pairs(to_write) do
		if get(record.room, record.peer) == record then save(record); end
	end
	if not ok then error(err, 0); end
end

-- direction(room_jid, peer) -> of the link with another kind of node, which may know users of this room; nil: there is none
function remembered.direction(room_jid, peer)
	local record = get(room_jid, peer);
	return record and record.direction;
end

-- users(room_jid, peer, [without_gone]) -> table: real JID -> nick
function remembered.users(room_jid, peer, without_gone)
	local users = {};
	local record = get(room_jid, peer);
	for real_jid, user in pairs(record and record.users or {}) do
		if not without_gone or not user.gone then users[real_jid] = user.nick; end
	end
	return users;
end

-- each() -> iterator of { room, peer } of all records
function remembered.each()
	local list, i = {}, 0;
	for _, of_room in pairs(records) do
		for _, record in pairs(of_room) do list[#list + 1] = record; end
	end
	return function ()
		i = i + 1;
		return list[i];
	end;
end

local last_walk = 0;

-- Forgets nodes with which there is no link, and which have had nobody for a while
local function forget_unused()
	if os.time() == last_walk then return; end
	last_walk = os.time();
	for record in remembered.each() do
		local is_used = all_links.get(record.room, record.peer) ~= nil;
		for _, user in pairs(record.users) do is_used = is_used or not user.gone or os.time() - user.gone <= doubt; end
		if not is_used then remembered.close(record.room, record.peer); end
	end
end

local function may_keep(peer)
	if held:take(peer) then return true; end
	forget_unused();
	if held:take(peer) then return true; end
	once("remembered\0" .. jid_host(peer), "warn", "Too many rooms of other servers federate with rooms here; after a crash %s may not answer", peer);
	return false;
end

-- open(link): there is a link with another kind of node, or with one that is not known yet
function remembered.open(link)
	local record = get(link.room_jid, link.peer);
	if record and record.direction == link.direction then return; end
	if not record and not may_keep(link.peer) then return; end
	record = record or { room = link.room_jid; peer = link.peer; users = {} };
	record.direction = link.direction;
	keep(record);
	save(record);
end

-- add(link, real_jid, nick): the other node is told of that user
function remembered.add(link, real_jid, nick)
	local record = get(link.room_jid, link.peer);
	if not record then return; end
	local user = record.users[real_jid];
	if user and user.nick == nick and not user.gone then return; end
	counters[record] = counters[record] or {};
	if not user and not limits.has_place(counters[record], record.users) then return; end
	record.users[real_jid] = { nick = nick };
	save(record);
end

local function trim(record)
	local gone = {};
	for real_jid, user in pairs(record.users) do
		if user.gone then gone[#gone + 1] = real_jid; end
	end
	table.sort(gone, function (a, b) return record.users[a].gone > record.users[b].gone; end);
	for i, real_jid in ipairs(gone) do
		if i > max_gone or os.time() - record.users[real_jid].gone > doubt then record.users[real_jid] = nil; end
	end
end

-- leave(link, real_jid): the other node is told that the user has left
function remembered.leave(link, real_jid)
	local record = get(link.room_jid, link.peer);
	if not record or not record.users[real_jid] then return; end
	record.users[real_jid].gone = os.time();
	trim(record);
	save(record);
end

-- only(link, told): the other node has these users, and no others. told: [nick] = { real_jid }
function remembered.only(link, told)
	local record = get(link.room_jid, link.peer);
	if not record then return; end
	record.users, counters[record] = {}, nil;
	for nick, user in pairs(told) do record.users[user.real_jid] = { nick = nick }; end
	save(record);
end

-- close(room_jid, peer): the other node has none
function remembered.close(room_jid, peer)
	if not get(room_jid, peer) then return; end
	records[room_jid][peer] = nil;
	if not next(records[room_jid]) then records[room_jid] = nil; end
	held:give(peer);
	write(room_jid, peer, nil);
end

local directions = { up = true; down = true };

local function is_user(record, real_jid, user)
	local is_valid = jid_prep(real_jid) == real_jid and jid_prep(record.room .. "/" .. user.nick) == record.room .. "/" .. user.nick;
	return is_valid and (not user.gone or math.type(user.gone) == "integer");
end

-- Whether save() has stored the data under this key
local function is_record(key, data)
	local record = data.record;
	if key_of(record.room, record.peer) ~= key or jid_host(record.room) ~= module.host or not jid_host(record.peer) then return false; end
	for real_jid, user in pairs(record.users) do
		if not is_user(record, real_jid, user) then return false; end
	end
	return directions[record.direction] ~= nil;
end

-- save() -> data for restore() of the next instance of the module
function remembered.save()
	return records;
end

local function read()
	local each, state;
	if everything.users then each, state = everything:users(); end
	if not each then return; end -- the storage keeps nothing
	local keys = {};
	for key in each, state do keys[#keys + 1] = key; end
	for _, key in ipairs(keys) do
		local data = stores.read(module, "fmuc_remembered", key, function (data) return is_record(key, data); end);
		if data then
			keep(data.record);
		end
	end
end

-- restore(saved): what save() of an earlier instance returned; nil after a start of the server
function remembered.restore(saved)
	if saved then records = saved; else read(); end
	for record in remembered.each() do held:hold(record.peer); end
end

return remembered;
