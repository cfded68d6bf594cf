-- SPDX-License-Identifier: MIT
-- What a mirror stores of its rooms for a restart of the server (G4). These are the users that the masters may still have as occupants. Users who
-- come back within the grace period keep their place. The mirror tells the masters that the others have left.
--
-- Each room has its own record, so a change in one room costs nothing for the others. The key is a hash of the room JID, which may be too long for
-- a file name. record = { room and master (JIDs), generation = 1, nicks = { [nick] = true }, stamp = time of the last change (XEP-0082) }.

local datetime = require "util.datetime";
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;
local relay_jid = require "prosody_relay.jid";
local stores = require "prosody_relay.stores";
local sha256 = require "util.hashes".sha256;
local st = require "util.stanza";

local store = module:open_store("fmuc_mirrored", "map"); -- in a database, a single value is one row
local everything = module:open_store("fmuc_mirrored", "keyval");

-- Records from before the restart, while users may come back. Key: room JID; value as stored
local rooms = {};
-- Set of the JIDs of rooms that have a record in the store
local stored = {};

local mirrored = lib "mirror/room";
local grace_period = lib "settings".grace_period;

local restart = {};

-- is_known(room_jid) -> whether the room's master may still have users who have not come back yet
function restart.is_known(room_jid)
	return rooms[room_jid] ~= nil;
end

-- had(room_jid, nick) -> whether the user was in the room before the restart
function restart.had(room_jid, nick)
	return rooms[room_jid] ~= nil and rooms[room_jid].nicks[nick] == true;
end

-- record: as stored; nil for a room without local users
local function write(room_jid, record)
	if not record and not stored[room_jid] then return; end
	stored[room_jid] = record and true;
	local called, ok, err = pcall(store.set, store, sha256(room_jid, true), "record", record);
	if not called or not ok then module:log("error", "Could not store who is in %s: %s", room_jid, called and err or ok); end
end

-- Whether write() has stored the data under this key
local function is_record(key, data)
	local record = data.record;
	if jid_host(record.room) ~= module.host or sha256(record.room, true) ~= key then return false; end
	if relay_jid.unmirror(record.room) ~= record.master then return false; end
	for nick in pairs(record.nicks) do
		if type(nick) ~= "string" then return false; end
	end
	return true;
end

local function read()
	local keys, records = {}, {};
	local each, state;
	if everything.users then each, state = everything:users(); end
	if not each then return records; end -- the storage keeps nothing
	for key in each, state do keys[#keys + 1] = key; end
	for _, key in ipairs(keys) do
		local data = stores.read(module, "fmuc_mirrored", key, function (data) return is_record(key, data); end);
		if data then
			records[data.record.room], stored[data.record.room] = data.record, true;
		end
	end
	return records;
end

local function remember(room)
	local nicks = {};
	for nick in pairs(rooms[room.jid] and rooms[room.jid].nicks or {}) do nicks[nick] = true; end
	for occupant_jid in room:each_occupant() do
		if mirrored.is_local(room, occupant_jid) then nicks[jid_resource(occupant_jid)] = true; end
	end
	write(room.jid, next(nicks) and { room = room.jid; master = room.fmuc.authority.peer; generation = 1; nicks = nicks;
		stamp = datetime.datetime() } or nil);
end

-- handle_change(event): a user has joined or left
function restart.handle_change(event)
	if event.room.fmuc then remember(event.room); end
end

-- handle_destroyed(event): the room has ended
function restart.handle_destroyed(event)
	if not rooms[event.room.jid] then write(event.room.jid, nil); end
end

local function take_out()
	local left = rooms;
	rooms = {};
	for room_jid, record in pairs(left) do
		local room = mirrored.get(room_jid);
		for nick in pairs(record.nicks) do
			local occupant_jid = room_jid .. "/" .. nick;
			if not room or not mirrored.is_local(room, occupant_jid) and not room.fmuc.waiting[occupant_jid] then
				local part = st.presence({ type = "unavailable"; from = room_jid; to = record.master .. "/" .. nick });
				mirrored.send(room_jid, part);
			end
		end
		if room then remember(room); else write(room_jid, nil); end
	end
end

-- save() -> state for the next instance of the module
function restart.save()
	return { rooms = rooms; stored = stored };
end

-- restore(saved): what save() of an earlier instance returned; nil after a start of the server
function restart.restore(saved)
	if saved then
		rooms, stored = saved.rooms, saved.stored;
	else
		rooms = read();
	end
	if next(rooms) then
		module:add_timer(grace_period, take_out);
	end
end

return restart;
