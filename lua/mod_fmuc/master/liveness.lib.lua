-- SPDX-License-Identifier: MIT
-- The master's watch over its mirrors (G2, G7). A mirror that cannot be reached keeps its users in the room for a grace period. If it comes
-- back in that time, nobody notices the outage; otherwise all its users leave at once. The master asks a mirror that is silent for long
-- whether it is there. It sends one question for each mirror and room, none for single users.

local compat = require "prosody_relay.compat";
local jid_host = require "util.jid".host;
local new_id = require "util.id".medium;
local now = require "util.time".monotonic;
local origin = require "prosody_relay.origin";
local st = require "util.stanza";

local paced = lib "link/log".paced;
local settings = lib "settings";

local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local grace_period, answer_timeout = settings.grace_period, settings.join_timeout;

-- Mirrors of this module send something a little more often, so only others are ever asked
local silence = 6 * grace_period;
-- After a connection broke, a mirror that is still there sends something within this time
local suspicion = math.min(10, grace_period / 2);

local id_prefix = "fmuc-watch-";

-- By these conditions the other server says that a message has not reached the mirror (XEP-0045 section 9.6). Any other error is about the
-- message.
local delivery_failures = {
	["gone"] = true; ["item-not-found"] = true; ["recipient-unavailable"] = true; ["redirect"] = true;
	["remote-server-not-found"] = true; ["remote-server-timeout"] = true;
};

local generation1 = lib "dialect/generation1";
local all_links = lib "link/link";
local links = lib "master/links";
local muc = module:depends "muc";

-- link:own("liveness"):
--   since        when the mirror was last found to be out of reach
--   nudges, next_nudge   how often the mirror was told to join again, and when it is told next
--   suspected    when a connection with the mirror's server broke
--   confirmed    how many stanzas the mirror said it has got

local liveness = {};

-- Nothing is sent to the mirror from now on -> whether that is new
local function mute(link)
	link:answered();
	if not link:fire("broken") then return false; end
	local own = link:own("liveness");
	own.since, own.nudges, own.next_nudge = now(), 0, now() + 2;
	return true;
end

-- Delivery to the mirror has failed for good: all its users leave in one pass (G2). The last one ends the link. If a handler of another module
-- raises for one user, the others leave all the same.
local function drop(room, link, stanza)
	paced("lost\0" .. link.peer, "info", "%s lost the mirror %s: %s", room.jid, link.peer, select(2, stanza:get_error()) or "error");
	mute(link);
	for nick, real_jid in pairs(link.nicks) do
		local failure = st.clone(stanza);
		failure.attr.from = real_jid;
		local ok, err = pcall(room.handle_kickable, room, { send = function () end }, failure);
		if not ok then module:log("error", "%s leaves %s: %s", real_jid, room.jid, err); end
		links.remove_user(room, link, nick); -- a nick shared with a direct session stays in the room
	end
end

local function lost(room_jid, link_jid)
	return st.presence({ type = "error"; from = link_jid; to = room_jid })
		:tag("error", { type = "wait" }):tag("remote-server-timeout", { xmlns = xmlns_stanzas }):up():up();
end

local function set_lost(link, why)
	if not mute(link) then return; end
	paced("down\0" .. link.peer, "info", "%s does not reach the mirror %s (%s), which has %g s to come back",
		link.room_jid, link.peer, why, grace_period);
end

-- Whether the mirror has got everything that it was sent. Then a later error of this server puts nothing in doubt.
local function is_confirmed(link)
	return link:own("liveness").confirmed == link.sent;
end

