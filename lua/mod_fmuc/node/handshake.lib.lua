-- SPDX-License-Identifier: MIT
-- How a link between two nodes begins, begins again after an outage, and ends (N3 to N9, N16, N20). The first user of this room makes it ask
-- the other node. A node that asks this room is sent occupants, history and subject. The last user who leaves ends the link.
--
-- Nodes of this module say in the join which messages they have got. So they exchange differences: each side says who is there, and repeats what the
-- other one has not got. The users see no more than what has changed. Another kind of node is left and joined again.
--
-- link:own("handshake"):
--   id         of the latest join; its answer has the same
--   is_idle    the link is lost, and nobody is here. It waits for a user, because it has messages for the other node.
--   is_refused the other node refuses this one; all else it says is of no matter
--   is_again   this join follows an outage of a link that was up
--   is_partial the joining node has not named all its users yet
--   seen_at    up to when this room has seen what was said at a foreign node, which says all again; os.time()
--   taken      set of nicks of this room that users of a foreign node have: it does not get those of this room
--   is_due     the only user is changing the nick, and joins under the new one in a moment

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;
local new_id = require "util.id".short;
local st = require "util.stanza";

local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local config = lib "node/config";
local dumps = lib "link/dumps";
local generation2 = lib "dialect/generation2";
local history = lib "node/history";
local ids = lib "node/ids";
local links = lib "node/links";
local messages = lib "node/messages";
local once = lib "link/log".once;
local outage = lib "node/outage";
local replica = lib "node/replica";
local outbox = lib "node/outbox";
local settings = lib "settings";
local remembered = lib "node/remembered";
local tree = lib "node/tree";
local trust = lib "link/trust";
local muc = module:depends "muc";

local handshake = {};

-- What this node says of itself
local function mark(room, link, is_known)
	local series, sent, theirs, received = outbox.numbers(link);
	return { id = link:own("handshake").id; rooms = tree.rooms(room, link);
		mode = link.direction == "up" and select(2, config.outbound(room)) or nil;
		bandwidth = settings.bandwidth ~= "full" and settings.bandwidth or nil;
		series = series; sent = sent; theirs = theirs; received = received; is_known = is_known };
end

-- Some user of this room whom the other node should know; whether the user had a nick that was free there when this node asked last
local function some_person(room, link)
	local taken = link:own("handshake").taken or {};
	local own, any, hopeless;
	for nick in pairs(links.nicks(room)) do
		local person = links.person(room, nick, link);
		if person and taken[nick] then
			hopeless = hopeless or person;
		elseif person and person.is_own then
			own = own or person;
		else
			any = any or person;
		end
	end
	return own or any or hopeless, own ~= nil or any ~= nil;
end

local function ask(room, link, person)
	local own = link:own("handshake");
	own.id = new_id();
	links.forget_told(link);
	announce.note(link, person);
	link:restart_count(0, 0);
	outage.asked(link);
	link:send(generation2.join(room.jid, link.peer, announce.who(room, person), history.limiter(room, link.peer), mark(room, link),
		announce.payload(link, person.presence)));
end

-- Nobody is here any more who could join. The link ends, unless the other node may lack some messages. They need a user to cross (N3).
local function rest(room, link)
	arrivals.forget_all(room, link);
	if links.may_count(link) and outbox.is_waiting(link, outage.lost_at(link)) then
		link:own("handshake").is_idle = true;
	else
		links.close(room, link);
	end
end

local function ask_once_more(room, link, person)
	local own = link:own("handshake");
	own.seen_at = own.is_due and os.time() or history.seen_at(room, link.peer);
	own.is_again, own.is_due = links.has_answered(link), nil;
	links.mark_stale(link);
	ask(room, link, person);
end

-- The only user whom a foreign node knows changes the nick. The node has got a part (node/announce). A join follows under the new nick.
local function begin_rename(room)
	for link in links.each(room) do
		local is_cut = link.direction == "up" and link.state == "live" and not links.mark(link) and not next(links.told(link));
		if is_cut and link:fire("join") then
			link:own("handshake").is_due = true;
			outage.asked(link);
		end
	end
end

-- Somebody has come, perhaps under another nick: asks nodes that were waiting for that
local function ask_waiting(room)
	for link in links.each(room) do
		local own = link:own("handshake");
		if own.is_due and link.state == "joining" then
			announce.take_back(room.jid, link.peer, true); -- whom it has removed
			ask_once_more(room, link, some_person(room, link));
		elseif own.taken and link.state == "lost" then
			local person, has_hope = some_person(room, link);
			if has_hope and link:fire("join") then ask_once_more(room, link, person); end
		end
	end
end

