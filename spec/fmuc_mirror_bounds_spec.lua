-- SPDX-License-Identifier: MIT
-- The bounds of a mirror that take no server (README of mod_fmuc, "Trust: bounds"). Others: fmuc_bounds_spec.lua, e2e/fmuc_bounds_spec.lua.

local lib = require "fmuc_lib";
local st = require "util.stanza";

local settings = { grace_period = 60; join_timeout = 30; max_occupants = 10; outage_policy = "replica"; bandwidth = "full"; nomirror = false };
local master, mirror = "r@rooms.example", "r\\40rooms.example@here.example";

local function nothing() end
local function always(value) return function () return value; end end

-- new(given, globals) -> lib.new() of a mirror that keeps nothing yet
local function new(given, globals)
	given = given or {};
	given.settings = settings;
	local module = lib.new(given, globals);
	module:require "bounds".count_with(nothing);
	return module;
end

local function message(id, bytes)
	return st.message({ type = "groupchat"; from = master .. "/Nick"; to = mirror; id = id }):text_tag("body", ("x"):rep(bytes or 1));
end

local function condition_of(stanza)
	return stanza and (select(2, stanza:get_error()));
end

local function count(entries)
	local sum = 0;
	for _ in pairs(entries) do sum = sum + 1; end
	return sum;
end

-- Of 100 kB each, about forty are four megabytes
local function is_four_megabytes(number)
	assert.is_true(number > 35 and number < 45, number);
end

