-- SPDX-License-Identifier: MIT
-- How a link between two nodes begins and ends (N3 to N9, N16). The first user of this room makes it ask the other node (the uplink). A node that
-- asks this room is sent occupants, history and subject. The last user who leaves ends the link.

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;
local new_id = require "util.id".short;
local now = require "util.time".monotonic;
local st = require "util.stanza";

local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local config = lib "node/config";
local dumps = lib "link/dumps";
local generation2 = lib "dialect/generation2";
local history = lib "node/history";
local links = lib "node/links";
local once = lib "link/log".once;
local paced = lib "link/log".paced;
local settings = lib "settings";
local trust = lib "link/trust";
local muc = module:depends "muc";

local join_timeout = settings.join_timeout;
-- Seconds until a room asks again that was refused, or got no answer; it doubles each time
local first_pause, longest_pause = 5, 300;

-- link:own("handshake"):
--   joiner     nick of the user with whom this node asked
--   at         when it asked; retry_at: when it asks again; pause: seconds between the two
--   problem    why the link is not up, for an admin

local handshake = {};

-- problem(link) -> why the link is not up, or nil
function handshake.problem(link)
	return link:own("handshake").problem;
end

-- What this node says of itself
local function mark(room, link)
	local rooms = { room.jid };
	for other in links.each(room) do
		local theirs = other ~= link and links.mark(other);
		if other ~= link then table.insert(rooms, other.peer); end
		for _, room_jid in ipairs(theirs and theirs.rooms or {}) do
			if room_jid ~= other.peer then table.insert(rooms, room_jid); end
		end
	end
	return { id = link:own("handshake").id; rooms = rooms };
end

-- Some user of this room whom the other node should know
local function some_person(room, link)
	for nick in pairs(links.nicks(room)) do
		local person = links.person(room, nick, link);
		if person then return person; end
	end
end

local function ask(room, link, person)
	local own = link:own("handshake");
	own.at, own.joiner, own.id = now(), person.nick, own.id or new_id();
	links.told(link)[person.nick] = { real_jid = person.real_jid; presence = person.presence; role = person.role;
		affiliation = person.affiliation };
	link:send(generation2.join(room.jid, link.peer, announce.who(room, person), history.limiter(room, link.peer), mark(room, link)));
end

-- connect(room): asks the other node, if this room has one, has somebody to bring, and has not asked yet
function handshake.connect(room)
	local peer = config.outbound(room);
	if not peer or room._data.destroyed or links.get(room, peer) then return; end
	if not room:has_occupant() then return; end
	local link = links.open(room, peer, "up");
	ask(room, link, some_person(room, link));
end

local function wait(link, problem)
	local own = link:own("handshake");
	own.pause = math.min((own.pause or first_pause / 2) * 2, longest_pause);
	own.retry_at, own.problem = now() + own.pause, problem;
	link:fire("broken");
	paced("node\0" .. link.peer, "info", "%s is not federated with %s: %s", link.room_jid, link.peer, problem);
end

-- forget_users(room, link): the users of the other node are not here any more
function handshake.forget_users(room, link)
	for nick in pairs(links.brought(link)) do
		arrivals.unavailable(room, link, nick, st.presence({ type = "unavailable" }), { codes = { ["333"] = true } });
	end
end

-- refused(room, link, text): the other node refuses (N5)
function handshake.refused(room, link, text)
	if link.direction ~= "up" then return; end
	handshake.forget_users(room, link);
	for nick in pairs(links.told(link)) do links.told(link)[nick] = nil; end
	wait(link, "it refuses" .. (text and text ~= "" and (": " .. text:sub(1, 200)) or ""));
end

local function reject(room_jid, peer, why)
	once("node\0" .. jid_host(peer), "info", "Refused %s, which wanted to join %s as a federated room: %s", peer, room_jid, why);
	module:fire_event("fmuc-join-refused", { error = st.stanza("error"):tag("not-allowed"):up() });
	module:send(generation2.reject(room_jid, peer, why));
end

-- Whether both sides know a room: then there is a way between them already (G18)
local function find_loop(room, link_id, rooms)
	local known = { [room.jid] = true };
	for link in links.each(room) do
		if link.peer ~= link_id then
			known[link.peer] = true;
			for _, room_jid in ipairs(links.mark(link) and links.mark(link).rooms or {}) do known[room_jid] = true; end
		end
	end
	for _, room_jid in ipairs(rooms) do
		if known[jid_prep(room_jid)] then return room_jid; end
	end
end

-- The answer also has the joining user, if the room shows the user (N7)
local function confirm(room, link, nick)
	local entry = links.brought(link)[nick];
	if not entry or entry.hidden then return; end
	link:send(generation2.presence(room.jid, link.peer, announce.who(room, entry)));
end

local function dump(room, link, join)
	announce.everybody(room, link);
	confirm(room, link, jid_resource(join.attr.from));
	history.send(room, link, join);
	announce.subject(room, link, links.mark(link) and mark(room, link));
