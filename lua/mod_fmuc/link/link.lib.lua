-- SPDX-License-Identifier: MIT
-- A link: the way between a room here and a room at another server, in one direction. "up": the room here has joined the other room, whose
-- word counts. "down": the other room has joined the room here. Links outlive reloads of the module, and the room objects, which mod_muc
-- puts aside.
--
-- Fields, which only this file writes:
--   room_jid, peer   JIDs of the room here and of the other room
--   dialect          "generation1" or "generation2"
--   direction, state see link/states
--   sent, received   how many stanzas have crossed for the whole link, since it began or since the last resync
--   heard            when the last stanza of the other side came; monotonic time, like all times here
--   must_join        something is certainly missing, so a new join is needed
--   alone            the grace period is over, and users here carry on without the other side
--   counts           whether the other side counts stanzas, too; nil: not known yet
--   asked            the question that the other side has not answered: { kind, id, at, question, sent (the count at that time), patience
--                    (how many times as long as usual it may take), check (id of a ping that was sent after it), in_doubt_since (since when
--                    it may be lost), and what the kind needs }
-- Other files keep their data about a link in link:own(name).

local now = require "util.time".monotonic;
local st = require "util.stanza";

local states = lib "link/states";

local link = {};
local methods = {};
local link_mt = { __index = methods };

-- [room JID][JID of the other room] = link
local links = {};

-- open(room_jid, peer, direction, dialect) -> the link, or a new one when there is none
function link.open(room_jid, peer, direction, dialect)
	local of_room = links[room_jid] or {};
	links[room_jid] = of_room;
	if not of_room[peer] then
		of_room[peer] = setmetatable({ room_jid = room_jid; peer = peer; direction = direction; dialect = dialect;
			state = states.first(dialect, direction); sent = 0; received = 0; heard = now(); data = {} }, link_mt);
	end
	return of_room[peer];
end

-- get(room_jid, peer) -> link or nil
function link.get(room_jid, peer)
	return links[room_jid] and links[room_jid][peer];
end

-- has_any(room_jid) -> whether the room here has links
function link.has_any(room_jid)
	return links[room_jid] ~= nil;
end

-- each([dialect]) -> iterator of the links that exist now, of that dialect or of any. Links may be opened and closed meanwhile.
function link.each(dialect)
	local list, i = {}, 0;
	for _, of_room in pairs(links) do
		for _, one in pairs(of_room) do
			if not dialect or one.dialect == dialect then list[#list + 1] = one; end
		end
	end
	return function ()
		i = i + 1;
		return list[i];
	end;
end

-- close(): the link ends; another link of the same rooms begins from zero
function methods:close()
	if not self:fire("closed") then return; end
	local of_room = links[self.room_jid];
	if not of_room or of_room[self.peer] ~= self then return; end
	of_room[self.peer] = nil;
	if not next(of_room) then links[self.room_jid] = nil; end
end

-- own(name) -> the table in which the file `name` keeps its data about this link. It outlives a reload, so it has plain data only.
function methods:own(name)
	local data = self.data[name];
	if not data then
		data = {};
		self.data[name] = data;
	end
	return data;
end

-- fire(event) -> whether that event of link/states means something now. Then the link changes its state, and other files act on Prosody's
-- event "fmuc-link/…" with { link, room_jid }.
function methods:fire(event)
	local next_state = states.next(self.dialect, self.direction, self.state, event);
	if not next_state then return false; end
	self.state = next_state;
	module:fire_event("fmuc-link/" .. event, { link = self; room_jid = self.room_jid });
	return true;
end

-- is_open() -> whether stanzas go out: the link is neither lost nor closed
function methods:is_open()
	return self.state ~= "lost" and self.state ~= "closed";
end

-- is_out() -> whether messages of users must wait, because the other side would not accept them
function methods:is_out()
	return self.state == "lost" or self.state == "syncing" or self.state == "rejoining";
end

-- begin_again(): resets the link to a new one, after its last user has left during an outage
function methods:begin_again()
	if not states.next(self.dialect, self.direction, self.state, "emptied") then return; end
	self.sent, self.received, self.heard, self.data = 0, 0, now(), { traffic = self.data.traffic };
	self.asked, self.must_join, self.alone, self.counts = nil, nil, nil, nil;
	self:fire("emptied");
end

-- hear(): the other side has sent something. An error in its name does not count.
function methods:hear()
	self.heard = now();
end

-- count_sent([n = 1]), count_received([n = 1]): count stanzas for the whole link
function methods:count_sent(n)
	self.sent = self.sent + (n or 1);
end

function methods:count_received(n)
	self.received = self.received + (n or 1);
end

-- restart_count(sent, received): sets the counts from which both sides go on; nil: unchanged
function methods:restart_count(sent, received)
	self.sent, self.received = sent or self.sent, received or self.received;
end

-- miss(): something is certainly missing
function methods:miss()
	self.must_join = true;
end

-- go_alone(): users here carry on without the other side; a new join must end this
function methods:go_alone()
	self.alone, self.must_join = true, true;
end

-- caught_up(): nothing is missing now
function methods:caught_up()
	self.alone, self.must_join = nil, nil;
end

-- learn_counting(does): notes whether the other side counts
function methods:learn_counting(does)
	self.counts = does;
end

-- send(stanza): sends a stanza for the whole link
function methods:send(stanza)
	self:count_sent();
	module:send(stanza);
end

-- ask(kind, question, [extra]): sends the stanza `question` and waits for its answer. It replaces an earlier question. extra: table of what
-- the kind needs
function methods:ask(kind, question, extra)
	local asked = extra or {};
	asked.kind, asked.id, asked.at, asked.sent, asked.patience = kind, question.attr.id, now(), self.sent, 1;
	asked.question = question;
	self.asked = asked; -- before sending: the answer may be an error that comes at once
	module:send(st.clone(question));
end

-- ask_again(): repeats the question, which may be lost. The link may be slow: it gets twice as long each time.
function methods:ask_again()
	local asked = self.asked;
	asked.at, asked.patience, asked.in_doubt_since = now(), asked.patience * 2, nil;
	module:send(st.clone(asked.question));
end

-- check(ping): sends a ping after the question. When the ping is answered, the question will not be answered any more.
function methods:check(ping)
	self.asked.check = ping.attr.id;
	module:send(ping);
end

-- doubt(): the open question may be lost
function methods:doubt()
	if self.asked then self.asked.in_doubt_since = self.asked.in_doubt_since or now(); end
end

-- answered() -> the open question, which is closed now; or nil
function methods:answered()
	local asked = self.asked;
	self.asked = nil;
	return asked;
end

local saved_fields = { "room_jid", "peer", "dialect", "direction", "state", "sent", "received", "heard", "must_join", "alone", "counts", "asked",
	"data" };

-- save() -> all links, for the next instance of the module
function link.save()
	local saved = {};
	for one in link.each() do
		local copy = {};
		for _, field in ipairs(saved_fields) do copy[field] = one[field]; end
		saved[#saved + 1] = copy;
	end
	return saved;
end

-- restore(saved): takes over what save() of an earlier instance returned; nil: nothing
function link.restore(saved)
	for _, one in ipairs(saved or {}) do
		links[one.room_jid] = links[one.room_jid] or {};
		links[one.room_jid][one.peer] = setmetatable(one, link_mt);
	end
end

return link;
