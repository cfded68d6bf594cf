-- SPDX-License-Identifier: MIT
-- Faults by a fixed seed. Links are cut, swallow data or break in the middle of a stanza. Servers are killed and modules are reloaded.
-- Meanwhile users join, leave and talk. In the end every user must have seen each message once, and must see all other users.

local federation = require "federation";
local outages = require "outages";
local loop = require "bed.loop";
local st = require "util.stanza";

local soak = {};

-- the sequence is the same in every Lua and run
local function new_random(seed)
	local state = seed;
	return function (n)
		state = (state * 1103515245 + 12345) % 2147483648;
		return math.floor(state / 65536) % n + 1;
	end
end

local user = {};
local user_mt = { __index = user };

local function new_user(run, name, side)
	local nick = name:sub(1, 1):upper() .. name:sub(2);
	local room = side == "talk" and federation.master_room or federation.mirror_room;
	return setmetatable({ run = run; nick = nick; side = side; room = room; occupant_jid = room .. "/" .. nick;
		jid = name .. (side == "talk" and "@example.com/desk" or "@remote.example.com/desk") }, user_mt);
end

function user:connect()
	self.client = self.run.f[self.side]:client(self.jid);
	self.client.on_stanza = function (stanza) self:receive(stanza); end;
end

function user:join()
	-- what the user sees from now on: texts -> how often; nick -> show
	self.view = { seen = {}; occupants = {}; asked_at = loop.now() };
	self.inside, self.joining, self.away = false, true, false;
	self.client:send(federation.join(self.room, self.nick));
end

function user:leave()
	self.client:send(st.presence({ type = "unavailable"; to = self.occupant_jid }));
	self.view, self.inside, self.joining = nil, false, false;
end

-- the server is gone, and with it the connection
function user:lose()
	self.client, self.view, self.inside, self.joining = nil, nil, false, false;
end

local function new_message(self)
	local run = self.run;
	run.said = run.said + 1;
	local text = ("m%d of %s"):format(run.said, self.nick);
	run.messages[text] = { author = self; view = self.view; at = loop.now(); number = run.said };
	return st.message({ type = "groupchat"; to = self.room; id = text }), run.messages[text];
end

function user:say()
	local stanza = new_message(self);
	self.client:send(stanza:text_tag("body", stanza.attr.id));
end

-- Whether the master knows of the mirror; after a SIGKILL it does not until the mirror is back
local function knows_mirror(run)
	return run.f.talk:eval(([[
		local room = prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q);
		return room ~= nil and room.fmuc ~= nil;
	]]):format(federation.master_room));
end

-- No server may keep it, but those in the room get it, and those whom the master expects back
function user:whisper()
	local stanza, message = new_message(self);
	message.is_volatile, message.is_forgotten = true, not knows_mirror(self.run);
	self.client:send(stanza:text_tag("body", stanza.attr.id):tag("no-store", { xmlns = "urn:xmpp:hints" }):up());
end

-- Nobody may see it twice; in an outage nobody need see it
function user:type()
	local stanza, message = new_message(self);
	message.is_passing = true;
	self.client:send(stanza:tag("composing", { xmlns = "http://jabber.org/protocol/chatstates" }):up());
end

function user:change_status()
	self.away = not self.away;
	local presence = st.presence { to = self.occupant_jid };
	if self.away then presence:text_tag("show", "away"); end
	self.client:send(presence);
end

local function is_own(presence)
	return (" " .. federation.codes(presence) .. " "):find(" 110 ", 1, true) ~= nil;
end

