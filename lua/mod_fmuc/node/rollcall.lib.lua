-- SPDX-License-Identifier: MIT
-- After a connection broke, a node of another kind (Openfire) neither joins again nor says whom it has (O18, O19). So this node asks the other room
-- who is there (disco#items). That tells whether the other node was restarted, and who has left meanwhile on either side.
--
-- While the question is open, a join of that node waits. A restarted node needs occupants and subject in answer. Another one would show them again.
--
-- link:own("rollcall"):
--   is_open    the question is open
--   held       the join that waits (stanza)
--   missed     set of nicks of users there whose real JIDs a new join did not bring

local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local foreign = lib "node/foreign";
local generation2 = lib "dialect/generation2";
local handshake = lib "node/handshake";
local links = lib "node/links";
local outage = lib "node/outage";
local queue = lib "node/queue";
local remembered = lib "node/remembered";
local requests = lib "link/requests";
local settings = lib "settings";
local muc = module:depends "muc";

local xmlns_info, xmlns_items = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items";

local rollcall = {};

local function own(link)
	return link:own("rollcall");
end

local function copy(users)
	local real_jids = {};
	for nick, user in pairs(users) do
		if not user.is_removed then real_jids[nick] = user.real_jid; end
	end
	return real_jids;
end

local function question(link, xmlns)
	return requests.get(link.room_jid, link.peer):tag("query", { xmlns = xmlns }):up();
end

-- ask(link): asks who is there
function rollcall.ask(link)
	local data = own(link);
	if data.is_open then return; end
	outage.trust(link);
	data.is_open = requests.send("node-items", question(link, xmlns_items),
		{ room_jid = link.room_jid; told = copy(links.told(link)); brought = copy(links.brought(link)) }, settings.join_timeout);
end

-- handle_doubt(event): it is time to ask
function rollcall.handle_doubt(event)
	rollcall.ask(event.link);
end

-- hold(link, join) -> whether the join waits for the answer
function rollcall.hold(link, join)
	if not own(link).is_open and not outage.is_doubtful(link) then return false; end
	rollcall.ask(link);
	if not own(link).is_open then return false; end
	own(link).held = join;
	return true;
end

local function bring(room, link, join)
	arrivals.available(room, link, jid_resource(join.attr.from), join, generation2.read(join));
end

local function has_any(users, nicks)
	for nick in pairs(users) do
		if nicks[nick] then return true; end
	end
	return false;
end

-- Whether the other node has lost what it knew. nicks: who is there
local function is_forgotten(record, nicks)
	if next(record.told) then return not has_any(record.told, nicks); end
	return next(record.brought) ~= nil and not has_any(record.brought, nicks);
end

local function forgotten(room, link, held)
	if link.direction == "up" then return outage.begin(link, "it has forgotten this room", true); end
	foreign.forgotten(room, link);
	if held then handshake.accept(held, generation2.read(held)); end
end

-- Whether somebody is there whom this node should know. The next join of this node brings the user.
local function misses_somebody(link, record, nicks)
	local told, brought, known, missed = links.told(link), links.brought(link), own(link).missed or {}, {};
	local has_new = false;
	for nick in pairs(nicks) do
		if not told[nick] and not brought[nick] and not record.told[nick] then
			missed[nick] = true;
			has_new = has_new or not known[nick];
		end
	end
	own(link).missed = missed;
	return has_new;
end

local function reconcile(room, link, record, nicks)
	local told, brought = links.told(link), links.brought(link);
	for nick, real_jid in pairs(record.brought) do
		if not nicks[nick] and brought[nick] and brought[nick].real_jid == real_jid then
			arrivals.unavailable(room, link, nick, st.presence({ type = "unavailable" }), { codes = {} });
		end
	end
	for nick, real_jid in pairs(record.told) do
		if not nicks[nick] and told[nick] and told[nick].real_jid == real_jid then announce.repeat_user(room, link, nick); end
	end
	local ghosts = {};
	for real_jid, nick in pairs(remembered.users(room.jid, link.peer)) do
		if nicks[nick] and not told[nick] and not brought[nick] then ghosts[real_jid] = nick; end
	end
	announce.recall(room.jid, link.peer, ghosts);
	if link.direction == "up" and misses_somebody(link, record, nicks) then outage.begin(link, "users were missed", true); end
end

-- nicks: who is there; nil: the other room does not say it
local function conclude(room, link, record, nicks)
	local data = own(link);
	if not data.is_open then return; end -- while this waited for its turn
	local held = data.held;
	data.is_open, data.held = nil, nil;
	if link.direction == "up" and link.state ~= "live" then return; end -- a new join tells all that
	if nicks and is_forgotten(record, nicks) then return forgotten(room, link, held); end
	if link.state == "lost" and link.direction == "down" and link:fire("synced") then
		module:fire_event("fmuc-node-reached", { room = room; link = link }); -- it does not ask again by itself (O18)
	end
	if link.state ~= "live" then return; end
	if held then bring(room, link, held); end
	if nicks then reconcile(room, link, record, nicks); end
	if held and (not nicks or not next(record.told)) then foreign.greet(room, link); end
	handshake.end_if_unused(room);
end

local function finish(room, link, record, nicks, answer)
	queue.take(room.jid, link.peer, answer, function () conclude(room, link, record, nicks); end);
end

local function link_of(record)
	local room = muc.get_room_from_jid(record.room_jid);
	local link = links.get(room, record.peer);
	return room, link and own(link).is_open and link or nil;
end

local function failed(link)
	own(link).is_open, own(link).held = nil, nil;
	outage.begin(link, "it does not answer");
end

requests.on("node-items", function (record, answer, is_undeliverable)
	local room, link = link_of(record);
	if not link then return; end
	if not answer or is_undeliverable then return failed(link); end
	local query = answer:get_child("query", xmlns_items);
	local nicks = {};
	for item in (query or st.stanza("query")):childtags("item") do nicks[jid_resource(item.attr.jid) or ""] = true; end
	if next(nicks) then return finish(room, link, record, nicks, answer); end
	-- nobody is there, or the room does not tell
	if not requests.send("node-info", question(link, xmlns_info), record, settings.join_timeout) then finish(room, link, record, nil, answer); end
end);

requests.on("node-info", function (record, answer, is_undeliverable)
	local room, link = link_of(record);
	if not link then return; end
	if not answer or is_undeliverable then return failed(link); end
	local query = answer:get_child("query", xmlns_info);
	local is_public = false;
	for feature in (query or st.stanza("query")):childtags("feature") do is_public = is_public or feature.attr.var == "muc_public"; end
	finish(room, link, record, is_public and {} or nil, answer);
end);

return rollcall;
