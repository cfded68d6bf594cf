-- SPDX-License-Identifier: MIT
-- What is known of a mirrored room: the master's disco#info. The mirror asks for it when the first user joins, and when the room's configuration
-- changes. It also asks for a user who wants the description before joining (G13). The mirror answers users from it, and learns the master's
-- features (G9, G10, G12).
--
-- info = { features (set of strings), list (array of the same), name, identity (attributes), form (stanza or nil), allowpm and history (of
-- room/restrict_pm and room/history) }, or { failed = stanza of the error, or false when there was no answer; is_undeliverable = it is this
-- server's own }. In both: at (monotonic time of the answer), took (how many seconds). room.fmuc.info has the info of a room with local users, a
-- cache that of others.

local dataforms = require "util.dataforms";
local fair_cache = require "prosody_relay.fair_cache";
local monotonic = require "util.time".monotonic;
local now = require "util.time".now;
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";
local stanza_lib = require "prosody_relay.stanza";

local errors = lib "errors";
local allowpm = lib "room/restrict_pm";
local history = lib "room/history";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_disco_items = "http://jabber.org/protocol/disco#items";
local xmlns_roominfo = "http://jabber.org/protocol/muc#roominfo";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Seconds for the master to answer, before users may join
local deadline = lib "settings".join_timeout;
-- Seconds for which an answer holds for a room without local users; less for errors and missing answers
local max_age, max_age_failure = 300, 30;
-- Limits of a description: number of features, bytes of each and of a name, bytes of heap of a form or an error
local max_features, max_text, max_form_bytes = 128, 256, 64 * 1024;

local mirrored = lib "mirror/room";
local requests = lib "link/requests";
local archive = lib "room/archive";

local room_info = {};

local known = fair_cache.new(512); -- room JID -> { time, info }

local function describe(room, info)
	if info.failed ~= nil then return; end -- an older description is better than none
	room.fmuc.info = info;
	-- for further sessions of users, to which the master sends no status codes
	if info.features.muc_nonanonymous then mirrored.set_whois(room, "anyone"); end
	if info.features.muc_semianonymous then mirrored.set_whois(room, "moderators"); end
	history.limit(room, info.history);
	module:fire_event("fmuc-room-described", { room = room; info = info });
	-- keeps mod_muc_mam out: it would give messages other ids than the master's (G9)
	room._data.archiving = nil;
	if info.features["urn:xmpp:sid:0"] then room._data.archiving = false; end
end

local function remembered(room_jid)
	local entry = known:get(room_jid);
	if not entry or now() - entry.time > (entry.info.failed == nil and max_age or max_age_failure) then return nil; end
	return entry.info;
end

-- get(room_jid) -> info, which may be a failure, or nil
function room_info.get(room_jid)
	local room = mirrored.get(room_jid);
	return room and room.fmuc.info or remembered(room_jid);
end

-- of(room_jid, state) -> the same for a mirrored room that mod_muc may have unloaded. state: its room.fmuc
function room_info.of(room_jid, state)
	return state.info or remembered(room_jid);
end

-- has(room, feature) -> whether the master is known to have the feature
function room_info.has(room, feature)
	local info = room.fmuc.info;
	return info ~= nil and info.features[feature] == true;
end

-- The error, without its text and other elements if it is too long
local function without_length(answer)
	if stanza_lib.heap_size(answer) <= max_form_bytes then return answer; end
	local type, condition = answer:get_error();
	return st.stanza("iq", { type = "error" }):tag("error", { type = type == "wait" and "wait" or "cancel" })
		:tag(#condition <= max_text and condition or "undefined-condition", { xmlns = xmlns_stanzas }):reset();
end

local function parse(answer, is_undeliverable)
	local query = answer and answer.attr.type == "result" and answer:get_child("query", xmlns_disco_info);
	if not query then
		local is_error = answer and answer.attr.type == "error" and answer:get_error();
		return { features = {}; list = {}; failed = is_error and without_length(answer) or false;
			is_undeliverable = is_undeliverable };
	end
	local info = { features = {}; list = {} };
	for feature in query:childtags("feature") do
		local var = feature.attr.var;
		if var and #var <= max_text and #info.list < max_features then
			info.features[var] = true;
			info.list[#info.list + 1] = var;
		end
	end
	for identity in query:childtags("identity") do
		if identity.attr.category == "conference" then
			info.identity = { category = "conference"; type = identity.attr.type or "text";
				name = #(identity.attr.name or "") <= max_text and identity.attr.name or nil };
			break;
		end
	end
	local form = query:get_child("x", "jabber:x:data");
	if form and dataforms.get_type(form) == xmlns_roominfo and stanza_lib.heap_size(form) <= max_form_bytes then info.form = st.clone(form); end
	info.allowpm, info.history = allowpm.read(info.form), history.read(info.form);
	return info;
end

-- fetch(room_jid, master, [asker]) -> true; or nil when too many questions are open. Asks the master, unless the same question is open. asker: a
-- user's stanza, answered when the master has answered
function room_info.fetch(room_jid, master, asker)
	local record = requests.find("room-info", master);
	if record then
		if asker and not requests.wait(record, asker.attr.from) then return nil; end
		record.askers[#record.askers + 1] = asker;
		-- the answer on its way may describe the room before the change
		record.again = record.again or not asker;
		return true;
	end
	local iq = requests.get(room_jid, master):tag("query", { xmlns = xmlns_disco_info }):up();
	return requests.send("room-info", iq, { askers = { asker }; asker = asker and asker.attr.from; at = monotonic() }, deadline);
end

-- prepare(room, [info]): for a room that a user is about to enter. info: the master's answer to a question for this join. Older answers are only
-- for users who browse, and decide nothing
function room_info.prepare(room, info)
	if room.fmuc.info then return; end
	if info then return describe(room, info); end
	if not requests.find("room-info", room.fmuc.authority.peer) then room_info.fetch(room.jid, room.fmuc.authority.peer); end
end

-- renew(room): the room's configuration has changed (status 104)
function room_info.renew(room)
	module:fire_event("fmuc-room-changed", { room = room });
	room_info.fetch(room.jid, room.fmuc.authority.peer);
end

-- forget(room_jid): the room does not exist any more. An answer on its way may still describe it, and is not remembered
function room_info.forget(room_jid)
	known:set(room_jid, nil, nil);
	local record = requests.find("room-info", relay_jid.unmirror(room_jid));
	if record then record.is_stale = true; end
end

local function handle_answer(record, answer, is_undeliverable)
	local room_jid = record.own;
	local room, info = mirrored.get(room_jid), parse(answer, is_undeliverable);
	info.at, info.took = monotonic(), monotonic() - (record.at or monotonic());
	if room then describe(room, info); end
	if not record.is_stale then known:set(room_jid, record.peer, { time = now(); info = info }); end
	for _, asker in ipairs(record.askers) do module:send(room_info.reply(asker, info)); end
	module:fire_event("fmuc-room-info", { room_jid = room_jid; info = info });
	if record.again and room then room_info.fetch(room_jid, record.peer); end
end

-- handle_restored(event): after the room has its state again
function room_info.handle_restored(event)
	local state = event.room.fmuc;
	if state and state.info then describe(event.room, state.info); end
end

-- Features of the master that are about the room. They hold here because the master's stanzas pass through
local passed_on = {
	["http://jabber.org/protocol/muc#stable_id"] = true;
	["urn:xmpp:occupant-id:0"] = true;
	["urn:xmpp:sid:0"] = true;
	["vcard-temp"] = true;
};

local function is_passed_on(feature)
	return passed_on[feature] or feature:find("^muc_") ~= nil;
end

local function with_local_numbers(form, room)
	local copy = st.clone(form);
	local count = 0;
	for _ in pairs(room.fmuc.copies) do count = count + 1; end
	for field in copy:childtags("field") do
		if field.attr.var == "muc#roominfo_occupants" then
			stanza_lib.filter(field, { other = false });
			field:text_tag("value", tostring(count));
		end
	end
	return copy;
end

local function error_reply(stanza, failed)
	local type, condition, text = failed:get_error();
	local reply = st.error_reply(stanza, type, condition, text);
	if condition == "gone" then
		local where = failed:get_child("error"):get_child_text("gone", xmlns_stanzas) or "";
		reply:get_child("error"):get_child("gone", xmlns_stanzas):text(where);
	end
	return reply;
end

-- reply(stanza, info) -> the answer to a user's disco#info or disco#items for the mirrored room
function room_info.reply(stanza, info)
	local room = mirrored.get(stanza.attr.to);
	if info.failed then
		return error_reply(stanza, info.failed);
	elseif info.failed == false then
		return errors.reply(stanza, "server-silent");
	end
	-- only users who join see the occupants
	if stanza.tags[1].attr.xmlns == xmlns_disco_items then return st.reply(stanza):tag("query", { xmlns = xmlns_disco_items }); end
	local reply = st.reply(stanza):tag("query", { xmlns = xmlns_disco_info })
		:tag("identity", info.identity or { category = "conference"; type = "text" }):up();
	local features = { "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#self-ping-optimization" };
	for _, feature in ipairs(info.list) do
		if is_passed_on(feature) then features[#features + 1] = feature; end
	end
	local archived = archive.features();
	table.move(archived, 1, #archived, #features + 1, features);
	if archived[1] and not info.features["urn:xmpp:sid:0"] then features[#features + 1] = "urn:xmpp:sid:0"; end -- mod_muc_mam's ids
	for _, feature in ipairs(features) do reply:tag("feature", { var = feature }):up(); end
	if info.form then reply:add_child(room and with_local_numbers(info.form, room) or info.form); end
	return reply;
end

requests.on("room-info", handle_answer);

return room_info;