-- After the join, a foreign node could know no user of this room. So this room is not in. It asks again, in case a nick becomes free.
local function give_up_nicks(room, link)
	local taken = {};
	for nick in pairs(links.brought(link)) do taken[nick] = true; end
	outage.begin(link, "users there have the nicknames of all its users");
	link:own("handshake").taken = taken;
	remembered.only(link, {}); -- they have just left there
	arrivals.forget_all(room, link);
end

-- ask_again(event): the time has come to ask the other node once more
function handshake.ask_again(event)
	local room, link = event.room, event.link;
	local person = some_person(room, link);
	if not links.mark(link) then announce.take_back(room.jid, link.peer); end
	if not person then return rest(room, link); end
	link:own("handshake").is_idle = nil;
	if not link:fire("join") then return; end
	ask_once_more(room, link, person);
end

-- connect(room): asks the other node, if this room has one, has somebody to bring, and has not asked yet
function handshake.connect(room)
	local peer = config.outbound(room);
	if not peer or not trust.may_federate(jid_host(peer)) or room._data.destroyed or not room:has_occupant() then return; end
	local link = links.get(room, peer);
	if not link then
		announce.take_back(room.jid, peer); -- left over from a former link, or process
		link = links.open(room, peer, "up");
		remembered.open(link);
		ask(room, link, some_person(room, link));
	elseif link:own("handshake").is_idle and some_person(room, link) then
		handshake.ask_again({ room = room; link = link });
	end
end

local function not_let_in(room, link, why)
	links.forget_told(link);
	remembered.only(link, {});
	link:own("handshake").is_refused = true;
	outage.begin(link, why);
	arrivals.forget_all(room, link);
end

-- refused(room, link, text): the other node refuses (N5)
function handshake.refused(room, link, text)
	if link.direction ~= "up" then return; end
	not_let_in(room, link, "it refuses" .. (text and text ~= "" and (": " .. text:sub(1, 200)) or ""));
end

-- left_alone(room, link, nick): an ordinary room has taken this one for a user of that nick, and let it in. It leaves again (2b).
function handshake.left_alone(room, link, nick)
	module:send(st.presence({ type = "unavailable"; from = room.jid .. "/" .. nick; to = link.peer .. "/" .. nick }));
	not_let_in(room, link, "it is an ordinary room, which does not federate");
	outage.postpone(link);
end

-- is_refused(link) -> whether the other node has refused this one, and not let it in since
function handshake.is_refused(link)
	return link.state == "lost" and link:own("handshake").is_refused or false;
end

local function reject(room_jid, peer, why)
	once("node\0" .. jid_host(peer), "info", "Refused %s, which wanted to join %s as a federated room: %s", peer, room_jid, why);
	module:fire_event("fmuc-join-refused", { error = st.stanza("error"):tag("not-allowed"):up() });
	module:send(generation2.reject(room_jid, peer, why));
end

-- The answer also has the joining user, if the room shows the user (N7)
local function confirm(room, link, nick)
	local entry = links.brought(link)[nick];
	if not entry or entry.hidden then return; end
	link:send(generation2.presence(room.jid, link.peer, announce.who(room, entry)));
end

-- An objection to a join -> text for the other node; or nil
local function objection(room, peer, said)
	if not dumps.may_have(peer) then return "Too many joins, try again later"; end
	if not links.get(room, peer) and not tree.has_place(room, peer) then return "Too many rooms have joined this room"; end
	if said.mark and tree.are_too_many(room, links.get(room, peer), said.mark) then return "Too many rooms are behind this room"; end
	local loop = said.mark and tree.find_loop(room, links.get(room, peer), said.mark.rooms);
	if loop then return "There is already a way to " .. loop; end
	local real_jid = jid_prep(said.real_jid);
	if not real_jid or not trust.may_speak_for(jid_host(peer), real_jid) then
		return ("%s may not speak for %s"):format(peer, said.real_jid or "a user without a JID");
	end
end

-- Sends occupants, history and subject; or, to a node that knows the history, what it has not got. may_repeat: a foreign node may have shown the
-- history, and would show it again (O19)
local function answer(room, link, join, said, is_known, may_repeat)
	local series = outbox.numbers(link);
	local sent_before = dumps.sent(link);
	arrivals.available(room, link, jid_resource(join.attr.from), join, said);
	announce.everybody(room, link);
	confirm(room, link, jid_resource(join.attr.from));
	if said.mark and said.mark.theirs == series then
		local received = said.mark.received or 0;
		announce.repeat_missing(room, link, received, received);
	elseif not may_repeat then
		history.send(room, link, join);
	end
	local own_mark = said.mark and mark(room, link, is_known);
	if own_mark then own_mark.stanzas = link.sent + 1; end
	announce.subject(room, link, own_mark);
	dumps.count(link.peer, dumps.sent(link) - sent_before);
end

