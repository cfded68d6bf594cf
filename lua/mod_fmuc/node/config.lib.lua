-- SPDX-License-Identifier: MIT
-- With which rooms of other servers a room federates (generation 2, N1, N2). Owners set that in the room's configuration form:
--   fmuc#outbound_peer   the room that this room joins; empty: none
--   fmuc#mode            how: "primary-primary" or "primary-replica"
--   fmuc#inbound_peers   the rooms, or whole services, that may join this room
-- The values lie in room._data.fmuc_outbound_peer, fmuc_mode and fmuc_inbound_peers.

local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local jid_split = require "util.jid".split;
local st = require "util.stanza";

local errors = lib "errors";
local trust = lib "link/trust";
local settings = lib "settings";
local muc = module:depends "muc";

local xmlns_owner = "http://jabber.org/protocol/muc#owner";

local modes = { ["primary-primary"] = true; ["primary-replica"] = true };
local max_inbound_peers = 100;

local config = {};

-- outbound(room) -> JID of the room that this room joins, mode; or nil
function config.outbound(room)
	return room._data.fmuc_outbound_peer, room._data.fmuc_mode or "primary-primary";
end

-- accepts(room, peer) -> whether that room may join this one: by the room's owners, or by an admin of this server (fmuc_allow_peers). Neither
-- can allow what fmuc_deny_peers or fmuc_allow_peers forbids.
function config.accepts(room, peer)
	local host = jid_host(peer);
	if not trust.may_federate(host) then return false; end
	if settings.allow_peers then return true; end
	for _, allowed in ipairs(room._data.fmuc_inbound_peers or {}) do
		if allowed == peer or allowed == host then return true; end
	end
	return false;
end

-- is_federated(room) -> whether the room is a node
function config.is_federated(room)
	return room._data.fmuc_outbound_peer ~= nil or (room._data.fmuc_inbound_peers or {})[1] ~= nil;
end

-- The room of another service that this JID is -> JID; or nil, name of an error, argument of its text
local function room_address(text, room_jid)
	local jid = jid_prep(text);
	local node, host, resource = jid_split(jid);
	if not node or resource then return nil, "no-room-address", text; end
	if host == jid_host(room_jid) then return nil, "own-service", text; end
	if not trust.may_federate(host) then return nil, "peer-not-allowed", host; end
	return jid;
end

local function inbound_address(text, room_jid)
	local jid = jid_prep(text);
	local node, host, resource = jid_split(jid);
	if not host or node or resource or host == jid_host(room_jid) then return room_address(text, room_jid); end
	if not trust.may_federate(host) then return nil, "peer-not-allowed", host; end
	return jid;
end

local function check_list(list, room_jid)
	if #list > max_inbound_peers then return nil, "too-many-peers", max_inbound_peers; end
	local kept = {};
	for i, text in ipairs(list) do
		local jid, problem, detail = inbound_address(text, room_jid);
		if not jid then return nil, problem, detail; end
		kept[i] = jid;
	end
	return kept;
end

-- check(room_jid, values) -> values as they are kept; or nil, name of an error, argument of its text. values: outbound_peer (text, "" for none),
-- mode, inbound_peers (list); nil for what does not change
function config.check(room_jid, values)
	local kept, problem, detail = { mode = values.mode; outbound_peer = values.outbound_peer }, nil, nil;
	if values.mode and not modes[values.mode] then return nil, "no-such-mode", values.mode; end
	if (values.outbound_peer or "") ~= "" then
		kept.outbound_peer, problem, detail = room_address(values.outbound_peer, room_jid);
	end
	if values.inbound_peers and not problem then
		kept.inbound_peers, problem, detail = check_list(values.inbound_peers, room_jid);
	end
	if problem then return nil, problem, detail; end
	return kept;
end

-- set(room, values): keeps values of check(), and applies them at once
function config.set(room, values)
	local data = room._data;
	local former = { data.fmuc_outbound_peer, data.fmuc_mode };
	if values.outbound_peer then data.fmuc_outbound_peer = values.outbound_peer ~= "" and values.outbound_peer or nil; end
	if values.mode then data.fmuc_mode = values.mode ~= "primary-primary" and values.mode or nil; end
	if values.inbound_peers then data.fmuc_inbound_peers = values.inbound_peers[1] and values.inbound_peers or nil; end
	local is_outbound_changed = former[1] ~= data.fmuc_outbound_peer or former[2] ~= data.fmuc_mode;
	module:fire_event("fmuc-node-configured", { room = room; is_outbound_changed = is_outbound_changed });
end

-- add_to_form(event): adds the fields to a room's configuration form
function config.add_to_form(event)
	local data, form = event.room._data, event.form;
	table.insert(form, { type = "fixed"; value = "Federation" });
	table.insert(form, { name = "fmuc#outbound_peer"; type = "jid-single"; label = "Room of another server that this room joins";
		desc = "Both rooms then show the users and the messages of both"; value = data.fmuc_outbound_peer });
	table.insert(form, { name = "fmuc#mode"; type = "list-single"; label = "How this room works while it cannot reach that room";
		options = {
			{ value = "primary-primary"; label = "It works on its own"; default = not data.fmuc_mode };
			{ value = "primary-replica"; label = "It stops until it reaches that room"; default = data.fmuc_mode ~= nil };
		}; value = data.fmuc_mode or "primary-primary" });
	table.insert(form, { name = "fmuc#inbound_peers"; type = "jid-multi"; label = "Rooms of other servers that may join this room";
		value = data.fmuc_inbound_peers or {} });
end

local function texts(form, name)
	local list;
	for field in form:childtags("field") do
		if field.attr.var == name then
			list = list or {};
			for value in field:childtags("value") do
				local text = value:get_text():match("^%s*(.-)%s*$");
				if text ~= "" then list[#list + 1] = text; end
			end
		end
	end
	return list;
end

-- What the form says -> values for check()
local function values_of(form)
	local outbound_peer, mode = texts(form, "fmuc#outbound_peer"), texts(form, "fmuc#mode");
	return { outbound_peer = outbound_peer and (outbound_peer[1] or ""); mode = mode and mode[1]; inbound_peers = texts(form, "fmuc#inbound_peers") };
end

-- check_form(event): handles a submitted configuration form: refuses it when its values of these fields are wrong. mod_muc would accept them.
function config.check_form(event)
	local stanza = event.stanza;
	local form = stanza:find("{" .. xmlns_owner .. "}query/{jabber:x:data}x");
	local room = form and form.attr.type == "submit" and muc.get_room_from_jid(stanza.attr.to);
	if not room or room:get_affiliation(stanza.attr.from) ~= "owner" then return; end
	local values, problem, detail = config.check(room.jid, values_of(form));
	if not values then
		event.origin.send(errors.reply(stanza, problem, detail));
		return true;
	end
end

-- handle_form(event): mod_muc has accepted a configuration form
function config.handle_form(event)
	local form = event.stanza:find("{" .. xmlns_owner .. "}query/{jabber:x:data}x") or st.stanza("x");
	local values = config.check(event.room.jid, values_of(form));
	if values then config.set(event.room, values); end
end

return config;