describe("what a master says", function ()
	it("is, in a resync, as many occupants as a room may have, besides those that are known (G29 G19)", function ()
		local bounds = new():require "bounds";
		local resync = { copies = {} };
		local room = { fmuc = { master = master; waiting = {}; copies = {}; line = { phase = "live" } } };
		local function admit(first)
			local copies = room.fmuc.line.phase == "joining" and resync.copies or room.fmuc.copies;
			for i = first, first + 99 do
				copies[i] = copies[i] or bounds.admits(room, i, st.presence({ from = master .. "/" .. i }));
			end
			return count(copies);
		end
		assert.equal(10, admit(1));
		room.fmuc.line = { phase = "joining"; resync = resync };
		assert.equal(10, admit(101));
		assert.truthy(bounds.admits(room, 101, st.presence())); -- one of them, again
		assert.truthy(bounds.admits(room, "own", st.presence(), true));
	end);

	it("waits for the end of an outage as 300 stanzas, and 4 MB, at most (G29 G1)", function ()
		local outage = new():require "outage" {};
		local room = { jid = mirror; fmuc = { master = master; line = { held = {} } } };
		for i = 1, 300 do outage.hold(room, message("m" .. i)); end
		assert.is_nil(room.fmuc.line.must_join);
		outage.hold(room, message("m301"));
		assert.equal(300, #room.fmuc.line.held);
		assert.is_true(room.fmuc.line.must_join);
		room.fmuc.line = { held = {} };
		for i = 1, 60 do outage.hold(room, message("m" .. i, 100000)); end
		is_four_megabytes(#room.fmuc.line.held);
		assert.is_true(room.fmuc.line.must_join);
	end);

	it("is 4 MB of a resync (G29 G3)", function ()
		local resync = new():require "resync" {};
		local current = { messages = {} };
		local room = { jid = mirror; fmuc = { master = master; line = { resync = current } } };
		for i = 1, 60 do resync.message(room, message("m" .. i, 100000)); end
		is_four_megabytes(#current.messages);
	end);

	it("is 500 messages, and 4 MB, of its archive (G29 G8)", function ()
		local backfill = new():require "backfill" {};
		local function fill(number, bytes)
			local archive = { pages = {}; page = {}; count = 0 };
			local room = { jid = mirror; fmuc = { master = master; line = { asked = { id = "q" }; resync = { archive = archive } } } };
			for i = 1, number do
				backfill.take(room, st.message({ from = master; to = mirror }):tag("result", { xmlns = "urn:xmpp:mam:2"; queryid = "q"; id = "a" .. i })
					:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
						:tag("delay", { xmlns = "urn:xmpp:delay"; stamp = "2030-01-01T00:00:00Z" }):up()
						:tag("message", { xmlns = "jabber:client"; type = "groupchat"; from = master .. "/Nick" })
							:text_tag("body", ("x"):rep(bytes)):reset());
			end
			return #archive.page;
		end
		assert.equal(500, fill(600, 1));
		is_four_megabytes(fill(60, 100000));
	end);

	it("is remembered of the latest 1200 messages (G29 G3)", function ()
		local seen = new():require "seen";
		local state = { master = master; info = { features = { ["urn:xmpp:sid:0"] = true } } };
		local function say(i)
			return message("m" .. i):tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = master; id = ("x"):rep(1000) .. i }):up();
		end
		for i = 1, 3000 do seen.add(state, say(i)); end
		assert.equal(1200, count(state.seen.at));
		assert.equal("id", seen.has(state, say(1801)));
		assert.is_nil(seen.has(state, say(1800)));
		for key in pairs(state.seen.at) do assert.is_true(#key < 70); end
	end);

	it("is, to a user who is not in the room yet, 50 stanzas, and 4 MB, at most (G29 M8)", function ()
		local admission = new():require "admission" { mirrored = { is_local = always(false) } };
		local function tell(bytes)
			local record = {};
			local room = { fmuc = { master = master; waiting = { ["x/Kev"] = record } } };
			for i = 1, 60 do admission.tell(room, "x/Kev", message("m" .. i, bytes)); end
			return #record.held;
		end
		assert.equal(50, tell(1));
		is_four_megabytes(tell(100000));
	end);
end);

it("descriptions of rooms are those of 512, and no master pushes out those of another (G29 G13)", function ()
	local answered, asked;
	local requests = { find = nothing; on = function (_, handler) answered = handler; end;
		get = function (from, to) return st.iq({ type = "get"; from = from; to = to; id = "q" }); end;
		send = function (_, iq, record)
			asked, record.own, record.peer = record, iq.attr.from, iq.attr.to;
			return true;
		end };
	local room_info = new():require "room_info" { admission = {}; mirrored = { get = nothing }; archive = {}; requests = requests };
	local function describe_room(room_jid, master_jid)
		room_info.fetch(room_jid, master_jid);
		local answer = st.iq({ type = "result"; id = "q" }):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" });
		answer:tag("feature", { var = ("x"):rep(257) }):up();
		for i = 1, 200 do answer:tag("feature", { var = "f" .. i }):up(); end
		answered(asked, answer:reset());
	end
	describe_room("good", "r@good.example");
	for i = 1, 1000 do describe_room("bad" .. i, "r" .. i .. "@bad.example"); end
	local features = room_info.get("good").list;
	assert.same({ 128, "f1", "f128" }, { #features, features[1], features[128] });
	local known = 0;
	for i = 1, 1000 do
		if room_info.get("bad" .. i) then known = known + 1; end
	end
	assert.is_true(known > 200 and known < 512, known);
	assert.truthy(room_info.get("bad1000"));
end);

describe("what users say to masters", function ()
	local module, outbox, last;

	before_each(function ()
		module = new { policy = { is_nomirror = always(false) } };
		outbox = module:require "outbox" { parts = { seen = {}; mirrored = { send = nothing }; ids = { from_client = always { by = {} } };
			outage = { is_out = always(false); is_autonomous = always(false) } } };
		last = 0;
	end);

	-- Whether the mirror takes such a message of that user
	local function say(user, room_jid, bytes)
		local room = { jid = room_jid; fmuc = { master = master } };
		function room.get_occupant_by_real_jid() return { nick = room_jid .. "/" .. user; role = "participant" }; end
		last, module.sent = last + 1, {};
		outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = user; to = room_jid; id = "m" .. last })
			:text_tag("body", ("x"):rep(bytes or 1)), room);
		local condition = condition_of(module.sent[1]);
		assert.is_true(condition == nil or condition == "resource-constraint", condition);
		return condition == nil;
	end

	local function taken(user, room_jid, number, bytes)
		local sum = 0;
		for _ = 1, number do
			if say(user, room_jid, bytes) then sum = sum + 1; end
		end
		return sum;
	end

	it("is on its way as 500 messages of a room, 100 of each occupant (G29 G16)", function ()
		for i = 1, 5 do assert.equal(100, taken("u" .. i .. "@bad.example/x", "full", 101)); end
		assert.is_false(say("kev@good.example/x", "full"));
		assert.is_true(say("kev@good.example/x", "other"));
		assert.truthy(outbox.take_echo("full/u1@bad.example/x", message("m1"), "by-id"));
		assert.is_true(say("kev@good.example/x", "full"));
	end);

	it("is 4 MB of a room (G29 G16)", function ()
		local sum = 0;
		for i = 1, 5 do sum = sum + taken("u" .. i .. "@bad.example/x", "full", 18, 100000); end
		is_four_megabytes(sum);
		assert.is_true(say("kev@good.example/x", "other", 100000));
	end);

	it("is 64 MB of all, and one domain leaves place for others (G29 G16)", function ()
		local sum = 0;
		for i = 1, 100 do sum = sum + taken("u" .. i .. "@bad.example/x", "r" .. i, 10, 100000); end
		assert.is_true(sum > 300 and sum < 340, sum);
		for i = 1, 10 do assert.equal(10, taken("u" .. i .. "@good.example/x", "r" .. i, 10, 100000)); end
	end);
end);

it("joins that wait for a description are 2000, of one domain as many as it leaves free, 200 for a room (G29 G20)", function ()
	local refused = 0;
	local module = new { policy = { lists_masters = always(false); may_use = always(true); may_be_mirrored = always(true) };
		refusal = { join = function () refused = refused + 1; end; pass_on = nothing } };
	module:require "gate" { mirrored = { get = nothing }; room_info = { get = nothing; fetch = always(true) } };
	local function join(user, room)
		module.hooks["presence/full"] { stanza = st.presence({ from = user .. "/x"; to = room .. "\\40rooms.example@here.example/Nick" })
			:tag("x", { xmlns = "http://jabber.org/protocol/muc" }):reset() };
	end
	for i = 1, 250 do join("u" .. i .. "@bad.example", "full"); end
	assert.equal(50, refused);
	for i = 1, 1000 do join("v" .. i .. "@bad.example", "r" .. i); end
	assert.equal(250, refused); -- a thousand of them wait
	for i = 1, 300 do join("u" .. i .. "@good.example", "s" .. i); end
	assert.equal(250, refused);
	module.hooks["fmuc-room-info"] { room_jid = "full\\40rooms.example@here.example"; info = { failed = false; features = {} } };
	for i = 1, 50 do join("w" .. i .. "@bad.example", "full"); end
	assert.equal(250, refused);
end);

describe("questions on their way", function ()
	local requests;

	before_each(function ()
		requests = new():require "requests";
		requests.on("test", nothing);
	end);

	local function ask(peer, user)
		return requests.send("test", requests.get(mirror, peer), { user = user }, 60);
	end

	it("are 4000, and who does not answer leaves place for questions to others (G29 G13)", function ()
		local sum = 0;
		for i = 1, 5000 do sum = sum + (ask("r" .. i .. "@bad.example") and 1 or 0); end
		assert.equal(2000, sum);
		assert.is_true(ask(master));
		requests.close();
		assert.is_true(ask("r@bad.example"));
	end);

	it("are those of 2000 users, of one domain as many as it leaves free, 100 of each (G29 G13)", function ()
		for i = 1, 100 do assert.is_true(ask("r" .. i .. "@rooms.example", "kev@bad.example/x" .. i)); end
		assert.is_nil(ask(master, "kev@bad.example/x"));
		local record = requests.find("test", "r1@rooms.example");
		assert.is_nil(requests.wait(record, "kev@bad.example/x"));
		local sum = 100;
		for i = 1, 2000 do sum = sum + (requests.wait(record, "u" .. i .. "@bad.example/x") and 1 or 0); end
		assert.equal(1000, sum);
		assert.is_true(ask(master, "bob@good.example/x"));
		assert.is_true(ask(master)); -- of the mirror's own accord
	end);
end);

it("questions for a room have ids of 256 bytes at most (G29 G13)", function ()
	local fetched = 0;
	local module = new { policy = { may_use = always(true); may_be_mirrored = always(true) } };
	module:require "room_iq" { archive = {}; avatar = {}; early_queries = {}; mirrored = { get = nothing }; room_info = { get = nothing;
		fetch = function ()
			fetched = fetched + 1;
			return true;
		end } };
	local function look(id)
		module.hooks["iq/bare/http://jabber.org/protocol/disco#info:query"] { stanza = st.iq({ type = "get"; from = "kev@here.example/x";
			to = mirror; id = id }):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }):up() };
	end
	look(("x"):rep(256));
	assert.same({ 1, 0 }, { fetched, #module.sent });
	look(("x"):rep(257));
	assert.equal(1, fetched);
	assert.equal("policy-violation", condition_of(module.sent[1]));
end);

it("queries of an archive before the end of a join are 200, five of a user, and one domain leaves place for others (G29 G8)", function ()
	local hold = new():require "early_queries" { is_joining = always(true) }.hold;
	local function ask(user, id, bytes)
		return hold(st.iq({ type = "set"; from = user; to = mirror; id = id })
			:tag("query", { xmlns = "urn:xmpp:mam:2"; queryid = ("x"):rep(bytes or 1) }):up());
	end
	local sum = 0;
	for i = 1, 40 do
		for k = 1, 6 do sum = sum + (ask("u" .. i .. "@bad.example/x", "q" .. k) and 1 or 0); end
		assert.is_true(sum <= 5 * i);
	end
	assert.equal(100, sum);
	for i = 1, 10 do assert.is_true(ask("u" .. i .. "@good.example/x", "q")); end
	assert.is_nil(ask("kev@good.example/x", "long", 33000));
end);

it("private messages that may come back as errors are 2000, 200 of a sender, and one domain leaves place for others (G29 G12)", function ()
	local module = new { ids = {} };
	local private = module:require "private" { room_info = {}; messages = {}; requests = { on = nothing };
		ids = { from_master = always { by = {} } };
		mirrored = { is_local = always(true); get = function (room_jid)
			local name, host = room_jid:match("^(.-)\\40(.*)@");
			return { jid = room_jid; fmuc = { master = name .. "@" .. host }; get_occupant_by_nick = always {}; route_to_occupant = nothing };
		end } };
	local function whisper(name, host, id)
		module.hooks["message/full"] { stanza = st.message({ type = "chat"; from = name .. "@" .. host .. "/Eve"; id = id;
			to = name .. "\\40" .. host .. "@here.example/Kev" }):text_tag("body", "x") };
		return count(private.save().records);
	end
	for i = 1, 250 do whisper("r1", "bad.example", "m" .. i); end
	assert.equal(200, count(private.save().records));
	assert.equal(200, whisper("r2", "bad.example", ("x"):rep(257)));
	for room = 2, 10 do
		for i = 1, 200 do whisper("r" .. room, "bad.example", "m" .. i); end
	end
	assert.equal(1000, count(private.save().records));
	assert.equal(1001, whisper("r", "good.example", "m"));
end);

it("nicks that have left in an outage are as many as a room may have; then the master is asked whom it has (G29 G3)", function ()
	local outage = new():require "outage" {};
	local line = outage.new_line();
	for i = 1, 10 do outage.left({ fmuc = { line = line } }, "n" .. i); end
	outage.left({ fmuc = { line = line } }, "n1");
	assert.is_nil(line.must_join);
	for i = 11, 100 do outage.left({ fmuc = { line = line } }, "n" .. i); end
	assert.equal(10, count(line.parted));
	assert.is_true(line.must_join);
end);

it("masters that believe in a mirror that is not there are told once in a second, 256 of them, whoever else is (G29 G4)", function ()
	local time = 1000;
	local module = new(nil, { os = setmetatable({ time = function () return time; end }, { __index = os }) });
	local from_master = module:require "from_master" { former = { is_known = always(false) } };
	local function deny(name, domain)
		local before = #module.sent;
		from_master.deny(name .. "\\40" .. domain .. "@here.example", st.presence({ from = name .. "@" .. domain .. "/Nick"; to = mirror }));
		return #module.sent > before;
	end
	assert.is_true(deny("r", "good.example"));
	assert.is_true(deny("r0", "bad.example"));
	assert.is_false(deny("r0", "bad.example"));
	for i = 1, 1000 do assert.is_true(deny("r" .. i, "bad.example")); end
	assert.is_false(deny("r", "good.example"));
	assert.is_true(deny("r0", "bad.example")); -- whose own are pushed out
	time = time + 1;
	assert.is_true(deny("r", "good.example"));
end);