-- accept(stanza, said): a room wants to federate with this one, or joins again after an outage
function handshake.accept(stanza, said)
	local peer, room_jid = jid_bare(stanza.attr.from), jid_bare(stanza.attr.to);
	local room = muc.get_room_from_jid(room_jid);
	if not room then return; end -- while this waited for its turn
	local why = objection(room, peer, said);
	if why then return reject(room_jid, peer, why); end
	local link = links.get(room, peer) or links.open(room, peer, "down");
	link:own("handshake").id, link:own("handshake").is_partial = said.mark and said.mark.id, said.mark ~= nil;
	local is_known = said.mark ~= nil and outbox.learn(link, said.mark.series, 0);
	local may_repeat = not said.mark and remembered.direction(room_jid, peer) == "down";
	if said.mark then remembered.close(room_jid, peer); else remembered.open(link); end
	links.learn_mark(link, said.mark);
	links.mark_stale(link);
	links.forget_told(link);
	link:restart_count(0, 1);
	link:fire("synced");
	answer(room, link, stanza, said, is_known, may_repeat);
	if not said.mark then
		remembered.only(link, links.told(link));
		links.forget_stale_marks(link);
		outbox.forget(link);
	end
	outage.over(link);
end

-- cross(join, said): a node that this one joins wants to join this one. Both may be configured so. Both joins would wait
-- for an answer for ever. So the one of the room with the lower JID wins. A node whose own join has failed gives way, too. So does this one to a
-- foreign node, which refuses the room that it joins itself (N5, O2).
function handshake.cross(join, said)
	local room = muc.get_room_from_jid(jid_bare(join.attr.to));
	local link = links.get(room, jid_bare(join.attr.from));
	if not config.accepts(room, link.peer) then
		reject(room.jid, link.peer, "This room does not federate with other rooms");
	elseif link.state == "live" then
		outage.begin(link, "it has forgotten this room", true);
	elseif link.state ~= "joining" or link.peer < room.jid or not said.mark then
		arrivals.forget_all(room, link);
		links.close(room, link);
		handshake.accept(join, said);
	end
end

local function part_stale(room, link)
	for nick, entry in pairs(links.brought(link)) do
		if entry.is_stale then arrivals.unavailable(room, link, nick, st.presence({ type = "unavailable" }), { codes = {} }); end
	end
end

-- old_message(room, link, nick, stanza, said): the other node says what was said before
function handshake.old_message(room, link, nick, stanza, said)
	local own = link:own("handshake");
	-- without its date: said before the other node has seen the join, and going to be repeated
	if not history.stamp_of(stanza, said.number and link.peer) then return; end
	if own.is_again and not links.mark(link) and history.is_before(stanza, own.seen_at) then return; end
	if said.number and not messages.accept(link, said) then return; end
	messages.old(room, link, nick, stanza, said, said.number ~= nil);
end

-- Sends what was said here while the link was not up
local function catch_up(room, link, their_mark)
	local own = link:own("handshake");
	outbox.learn(link, their_mark.series, 0);
	outbox.reach(link, their_mark.sent or 0);
	local known = their_mark.received or 0;
	local received = known;
	-- the other node has forgotten this one: it had what was said before the outage
	if not their_mark.is_known and own.is_again then received = outbox.since(link, outage.lost_at(link) or os.time()); end
	announce.repeat_missing(room, link, received, known);
	if own.is_again then module:fire_event("fmuc-resync"); end
end

-- synced(room, link, said): the other node has sent all that a joining node gets
function handshake.synced(room, link, said)
	local own = link:own("handshake");
	local their_mark = said.mark;
	if their_mark and their_mark.id ~= own.id then return; end -- the answer to an earlier question
	if their_mark and tree.are_too_many(room, link, their_mark) then return handshake.refused(room, link, "too many rooms are behind it"); end
	links.learn_mark(link, their_mark);
	if their_mark then remembered.close(room.jid, link.peer); else remembered.only(link, links.told(link)); end
	local loop = their_mark and tree.find_loop(room, link, their_mark.rooms);
	if loop then
		announce.nobody(room, link);
		outage.begin(link, "there is already a way to " .. loop);
		return arrivals.forget_all(room, link);
	end
	if not their_mark and select(2, replica.uplink(room)) then
		return handshake.refused(room, link, "primary-replica works only between nodes of this module");
	end
	if not link:fire("synced") then return; end
	part_stale(room, link);
	if their_mark then arrivals.settle(room, link); end
	if link.state ~= "live" then return; end -- the last user has lost the nick, and left
	announce.everybody(room, link);
	own.taken = nil;
	if not their_mark and not next(links.told(link)) and some_person(room, link) then return give_up_nicks(room, link); end
	if their_mark then
		catch_up(room, link, their_mark);
	else
		announce.repeat_waiting(room, link);
	end
	own.is_again, own.is_refused = nil, nil;
	if their_mark then
		link:restart_count(nil, their_mark.stanzas); -- what came before the answer was counted there earlier
		link:send(generation2.complete(room.jid, link.peer, own.id, select(2, outbox.numbers(link))));
	end
	outage.over(link);
	handshake.end_if_unused(room);
