-- SPDX-License-Identifier: MIT
-- The bounds of mod_fmuc that need no server: the journal of a master's room; the list of those who were kicked from it; the memory that peers
-- share at a mirror; lines in the log; the small tables of both roles. fmuc_mirror_bounds_spec.lua has the bounds of a mirror alone.

local fmuc_lib = require "fmuc_lib";
local st = require "util.stanza";

local MB = 1024 * 1024;

describe("the journal of a room", function ()
	local journal, timers;

	before_each(function ()
		timers = {};
		journal = fmuc_lib.new { add_timer = function (_, _, callback) timers[#timers + 1] = callback; end } "master/journal";
		journal.start();
	end);

	local function message(id, bytes)
		return st.message({ from = "r@m/Nick"; id = id; type = "groupchat" }):text_tag("body", ("x"):rep(bytes or 10));
	end

	local function ids(room_jid)
		local list = {};
		for stanza in journal.since(room_jid, 0) do list[#list + 1] = stanza.attr.id; end
		return list;
	end

	it("gives back what was said, with the time (G3 F8 C5)", function ()
		journal.begin("r@m");
		local said = message("1"):tag("x", { xmlns = "urn:x"; ["urn:y\1a"] = "<&>" }):text("'"):tag("z", { xmlns = "" }):reset();
		journal.add("r@m", said);
		local kept = journal.since("r@m", 0)();
		assert.equal("r@m", kept:get_child("delay", "urn:xmpp:delay").attr.from);
		table.remove(kept.tags);
		table.remove(kept);
		assert.same(st.preserialize(said), st.preserialize(kept));
	end);

	it("keeps text, not stanzas, and no more of a room than 4 MB (F8 G29)", function ()
		journal.begin("r@m");
		local hostile = message("h");
		for _ = 1, 10000 do hostile:tag("a"):up(); end
		collectgarbage();
		local before = collectgarbage("count");
		for _ = 1, 20 do journal.add("r@m", hostile); end
		collectgarbage();
		assert.is_true((collectgarbage("count") - before) * 1024 < 2 * MB);
		for i = 1, 60 do journal.add("r@m", message("long" .. i, 100000)); end
		assert.is_true(#ids("r@m") < 45 and #ids("r@m") > 35);
		assert.equal("long60", ids("r@m")[#ids("r@m")]);
	end);

	it("has the last 500 messages of a room (F8 G29)", function ()
		journal.begin("r@m");
		for i = 1, 600 do journal.add("r@m", message("m" .. i)); end
		local kept = ids("r@m");
		assert.same({ 500, "m101", "m600" }, { #kept, kept[1], kept[500] });
	end);

	it("gives all rooms an equal part when there are many (G29)", function ()
		journal.begin("first@m");
		for i = 1, 40 do journal.add("first@m", message("m" .. i, 100000)); end
		for i = 1, 63 do journal.begin("room" .. i .. "@m"); end
		for i = 1, 30 do journal.add("room1@m", message("m" .. i, 100000)); end
		local count = #ids("room1@m");
		assert.is_true(count < 11 and count > 8, count);
		timers[1](); -- as well where nothing is said any more
		assert.is_true(#ids("first@m") < 11);
		for i = 1, 63 do journal.forget("room" .. i .. "@m"); end
		for i = 1, 30 do journal.add("first@m", message("n" .. i, 100000)); end
		assert.is_true(#ids("first@m") > 30);
	end);

	it("forgets after an hour, though nothing new comes (F8)", function ()
		journal.begin("r@m");
		journal.add("r@m", message("old"));
		journal.add("r@m", message("new"));
		local entries = journal.save()["r@m"];
		entries[entries.first].time = os.time() - 3601;
		timers[1]();
		assert.same({ "new" }, ids("r@m"));
		assert.is_true(select(2, journal.since("r@m", 0)) > os.time() - 3602);
		entries[entries.first].time = os.time() - 3601;
		timers[1]();
		assert.same({}, ids("r@m"));
		assert.equal(0, entries.bytes);
	end);
end);

describe("the memory that peers share", function ()
	local limits, kept, time;

	before_each(function ()
		time = 1000;
		local monotonic = package.loaded["util.time"];
		package.loaded["util.time"] = { monotonic = function () return time; end; now = os.time };
		limits = fmuc_lib.new(fmuc_lib.module(), { settings = { max_occupants = 10 } }) "link/limits";
		package.loaded["util.time"] = monotonic;
		kept = {};
		limits.count_with(function (add) for jid, bytes in pairs(kept) do add(jid, bytes); end end);
	end);

	it("leaves place for others, whoever fills it (G29 F18)", function ()
		local taken = 0;
		while limits.has_memory_for("room@bad.example", MB) do
			taken = taken + 1;
			kept["room@bad.example"] = taken * MB;
		end
		time = time + 2; -- and all is counted anew
		assert.equal(128, taken);
		assert.is_false(limits.has_memory_for("other@bad.example", MB));
		assert.is_true(limits.has_memory_for("room@good.example", 60 * MB));
	end);

	it("is free again when what was kept has gone, without a word (G29)", function ()
		for _ = 1, 128 do limits.has_memory_for("room@bad.example", MB); end
		kept["room@bad.example"] = MB;
		time = time + 2;
		assert.is_true(limits.has_memory_for("room@bad.example", 100 * MB));
	end);
end);

describe("those who were kicked from a room", function ()
	local kicked = fmuc_lib.new {} "master/kicked";

	local function kick(room, link_jid, nick, reason)
		kicked.add(room, link_jid, st.presence({ type = "unavailable"; from = "r@m/" .. nick }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("item", { affiliation = "none"; role = "none" }):text_tag("reason", reason or ""):up():tag("status", { code = "307" }):reset());
	end

	it("are a hundred, and no mirror pushes out those of another (G29 G14)", function ()
		local room = { _data = {} };
		kick(room, "r@good.example", "Kev");
		for i = 1, 300 do kick(room, "r@bad.example", "n" .. i); end
		assert.equal(100, #room._data.fmuc_kicked);
		assert.truthy(kicked.presence(room, "r@good.example", "Kev"));
		assert.truthy(kicked.presence(room, "r@bad.example", "n300"));
		assert.is_nil(kicked.presence(room, "r@bad.example", "n100"));
	end);

	it("are kept without a reason that is too long (F8 G29)", function ()
		local room = { _data = {} };
		kick(room, "r@good.example", "Kev", ("x"):rep(100000));
		local kept = kicked.presence(room, "r@good.example", "Kev");
		assert.is_true(#tostring(kept) < 1000);
		assert.equal("307", kept:find("{http://jabber.org/protocol/muc#user}x/status@code"));
	end);
end);

describe("lines in the log about what is refused", function ()
	it("are a hundred in an hour, once each, and one domain leaves place for others (G29)", function ()
		local module = fmuc_lib.module();
		local lines, once = module.lines, fmuc_lib.new(module) "link/log".once;
		for _ = 1, 2 do
			for i = 1, 300 do once("kind" .. i .. "\0x@bad.example", "info", "bad"); end
		end
		assert.equal(51, #lines); -- and that there are more
		once("kind\0x@good.example", "warn", "good");
		assert.equal("warn good", lines[52]);
		for i = 1, 300 do once("kind\0x@d" .. i .. ".example", "info", "other"); end
		assert.equal(101, #lines);
	end);

	it("are ten in an hour of what an admin may want to know each time, for each of a thousand rooms (G29)", function ()
		local module = fmuc_lib.module();
		local paced = fmuc_lib.new(module) "link/log".paced;
		local function levels(key, count)
			module.lines = {};
			for _ = 1, count do paced(key, "info", "x"); end
			return table.concat(module.lines, ",");
		end
		local ten = ("info x,"):rep(9) .. "info x";
		assert.equal(ten .. ",debug x,debug x", levels("lost\0r@good.example", 12));
		for i = 1, 999 do assert.equal("info x", levels("lost\0r" .. i .. "@bad.example", 1)); end
		assert.equal("debug x", levels("lost\0r@good.example", 1)); -- which makes it the latest
		-- who fills the table loses the oldest counts, and no line
		for i = 1000, 2000 do assert.equal("info x", levels("lost\0r" .. i .. "@bad.example", 1)); end
		assert.equal(ten .. ",debug x", levels("lost\0r@good.example", 11));
	end);
end);

describe("counts of what crossed before there was a link", function ()
	it("are kept for 256 pairs of rooms, and other links count all the same (G29 G25)", function ()
		local lib = fmuc_lib.new(fmuc_lib.module());
		local links, traffic = lib "link/link", lib "link/traffic";
		traffic.start { down = "sent"; metrics = { crossed = function () end }; find = function (here, there) return links.get(here, there), 1; end };
		local function receive(i)
			local from = ("r%d\\40rooms.example@bad.example"):format(i);
			traffic.count_received { origin = { type = "s2sin" }; stanza = st.presence({ from = from; to = ("r%d@rooms.example"):format(i) }) };
		end
		local function received_with_link(i)
			local link = links.open(("r%d@rooms.example"):format(i), ("r%d\\40rooms.example@bad.example"):format(i), "down", "generation1");
			receive(i);
			return traffic.of(link).received;
		end
		for i = 1, 300 do receive(i); end
		assert.equal(1, received_with_link(44)); -- its own alone
		assert.equal(2, received_with_link(45));
		assert.equal(2, received_with_link(300));
		assert.equal(1, received_with_link(301));
	end);
end);

describe("what mirrors can do", function ()
	local xmlns_private = "urn:x-prosody-relay:fmuc:private:0";
	local module, private, room, questions, answered;

	local function link_of(nick) return { dialect = "generation1"; peer = ("r\\40m@%s.example"):format(nick) }; end

	before_each(function ()
		questions = {};
		room = { jid = "r@m"; fmuc = { link_of = setmetatable({}, { __index = function (_, jid) return link_of(jid); end }) }; delivered = {} };
		function room.get_occupant_by_nick(_, jid) return { jid = jid:match("/(.*)") }; end
		function room.get_occupant_jid(_, jid) return "r@m/" .. jid:match("^[^@]*"); end
		function room:handle_message_to_occupant(_, stanza) table.insert(self.delivered, stanza.attr.to); end
		local muc = { get_room_from_jid = function (jid) return jid == "r@m" and room or nil; end };
		module = fmuc_lib.module { muc = muc };
		local requests = {};
		function requests.on(kind, handler) if kind == "peer-features" then answered = handler; end end
		function requests.find(_, peer) return questions[peer]; end
		function requests.get(from, to) return st.iq({ type = "get"; from = from; to = to; id = "q" }); end
		function requests.send(_, iq, record)
			record.peer = iq.attr.to;
			questions[record.peer] = record;
			return true;
		end
		function requests.each() return pairs {}; end
		local links = { get = function (_, jid) return jid:find("\\40", 1, true) and { peer = jid }; end };
		private = fmuc_lib.new(module, { ["link/requests"] = requests; ["master/links"] = links; ["master/liveness"] = {} }) "master/private";
	end);

	local function whisper(user, nick, bytes)
		local stanza = st.message({ type = "chat"; from = user; to = "r@m/" .. nick; id = "w" }):text_tag("body", ("x"):rep(bytes or 1));
		private.handle { stanza = stanza; origin = {} };
	end

	local function answer(host)
		local record = questions[host];
		questions[host] = nil;
		answered(record, st.iq({ type = "result"; id = "q" }):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" })
			:tag("feature", { var = xmlns_private }):reset());
	end

	it("is known of 256 of them, and others are asked again (G29 G12)", function ()
		for i = 1, 300 do
			whisper("curtis@m/x", "n" .. i);
			answer("n" .. i .. ".example");
		end
		assert.equal(300, #room.delivered);
		whisper("curtis@m/x", "n45");
		whisper("curtis@m/x", "n300");
		assert.is_nil(next(questions));
		whisper("curtis@m/x", "n44");
		assert.truthy(questions["n44.example"]);
		answer("n44.example");
		assert.equal(303, #room.delivered);
	end);

	it("lets 16 MB wait, and those of one domain leave place for others (G29 G12)", function ()
		for i = 1, 40 do whisper(("u%d@bad.example/x"):format(i), "n1", MB / 2); end
		assert.is_true(#questions["n1.example"].waiting < 17 and #questions["n1.example"].waiting > 13, #questions["n1.example"].waiting);
		local refusals = #module.sent;
		assert.equal("resource-constraint", (select(2, module.sent[refusals]:get_error())));
		for i = 1, 5 do whisper(("u%d@good.example/x"):format(i), "n1", MB / 2); end
		assert.equal(refusals, #module.sent);
		answer("n1.example");
		refusals = #module.sent;
		for i = 1, 10 do whisper(("u%d@bad.example/x"):format(i), "n2", MB / 2); end
		assert.equal(refusals, #module.sent);
	end);
end);

describe("joins of rooms of other servers as nodes", function ()
	local time, module, uninvited;

	before_each(function ()
		time = 1000;
		local loaded_time, loaded_throttle = package.loaded["util.time"], package.loaded["util.throttle"];
		package.loaded["util.time"] = { now = function () return time; end; monotonic = function () return time; end };
		package.loaded["util.throttle"] = nil;
		module = fmuc_lib.module { muc = { get_room_from_jid = function () return nil; end } };
		uninvited = fmuc_lib.new(module, {}, { prosody = { hosts = {} } }) "link/uninvited";
		package.loaded["util.time"], package.loaded["util.throttle"] = loaded_time, loaded_throttle;
	end);

	-- how many answers to so many joins
	local function answers(domain, count)
		module.sent = {};
		for i = 1, count do
			uninvited.handle { stanza = st.presence({ from = "verona@" .. domain .. "/Romeo"; to = "r@m/Romeo" .. i })
				:tag("x", { xmlns = "http://jabber.org/protocol/muc" }):up()
				:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "romeo@" .. domain .. "/pc" }):up() };
		end
		return #module.sent;
	end

	it("are answered a hundred at once, then ten a second, and those of others meanwhile (G29 G30)", function ()
		assert.equal(100, answers("bad.example", 300));
		assert.equal(1, answers("good.example", 1));
		time = time + 1;
		assert.equal(10, answers("bad.example", 300));
		time = time + 60;
		assert.equal(100, answers("bad.example", 300));
	end);

	it("are counted for 256 domains, and all others are answered too (G29 G30)", function ()
		assert.equal(100, answers("bad.example", 101));
		for i = 1, 255 do assert.equal(1, answers("d" .. i .. ".example", 1)); end
		assert.equal(0, answers("bad.example", 1)); -- which makes it the latest
		for i = 256, 511 do assert.equal(1, answers("d" .. i .. ".example", 1)); end
		assert.equal(100, answers("bad.example", 101));
	end);
end);

it("whole rooms that mirrors ask for are counted for 2000 mirrors, and no domain pushes out those of another (G29 G3)", function ()
	local dumps = fmuc_lib.new {} "link/dumps";
	dumps.count("r@good.example", 17 * MB);
	for i = 1, 3000 do
		assert.is_true(dumps.may_have("r" .. i .. "@bad.example"));
		dumps.count("r" .. i .. "@bad.example", 17 * MB);
	end
	assert.is_false(dumps.may_have("r@good.example"));
	assert.is_false(dumps.may_have("r3000@bad.example"));
	assert.is_true(dumps.may_have("r1@bad.example"));
end);

it("messages that may come twice are 2000, and no domain pushes out those of another (G29 G3)", function ()
	local drop_repeated = fmuc_lib.new {} "link/repeats".drop_repeated;
	-- whether that message is taken for one that has come before
	local function is_repeated(domain, id)
		return drop_repeated { stanza = st.message({ type = "groupchat"; from = "r@" .. domain .. "/Nick"; id = id;
			to = "r\\40" .. domain .. "@mirror.example" }):tag("delay", { xmlns = "urn:xmpp:delay"; from = domain }):up() } == true;
	end
	assert.is_false(is_repeated("good.example", "m"));
	for i = 1, 3000 do assert.is_false(is_repeated("bad.example", "m" .. i)); end
	assert.is_true(is_repeated("good.example", "m"));
	assert.is_true(is_repeated("bad.example", "m2100"));
	assert.is_false(is_repeated("bad.example", "m1"));
end);

it("presences that a mirror of low bandwidth has are one of each occupant, but no long one, which is sent again (G29 G25)", function ()
	local lib = fmuc_lib.new(fmuc_lib.module(), { settings = { max_occupants = 10 } });
	local bandwidth, link = lib "master/bandwidth", lib "link/link".open("r@m", "r\\40m@mirror", "down", "generation1");
	bandwidth.set_level(link, "no-status");
	-- how many of three presences cross
	local function crossing(occupant_jid, attr)
		local crossed = 0;
		for i = 1, 3 do
			local presence = st.presence({ from = occupant_jid }):text_tag("status", "status " .. i)
				:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("item", attr):reset();
			if bandwidth.down(link, presence) then crossed = crossed + 1; end
		end
		return crossed;
	end
	assert.equal(1, crossing("r@m/Kev", { role = "visitor" }));
	assert.equal(1, crossing("r@m/Kev", { role = "participant" })); -- in its place
	assert.equal(3, crossing("r@m/Eve", { role = "participant"; nick = ("x"):rep(20000) }));
	local kept = 0;
	for _ in pairs(link:own("bandwidth").shown) do kept = kept + 1; end
	assert.equal(1, kept);
end);

it("presences that mirrors of low bandwidth have: 256 MB of all mirrors, a domain's share of one owner; others are sent again (G29 G25)", function ()
	local lib = fmuc_lib.new(fmuc_lib.module(), { settings = { max_occupants = 10 } });
	local bandwidth, all_links = lib "master/bandwidth", lib "link/link";
	local item = st.stanza("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("item", { role = "participant"; nick = ("x"):rep(12000) });
	local function is_sent(link, i)
		return bandwidth.down(link, st.presence({ from = "r@m/" .. i }):add_child(item:reset())) ~= nil;
	end
	local function mirror(domain)
		local link = all_links.open("r@m", "r\\40m@" .. domain, "down", "generation1");
		bandwidth.set_level(link, "no-status");
		return link;
	end
	local kept = 0;
	for i = 1, 400 do
		local link = mirror(("m%d.evil.example"):format(i));
		for j = 1, 50 do
			assert.is_true(is_sent(link, j));
			if not is_sent(link, j) then kept = kept + 1; end
		end
	end
	assert.is_true(kept > 5000 and kept < 11000, kept);
	local kind = mirror "mirror.kind.example";
	assert.same({ true, false }, { is_sent(kind, 1), is_sent(kind, 1) });
	for link in all_links.each() do
		if link ~= kind then link:close(); end
	end
end);

it("presences that a mirror has at one bandwidth level are sent again at another (G25)", function ()
	local lib = fmuc_lib.new(fmuc_lib.module(), { settings = { max_occupants = 10 } });
	local bandwidth, link = lib "master/bandwidth", lib "link/link".open("r@m", "r\\40m@mirror", "down", "generation1");
	local function is_sent(role)
		return bandwidth.down(link, st.presence({ from = "r@m/Kev" }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("item", { role = role }):reset()) ~= nil;
	end
	bandwidth.set_level(link, "no-status");
	assert.same({ true, false }, { is_sent "visitor", is_sent "visitor" });
	bandwidth.set_level(link, "full");
	assert.is_true(is_sent "participant");
	bandwidth.set_level(link, "no-status");
	assert.is_true(is_sent "visitor");
	bandwidth.set_level(link, "messages");
	assert.same({ true, false }, { is_sent "visitor", is_sent "visitor" });
end);
