-- SPDX-License-Identifier: MIT
-- A tree of four federated rooms (mod_fmuc, generation 2) under faults by a fixed seed. Links are cut, held, slowed, or break in the middle of a
-- stanza. Servers stand still, are restarted or killed, also while a link is cut. Modules are reloaded. Meanwhile users join, leave, talk, and change
-- statuses and nicks.
--
-- In the end every user must have seen each message once, in the order of its author (in mode primary-replica: all in the order of the primary), and
-- must see all other users. What was said on a killed server
-- shortly before its end may be lost.

local federation = require "federation";
local loop = require "bed.loop";
local nodes = require "nodes";
local st = require "util.stanza";

local soak = {};

-- b joins a; c and d join b
local names = { "a", "b", "c", "d" };
local edges = { { "b", "a" }, { "c", "b" }, { "d", "b" } };

-- Only users who come and go are on d, so that its link ends and begins
local stays = { a1 = true; b1 = true; c1 = true };
local users_of_each = 3;

-- Nicks that two users may want
local contested = { Romeo = true; Juliet = true };
local contested_nicks = { "Romeo", "Juliet" };

local conflict_reason = "Another user of this federated room has this nickname";

local options = [[
	fmuc_grace_period = 4
	fmuc_join_timeout = 5
]];

-- the sequence is the same in every Lua and run
local function new_random(seed)
	local state = seed;
	return function (n)
		state = (state * 1103515245 + 12345) % 2147483648;
		return math.floor(state / 65536) % n + 1;
	end
end

local function room_of(name)
	return ("tree@rooms.%s.example"):format(name);
end

local user = {};
local user_mt = { __index = user };

-- name: the node and a number; the nick is its capital form, until the user wants another
local function new_user(run, name)
	local side = name:sub(1, 1);
	return setmetatable({ run = run; name = name; side = side; room = room_of(side); own_nick = name:upper();
		jid = ("%s@%s.example/pc"):format(name, side); wanted = true; changes = 0 }, user_mt);
end

function user:connect()
	self.client = self.run.servers[self.side]:client(self.jid);
	self.client.on_stanza = function (stanza) self:receive(stanza); end;
end

function user:join(nick)
	-- what the user sees from now on: texts -> how often; nick -> show; author -> number of the last message; messages
	self.view = { seen = {}; occupants = {}; last = {}; order = {}; name = self.name };
	self.nick, self.inside, self.joining, self.show = nick or self.own_nick, false, true, "";
	self.client:send(federation.join(self.room, self.nick));
end

-- Notes how long somebody has a nick that two users may want. nick: from now on; nil: none
function user:hold(nick)
	if self.holding then self.holding.till = loop.now(); end
	self.holding = nil;
	if not nick or not contested[nick] then return; end
	self.holding = { user = self; nick = nick; from = loop.now(); till = math.huge };
	table.insert(self.run.holdings, self.holding);
end

-- The room confirms it; until then the user does not come back
function user:leave()
	self:hold(nil);
	self.client:send(st.presence({ type = "unavailable"; to = self.room .. "/" .. self.nick }));
	self.view, self.inside, self.joining, self.leaving = nil, false, false, true;
end

-- the server is gone, and with it the connection
function user:lose()
	self:hold(nil);
	self.client, self.view, self.inside, self.joining, self.leaving = nil, nil, false, false, false;
end

function user:say()
	local run = self.run;
	run.said = run.said + 1;
	local text = ("m%d of %s"):format(run.said, self.name);
	run.messages[text] = { text = text; author = self; nick = self.nick; view = self.view; at = loop.now(); number = run.said };
	self.client:send(st.message({ type = "groupchat"; to = self.room; id = text }):text_tag("body", text));
end

function user:change_status()
	self.show = self.show == "" and "away" or "";
	local presence = st.presence { to = self.room .. "/" .. self.nick };
	if self.show ~= "" then presence:text_tag("show", self.show); end
	self.client:send(presence);
end

-- The room answers with 303 and 110, or refuses because somebody has the nick
function user:change_nick(nick)
	local presence = st.presence { to = self.room .. "/" .. nick; id = "nick-" .. nick };
	if self.show ~= "" then presence:text_tag("show", self.show); end
	self.client:send(presence);