end

-- completed(room, link, said): the joining node has said who is there, and repeated its messages
function handshake.completed(room, link, said)
	if link.direction ~= "down" or not said.mark or said.mark.id ~= link:own("handshake").id then return; end
	outbox.reach(link, said.mark.sent or 0);
	part_stale(room, link);
	link:own("handshake").is_partial = false;
	handshake.end_if_unused(room);
end

-- Tells the other node that nobody is here any more, also those whom a foreign node has removed
local function part(room, link)
	announce.nobody(room, link);
	if not links.mark(link) then announce.take_back(room.jid, link.peer, true); end
end

-- leave(room, link): this node leaves the other one
function handshake.leave(room, link)
	part(room, link);
	link:fire("ended");
	arrivals.forget_all(room, link);
	links.close(room, link);
end

local function end_down(room, link)
	module:send(generation2.left(room.jid, link.peer));
	remembered.close(room.jid, link.peer);
	links.close(room, link);
end

-- dismiss(room, link): ends the link with a node that has joined this one (N16)
function handshake.dismiss(room, link)
	announce.nobody(room, link);
	link:fire("ended");
	arrivals.forget_all(room, link);
	end_down(room, link);
end

-- The last user has left. Until the other node confirms that, it may lack messages.
local function take_leave(room, link)
	if not links.mark(link) or not outbox.is_waiting(link, os.time()) then return handshake.leave(room, link); end
	announce.nobody(room, link);
	outage.rest(link);
	link:own("handshake").is_idle = true;
	arrivals.forget_all(room, link);
end

-- end_if_unused(room): somebody has left: a link ends with the last user whom the joining side brought (N16). While it names its users, the first
-- one may leave before the second one comes.
function handshake.end_if_unused(room)
	for link in links.each(room) do
		local is_open = link.state == "live" or link.state == "joining"; -- meanwhile it may have been closed
		if is_open and link.direction == "up" and not next(links.told(link)) then
			take_leave(room, link);
		elseif is_open and link.direction == "down" and not next(links.brought(link)) and not link:own("handshake").is_partial then
			end_down(room, link);
		end
	end
end

-- left(room, link): the other node confirms that this one has left, or ends the link (N16, O10)
function handshake.left(room, link)
	if link.direction ~= "up" or link.state == "joining" then return; end -- it has not got the question yet
	if not links.mark(link) and link.state ~= "live" then return; end -- an answer to parts before the last join
	remembered.close(room.jid, link.peer);
	links.forget_told(link);
	-- somebody may be here whom it does not know
	if some_person(room, link) then outage.begin(link, "it has ended the link", true); else link:fire("ended"); end
	arrivals.forget_all(room, link);
	if link.state == "ending" then links.close(room, link); end
end

-- handle_presence(event): something about an occupant has changed: the room may have its first user
function handshake.handle_presence(event)
	local room = event.room;
	if event.nick then return begin_rename(room); end -- somebody leaves under one nick, and comes back under another
	if room.fmuc then ask_waiting(room); end
	handshake.connect(room);
end

-- handle_left(event): an occupant has left, perhaps the last one. mod_muc has told everybody.
function handshake.handle_left(event)
	local is_rename = event.stanza and not event.stanza.attr.type;
	if event.room.fmuc and not is_rename then handshake.end_if_unused(event.room); end
end

-- handle_configured(event): an owner has changed with whom the room federates
function handshake.handle_configured(event)
	local room = event.room;
	for link in links.each(room) do
		if link.direction == "up" and event.is_outbound_changed then
			handshake.leave(room, link);
		elseif link.direction == "down" and not config.accepts(room, link.peer) then
			handshake.dismiss(room, link);
		end
	end
	handshake.connect(room);
end

local function stop(room, link)
	if link.direction == "up" then handshake.leave(room, link); else handshake.dismiss(room, link); end
end

-- end_all(room): the room does not federate any more
function handshake.end_all(room)
	for link in links.each(room) do stop(room, link); end
end

-- check(room): ends links that the configuration of this server does not allow any more
function handshake.check(room)
	for link in links.each(room) do
		local is_allowed = trust.may_federate(jid_host(link.peer)) and (link.direction == "up" or config.accepts(room, link.peer));
		if not is_allowed then stop(room, link); end
	end
	ids.forget(room.jid);
end

-- handle_destroyed(event): the room ends
function handshake.handle_destroyed(event)
	local room = event.room;
	for link in links.each(room) do
		if link.direction == "down" then
			end_down(room, link);
		else
			part(room, link);
			links.close(room, link);
		end
	end
	ids.forget(room.jid);
end

return handshake;
