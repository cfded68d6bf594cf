-- SPDX-License-Identifier: MIT
-- The states of links (mod_fmuc, link/states and link/link): each row of the table, and each event that changes nothing. No server is needed.

local fmuc_lib = require "fmuc_lib";

local states = fmuc_lib.new {} "link/states";

-- dialect -> direction -> state -> event -> next state: what the module relies on
local expected = { generation1 = {
	up = {
		joining = { synced = "live"; closed = "closed" };
		live = { broken = "lost"; closed = "closed" };
		lost = { complete = "rejoining"; incomplete = "syncing"; emptied = "joining"; closed = "closed" };
		syncing = { dumped = "rejoining"; incomplete = "syncing"; broken = "lost"; emptied = "joining"; closed = "closed" };
		rejoining = { returned = "live"; broken = "lost"; emptied = "joining"; closed = "closed" };
		closed = {};
	};
	down = {
		dumping = { dumped = "live"; broken = "lost"; closed = "closed" };
		live = { dump = "dumping"; broken = "lost"; closed = "closed" };
		lost = { dump = "dumping"; complete = "live"; closed = "closed" };
		closed = {};
	};
}; generation2 = {
	up = {
		joining = { synced = "live"; broken = "lost"; ended = "ending"; closed = "closed" };
		live = { broken = "lost"; join = "joining"; ended = "ending"; closed = "closed" };
		lost = { join = "joining"; ended = "ending"; closed = "closed" };
		ending = { closed = "closed" };
		closed = {};
	};
	down = {
		live = { broken = "lost"; ended = "ending"; closed = "closed" };
		lost = { synced = "live"; ended = "ending"; closed = "closed" };
		ending = { closed = "closed" };
		closed = {};
	};
} };

local events = { "synced", "broken", "complete", "incomplete", "emptied", "dumped", "returned", "dump", "join", "ended", "closed", "nonsense" };

describe("states of a link", function ()
	local function expect_rows(dialect, direction, state, row)
		for _, event in ipairs(events) do
			it(("%s, %s, %s: %s leads to %s"):format(dialect, direction, state, event, row[event] or "nothing"), function ()
				assert.equal(row[event], states.next(dialect, direction, state, event));
			end);
		end
	end
	for dialect, of_dialect in pairs(expected) do
		for direction, of_direction in pairs(of_dialect) do
			for state, row in pairs(of_direction) do expect_rows(dialect, direction, state, row); end
		end
	end

	it("begin where nothing has been sent yet", function ()
		assert.equal("joining", states.first("generation1", "up"));
		assert.equal("dumping", states.first("generation1", "down"));
	end);
end);

describe("a link", function ()
	local sent, fired, link;

	local function load_link()
		return fmuc_lib.new {
			send = function (_, stanza) sent[#sent + 1] = stanza; end;
			fire_event = function (_, name, event) fired[#fired + 1] = name .. " " .. event.room_jid .. " " .. event.link.state; end;
		} "link/link";
	end

	before_each(function ()
		sent, fired = {}, {};
		link = load_link();
	end);

	local function question(id)
		return require "util.stanza".iq({ type = "get"; id = id; from = "a@here"; to = "b@there" });
	end

	it("is one for two rooms, until it is closed", function ()
		local one = link.open("a@here", "b@there", "up", "generation1");
		assert.equal(one, link.open("a@here", "b@there", "up", "generation1"));
		assert.equal(one, link.get("a@here", "b@there"));
		assert.not_equal(one, link.open("a@here", "c@there", "down", "generation1"));
		one:close();
		assert.is_nil(link.get("a@here", "b@there"));
		assert.not_equal(one, link.open("a@here", "b@there", "up", "generation1"));
		local new = link.get("a@here", "b@there");
		one:close(); -- a second time, when there is another one
		assert.equal(new, link.get("a@here", "b@there"));
	end);

	it("stays as it is at an event that means nothing, and tells of others when it has changed", function ()
		local one = link.open("a@here", "b@there", "up", "generation1");
		assert.is_false(one:fire("dumped"));
		assert.equal("joining", one.state);
		assert.is_true(one:fire("synced"));
		assert.equal("live", one.state);
		one:close();
		one:close();
		assert.same({ "fmuc-link/synced a@here live", "fmuc-link/closed a@here closed" }, fired);
	end);

	it("has one open question, and can ask it again", function ()
		local one = link.open("a@here", "b@there", "up", "generation1");
		one:ask("probe", question("1"));
		one:ask("join", question("2"), { nick = "Kev" });
		assert.equal("2", one.asked.id);
		assert.equal("Kev", one.asked.nick);
		one:doubt();
		one:ask_again();
		assert.same({ 2, nil }, { one.asked.patience, one.asked.in_doubt_since });
		one:check(question("3"));
		assert.equal("3", one.asked.check);
		assert.equal("join", one:answered().kind);
		assert.is_nil(one:answered());
		local ids = {};
		for i, stanza in ipairs(sent) do ids[i] = stanza.attr.id; end
		assert.same({ "1", "2", "2", "3" }, ids);
	end);

	it("outlives a reload with what others keep of it", function ()
		local one = link.open("a@here", "b@there", "down", "generation1");
		one:fire("dumped");
		one:count_sent();
		one:count_received(2);
		one:own("ids").last = 7;
		one.transient = true;
		local saved = link.save();
		local next_link = load_link();
		next_link.restore(saved);
		local restored = next_link.get("a@here", "b@there");
		assert.same({ "live", 1, 2, 7, nil }, { restored.state, restored.sent, restored.received, restored:own("ids").last, restored.transient });
		assert.is_true(restored:fire("broken"));
	end);

	it("begins anew when its last user has gone in an outage, and forgets what was kept of it", function ()
		local one = link.open("a@here", "b@there", "up", "generation1");
		one:fire("synced");
		one:begin_again();
		assert.equal("live", one.state); -- not out
		one:count_sent(5);
		one:fire("broken");
		one:own("resync").copies = {};
		one:begin_again();
		assert.same({ "joining", 0, {} }, { one.state, one.sent, one:own("resync") });
	end);
end);
