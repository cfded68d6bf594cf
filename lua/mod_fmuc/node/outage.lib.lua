-- SPDX-License-Identifier: MIT
-- Links with other nodes that are cut (G1, G2, G7). The room goes on without the other node. Its users stay in the room for the grace period.
-- Messages wait for the other node, within bounds (node/outbox). The joining node asks again and again; the joined node waits for that.
--
-- Both sides count stanzas since the last join. After a connection broke, or a long silence, a ping compares the counts.
--
-- link:own("outage"):
--   since, lost_at   when the link was lost: monotonic time, os.time()
--   problem          why, for an admin; nil: nothing is wrong
--   retry_at, pause  when this node asks again, or tells the other one to ask; seconds until the next time
--   alone            the grace period is over, and the users of the other node are gone
--   over_at, round   when both sides were last brought up to date, and how often
--   suspected        since when a ping is due

local compat = require "prosody_relay.compat";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_resource = require "util.jid".resource;
local now = require "util.time".monotonic;
local origin = require "prosody_relay.origin";

local arrivals = lib "node/arrivals";
local generation1 = lib "dialect/generation1";
local links = lib "node/links";
local paced = lib "link/log".paced;
local requests = lib "link/requests";
local settings = lib "settings";
local turns = lib "room/turns";
local muc = module:depends "muc";

local grace_period, answer_timeout = settings.grace_period, settings.join_timeout;

-- Seconds until the next attempt; doubles each time
local first_pause, longest_pause = 2, 300;
-- A node that was away longer has to join anew
local longest_absence = 24 * 3600;
-- A node that is silent for that long is asked whether it is there
local silence = 5 * grace_period;
-- After a connection broke
local suspicion = 2;
-- After that time in order, a link that is lost is tried again at once
local calm_period = 60;

local outage = {};

local function own(link)
	return link:own("outage");
end

-- problem(link) -> why the link is not up, or nil
function outage.problem(link)
	return own(link).problem;
end

-- lost_at(link) -> os.time() when the link was lost; nil when it was not
function outage.lost_at(link)
	return own(link).lost_at;
end

-- begin(link, why, [is_there]): nothing is sent to the other node, until both are up to date again. is_there: the other node has said so itself;
-- the first new attempt follows at once
function outage.begin(link, why, is_there)
	if not link:fire("broken") then return; end
	local data = own(link);
	if data.over_at and now() - data.over_at >= calm_period then data.pause = nil; end
	local pause = data.pause or is_there and 0 or first_pause;
	data.since, data.lost_at, data.pause = data.since or now(), data.lost_at or os.time(), math.max(pause, first_pause);
	data.retry_at, data.suspected = now() + pause, nil;
	if data.problem == why then return; end
	data.problem = why;
	paced("node\0" .. link.peer, "info", "%s is not federated with %s: %s", link.room_jid, link.peer, why);
end

-- postpone(link): the link is lost, and there is little hope that another attempt helps
function outage.postpone(link)
	local data = own(link);
	data.pause, data.retry_at = longest_pause, now() + longest_pause;
end

-- rest(link): nobody is here whom the other node should know; the link waits for somebody
function outage.rest(link)
	local data = own(link);
	data.since, data.lost_at, data.pause = data.since or now(), data.lost_at or os.time(), data.pause or first_pause;
	data.retry_at, data.suspected, data.problem = now() + data.pause, nil, "nobody is here";
	link:fire("broken");
end

-- over(link): both sides are up to date
function outage.over(link)
	local data = own(link);
	if data.problem then paced("node\0" .. link.peer, "info", "%s is federated with %s again", link.room_jid, link.peer); end
	data.since, data.lost_at, data.problem, data.retry_at, data.alone, data.suspected = nil, nil, nil, nil, nil, nil;
	data.over_at, data.round = now(), (data.round or 0) + 1;
end

-- The conditions with which a server says that there is no such room, or that it is not reached
local is_absent = {
	["gone"] = true; ["item-not-found"] = true; ["not-allowed"] = true; ["recipient-unavailable"] = true; ["redirect"] = true;
	["remote-server-not-found"] = true; ["remote-server-timeout"] = true; ["service-unavailable"] = true;
};

