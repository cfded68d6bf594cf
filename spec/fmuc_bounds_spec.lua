-- SPDX-License-Identifier: MIT
-- The bounds of mod_fmuc that take no server: the journal of a master's room, those who were kicked from it, the memory that peers share at a
-- mirror, and lines in the log.

local st = require "util.stanza";

local MB = 1024 * 1024;

local fmuc_lib = require "fmuc_lib";

describe("the journal of a room", function ()
	local journal, timers;

	before_each(function ()
		timers = {};
		local module = {};
		function module.add_timer(_, _, callback) timers[#timers + 1] = callback; end
		journal = fmuc_lib(module) "master/journal";
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
	local bounds, kept, time;

	before_each(function ()
		local lines = {};
		local module = { host = "mirror" };
		function module.log(_, _, line) lines[#lines + 1] = line; end
		time = 1000;
		local monotonic = package.loaded["util.time"];
		package.loaded["util.time"] = { monotonic = function () return time; end; now = os.time };
		bounds = fmuc_lib(module, { settings = { max_occupants = 10 } }) "link/limits";
		package.loaded["util.time"] = monotonic;
		kept = {};
		bounds.count_with(function (add) for jid, bytes in pairs(kept) do add(jid, bytes); end end);
	end);

	it("leaves place for others, whoever fills it (G29 F18)", function ()
		local taken = 0;
		while bounds.has_memory_for("room@bad.example", MB) do
			taken = taken + 1;
			kept["room@bad.example"] = taken * MB;
		end
		assert.equal(128, taken);
		assert.is_false(bounds.has_memory_for("other@bad.example", MB));
		assert.is_true(bounds.has_memory_for("room@good.example", 60 * MB));
	end);

	it("is free again when what was kept has gone, without a word (G29)", function ()
		for _ = 1, 128 do bounds.has_memory_for("room@bad.example", MB); end
		kept["room@bad.example"] = MB;
		time = time + 2;
		assert.is_true(bounds.has_memory_for("room@bad.example", 100 * MB));
	end);
end);

describe("those who were kicked from a room", function ()
	local kicked = fmuc_lib {} "master/kicked";

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
		local lines = {};
		local module = {};
		function module.log(_, level, line) lines[#lines + 1] = level .. " " .. line; end
		local once = fmuc_lib(module) "link/log".once;
		for _ = 1, 2 do
			for i = 1, 300 do once("kind" .. i .. "\0x@bad.example", "info", "bad"); end
		end
		assert.equal(51, #lines); -- and that there are more
		once("kind\0x@good.example", "warn", "good");
		assert.equal("warn good", lines[52]);
		for i = 1, 300 do once("kind\0x@d" .. i .. ".example", "info", "other"); end
		assert.equal(101, #lines);
	end);
end);
