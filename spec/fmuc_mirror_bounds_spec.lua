-- SPDX-License-Identifier: MIT
-- The bounds of a mirror that take no server (README of mod_fmuc, "Trust: bounds"). Others: fmuc_bounds_spec.lua, e2e/fmuc/bounds_spec.lua.

local fmuc_lib = require "fmuc_lib";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local settings = { grace_period = 60; join_timeout = 30; max_occupants = 10; outage_policy = "replica"; bandwidth = "full"; nomirror = false };
local master, mirror = "r@rooms.example", "r\\40rooms.example@here.example";

local function nothing() end
local function always(value) return function () return value; end end

-- new([known], [globals]) -> lib of a mirror that keeps nothing yet, its module. Stubs replace the files that need all of mod_muc or a store.
local function new(known, globals)
	local files = { settings = settings; ["room/archive"] = {}; ["mirror/administration"] = { methods = {} };
		["mirror/restart"] = { is_known = always(false) } };
	for name, file in pairs(known or {}) do files[name] = file; end
	local module = fmuc_lib.module { muc = {} };
	return fmuc_lib.new(module, files, globals), module;
end

-- new_room(lib, [room_jid]) -> a mirrored room, nobody is in it, and its link
local function new_room(lib, room_jid)
	local authority = lib "link/link".open(room_jid or mirror, master, "up", "generation1");
	return { jid = room_jid or mirror; fmuc = { authority = authority; copies = {}; waiting = {}; recipients = fanout.new() } }, authority;
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
		local lib = new();
		local mirrored, resync = lib "mirror/room", lib "mirror/resync";
		local room, authority = new_room(lib);
		authority:own("resync").current = { copies = {} };
		local function admits(jid) return mirrored.admits(room, jid, st.presence(), resync.counter(room)); end
		local function admit(first)
			local copies = resync.counter(room).copies;
			for i = first, first + 99 do copies["n" .. i] = copies["n" .. i] or admits("n" .. i); end
			return count(copies);
		end
		assert.equal(10, admit(1));
		for _, event in ipairs { "synced", "broken", "incomplete" } do authority:fire(event); end
		assert.equal(10, admit(101));
		assert.truthy(admits("n101")); -- one of them, again
		room.fmuc.recipients:add("kev@here.example/x", "own");
		assert.truthy(admits("own"));
	end);

	it("waits for the end of an outage as 300 stanzas, and 4 MB, at most (G29 G1)", function ()
		local lib = new();
		local outage = lib "mirror/outage";
		local room, authority = new_room(lib);
		authority:own("outage").held = {};
		for i = 1, 300 do outage.hold(room, message("m" .. i)); end
		assert.is_nil(authority.must_join);
		outage.hold(room, message("m301"));
		assert.equal(300, #outage.take_held(room));
		assert.is_true(authority.must_join);
		authority:caught_up();
		authority:own("outage").held = {};
		for i = 1, 60 do outage.hold(room, message("m" .. i, 100000)); end
		is_four_megabytes(#outage.take_held(room));
		assert.is_true(authority.must_join);
	end);

	it("is 4 MB of a resync (G29 G3)", function ()
		local lib = new();
		local room, authority = new_room(lib);
		local current = { messages = {}; copies = {} };
		authority:own("resync").current = current;
		for i = 1, 60 do lib "mirror/resync".message(room, message("m" .. i, 100000)); end
		is_four_megabytes(#current.messages);
	end);

	it("is 500 messages, and 4 MB, of its archive (G29 G8)", function ()
		local lib = new();
		local room, authority = new_room(lib);
		authority:ask("archive", st.iq({ type = "set"; id = "q" }));
		local function fill(number, bytes)
			local archive = { pages = {}; page = {}; count = 0 };
			for i = 1, number do
				lib "mirror/backfill".take(room, { archive = archive }, st.message({ from = master; to = mirror })
					:tag("result", { xmlns = "urn:xmpp:mam:2"; queryid = "q"; id = "a" .. i })
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
		local lib = new();
		local shown, room, authority = lib "mirror/shown", new_room(lib);
		room.fmuc.info = { features = { ["urn:xmpp:sid:0"] = true } };
		local function say(i)
			return message("m" .. i):tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = master; id = ("x"):rep(1000) .. i }):up();
		end
		for i = 1, 3000 do shown.add(room, say(i)); end
		local memory = authority:own("shown");
		assert.equal(1200, count(memory.at));
		assert.equal("id", shown.has(room, say(1801)));
		assert.is_nil(shown.has(room, say(1800)));
		for key in pairs(memory.at) do assert.is_true(#key < 70); end
	end);

	it("is, to a user who is not in the room yet, 50 stanzas, and 4 MB, at most (G29 M8)", function ()
		local lib = new();
		local room = new_room(lib);
		local function tell(bytes)
			local record = {};
			room.fmuc.waiting["x/Kev"] = record;
			for i = 1, 60 do lib "mirror/joins".tell(room, "x/Kev", message("m" .. i, bytes)); end
			return #record.held;
		end
		assert.equal(50, tell(1));
		is_four_megabytes(tell(100000));
	end);
end);

it("descriptions of rooms are those of 512, and no master pushes out those of another (G29 G13)", function ()
	local lib, module = new();
	local room_info = lib "mirror/room_info";
	local function describe_room(room_jid, master_jid)
		room_info.fetch(room_jid, master_jid);
		local answer = st.reply(module.sent[#module.sent]):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" });
		answer:tag("feature", { var = ("x"):rep(257) }):up();
		for i = 1, 200 do answer:tag("feature", { var = "f" .. i }):up(); end
		lib "link/requests".handle_answer { stanza = answer:reset(); origin = {} };
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
	local lib, module, outbox, last;

	before_each(function ()
		lib, module = new { ["mirror/policy"] = { is_nomirror = always(false) } };
		outbox = lib "mirror/outbox";
		last = 0;
	end);

	-- Whether the mirror takes such a message of that user
	local function say(user, room_jid, bytes)
		local room = new_room(lib, room_jid);
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
	local held_joins = new {
		["mirror/policy"] = { lists_masters = always(false); may_use = always(true); may_be_mirrored = always(true) };
		["mirror/refusal"] = { join = function () refused = refused + 1; end; pass_on = nothing };
		["mirror/room_info"] = { get = nothing; fetch = always(true) } } "mirror/held_joins";
	local function join(user, room)
		held_joins.handle_presence { stanza = st.presence({ from = user .. "/x"; to = room .. "\\40rooms.example@here.example/Nick" })
			:tag("x", { xmlns = "http://jabber.org/protocol/muc" }):reset() };
	end
	for i = 1, 250 do join("u" .. i .. "@bad.example", "full"); end
	assert.equal(50, refused);
	for i = 1, 1000 do join("v" .. i .. "@bad.example", "r" .. i); end
	assert.equal(250, refused); -- a thousand of them wait
	for i = 1, 300 do join("u" .. i .. "@good.example", "s" .. i); end
	assert.equal(250, refused);
	held_joins.handle_info { room_jid = "full\\40rooms.example@here.example"; info = { failed = false; features = {} } };
	for i = 1, 50 do join("w" .. i .. "@bad.example", "full"); end
	assert.equal(250, refused);
end);

describe("questions on their way", function ()
	local requests;

	before_each(function ()
		requests = new() "link/requests";
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
	local lib, module = new { ["mirror/policy"] = { may_use = always(true); may_be_mirrored = always(true) };
		["mirror/avatar"] = {}; ["mirror/early_stanzas"] = {}; ["mirror/room_info"] = { get = nothing; fetch = function ()
			fetched = fetched + 1;
			return true;
		end } };
	local function look(id)
		lib "mirror/room_iq".discover { stanza = st.iq({ type = "get"; from = "kev@here.example/x"; to = mirror; id = id })
			:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }):up() };
	end
	look(("x"):rep(256));
	assert.same({ 1, 0 }, { fetched, #module.sent });
	look(("x"):rep(257));
	assert.equal(1, fetched);
	assert.equal("policy-violation", condition_of(module.sent[1]));
end);

it("queries of an archive before the end of a join are 200, five of a user, and one domain leaves place for others (G29 G8)", function ()
	local hold = new { ["mirror/held_joins"] = { holds = always(true) }; ["mirror/users"] = {} } "mirror/early_stanzas".hold;
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
	local private = new { ["mirror/messages"] = {}; ["mirror/room"] = { is_local = always(true); get = function (room_jid)
		local name, host = room_jid:match("^(.-)\\40(.*)@");
		return { jid = room_jid; fmuc = { authority = { peer = name .. "@" .. host } }; get_occupant_by_nick = always {};
			route_to_occupant = nothing };
	end } } "mirror/private";
	local function whisper(name, host, id)
		private.handle { stanza = st.message({ type = "chat"; from = name .. "@" .. host .. "/Eve"; id = id;
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
	local lib = new();
	local changes, room, authority = lib "mirror/changes", new_room(lib);
	for i = 1, 10 do changes.may_be_there(room, "n" .. i); end
	changes.may_be_there(room, "n1");
	assert.is_nil(authority.must_join);
	for i = 11, 100 do changes.may_be_there(room, "n" .. i); end
	assert.equal(10, count(changes.take_parted(room)));
	assert.is_true(authority.must_join);
end);

it("masters that believe in a mirror that is not there are told once in a second, 256 of them, whoever else is (G29 G4)", function ()
	local time = 1000;
	local lib, module = new(nil, { os = setmetatable({ time = function () return time; end }, { __index = os }) });
	local from_master = lib "mirror/from_master";
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
