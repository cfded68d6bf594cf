-- SPDX-License-Identifier: MIT
-- Recordings of Openfire (spec/transcripts), played by a component as the other node of a room of ours.
--
-- A stage has a server of ours and the server of the fake Openfire, which plays one letter of a transcript: `e` (its room joins ours) or `w` (our
-- room joins it). The fake sends what Openfire has sent, byte for byte apart from the names of the services: rooms.e.example is conference.e.example
-- there. Users of ours do what the users of the other side did.
--
-- An act is one transcript, or a part of it, with one room at each side. After each step its judge (see transcript.judge) reads what has been sent.
--
--     local stage = transcript.stage(s, versions, "e");
--     local act = stage:act("06-nicks", { setting = true });
--     act:step "hamlet (e) becomes Prince";
--     act:expect_occupants("alice", "Alice", "Hatter", "Ophelia", "Prince");

local federation = require "federation";
local jid = require "util.jid";
local nodes = require "nodes";
local parse = require "util.xml".parse;
local st = require "util.stanza";

local fmuc, muc_user = nodes.fmuc, nodes.muc_user;
local xmlns_muc = "http://jabber.org/protocol/muc";

local transcript = {};

-- read(name, [change]) -> list of steps: { title, stanzas = { { by, to, xml } } }. change(xml) -> the stanza with other names
function transcript.read(name, change)
	local file = assert(io.open("spec/transcripts/" .. name .. ".xml"));
	local text = file:read("a");
	file:close();
	local steps = {};
	for title, content in text:gmatch("<step title=\"([^\"]*)\">(.-)</step>") do
		local step = { title = title; stanzas = {} };
		for by, to, xml in content:gmatch("<sent by='(%w+)' to='(%w+)'[^>]*>%s*(.-)%s*</sent>") do
			xml = xml:gsub("conference%.", "rooms.");
			step.stanzas[#step.stanzas + 1] = { by = by; to = to; xml = change and change(xml) or xml };
		end
		steps[#steps + 1] = step;
	end
	return steps;
end

-- What Openfire accepts ---------------------------------------------------------------------------------------------------------------------

local judge = {};
local judge_mt = { __index = judge };

-- judge(ours, theirs, is_joining) -> the judge of all that our room sends to a room of Openfire. is_joining: our room joins theirs.
--   known    [nick] = real JID: whom Openfire has from us; removed: set of real JIDs of those whom it has removed itself, and keeps (O16)
--   theirs   [nick] = real JID: whom it has told us of
--   said     set of ids of what our room has sent as new
--   is_open  the rooms are joined; is_dumping: our room still owes the subject, which ends the join (O2)
--   recalled    nick of a user who just came while the rooms were not joined: our room takes back who may be left over (O17)
--   owes_left   our room has left theirs, which has not confirmed it yet (N16)
function transcript.judge(ours, theirs, is_joining)
	return setmetatable({ ours = ours; peer = theirs; is_joining = is_joining; known = {}; removed = {}; said = {}; theirs = {} }, judge_mt);
end

local function count(map)
	local number = 0;
	for _ in pairs(map) do number = number + 1; end
	return number;
end

local function find_nick(map, real_jid)
	for nick, other in pairs(map) do
		if other == real_jid then return nick; end
	end
end

local function close(self)
	self.is_open, self.is_dumping, self.known, self.removed, self.theirs = false, false, {}, {}, {};
end

-- hear(stanza): Openfire sends that to our room
function judge:hear(stanza)
	if stanza.name ~= "presence" or jid.bare(stanza.attr.to) ~= self.ours then return; end
	local nick, type, real_jid = jid.resource(stanza.attr.from), stanza.attr.type, stanza:find(fmuc .. "@from");
	if stanza:find(fmuc .. "/left") or stanza:find(fmuc .. "/reject") then
		if self.owes_left then self.owes_left = nil; else close(self); end
		return;
	end
	if not nick then
		if type == "unavailable" then self:forget(stanza:find(muc_user .. "/item@jid")); end
	elseif type == nil then
		if not self.is_joining and not self.is_open and stanza:get_child("x", xmlns_muc) then
			self.is_open, self.is_dumping = true, true;
		end
		if self.is_open then self.theirs[nick] = real_jid; end
	elseif type == "unavailable" then
		local victim = stanza:find(muc_user .. "/item@jid");
		self:forget(victim and jid.resource(victim) and victim or real_jid);
	end
end

-- forget(real_jid): that user is not in the room any more, or is no matter of Openfire's any more
function judge:forget(real_jid)
	local nick = find_nick(self.theirs, real_jid);
	if nick then self.theirs[nick] = nil; end
	if find_nick(self.known, real_jid) then self.removed[real_jid] = true; end
end

local function check_available(self, stanza, nick, real_jid)
	local is_join = stanza:get_child("x", xmlns_muc) ~= nil;
	if not self.is_open then
		if not self.is_joining then return "nobody has joined"; end
		if not is_join then
			self.recalled = nick;
			return stanza.attr.to ~= self.peer and "a presence goes to the bare room (O5)" or nil;
		end
		if stanza.attr.to ~= self.peer .. "/" .. nick then return "a join goes to the occupant JID (N3)"; end
		self.is_open = true;
	elseif stanza.attr.to ~= self.peer then
		return "a presence goes to the bare room (O5)";
	end
	local item = stanza:find(muc_user .. "/item");
	if not item or not item.attr.role or item.attr.role == "none" then return "the item has no role"; end
	if item.attr.jid and item.attr.jid ~= real_jid then return "the item names somebody else"; end
	if self.known[nick] == real_jid and self.removed[real_jid] then self.known[nick], self.removed[real_jid] = nil, nil; end
	if self.known[nick] then return "a second presence of one user (O6, O7)"; end
	local former = find_nick(self.known, real_jid);
	if former then return "a second nick of one user, who is " .. former .. " (O7)"; end
	if self.is_dumping and self.theirs[nick] == real_jid then return nil; end -- the joining user's own (N7)
	if self.theirs[nick] then return "a nick that somebody has there (O8)"; end
	if find_nick(self.theirs, real_jid) then return "a user of theirs as one of ours (N14)"; end
	self.known[nick] = real_jid;
end

local function check_unavailable(self, stanza, nick, real_jid)
	if stanza.attr.to ~= self.peer then return "a presence goes to the bare room (O5)"; end
	if self.recalled == nick then
		self.recalled = nil;
		return nil;
	end
	if not self.is_open then return "the rooms are not joined"; end
	if self.removed[real_jid] then return "a part of a user whom it has removed (O16)"; end
	local item_jid, is_rename = stanza:find(muc_user .. "/item@jid"), stanza:find(muc_user .. "/item@nick");
	if item_jid and item_jid ~= real_jid then return "it takes out the author (section 3)"; end
	if self.theirs[nick] == real_jid then
		self.theirs[nick] = nil;
		return not federation.codes(stanza):find("307") and "a part of a user of theirs, who was not kicked (N15)" or nil;
	end
	if self.known[nick] ~= real_jid then return "a part of somebody whom it does not know under that nick"; end
	self.known[nick] = nil;
	local is_last = self.is_joining and count(self.known) == 0;
	if is_last then
		close(self);
		self.owes_left = true;
	end
	if is_rename and is_last then return "a change of nick by the only user splits the rooms (section 3)"; end
end

local function check_presence(self, stanza)
	local nick, type, real_jid = jid.resource(stanza.attr.from), stanza.attr.type, stanza:find(fmuc .. "@from");
	if stanza:find(fmuc .. "/left") or stanza:find(fmuc .. "/reject") then
		if nick then return "the room itself says that (N5, N16)"; end
		if stanza:find(fmuc .. "/left") and not self.is_open then return "the rooms are not joined"; end
		return close(self);
	end
	if type == "error" then return "a join knows no errors but <reject/> (O2)"; end
	if type ~= nil and type ~= "unavailable" then return "a presence of a type that rooms do not have"; end
	if not nick then return "a presence of a bare JID (section 3)"; end
	if not real_jid or not jid.resource(real_jid) then return "no real JID (N6)"; end
	if jid.bare(real_jid) == self.ours or jid.bare(real_jid) == self.peer then return "a real JID is not a JID of the room"; end
	if not type then return check_available(self, stanza, nick, real_jid); end
	return check_unavailable(self, stanza, nick, real_jid);
end

local function check_message(self, stanza)
	local nick, real_jid = jid.resource(stanza.attr.from), stanza:find(fmuc .. "@from");
	if stanza.attr.type ~= "groupchat" then return "it shows a private message to everybody (O20)"; end
	if not self.is_open then return "the rooms are not joined"; end
	if stanza.attr.to ~= self.peer then return "a message goes to the bare room (N12)"; end
	if not real_jid then return "no author (N6)"; end
	local has_subject, is_old = stanza:get_child("subject") ~= nil, stanza:get_child("delay", "urn:xmpp:delay") ~= nil;
	if self.is_dumping then
		if has_subject then self.is_dumping = false; end
		if has_subject and stanza:get_child("body") then return "it takes a message with subject and body for the end of the join (O2)"; end
		return not has_subject and not is_old and "it takes a message before the subject for history (O2)" or nil;
	end
	if is_old and (not nick or self.known[nick] ~= real_jid or self.said[stanza.attr.id]) then return "it shows history as new messages (O19)"; end
	self.said[stanza.attr.id or ""] = true; -- or later what it has missed (O18)
	if not nick then return "a message of nobody"; end
	if self.removed[real_jid] then return "a message of a user whom it has removed (O16)"; end
	if self.known[nick] ~= real_jid then return "a message of somebody whom it does not know"; end
end

-- check(stanza) -> why a room of Openfire does not accept that stanza of our room; nil when it does
function judge:check(stanza)
	if jid.bare(stanza.attr.from) ~= self.ours then return nil; end
	local to_host = jid.host(stanza.attr.to);
	if stanza.name == "iq" then
		local is_request = stanza.attr.type == "get" or stanza.attr.type == "set";
		return is_request and stanza.attr.to ~= self.peer and "a request to a user" or stanza:find(fmuc) and "a request knows no fmuc" or nil;
	end
	if jid.bare(stanza.attr.to) ~= self.peer then
		return to_host == jid.host(self.peer) and "another room" or "it goes to a user, not to the room";
	end
	if self.recalled and (stanza.name ~= "presence" or stanza.attr.type ~= "unavailable") then
		return ("the rooms are not joined, and the presence of %s before this does not join them (O15)"):format(self.recalled);
	end
	if stanza.name == "presence" then return check_presence(self, stanza); end
	return check_message(self, stanza);
end

-- What users see ----------------------------------------------------------------------------------------------------------------------------

-- A view: what one client got in one room.
--   occupants   [nick] = { role, affiliation, show, jid }
--   gone        [nick] = the last unavailable presence
--   messages    list of { id, nick, body, subject }

local function see_presence(view, stanza, nick)
	if stanza.attr.type == "unavailable" then
		view.occupants[nick], view.gone[nick] = nil, stanza;
	elseif not stanza.attr.type then
		local item = assert(stanza:find(muc_user .. "/item"), tostring(stanza));
		view.occupants[nick] = { role = item.attr.role; affiliation = item.attr.affiliation; jid = item.attr.jid;
			show = stanza:get_child_text("show") };
	end
end

local function see(views, stanza)
	if stanza:find(fmuc) then views.leaks[#views.leaks + 1] = stanza; end
	local room_jid, nick = jid.bare(stanza.attr.from), jid.resource(stanza.attr.from);
	local view = views[room_jid];
	if not view then return; end
	if stanza.name == "presence" then
		if not nick then table.insert(views.leaks, stanza); else see_presence(view, stanza, nick); end
	elseif stanza.name == "message" and stanza.attr.type == "groupchat" then
		table.insert(view.messages, { id = stanza.attr.id; nick = nick; body = stanza:get_child_text("body");
			subject = stanza:get_child_text("subject"); stanza = stanza });
	end
end

-- The stage ---------------------------------------------------------------------------------------------------------------------------------

local stage, act = {}, {};
local stage_mt, act_mt = { __index = stage }, { __index = act };

local component = [[
Component "%s"
	component_secret = "hush"
]];

-- stage(s, versions, letter, [more]) -> a stage on which the fake plays that letter of the transcripts (e, w or o). more: text for the section of
-- our service
function transcript.stage(s, versions, letter, more)
	local ours = letter == "e" and "w" or letter == "w" and "e" or "raw";
	local self = setmetatable({ s = s; letter = letter; our_letter = ours; clients = {}; fakes = {} }, stage_mt);
	self.node = nodes.server(s, ours, versions.e, more);
	local domains = { ("rooms.%s.example"):format(letter), letter .. ".example" };
	local config = { "VirtualHost \"openfire.example\"\n" };
	for _, domain in ipairs(domains) do config[#config + 1] = component:format(domain); end
	self.peer = s:node { version = versions.w; config = table.concat(config) };
	self.link = s:link(self.node, self.peer);
	for _, domain in ipairs(domains) do self.fakes[domain] = self.peer:component(domain, "hush"); end
	self.read = 0;
	return self;
end

-- settle(): all that was sent has arrived, and what it caused as well
function stage:settle()
	for _, fake in pairs(self.fakes) do fake:sync(); end
	for _, client in pairs(self.clients) do client:sync(); end
	self.link:settle();
	for _, client in pairs(self.clients) do client:sync(); end
end

-- client(name) -> the client of that user of ours; client.views[room JID] is what it has seen there
function stage:client(name)
	local client = self.clients[name];
	if not client then
		client = self.node:client(("%s@%s.example/pc"):format(name, self.our_letter));
		local views = { leaks = {} };
		client.views = views;
		client.on_stanza = function (stanza) see(views, stanza); end;
		self.clients[name] = client;
	end
	return client;
end

-- send(xml): the fake sends that
function stage:send(xml)
	local stanza = assert(parse(xml));
	self.fakes[jid.host(stanza.attr.from)]:send(xml);
	return stanza;
end

local owners = { e = "hamlet@e.example"; w = "alice@w.example"; raw = "kev@raw.example" };

local function renamer(renames)
	return function (xml)
		for from, to in pairs(renames) do xml = xml:gsub(from, to); end
		return xml;
	end;
end

-- act(name, [options]) -> that transcript with two rooms. Its steps have to be played or skipped in order. options:
--   room       name of the rooms; default: that of the transcript
--   their      name of their room, if it has another name
--   renames    { [pattern] = other text }: in what the fake sends
--   code       runs with `room`, our room, when it is made
--   inbound_peers   list of rooms that may join ours; default: theirs, if that is what the letter does
--   is_joining   whether our room joins theirs; default: what the letter does not do
--   only       pattern: the fake sends only stanzas with that text
--   setting    the rooms are joined before the first step, as they were at the recording: true, by all; 1 (letter e): by hamlet and alice
function stage:act(name, options)
	options = options or {};
	local room, letter = options.room or name:gsub("^%d+%-", ""), self.letter;
	local new = setmetatable({ stage = self; name = name; only = options.only or ""; next = 1 }, act_mt);
	new.steps = transcript.read(name, renamer(options.renames or {}));
	new.ours = ("%s@rooms.%s.example"):format(room, self.our_letter);
	new.theirs = ("%s@rooms.%s.example"):format(options.their or room, letter);
	local is_joining = letter ~= "e";
	if options.is_joining ~= nil then is_joining = options.is_joining; end
	new.judge = transcript.judge(new.ours, new.theirs, is_joining);
	new.judges = { [new.theirs] = new.judge };
	nodes.make_room(self.node, new.ours, { outbound_peer = is_joining and new.theirs or nil;
		inbound_peers = options.inbound_peers or { not is_joining and new.theirs or nil } },
		("room:set_affiliation(true, %q, \"owner\"); %s"):format(owners[self.our_letter], options.code or ""));
	if options.setting then new:set(options.setting); end
	return new;
end

-- All that our side has sent since the last time
local function read_sent(self)
	local sent, new = self.link:sent(self.node), {};
	for i = self.read + 1, #sent do new[#new + 1] = sent[i]; end
	self.read = #sent;
	return new;
end

-- look(): waits until nothing is on its way, and lets the judge read all that our side has sent
function act:look()
	self.stage:settle();
	for _, stanza in ipairs(read_sent(self.stage)) do
		local why = (self.judges[jid.bare(stanza.attr.to)] or self.judge):check(stanza);
		if why then error(("Openfire does not accept this of our room: %s\n%s"):format(why, stanza), 3); end
	end
	for name, client in pairs(self.stage.clients) do
		local leak = client.views.leaks[1];
		if leak then error(("%s got what is not for users: %s"):format(name, leak), 3); end
	end
end

-- join_too(theirs): another room of theirs joins ours
function act:join_too(theirs)
	self.judges[theirs] = transcript.judge(self.ours, theirs, false);
end

-- confirm_left(): if our room has left theirs, theirs says so, even where it did not at the recording
function act:confirm_left()
	if not self.judge.owes_left then return; end
	self.judge:hear(self.stage:send(("<presence to=\"%s\" from=\"%s\"><fmuc xmlns=\"%s\"><left/></fmuc></presence>"):format(self.ours, self.theirs,
		nodes.xmlns)));
	self:look();
end

local function find_step(steps, start, title)
	for index = start, #steps do
		if steps[index].title:find(title, 1, true) then return index; end
	end
	error("no step " .. title, 3);
end

-- answer_join(name, [renames], [title]): theirs answers a join of our room, which was not in the recording, with the dump of a step of that
-- transcript: the first one, or the one with that title
function act:answer_join(name, renames, step_title)
	renames = renames or {};
	local title = name:gsub("^%d+%-", "");
	renames[title .. "@rooms%.e%.example"], renames[title .. "@rooms%.w%.example"] = self.ours, self.theirs;
	local steps = transcript.read(name, renamer(renames));
	for _, entry in ipairs(steps[find_step(steps, 1, step_title or "")].stanzas) do
		if entry.by == self.stage.letter and not entry.xml:find("^<iq") then self.judge:hear(self.stage:send(entry.xml)); end
	end
	self:look();
end

-- enter(name, [nick]): that user of ours joins our room
function act:enter(name, nick)
	local client = self.stage:client(name);
	nick = nick or name:sub(1, 1):upper() .. name:sub(2);
	client.views[self.ours] = { occupants = {}; gone = {}; messages = {} };
	client:send(federation.join(self.ours, nick));
	client:expect { "presence", type = false; from = self.ours .. "/" .. nick; has = muc_user .. "/status" };
	client:expect { "message", from = "~^" .. self.ours:gsub("%p", "%%%0"); has = "subject" };
end

-- say(name, text, [id]): that user of ours says something; id: the first word of the text
function act:say(name, text, id)
	nodes.say(self.stage:client(name), self.ours, text, id or text:match("%S+"));
end

-- set_subject(name, text, id): that user of ours changes the subject
function act:set_subject(name, text, id)
	self.stage:client(name):send(st.message({ type = "groupchat"; id = id; to = self.ours }):text_tag("subject", text));
end

-- present(name, nick, [show]): that user of ours sends a presence; show: may be nil. leave(name): the user leaves
function act:present(name, nick, show)
	local presence = st.presence({ to = self.ours .. "/" .. nick });
	if show then presence:text_tag("show", show); end
	self.stage:client(name):send(presence);
end

function act:leave(name)
	self.stage:client(name):send(st.presence({ type = "unavailable"; to = self.ours .. "/x" }));
end

-- administer(name, item): that moderator of ours changes a role or an affiliation. item: attributes
function act:administer(name, item)
	self.stage:client(name):send(st.iq({ type = "set"; id = "admin"; to = self.ours })
		:tag("query", { xmlns = "http://jabber.org/protocol/muc#admin" }):tag("item", item):text_tag("reason", "rules"));
	self.stage:client(name):expect { "iq", id = "admin", type = "result" };
end

local function is_ours(self, entry)
	return entry.by ~= self.stage.letter;
end

-- The stanzas of Openfire come where they came in the recording: after those of the other side before them. do_ours: what our users do
local function play(self, stanzas, do_ours)
	local has_done, is_due = do_ours == nil, false;
	for _, entry in ipairs(stanzas) do
		if is_ours(self, entry) then
			is_due = true;
		elseif entry.xml:find(self.only) then
			if is_due then
				if not has_done then do_ours(); end
				self:look();
				has_done, is_due = true, false;
			end
			local stanza = self.stage:send(entry.xml);
			(self.judges[jid.bare(stanza.attr.from)] or self.judge):hear(stanza);
		end
	end
	if not has_done then
		if #stanzas > 0 and not is_due then self:look(); end
		do_ours();
	end
	self:look();
	self:confirm_left();
end

-- step(title, [do_ours]): plays the next step, whose title has that text. do_ours(): what users of ours do in it
function act:step(title, do_ours)
	local step = self.steps[self.next];
	if not step or not step.title:find(title, 1, true) then
		error(("the next step of %s is %q, not %q"):format(self.name, step and step.title or "the end", title), 2);
	end
	self.next = self.next + 1;
	play(self, step.stanzas, do_ours);
end

-- skip(title): the steps before that one are not played
function act:skip(title)
	self.next = find_step(self.steps, self.next, title);
end

-- set(setting): the rooms are joined, as before the first step of most transcripts: with hamlet and ophelia of e, alice and hatter of w
function act:set(setting)
	local letter = self.stage.letter;
	local room, other = self.theirs, self.ours;
	local steps = transcript.read("01-session", renamer { ["session@rooms%.e%.example"] = letter == "e" and room or other;
		["session@rooms%.w%.example"] = letter == "e" and other or room });
	if setting == 1 then
		self:enter("alice");
		return play(self, steps[1].stanzas);
	elseif letter == "e" then
		self:enter("alice");
		self:enter("hatter");
		play(self, steps[1].stanzas);
		play(self, steps[2].stanzas);
	else
		play(self, steps[1].stanzas, function () self:enter("hamlet"); end);
		play(self, steps[2].stanzas, function () self:enter("ophelia"); end);
	end
	for _, name in ipairs(letter == "e" and { "alice", "hatter" } or { "hamlet", "ophelia" }) do
		self:expect_occupants(name, "Alice", "Hamlet", "Hatter", "Ophelia");
		self:view(name).messages = {};
	end
end

-- view(name) -> what that user of ours sees in our room
function act:view(name)
	return self.stage:client(name).views[self.ours];
end

-- expect_occupants(name, nick, …): that user of ours sees these in the room, and nobody else
function act:expect_occupants(name, ...)
	local expected, seen = { ... }, {};
	for nick in pairs(self:view(name).occupants) do seen[#seen + 1] = nick; end
	table.sort(expected);
	table.sort(seen);
	expected, seen = table.concat(expected, " "), table.concat(seen, " ");
	if expected ~= seen then error(("%s sees [%s] in %s, not [%s]"):format(name, seen, self.ours, expected), 2); end
end

-- expect_words(name, text, …): that user of ours has heard that, in that order, and nothing else: "Nick: body" or "Nick* subject"
function act:expect_words(name, ...)
	local expected, heard = table.concat({ ... }, "\n"), {};
	for _, message in ipairs(self:view(name).messages) do
		if message.body then
			heard[#heard + 1] = ("%s: %s"):format(message.nick or "", message.body);
		elseif message.subject and message.subject ~= "" then
			heard[#heard + 1] = ("%s* %s"):format(message.nick or "", message.subject);
		end
	end
	heard = table.concat(heard, "\n");
	if expected ~= heard then error(("%s has heard in %s\n%s\nand not\n%s"):format(name, self.ours, heard, expected), 2); end
end

-- item_of(name, nick) -> "affiliation role" of that occupant, as that user of ours sees it
function act:item_of(name, nick)
	local occupant = self:view(name).occupants[nick];
	return occupant and occupant.affiliation .. " " .. occupant.role;
end

-- removal_of(name, nick) -> status codes with which that user of ours saw that occupant leave, reason; or nil
function act:removal_of(name, nick)
	local presence = self:view(name).gone[nick];
	if not presence then return nil; end
	return federation.codes(presence), presence:find(muc_user .. "/item/reason#");
end

return transcript;
