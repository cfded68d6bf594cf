-- SPDX-License-Identifier: MIT
-- What is done for mirrored rooms once a second, and when a connection breaks.

local compat = require "prosody_relay.compat";
local jid_host = require "util.jid".host;
local now = require "util.time".monotonic;

local first_sync = lib "mirror/first_sync";
local listed = lib "mirror/listed";
local mirrored = lib "mirror/room";
local outage = lib "mirror/outage";
local outbox = lib "mirror/outbox";
local resync = lib "mirror/resync";

-- Whether a room needs nothing now, so that it may stay unloaded. mod_muc keeps 100 rooms in memory. To load more than that each second would take
-- all time of a server
local function is_at_rest(room_jid, state, time)
	local link = state.authority;
	if outage.is_late(link, time) then
		return false;
	elseif link.state == "joining" then -- a join waits for the master
		return link.asked ~= nil or not first_sync.is_anybody_accepted(state);
	elseif link.state == "live" then
		return outage.is_quiet(room_jid, link, time);
	end
	return outage.is_waiting(link, time) and state.recipients ~= nil and state.recipients:count() > 0;
end

local function check(room_jid)
	local state, time = mirrored.state(room_jid), now();
	if state and state.authority.state == "joining" then listed.check(room_jid, state, time); end
	if not state or is_at_rest(room_jid, state, time) then return; end
	local room = mirrored.get(room_jid);
	if not room then return; end
	if not state.authority:is_out() then
		outage.check_live(room, time);
	elseif not outage.check_out(room, time) then
		resync.check(room, time);
	end
end

local function is_out(room_jid)
	local state = mirrored.state(room_jid);
	return state ~= nil and state.authority:is_out();
end

module:add_timer(1, function ()
	local room_jids = {};
	for room_jid in mirrored.each() do room_jids[#room_jids + 1] = room_jid; end
	for _, room_jid in ipairs(room_jids) do
		local ok, err = pcall(check, room_jid);
		if not ok then module:log("error", "Could not check %s: %s", room_jid, err); end
	end
	outbox.expire(is_out);
	return 1;
end);

local function handle_broken_stream(room_jid, host, is_new, broken_at)
	local room = mirrored.get(room_jid);
	if not room then return; end
	local asked = room.fmuc.authority.asked;
	if asked and asked.at > broken_at then return; end -- mod_smacks reported this before, and the question went over another stream
	if is_new and resync.restart_collection(room) then return; end
	outage.lost(room, "a connection with " .. host .. " broke");
end

compat.on_stream_lost(module, function (host, is_new)
	local concerned, broken_at = {}, now();
	for room_jid, state in mirrored.each() do
		if jid_host(state.authority.peer) == host then concerned[#concerned + 1] = room_jid; end
	end
	for _, room_jid in ipairs(concerned) do
		-- later: while Prosody handles the end of the stream, an answer may still be lost
		module:add_timer(0, function () handle_broken_stream(room_jid, host, is_new, broken_at); end);
	end
end);