end

local function has_code(presence, code)
	return (" " .. federation.codes(presence) .. " "):find(" " .. code .. " ", 1, true) ~= nil;
end

local function reason_of(presence)
	return presence:find(nodes.muc_user .. "/item/reason#");
end

function user:thrown_out(stanza)
	local run = self.run;
	if reason_of(stanza) == conflict_reason and contested[self.nick] then
		run.conflicts = run.conflicts + 1;
		self.view.lost_nick = true;
		run.note("%s loses the nick %s", self.name, self.nick);
	elseif stanza.attr.type == "unavailable" then
		table.insert(run.thrown_out, ("%s %s: %s %s"):format(os.date("%T"), self.name, federation.codes(stanza), reason_of(stanza) or ""));
	end
	self:hold(nil);
	self.view, self.inside, self.joining = nil, false, false;
end

function user:receive_presence(stanza)
	local nick, kind = stanza.attr.from:sub(#self.room + 2), stanza.attr.type;
	local is_own = has_code(stanza, "110");
	if kind == "unavailable" and is_own and self.leaving then
		self.leaving = false;
	elseif not self.view then
		return;
	elseif kind == nil then
		self.view.occupants[nick] = stanza:get_child_text("show") or "";
		if not is_own then return; end
		if self.nick ~= nick or not self.inside then self:hold(nick); end
		self.nick = nick;
		if not self.inside then self.inside, self.joining, self.view.since = true, false, loop.now(); end
	elseif kind == "unavailable" then
		self.view.occupants[nick] = nil;
		if is_own and not has_code(stanza, "303") then self:thrown_out(stanza); end
	elseif kind == "error" and self.joining and (stanza.attr.id or ""):find("^join") then
		self:thrown_out(stanza); -- somebody has that nick
	end
end

local function count_seen(run, view, message)
	message.shown = true;
	local text, author = message.text, message.author.name;
	view.seen[text] = (view.seen[text] or 0) + 1;
	if view.seen[text] == 2 then table.insert(run.doubled, ("%s %s to %s"):format(os.date("%T"), text, view.name)); end
	if view.seen[text] > 1 or not view.since or message.at < view.since then return; end -- the past comes when the other nodes tell it
	if message.doubtful then return; end
	if (view.last[author] or 0) > message.number then
		table.insert(run.disordered, ("%s %s to %s after m%d"):format(os.date("%T"), text, view.name, view.last[author]));
	end
	view.last[author] = message.number;
	table.insert(view.order, message);
end

function user:receive(stanza)
	if not stanza.attr.from or stanza.attr.from:sub(1, #self.room) ~= self.room then return; end
	if stanza.name == "presence" then return self:receive_presence(stanza); end
	local message = self.run.messages[stanza.attr.type == "error" and stanza.attr.id or stanza:get_child_text("body")];
	if not message then return; end
	if stanza.attr.type == "error" then
		message.refused = true;
	elseif self.view then
		if message.author == self then message.heard = message.heard or loop.now(); end
		count_seen(self.run, self.view, message);
	end
end

local function each_user(run, side)
	local list = {};
	for _, one in ipairs(run.users) do
		if not side or one.side == side then list[#list + 1] = one; end
	end
	return ipairs(list);
end

-- What one user does next
local function act_once(run)
	local one = run.users[run.random(#run.users)];
	local what = run.random(20);
	if not one.client or one.client.closed then return; end
	if not one.view then
		if one.leaving or stays[one.name] and not one.wanted then return; end
		if stays[one.name] or what <= 8 then
			one.wanted = true;
			one:join(what <= 2 and not stays[one.name] and contested_nicks[run.random(#contested_nicks)] or nil);
		end
	elseif not one.inside then
		return;
	elseif what <= 2 and not stays[one.name] then
		one.wanted = false;
		one:leave();
	elseif what == 3 then
		one:change_status();
	elseif what == 4 and not stays[one.name] then
		one.changes = one.changes + 1;
		one:change_nick(run.random(3) == 1 and contested_nicks[run.random(#contested_nicks)] or ("%s-%d"):format(one.own_nick, one.changes));
	else
		one:say();
	end
end

local function links_of(run, name)
	local list = {};
	for _, link in ipairs(run.links) do
		if link.names[1] == name or link.names[2] == name then list[#list + 1] = link; end
	end
	return list;
end

-- states(run, name) -> { [peer] = state of the link } of the room of that node
local function states(run, name)
	return run.servers[name]:eval(([[
		local states = {};
		for link in prosody.hosts[%q].modules.fmuc.lib "link/link".each() do states[link.peer] = link.state; end
		return states;
	]]):format("rooms." .. name .. ".example"));
end

-- Whether all links of the node are up, and nothing happens to them or to its neighbours
local function is_undisturbed(run, name)
	if next(run.frozen) then return false; end
	for _, link in ipairs(links_of(run, name)) do
		if link.busy then return false; end
		for _, side in ipairs(link.names) do
			for _, state in pairs(states(run, side)) do
				if state ~= "live" then return false; end
			end
		end
	end
	return true;
end

-- A link to which nothing happens; or nil
local function free_link(run)
	local link = run.links[run.random(#run.links)];
	return not link.busy and link or nil;
end

local function later(run, link, seconds, f)
	if link then link.busy = true; end
	table.insert(run.endings, { at = loop.now() + seconds, f = function ()
		if link then link.busy = false; end
		f();
	end });
end

local function on_link(f)
	return function (run)
		local link = free_link(run);
		return link and f(run, link, table.concat(link.names, "-"));
	end
end

local function free_server(run)
	local name = names[run.random(#names)];
	return not run.frozen[name] and name or nil;
end

-- The nodes whose way to a node is over that one, which joins it
local behind = { b = { b = true; c = true; d = true }; c = { c = true }; d = { d = true } };

-- f() makes mod_muc of the node forget its history. A joining node of which the node does not know yet gets no more than this history.
local function lose_history(run, name, f)
	local known = states(run, name);
	f();
	for _, edge in ipairs(edges) do
		if edge[2] == name and not known[room_of(edge[1])] then
			table.insert(run.unknown, { behind = behind[edge[1]]; at = loop.now() });
		end
	end
end

-- how: "stop" or "kill"
local function restart(run, name, how)
	run.note("%s %s", how, name);
	run.frozen[name] = true;
	lose_history(run, name, function () run.servers[name][how](run.servers[name]); end);
	for _, one in each_user(run, name) do one:lose(); end
	run.act(run.random(30) / 10);
	run.servers[name]:start();
	run.frozen[name] = nil;
	for _, one in each_user(run, name) do
		one:connect();
		if one.wanted then one:join(); end
	end
	run.note("%s is back", name);
end

local cut = on_link(function (run, link, title)
	local seconds = run.random(4) == 1 and 5 + run.random(40) / 10 or run.random(20) / 10; -- beyond the grace period, or not
	run.note("cut %s for %.1f s", title, seconds);
	link.relay:cut();
	later(run, link, seconds, function ()
		link.relay:restore();
		run.note("restored %s", title);
	end);
end);

local cut_in_stanza = on_link(function (run, link, title)
	local from, pause = run.servers[link.names[run.random(2)]], run.random(20) / 10;
	run.note("cut %s within a stanza", title);
	link.relay:cut_after(from, run.random(1200));
	later(run, link, 1.5, function ()
		link.relay:cut_after(from, nil);
		link.relay:cut();
		later(run, link, pause, function ()
			link.relay:restore();
			run.note("restored %s", title);
		end);
	end);
end);

-- what is held arrives in the end, or is lost
local stall = on_link(function (run, link, title)
	local is_lost, seconds = run.random(2) == 1, 0.5 + run.random(40) / 10;
	run.note("stall %s for %.1f s%s", title, seconds, is_lost and ", and cut" or "");
	link.relay:stall();
	later(run, link, seconds, function ()
		if is_lost then link.relay:cut(); end
		link.relay:restore();
		run.note("released %s", title);
	end);
end);

local slow = on_link(function (run, link, title)
	local seconds = run.random(40) / 10;
	run.note("slow %s for %.1f s", title, seconds);
	link.relay:delay(run.random(10) / 10);
	link.relay:rate(500 + run.random(4000));
	later(run, link, seconds, function ()
		link.relay:delay(nil);
		link.relay:rate(nil);
	end);
end);

local function freeze(run)
	local name = free_server(run);
	if not name then return; end
	local seconds = 0.5 + run.random(60) / 10;
	run.note("freeze %s for %.1f s", name, seconds);
	run.servers[name]:freeze();
	run.frozen[name] = true;
	later(run, nil, seconds, function ()
		run.servers[name]:thaw();
		run.frozen[name] = nil;
		run.note("thawed %s", name);
	end);
end

local function reload(run)
	local name = free_server(run);
	if not name then return; end
	local module = run.random(3) == 1 and "muc" or "fmuc";
	run.note("reload %s of %s", module, name);
	local function go() run.servers[name]:reload(module, "rooms." .. name .. ".example"); end
	if module == "muc" then lose_history(run, name, go); else go(); end
end

local function try_restart(run)
	local name = free_server(run);
	if name and is_undisturbed(run, name) then restart(run, name, "stop"); end
end

-- A server is restarted while messages wait for one of its neighbours
local restart_cut_off = on_link(function (run, link, title)
	local name, is_stalled = link.names[run.random(2)], run.random(3) == 1;
	if run.frozen[name] then return; end
	run.note("%s %s", is_stalled and "stall" or "cut", title);
	link.relay[is_stalled and "stall" or "cut"](link.relay);
	link.busy = true;
	run.act(run.random(30) / 10);
	if not run.frozen[name] then restart(run, name, "stop"); end
	link.busy = false;
	link.relay:cut();
	link.relay:restore();
	run.note("restored %s", title);
end);

-- Until so many seconds before a server is killed, all has crossed its links
local sure = 5;

local function kill(run)
	local name = free_server(run);
	if not name or not is_undisturbed(run, name) then return; end
	local from, link = loop.now() - sure, links_of(run, name)[1];
	local is_cut_off = run.random(2) == 1;
	if is_cut_off then
		run.note("cut %s", table.concat(link.names, "-"));
		link.busy = true;
		link.relay:cut();
		run.act(run.random(20) / 10);
	end
	for _, message in pairs(run.messages) do
		if message.author.side == name and message.at >= from then message.doubtful = true; end
	end
	restart(run, name, "kill");
	if is_cut_off then
		link.busy = false;
		link.relay:restore();
		run.note("restored %s", table.concat(link.names, "-"));
	end
end

local faults = { cut, cut, cut_in_stanza, stall, slow, freeze, reload, try_restart, restart_cut_off, kill };

local function end_faults(run, time)
	for i = #run.endings, 1, -1 do
		local ending = run.endings[i];
		if ending and ending.at <= time then
			table.remove(run.endings, i);
			ending.f();
		end
	end
end

-- Who should be there and is not, as text; nil when everybody is
local function missing(run)
	local list = {};
	for _, one in ipairs(run.users) do
		if not one.inside then list[#list + 1] = one.name; end
	end
	return list[1] and table.concat(list, ", ");
end

-- Which link is not up, as text; nil when all are
local function down(run)
	for _, link in ipairs(run.links) do
		for i, name in ipairs(link.names) do
			local state = states(run, name)[room_of(link.names[3 - i])];
			if state ~= "live" then return ("%s to %s: %s"):format(name, link.names[3 - i], state or "no link"); end
		end
	end
end

-- Whether another user had the author's nick while the author's server handled the message
local function is_of_taken_nick(run, message)
	for _, holding in ipairs(run.holdings) do
		if holding.nick == message.nick and holding.user ~= message.author and holding.from <= (message.heard or math.huge)
			and holding.till >= message.at then return true; end
	end
	return false;
end

-- Whether nobody can tell the user of that message, because the joined node has forgotten it before it knew of the user's node
local function is_forgotten(message, one)
	for _, case in ipairs(one.run.unknown) do
		if case.behind[one.side] and not case.behind[message.author.side] and message.at <= case.at and one.view.since <= case.at then
			return true;
		end
	end
	return false;
end

local function is_due(message, one)
	local view = one.view;
	if not view or not view.since or view.since >= message.at or message.refused or message.doubtful then return false; end
	if message.view.lost_nick and contested[message.nick] then return false; end -- elsewhere another user had that nick
	if is_of_taken_nick(one.run, message) or is_forgotten(message, one) then return false; end
	-- the author's connection may have ended before anybody could know what became of the message
	return message.shown or message.author.view == message.view;
end

local function find_lost(run, since)
	local lost = {};
	for _, message in pairs(run.messages) do
		for _, one in ipairs(run.users) do
			if message.number >= (since or 0) and is_due(message, one) and not one.view.seen[message.text] then
				lost[#lost + 1] = { number = message.number; ("%s %s (as %s) to %s, in since %s"):format(run.time(message.at), message.text,
					message.nick, one.name, run.time(one.view.since)) };
			end
		end
	end
	table.sort(lost, function (x, y) return x.number < y.number or x.number == y.number and x[1] < y[1]; end);
	for i, entry in ipairs(lost) do lost[i] = entry[1]; end
	return lost;
end

-- What two users saw in different orders, of what was said while both were in. Replicas show the order of their primary.
local function find_swapped(run)
	local swapped = {};
	if run.mode ~= "primary-replica" then return swapped; end
	for i, one in ipairs(run.users) do
		local place = {};
		for number, message in ipairs(one.view and one.view.order or {}) do place[message] = number; end
		for j = i + 1, #run.users do
			local other, before = run.users[j], nil;
			for _, message in ipairs(other.view and other.view.order or {}) do
				if before and place[message] and place[message] < place[before] then
					table.insert(swapped, ("%s before %s to %s, after it to %s"):format(before.text, message.text, other.name, one.name));
				end
				if place[message] then before = message; end
			end
		end
	end
	return swapped;
end

-- Who sees somebody who is not there, or not somebody who is, or as he was before
local function find_ghosts(run)
	local ghosts, expected, expected_nicks = {}, {}, {};
	for _, one in ipairs(run.users) do
		if one.inside then
			expected[one.nick] = one.show;
			expected_nicks[#expected_nicks + 1] = one.nick;
		end
	end
	table.sort(expected_nicks);
	for _, one in ipairs(run.users) do
		local seen = one.view and one.view.occupants or expected;
		for nick, show in pairs(seen) do
			if expected[nick] ~= show then table.insert(ghosts, ("%s (%s) to %s"):format(nick, show, one.name)); end
		end
		for nick in pairs(expected) do
			if not seen[nick] then table.insert(ghosts, ("no %s to %s"):format(nick, one.name)); end
		end
	end
	for _, name in ipairs(names) do
		local found, wanted = table.concat(nodes.occupants(run.servers[name], room_of(name)), " "), table.concat(expected_nicks, " ");
		if found ~= wanted then table.insert(ghosts, ("%s has [%s] instead of [%s]"):format(room_of(name), found, wanted)); end
	end
	return ghosts;
end

-- Bytes that the node's Lua state holds
local function heap(run, name)
	return run.servers[name]:eval [[
		collectgarbage(); collectgarbage();
		return collectgarbage("count") * 1024;
	]];
end

local function finish(run, s)
	run.note("the faults end");
	while #run.endings > 0 do end_faults(run, math.huge); end
	for _, one in ipairs(run.users) do one.wanted = true; end
	s:wait_until(function ()
		for _, one in ipairs(run.users) do
			if one.client and not one.view and not one.leaving then one:join(); end
		end
		return not missing(run);
	end, 60, function () return "everybody back in the room; missing: " .. missing(run); end);
	s:wait_until(function () return not down(run); end, 120, function () return "all links up; " .. (down(run) or "now they are"); end);
	-- who came in after the last message has to see the last words all the same
	local first = run.said + 1;
	for _, one in ipairs(run.users) do
		if one.inside then one:say(); end
	end
	run.note("the last words are from m%d on", first);
	pcall(loop.wait_until, function () return #find_lost(run) == 0 and #find_ghosts(run) == 0; end, 20);
	loop.wait(1); -- for what comes twice
end

-- Each server trusts each other one for the users of all nodes
local function trust(name)
	local list = {};
	for _, other in ipairs(names) do
		local domains = {};
		for _, third in ipairs(names) do
			if third ~= name then domains[#domains + 1] = ("%q"):format(third .. ".example"); end
		end
		if other ~= name then list[#list + 1] = ("[\"rooms.%s.example\"] = { %s }"):format(other, table.concat(domains, ", ")); end
	end
	return "\tfmuc_trust = { " .. table.concat(list, ", ") .. " }\n";
end

local function build_tree(run, s, versions)
	local outbound, inbound = {}, {};
	for i, name in ipairs(names) do
		local server = nodes.server(s, name, i % 2 == 1 and versions.e or versions.w, trust(name) .. options);
		server:allow_log("Failed to receive a stream close response");
		server:allow_log("Session closed by remote with error: not%-well%-formed"); -- link:cut_after() overtakes what a slow link still holds
		run.servers[name], inbound[name] = server, {};
	end
	for _, edge in ipairs(edges) do
		local from, to = edge[1], edge[2];
		run.links[#run.links + 1] = { names = edge; relay = s:link(run.servers[from], run.servers[to]) };
		outbound[from] = room_of(to);
		table.insert(inbound[to], room_of(from));
	end
	for _, name in ipairs(names) do
		local settings = { outbound_peer = outbound[name]; mode = run.mode; inbound_peers = inbound[name] };
		nodes.make_room(run.servers[name], room_of(name), settings, "room:set_historylength(1000);");
	end
end

local function new_run(mode, seed)
	local run = { mode = mode; random = new_random(seed); messages = {}; said = 0; conflicts = 0; thrown_out = {}; doubled = {}; disordered = {};
		users = {}; faults = 0; servers = {}; links = {}; endings = {}; frozen = {}; journal = {};
		holdings = {}; unknown = {} };
	local offset = os.time() - loop.now();
	function run.time(at)
		return os.date("%T", math.floor(offset + at));
	end
	function run.note(...)
		table.insert(run.journal, os.date("%T ") .. (...):format(select(2, ...)));
	end
	function run.act(duration)
		local deadline = loop.now() + duration;
		while loop.now() < deadline do
			act_once(run);
			loop.wait(run.random(15) / 100);
			end_faults(run, loop.now());
		end
	end
	return run;
end

-- run(s, versions, mode, seed, seconds) -> report: said, faults, conflicts (numbers), growth (most bytes of heap by which a server grew), journal
-- (what happened when), and thrown_out, lost, doubled, disordered, swapped, ghosts (lists of texts, which should be empty)
function soak.run(s, versions, mode, seed, seconds)
	local run = new_run(mode, seed);
	build_tree(run, s, versions);
	for _, name in ipairs(names) do
		for i = 1, users_of_each do
			local one = new_user(run, name .. i);
			table.insert(run.users, one);
			one:connect();
			one:join();
		end
	end
	s:wait_until(function () return not missing(run) and not down(run) and #find_ghosts(run) == 0; end, 20, "everybody to see everybody");
	local before = {};
	for _, name in ipairs(names) do before[name] = heap(run, name); end
	local deadline = loop.now() + seconds;
	while loop.now() < deadline do
		run.act(0.3 + run.random(15) / 10);
		run.faults = run.faults + 1;
		faults[run.random(#faults)](run);
	end
	finish(run, s);
	local growth = 0;
	for _, name in ipairs(names) do growth = math.max(growth, heap(run, name) - before[name]); end
	return { said = run.said; faults = run.faults; conflicts = run.conflicts; growth = growth; journal = run.journal;
		thrown_out = run.thrown_out; lost = find_lost(run); doubled = run.doubled; disordered = run.disordered; swapped = find_swapped(run);
		ghosts = find_ghosts(run) };
end

return soak;