end

-- Brings the joining user in, and answers (N6)
local function let_in(room, link, stanza, said)
	local nick = jid_resource(stanza.attr.from);
	local sent_before = dumps.sent(link);
	arrivals.available(room, link, nick, stanza, said);
	dump(room, link, stanza);
	dumps.count(link.peer, dumps.sent(link) - sent_before);
end

-- An objection to a join -> text for the other node; or nil
local function objection(room, peer, said)
	if not dumps.may_have(peer) then
		return "Too many joins, try again later";
	end
	local real_jid = jid_prep(said.real_jid);
	if not real_jid or not trust.may_speak_for(jid_host(peer), real_jid) then
		return ("%s may not speak for %s"):format(peer, said.real_jid or "a user without a JID");
	end
	local loop = said.mark and find_loop(room, peer, said.mark.rooms);
	return loop and "There is already a way to " .. loop;
end

-- accept(event, said): a room wants to federate with this one, and has no link with it yet
function handshake.accept(event, said)
	local stanza = event.stanza;
	local peer, room_jid = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	local room = muc.get_room_from_jid(room_jid);
	if not room or links.get(room, peer) then return; end -- while this waited for its turn
	local why = objection(room, peer, said);
	if why then return reject(room_jid, peer, why); end
	local link = links.open(room, peer, "down");
	links.learn_mark(link, said.mark);
	link:own("handshake").id = said.mark and said.mark.id;
	let_in(room, link, stanza, said);
end

-- synced(room, link, said): the other node has sent what a joining node gets
function handshake.synced(room, link, said)
	local own = link:own("handshake");
	links.learn_mark(link, said.mark and said.mark.id == own.id and said.mark or nil);
	local loop = said.mark and find_loop(room, link.peer, said.mark.rooms);
	if loop then
		handshake.leave(room, link);
		return wait(links.open(room, link.peer, "up"), "there is already a way to " .. loop);
	end
	own.pause, own.problem = nil, nil;
	if not link:fire("synced") then return; end
	announce.everybody(room, link);
end

-- leave(room, link): this node leaves the other one
function handshake.leave(room, link)
	announce.nobody(room, link);
	handshake.forget_users(room, link);
	links.close(room, link);
end

-- end_if_unused(room): after somebody has left: a link ends with the last user whom one side brought (N16)
function handshake.end_if_unused(room)
	for link in links.each(room) do
		if link.direction == "up" and not next(links.told(link)) and link.state ~= "lost" then
			handshake.leave(room, link);
		elseif link.direction == "down" and not next(links.brought(link)) then
			module:send(generation2.left(room.jid, link.peer));
			links.close(room, link);
		end
	end
end

-- handle_left(room, link): the other node confirms that this one has left, or ends the link (N16, O10)
function handshake.left(room, link)
	if link.direction ~= "up" then return; end
	handshake.forget_users(room, link);
	links.close(room, link);
	handshake.connect(room); -- if somebody is here whom it does not know
end

-- handle_presence(event): something about an occupant has changed: the room may have its first user, or its last user may have gone
function handshake.handle_presence(event)
	local room = event.room;
	if event.nick then return; end -- has left under one nick, and comes back under another
	handshake.connect(room);
	if room.fmuc then handshake.end_if_unused(room); end
end

-- handle_configured(event): an owner has changed with whom the room federates
function handshake.handle_configured(event)
	local room = event.room;
	local peer = config.outbound(room);
	for link in links.each(room) do
		if link.direction == "up" and (link.peer ~= peer or event.is_outbound_changed) then
			handshake.leave(room, link);
		elseif link.direction == "down" and not config.accepts(room, link.peer) then
			announce.nobody(room, link);
			handshake.forget_users(room, link);
			module:send(generation2.left(room.jid, link.peer));
			links.close(room, link);
		end
	end
	handshake.connect(room);
end

-- handle_destroyed(event): the room ends
function handshake.handle_destroyed(event)
	local room = event.room;
	for link in links.each(room) do
		if link.direction == "up" then
			announce.nobody(room, link);
		else
			module:send(generation2.left(room.jid, link.peer));
		end
		links.close(room, link);
	end
end

local function check(link, time)
	local own = link:own("handshake");
	local room = muc.get_room_from_jid(link.room_jid);
	if links.get(room, link.peer) ~= link then return link:close(); end
	if link.state == "joining" and time - own.at >= join_timeout then
		handshake.forget_users(room, link);
		announce.nobody(room, link);
		wait(link, "it does not answer");
	elseif link.state == "lost" and link.direction == "up" and own.retry_at and time >= own.retry_at then
		local person = some_person(room, link);
		if not person then return links.close(room, link); end
		link:fire("join");
		ask(room, link, person);
	end
end

-- check_all(): what is due; called each second
function handshake.check_all()
	local time = now();
	for link in links.all() do
		local ok, err = pcall(check, link, time);
		if not ok then module:log("error", "Link with %s: %s", link.peer, err); end
	end
end

return handshake;