-- failed(room, link, event): handles the error event.stanza, which came back in the mirror's name. If this server could not deliver, or
-- cannot know, the mirror has the grace period to come back. Otherwise the mirror or its server has answered (G2): the mirror does not know
-- this room, or is not there. If its server says that the mirror is away for the moment, the mirror has the grace period, too.
function liveness.failed(room, link, event)
	local stanza = event.stanza;
	local type, condition = stanza:get_error();
	local is_undeliverable = origin.is_undeliverable(event);
	if is_undeliverable and is_confirmed(link) then
		return;
	elseif is_undeliverable or type == "wait" and delivery_failures[condition] then
		set_lost(link, condition or "error");
	elseif stanza.name == "presence" or delivery_failures[condition] then
		drop(room, link, stanza);
	end
end

-- heard(link): a stanza of the mirror has come
function liveness.heard(link)
	link:hear();
	link:own("liveness").suspected = nil;
end

-- nudge(room_jid, link_jid): tells a mirror that it has missed something and must join again (G4)
function liveness.nudge(room_jid, link_jid)
	module:send(generation1.unknown(room_jid, link_jid));
end

local function ask(link)
	link:own("liveness").suspected = nil;
	link:ask("ping", generation1.ping(link.room_jid, link.peer, id_prefix .. new_id()));
end

local function check_lost(link, time)
	local own = link:own("liveness");
	if time - own.since >= grace_period then
		local room = muc.get_room_from_jid(link.room_jid);
		if links.get(room, link.peer) ~= link then return links.discard(link); end
		drop(room, link, lost(link.room_jid, link.peer));
	elseif time >= own.next_nudge then
		own.nudges = own.nudges + 1;
		own.next_nudge = time + 2 ^ own.nudges;
		liveness.nudge(link.room_jid, link.peer);
	end
end

local function check(link, time)
	local suspected = link:own("liveness").suspected;
	if link.state == "lost" then
		check_lost(link, time);
	elseif link.asked then
		if time - math.max(link.asked.at, link.heard) >= answer_timeout then set_lost(link, "no answer"); end
	elseif time - link.heard >= silence or suspected and time - suspected >= suspicion then
		ask(link);
	end
end

-- handle_answer(event): handles an IQ to the room, perhaps the answer to ask(). Any answer of the mirror except item-not-found shows that
-- it is there.
function liveness.handle_answer(event)
	local stanza = event.stanza;
	local id, type = stanza.attr.id, stanza.attr.type;
	if type ~= "result" and type ~= "error" or id:sub(1, #id_prefix) ~= id_prefix then return; end
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, stanza.attr.from);
	if not link or not link.asked or link.asked.id ~= id then return true; end
	link:answered();
	local _, condition = stanza:get_error();
	if origin.is_undeliverable(event) or type == "error" and condition == "item-not-found" then
		liveness.failed(room, link, event);
	else
		liveness.heard(link);
	end
	return true;
end

-- handle_ping(event): answers a mirror that asks whether it is in the room and whether anything is missing (our extension). The answer says
-- how many stanzas have crossed each way. One question serves all users of the mirror. After a connection broke, it says how many stanzas
-- the mirror has got.
function liveness.handle_ping(event)
	local stanza = event.stanza;
	local room = muc.get_room_from_jid(stanza.attr.to);
	local link = links.get(room, stanza.attr.from);
	if not link then return; end
	liveness.heard(link);
	link:own("liveness").confirmed = generation1.read_ping(stanza);
	if is_confirmed(link) and link:fire("complete") then link:answered(); end
	module:send(generation1.pong(stanza, link.sent, link.received));
	return true;
end

-- start(): watches the mirrors from now on
function liveness.start()
	module:add_timer(1, function ()
		local time = now();
		for link in all_links.each("generation1") do
			local ok, err = pcall(check, link, time);
			if not ok then module:log("error", "Watching %s: %s", link.peer, err); end
		end
		return 1;
	end);
	-- A connection with the mirror's server broke
	compat.on_stream_lost(module, function (host)
		for link in all_links.each("generation1") do
			local own = link:own("liveness");
			if jid_host(link.peer) == host then own.suspected = own.suspected or now(); end
		end
	end);
end

return liveness;
