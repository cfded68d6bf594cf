-- SPDX-License-Identifier: MIT
-- The master's watch over its mirrors (G2, G7): a mirror that cannot be reached keeps its users in the room for a grace period, within
-- which it may come back without anybody noticing; then all of them leave at once. Mirrors that are silent for long are asked whether
-- they are there, one question for each mirror and room, none for single users.

local compat = require "prosody_relay.compat";
local jid_host = require "util.jid".host;
local new_id = require "util.id".medium;
local now = require "util.time".monotonic;
local origin = require "prosody_relay.origin";
local st = require "util.stanza";

local paced = lib "link/log".paced;
local settings = lib "settings";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_ping = "urn:xmpp:ping";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local grace_period, answer_timeout = settings.grace_period, settings.join_timeout;

-- Mirrors of this module speak up a little more often than this, so that only others are ever asked
local silence = 6 * grace_period;
-- After a connection broke, a mirror that is still there needs no longer to speak up
local suspicion = math.min(10, grace_period / 2);

local id_prefix = "fmuc-watch-";

-- What the other server says when a message has not reached the mirror (XEP-0045 section 9.6); any other error is about that message
local delivery_failures = {
	["gone"] = true; ["item-not-found"] = true; ["recipient-unavailable"] = true; ["redirect"] = true;
	["remote-server-not-found"] = true; ["remote-server-timeout"] = true;
};

local links = lib "master/links";
local muc = module:depends "muc";

local watch = {};

-- Delivery to the mirror has failed for good: all its users leave in one pass (G2)
local function drop(room, link, stanza)
	paced("lost\0" .. link.jid, "info", "%s lost the mirror %s: %s", room.jid, link.jid, select(2, stanza:get_error()) or "error");
	link.gone = true;
	for nick, real_jid in pairs(link.nicks) do
		local failure = st.clone(stanza);
		failure.attr.from = real_jid;
		room:handle_kickable({ send = function () end }, failure);
		links.remove_user(room, link, nick); -- a nick shared with a direct session stays in the room
	end
end

local function lost(room_jid, link_jid)
	return st.presence({ type = "error"; from = link_jid; to = room_jid })
		:tag("error", { type = "wait" }):tag("remote-server-timeout", { xmlns = xmlns_stanzas }):up():up();
end

local function set_down(room_jid, link_jid, line, why)
	line.asked = nil;
	if line.down then return; end
	paced("down\0" .. link_jid, "info", "%s does not reach the mirror %s (%s), which has %g s to come back", room_jid, link_jid, why, grace_period);
	line.down, line.nudges, line.next_nudge = now(), 0, now() + 2;
end

-- Whether the mirror has got all that it was sent, so that nothing is in doubt any more, whatever errors of this server say later
local function is_confirmed(link)
	return link.line.confirmed == link.line.sent;
end

-- failed(room, link, event): the error event.stanza came back in the mirror's name. This server could not deliver, or does not know
-- whether it did: the mirror has the grace period to come back. Else it is the mirror's word, or that of its server (G2): the mirror does
-- not know this room, or is not there. It has the grace period too if its server says that it is not there for the moment.
function watch.failed(room, link, event)
	local stanza = event.stanza;
	local type, condition = stanza:get_error();
	local is_undeliverable = origin.is_undeliverable(event);
	if is_undeliverable and is_confirmed(link) then
		return;
	elseif is_undeliverable or type == "wait" and delivery_failures[condition] then
		set_down(room.jid, link.jid, link.line, condition or "error");
	elseif stanza.name == "presence" or delivery_failures[condition] then
		drop(room, link, stanza);
	end
end

-- heard(link): a stanza of the mirror has come
function watch.heard(link)
	link.line.heard, link.line.suspected = now(), nil;
end

-- nudge(room_jid, link_jid): tells a mirror that it has missed something and is to join again (G4)
function watch.nudge(room_jid, link_jid)
	module:send(st.presence({ type = "error"; from = room_jid; to = link_jid })
		:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = xmlns_stanzas }):up():up());
end

-- resynced(link): the mirror knows everything (again)
function watch.resynced(link)
	link.line.down, link.line.asked = nil, nil;
end

local function ask(room_jid, link_jid, line)
	line.asked, line.suspected = { id = id_prefix .. new_id(); at = now() }, nil;
	module:send(st.iq({ type = "get"; from = room_jid; to = link_jid; id = line.asked.id }):tag("ping", { xmlns = xmlns_ping }));
end

local function check_down(room_jid, link_jid, line, time)
	if time - line.down >= grace_period then
		local room = muc.get_room_from_jid(room_jid);
		local link = links.get(room, link_jid);
		if link then drop(room, link, lost(room_jid, link_jid)); end
	elseif time >= line.next_nudge then
		line.nudges = line.nudges + 1;
		line.next_nudge = time + 2 ^ line.nudges;
		watch.nudge(room_jid, link_jid);
	end
end

local function check(room_jid, link_jid, line, time)
	if line.down then
		check_down(room_jid, link_jid, line, time);
	elseif line.asked then
		if time - math.max(line.asked.at, line.heard) >= answer_timeout then set_down(room_jid, link_jid, line, "no answer"); end
	elseif time - line.heard >= silence or line.suspected and time - line.suspected >= suspicion then
		ask(room_jid, link_jid, line);
	end
end

module:add_timer(1, function ()
	local time, due = now(), {};
	for room_jid, lines in links.each_line() do
		for link_jid, line in pairs(lines) do due[#due + 1] = { room_jid, link_jid, line }; end
	end
	for _, entry in ipairs(due) do
		local ok, err = pcall(check, entry[1], entry[2], entry[3], time);
		if not ok then module:log("error", "Watching %s: %s", entry[2], err); end
	end
	return 1;
end);

-- handle_answer(event): an IQ to the room, maybe the answer to ask(). Any answer of the mirror but one shows that it is there.
function watch.handle_answer(event)
	local stanza = event.stanza;
	local id, type = stanza.attr.id, stanza.attr.type;
	if type ~= "result" and type ~= "error" or id:sub(1, #id_prefix) ~= id_prefix then return; end
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, stanza.attr.from);
	if not link or not link.line.asked or link.line.asked.id ~= id then return true; end
	link.line.asked = nil;
	local _, condition = stanza:get_error();
	if origin.is_undeliverable(event) or type == "error" and condition == "item-not-found" then
		watch.failed(room, link, event);
	else
		watch.heard(link);
	end
	return true;
end

-- handle_ping(event): the mirror asks whether it is in the room, and whether anything is missing (our extension): the answer says how many
-- stanzas have crossed each way. A question takes the place of one for each of its users. After a connection broke it says how many it has got.
function watch.handle_ping(event)
	local stanza = event.stanza;
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, stanza.attr.from);
	if not link then return; end
	watch.heard(link);
	local line = link.line;
	line.confirmed = tonumber((stanza:find("{" .. xmlns_ping .. "}ping/{" .. xmlns_fmuc .. "}fmuc@received"))); -- or nil
	if line.down and is_confirmed(link) then watch.resynced(link); end
	module:send(st.reply(stanza):tag("fmuc", { xmlns = xmlns_fmuc;
		sent = tostring(line.sent); received = tostring(line.received) }));
	return true;
end

-- A connection with the mirror's server broke
compat.on_stream_lost(module, function (host)
	for _, lines in links.each_line() do
		for link_jid, line in pairs(lines) do
			if jid_host(link_jid) == host then line.suspected = line.suspected or now(); end
		end
	end
end);

return watch;