function user:receive_presence(stanza)
	local nick = stanza.attr.from:sub(#self.room + 2);
	if stanza.attr.type == nil then
		self.view.occupants[nick] = stanza:get_child_text("show") or "";
		if is_own(stanza) and not self.inside then
			self.inside, self.joining, self.view.since = true, false, loop.now();
		end
	elseif stanza.attr.type == "unavailable" then
		self.view.occupants[nick] = nil;
		if is_own(stanza) then self:thrown_out(stanza); end
	elseif stanza.attr.type == "error" and self.joining then
		self:thrown_out(stanza); -- while the master is away; try again
	end
end

function user:thrown_out(stanza)
	if self.inside then table.insert(self.run.thrown_out, ("%s: %s"):format(self.nick, federation.codes(stanza))); end
	self.view, self.inside, self.joining = nil, false, false;
	local client = self.client;
	loop.after(0.5, function ()
		if self.client == client and not self.view and self.wanted then self:join(); end
	end);
end

function user:receive(stanza)
	local view = self.view;
	if not view or stanza.attr.from:sub(1, #self.room) ~= self.room then return; end
	if stanza.name == "presence" then return self:receive_presence(stanza); end
	local text = stanza:get_child_text("body") or stanza.attr.id;
	local message = self.run.messages[stanza.attr.type == "error" and stanza.attr.id or text];
	if not message then return; end
	if stanza.attr.type == "error" then
		message.refused = true;
		return;
	end
	message.shown = true;
	view.seen[text] = (view.seen[text] or 0) + 1;
	if view.seen[text] == 2 and not message.is_forgotten then table.insert(self.run.doubled, ("%s to %s"):format(text, self.nick)); end
end

local function each_user(run, side)
	local list = {};
	for _, one in ipairs(run.users) do
		if not side or one.side == side then list[#list + 1] = one; end
	end
	return ipairs(list);
end

local function kill(run, side)
	run.f[side]:kill();
	for _, one in each_user(run, side) do one:lose(); end
	loop.wait(run.random(10) / 10);
	run.f[side]:start();
	for _, one in each_user(run, side) do
		one:connect();
		if one.wanted then one:join(); end
	end
end

-- The faults. Each leaves the link as it was, and may take a while.
local faults = {
	function (run) -- reset
		run.f.link:cut();
		run.act(run.random(15) / 10);
		run.f.link:restore();
	end;
	function (run) -- in the middle of a stanza
		local from = run.random(2) == 1 and run.f.talk or run.f.remote;
		run.f.link:cut_after(from, run.random(800));
		run.act(1.5);
		run.f.link:cut_after(from, nil);
		run.f.link:cut();
		run.act(run.random(10) / 10);
		run.f.link:restore();
	end;
	function (run) -- a black hole, and what was in it is lost
		run.f.link:stall();
		run.act(0.5 + run.random(25) / 10);
		run.f.link:cut();
		run.f.link:restore();
	end;
	function (run) -- a long wait
		run.f.link:stall();
		run.act(0.5 + run.random(25) / 10);
		run.f.link:restore();
	end;
	function (run) kill(run, "remote"); end;
	function (run) -- and what it was not to store goes with it
		for _, message in pairs(run.messages) do message.is_forgotten = message.is_volatile or message.is_forgotten; end
		kill(run, "talk");
	end;
	function (run)
		run.f.remote:reload("fmuc", "mirror.remote.example.com");
		run.f.talk:reload("fmuc", "talk.example.com");
	end;
};

local function act_once(run)
	local one = run.users[run.random(#run.users)];
	local what = run.random(20);
	if not one.client or one.client.closed then return; end
	if one.churns and what <= 4 then
		if one.view and one.inside then
			one.wanted = false;
			one:leave();
		elseif not one.view then
			one.wanted = true;
			one:join();
		end
	elseif not one.inside then
		return;
	elseif what == 5 then
		one:change_status();
	elseif not one.churns then -- who leaves does not wait for what becomes of a message
		if what <= 8 then one:whisper(); elseif what <= 10 then one:type(); else one:say(); end
	end
end

-- whether everybody who wants to be there is
local function all_inside(run)
	for _, one in ipairs(run.users) do
		if one.wanted and not one.inside then return false; end
	end
	return true;
end

local function count_lost(run)
	local lost = {};
	for text, message in pairs(run.messages) do
		-- the author's connection may have ended before anybody could know what became of the message
		local is_known = message.shown or message.author.view == message.view;
		for _, one in ipairs(run.users) do
			local is_due = one.view and one.view.since < message.at and is_known
				and not (message.refused or message.is_passing or message.is_forgotten);
			if is_due and not one.view.seen[text] then table.insert(lost, ("%s to %s"):format(text, one.nick)); end
		end
		if message.refused and message.shown then table.insert(run.doubled, text .. ": refused and shown"); end
	end
	return lost;
end

-- Who sees somebody who is not there, or not somebody who is, or as he was before
local function count_ghosts(run)
	local ghosts = {};
	local expected = {};
	for _, one in ipairs(run.users) do expected[one.nick] = one.wanted and (one.away and "away" or "") or nil; end
	for _, one in ipairs(run.users) do
		local seen = one.view and one.view.occupants or expected;
		for nick, show in pairs(seen) do
			if expected[nick] ~= show then table.insert(ghosts, ("%s (%s) to %s"):format(nick, show, one.nick)); end
		end
		for nick in pairs(expected) do
			if not seen[nick] then table.insert(ghosts, ("no %s to %s"):format(nick, one.nick)); end
		end
	end
	return ghosts;
end

local function finish(run, s)
	s:wait_until(function () return all_inside(run); end, 60, function ()
		local missing = {};
		for _, one in ipairs(run.users) do
			if one.wanted and not one.inside then missing[#missing + 1] = one.nick; end
		end
		return "everybody back in the room; missing: " .. table.concat(missing, ", ");
	end);
	s:wait_until(function () return outages.phase(run.f) == "live"; end, 60, "end of the outage");
	-- who asked for the room after the last message has to see the last words all the same
	local last_words = {};
	for _, one in ipairs(run.users) do
		if one.inside then
			one:say();
			last_words[#last_words + 1] = run.said;
		end
	end
	pcall(loop.wait_until, function ()
		for _, one in ipairs(run.users) do
			for text, message in pairs(run.messages) do
				if one.inside and message.number >= last_words[1] and not one.view.seen[text] then return false; end
			end
		end
		return true;
	end, 20);
	loop.wait(1); -- for what comes twice
end

local options = [[
	fmuc_grace_period = 30
	fmuc_join_timeout = 6
	muc_room_default_history_length = 500
]];

-- run(s, versions, seed, seconds) -> report: { said, faults, thrown_out, lost, doubled, ghosts }, the last three lists of texts
function soak.run(s, versions, seed, seconds)
	local run = { random = new_random(seed); messages = {}; said = 0; thrown_out = {}; doubled = {}; users = {}; faults = 0 };
	run.f = federation.new(s, versions, {
		master = federation.master_config:gsub("\"fmuc\"", "\"fmuc\", \"muc_mam\"") .. options .. "\tmuc_room_default_persistent = true\n";
		mirror = federation.mirror_config .. options;
	});
	for _, node in ipairs { run.f.talk, run.f.remote } do
		node:allow_log("Failed to receive a stream close response");
	end
	run.f.curtis:send(st.presence({ type = "unavailable"; to = federation.master_room .. "/Curtis" }));
	for _, name in ipairs { "alice", "dora", "fred" } do table.insert(run.users, new_user(run, name, "talk")); end
	for _, name in ipairs { "kev", "bob", "gina", "hugo" } do table.insert(run.users, new_user(run, name, "remote")); end
	run.users[3].churns, run.users[7].churns = true, true;
	for _, one in ipairs(run.users) do
		one.wanted = true;
		one:connect();
		one:join();
	end
	s:wait_until(function () return all_inside(run); end, 20, "everybody in the room");

	function run.act(duration)
		local deadline = loop.now() + duration;
		while loop.now() < deadline do
			act_once(run);
			loop.wait(run.random(20) / 100);
		end
	end
	local deadline = loop.now() + seconds;
	while loop.now() < deadline do
		run.act(0.5 + run.random(25) / 10);
		local fault = run.random(#faults);
		run.faults = run.faults + 1;
		faults[fault](run);
	end
	finish(run, s);
	return { said = run.said; faults = run.faults; thrown_out = run.thrown_out;
		lost = count_lost(run); doubled = run.doubled; ghosts = count_ghosts(run) };
end

return soak;