-- failed(link, event): an error has come in the name of the other node. The answer to a join comes from the address that was asked. The room
-- itself tells this node to join, which it does already.
function outage.failed(link, event)
	local stanza = event.stanza;
	local _, condition, text = stanza:get_error();
	if origin.is_undeliverable(event) then
		outage.begin(link, "it cannot be reached (" .. (text or condition or "error"):sub(1, 200) .. ")");
	elseif stanza.name == "presence" and is_absent[condition] and (link.state ~= "joining" or jid_resource(stanza.attr.from)) then
		outage.begin(link, "it answers " .. condition, link.state == "live");
	end
end

local function ping(link)
	own(link).suspected = nil;
	link:hear(); -- the next silence begins now
	if not links.mark(link) then return module:fire_event("fmuc-node-doubtful", { link = link }); end
	local question = generation1.ping(link.room_jid, link.peer, "", link.received);
	requests.send("node-ping", question, { room_jid = link.room_jid; sent = link.sent; round = own(link).round }, answer_timeout);
end

local function compare(link, record, answer)
	local sent, received = generation1.read_pong(answer);
	if not sent then return outage.begin(link, "it has forgotten this room", true); end
	if sent ~= link.received or received ~= record.sent then outage.begin(link, "stanzas were lost", true); end
end

requests.on("node-ping", function (record, answer, is_undeliverable)
	local room = muc.get_room_from_jid(record.room_jid);
	local link = links.get(room, record.peer);
	if not link or link.state == "joining" or own(link).round ~= record.round then return; end -- all has been counted anew meanwhile
	if not answer or is_undeliverable then
		outage.begin(link, "it does not answer");
	elseif links.mark(link) then
		compare(link, record, answer);
	end
end);

-- handle_ping(event): handles the ping of another node of this module
function outage.handle_ping(event)
	local stanza = event.stanza;
	local link = links.get(muc.get_room_from_jid(stanza.attr.to), jid_bare(stanza.attr.from));
	if not link or not links.mark(link) then return; end
	link:hear();
	module:send(generation1.pong(stanza, link.sent, link.received));
	return true;
end

-- is_doubtful(link) -> whether the connection broke, and nobody knows yet what became of the other node
function outage.is_doubtful(link)
	return link.state == "lost" or own(link).suspected ~= nil;
end

-- hasten(link): the other node speaks, so a new attempt need not wait
function outage.hasten(link)
	local data = own(link);
	if data.retry_at then data.retry_at = math.min(data.retry_at, now() + 0.5); end
end

-- trust(link): what became of the other node is being asked
function outage.trust(link)
	own(link).suspected = nil;
end

local function check_lost(link, time)
	local data = own(link);
	local is_over = time - data.since >= grace_period and not data.alone;
	if not is_over and time < data.retry_at then return; end
	local room = muc.get_room_from_jid(link.room_jid); -- only now: it may have to be loaded
	if links.get(room, link.peer) ~= link then return link:close(); end
	if is_over then
		data.alone = true;
		turns.apart(function () arrivals.forget_all(room, link); end);
	end
	if time < data.retry_at then return; end
	data.pause = math.min(data.pause * 2, longest_pause);
	data.retry_at = time + data.pause;
	if link.direction == "up" then
		turns.apart(function () module:fire_event("fmuc-node-due", { room = room; link = link }); end);
	elseif time - data.since >= longest_absence then
		links.close(room, link);
	elseif links.mark(link) then
		module:send(generation1.unknown(room.jid, link.peer)); -- so that it joins again
	else
		ping(link);
	end
end

local function check(link, time)
	local data = own(link);
	if link.state == "lost" then
		check_lost(link, time);
	elseif link.state == "joining" then
		if time - data.asked_at >= answer_timeout then outage.begin(link, "it does not answer"); end
	elseif data.suspected and time - data.suspected >= suspicion or time - link.heard >= silence then
		ping(link);
	end
end

-- asked(link): this node has asked the other one to let it join
function outage.asked(link)
	own(link).asked_at = now();
end

-- start(): watches the links from now on
function outage.start()
	module:add_timer(1, function ()
		local time = now();
		for link in links.all() do
			local ok, err = xpcall(check, debug.traceback, link, time);
			if not ok then module:log("error", "Watching %s: %s", link.peer, err); end
		end
		return 1;
	end);
	compat.on_stream_lost(module, function (host)
		for link in links.all() do
			local data = own(link);
			if jid_host(link.peer) == host and link.state == "live" then data.suspected = data.suspected or now(); end
		end
	end);
end

return outage;
