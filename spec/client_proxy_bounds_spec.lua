-- SPDX-License-Identifier: MIT
-- mod_client_proxy without a server: every table that users, other servers or implementing clients can fill, filled by one who wants to
-- (requirement G29). The heap stays below what the README says (Bounds), others keep their places, and the memory comes back.

local calculate_hash = require "util.caps".calculate_hash;
local st = require "util.stanza";
local time = require "util.time";

local MB = 1024 * 1024;
local long = ("n"):rep(1000);

describe("bounds of client_proxy", function ()
	local monotonic, clock = time.monotonic, 1000;
	local module, load_lib, sent;

	function load_lib(name)
		return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
	end

	local function heap()
		collectgarbage();
		collectgarbage();
		return collectgarbage("count") * 1024;
	end

	-- calls fill(i) -> the heap that it took; the last argument keeps what is filled alive
	local function growth(times, fill, ...)
		local before = heap();
		for i = 1, times do fill(i); end
		return heap() - before, ...;
	end

	before_each(function ()
		clock = 1000;
		time.monotonic = function () return clock; end;
		package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.fair_cache"] = nil, nil;
		module = { host = "proxy.example"; log = function () end; add_timer = function () end };
		function module.require(_, name) return load_lib(name); end
		function module.send(_, stanza) sent = stanza; end
		_G.prosody = { hosts = {} };
	end);
	after_each(function ()
		time.monotonic = monotonic;
		package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.fair_cache"] = nil, nil;
		_G.prosody = nil;
	end);

	-- a JID as long as Prosody lets one be: with i in its name, on that host
	local function long_jid(i, host)
		return i .. long:sub(1, 900) .. "@" .. host .. "/" .. i .. long;
	end

	describe("requests in flight", function ()
		local requests;

		local function request(from, bytes, id)
			return st.iq({ type = "get"; from = from; to = "proxy.example"; id = id or "1" })
				:text_tag("question", ("x"):rep(bytes), { xmlns = "urn:test" });
		end

		before_each(function ()
			local pool = load_lib("pool").new(load_lib("strategies").new("random"));
			pool:update("impl@example/a", "impl@example", 0);
			local encode = function (jid) return "proxy.example/" .. jid; end
			requests = load_lib("requests").new(pool, encode, error, { max_pending = 10000; max_pending_per_user = 1000 });
		end);

		local function add(from, bytes, id)
			local stanza = request(from, bytes, id);
			if requests:refusal(stanza) then return nil, requests:refusal(stanza); end
			local record = requests:new_record(stanza);
			requests:add(record, "impl@example/a", 60);
			return record;
		end

		it("keep 2 MB of a user, 16 of a domain, 32 of all, and the rest without a copy (C7, G29)", function ()
			local copies = 0;
			local of_user = growth(100, function () if add("a@x/r", 200000).copy then copies = copies + 1; end end);
			assert.equal(10, copies);
			assert.is_true(of_user < 2.5 * MB, of_user);
			local of_domain = growth(100, function (i) add(i .. "@x/r", 200000); end);
			assert.is_true(of_domain + of_user < 17 * MB, of_domain);
			assert.truthy(add("a@y/r", 200000).copy);
			local of_all = growth(400, function (i) add("a@" .. i, 200000); end);
			assert.is_true(of_all + of_domain + of_user < 33 * MB, of_all);
			local gone = growth(1, function () requests:give_up(); end);
			assert.is_true(gone + of_all + of_domain + of_user < 1 * MB, gone);
		end);

		it("keep ids of any length, as long as there is room (C2, G29)", function ()
			local refusals, ids = {}, {};
			for i = 1, 20 do ids[i] = i .. ("x"):rep(200000); end
			local bytes = growth(20, function (i)
				local _, refusal = add("a@x/r", 10, ids[i]);
				if refusal then refusals[#refusals + 1] = refusal; end
			end);
			assert.equal(10, #refusals);
			assert.equal("bytes", refusals[1]);
			assert.is_true(bytes < 0.5 * MB, bytes);
			assert.truthy(add("a@x/r", 10));
			assert.truthy(add("b@x/r", 10, ids[20]));
		end);
	end);

	it("answers, to know a repeated one: the last 64, whatever addresses they have (P10, G29)", function ()
		local pool = load_lib("pool").new(load_lib("strategies").new("random"));
		pool:update("impl@example/a", "impl@example", 0);
		local requests = load_lib("requests").new(pool, function (jid) return "proxy.example/" .. jid; end, error,
			{ max_pending = 10000; max_pending_per_user = 1000 });
		local answers = {};
		local bytes = growth(1000, function (i)
			local stanza = st.iq({ type = "get"; from = long_jid(i, "x"); to = "proxy.example"; id = i .. long }):tag("q", { xmlns = "urn:q" }):up();
			local record = requests:new_record(stanza);
			local address, id = requests:add(record, "impl@example/a", 60);
			local answer = st.iq({ type = "result"; from = "impl@example/a"; to = address; id = id });
			assert.is_false(requests:is_repeated(answer));
			assert.equal(record, requests:take(answer));
			answers[i % 65] = answer; -- the last 65
		end);
		assert.is_true(bytes < 0.5 * MB, bytes);
		local known = 0;
		for _, answer in pairs(answers) do
			if requests:is_repeated(answer) then known = known + 1; end
		end
		assert.equal(64, known);
		assert.is_false(requests:is_repeated(answers[936 % 65]));
	end);

	it("overdue requests: 2000, and fresh ids for all when there are more (C3, G29)", function ()
		local overdue = load_lib("overdue").new();
		local bytes = growth(5000, function (i) overdue:add(long_jid(i, "impl"), "proxy.example/" .. long, "1"); end);
		assert.is_true(bytes < 0.3 * MB, bytes);
		assert.is_true(overdue:has(long_jid(1, "impl"), "proxy.example/" .. long, "1"));
		-- which nobody has room to know of any more
		assert.is_true(overdue:has("impl@x/other", "proxy.example/a@x", "1"));
		overdue = load_lib("overdue").new(overdue:save());
		clock = clock + 1800;
		bytes = growth(5000, function (i) overdue:add(long_jid(i, "other"), "proxy.example/" .. long, "1"); end);
		assert.is_true(bytes < 0.3 * MB, bytes);
		clock = clock + 2 * 1800;
		assert.is_false(overdue:has("impl@x/other", "proxy.example/a@x", "1"));
		-- each is known for half an hour at least
		for _, wait in ipairs { 1, 1799, 1 } do
			overdue:add("impl@x/a", "proxy.example/a@x", tostring(wait));
			clock = clock + wait;
			assert.is_true(overdue:has("impl@x/a", "proxy.example/a@x", tostring(wait)));
		end
		overdue:settle("impl@x/a", "proxy.example/a@x", "1799");
		assert.is_false(overdue:has("impl@x/a", "proxy.example/a@x", "1799"));
		clock = clock + 3600;
		assert.is_false(overdue:has("impl@x/a", "proxy.example/a@x", "1"));
	end);

	it("sessions: 10000, whatever names they have (C9, G29)", function ()
		local dialogues = load_lib("dialogues").new();
		dialogues:bind("a@z/r", st.stanza("command", { sessionid = "mine" }), "impl@x/a");
		local resource = "impl@x/b";
		local bytes = growth(20000, function (i)
			dialogues:bind(long_jid(i % 10, "x"), st.stanza("command", { sessionid = i .. long }), resource);
			dialogues:bind(i .. "@y/r", st.stanza("open", { sid = "s" }), resource);
		end);
		assert.is_true(bytes < 12 * MB, bytes);
		assert.equal("impl@x/a", dialogues:resource("a@z/r", st.stanza("command", { sessionid = "mine" })));
		-- nobody gets at the session of somebody else
		assert.is_nil(dialogues:resource("b@z/r", st.stanza("command", { sessionid = "mine" })));
		dialogues:bind("a@z/r", st.stanza("command", { sessionid = "mine"; status = "completed" }), "impl@x/a");
		assert.is_nil(dialogues:resource("a@z/r", st.stanza("command", { sessionid = "mine" })));
	end);

	it("sticky keys: 10000, and those of others stay (C4, G29)", function ()
		local pool = load_lib("pool").new(load_lib("strategies").new("sticky"));
		for i = 1, 4 do pool:update("impl@example/" .. i, "impl@example", 0); end
		local mine = pool:pick("a@z", "a@z/r");
		pool:remove(mine);
		local moved = pool:pick("a@z", "a@z/r");
		pool:update(mine, "impl@example", 0);
		local bytes = growth(20000, function (i)
			pool:pick(i .. long, i .. "@x/r");
			pool:pick("k" .. i .. long, "flood@y/" .. i);
		end);
		assert.is_true(bytes < 10 * MB, bytes);
		assert.equal(moved, (pool:pick("a@z", "a@z/r")));
	end);

	it("sticky keys: not moved while their resource is there (C4)", function ()
		local pool = load_lib("pool").new(load_lib("strategies").new("sticky"));
		for i = 1, 4 do pool:update("impl@example/" .. i, "impl@example", 0); end
		for i = 1, 100 do
			local user = i .. "@x";
			local home = pool:pick(user, user);
			assert.are_not.equal(home, pool:pick(user, user, { [home] = true }));
			assert.equal(home, pool:pick(user, user));
			pool:add_load(home, 1);
			assert.are_not.equal(home, pool:pick(user, user, nil, 1));
			pool:add_load(home, -1);
			assert.equal(home, pool:pick(user, user));
			pool:hibernate(home, true);
			assert.are_not.equal(home, pool:pick(user, user));
			pool:hibernate(home, false);
			assert.equal(home, pool:pick(user, user));
			-- really gone
			pool:eject(home, "why");
			local other = pool:pick(user, user);
			pool:eject(home);
			assert.equal(other, (pool:pick(user, user)));
		end
	end);

	it("recent users: 24 MB (X1, X3, G29)", function ()
		local users = load_lib("users").new(24 * MB, 3600, function (jid) return "proxy.example/" .. jid; end);
		users:wrote("a@z/r", "proxy.example");
		local bytes = growth(20000, function (i)
			local user = users:wrote(long_jid(i, "x"), i .. "@proxy.example/" .. long);
			user.writes_to = user.to;
			users:wrote(i .. "@d" .. i, "proxy.example");
		end);
		assert.is_true(bytes < 25 * MB, bytes);
		assert.truthy(users:at("proxy.example/a@z/r"));
	end);

	it("addresses of users: the last 1000 (P6, G29)", function ()
		local addresses = load_lib("addresses").new("proxy.example", ("k"):rep(16), 1000);
		local bytes = growth(5000, function (i) addresses.encode(long_jid(i, "x")); end);
		assert.is_true(bytes < 7 * MB, bytes);
	end);

	it("users whose requests broke a stream: 10000 (C7, G29)", function ()
		local breaks = load_lib("breaks").new();
		local function record(user, resource) return { user = user; resource = resource or "impl@x/a" }; end
		assert.is_true(breaks:allows(record("a@z/r")));
		local bytes = growth(20000, function (i) breaks:allows(record(i .. long .. "@x/" .. i)); end);
		assert.is_true(bytes < 16 * MB, bytes);
		-- others with it at once, and from then on none for a minute
		assert.is_true(breaks:allows(record("a@z/r")));
		assert.is_false(breaks:allows(record("a@z/s", "impl@x/b")));
		clock = clock + 59;
		assert.is_false(breaks:allows(record("a@z/r")));
		clock = clock + 1;
		assert.is_true(breaks:allows(record("a@z/r")));
		assert.is_false(breaks:allows({ user = "b@z"; resource = "impl@x/c"; tried = { ["impl@x/b"] = "broken" } }));
		assert.is_true(breaks:allows({ user = "b@z"; resource = "impl@x/c"; tried = { ["impl@x/b"] = "service-unavailable" } }));
	end);

	it("resources: 1000, and hashes of capabilities that are hashes (P5, G29)", function ()
		local pool = load_lib("pool").new(load_lib("strategies").new("random"));
		local logged = 0;
		function module.log() logged = logged + 1; end
		local targets = load_lib("targets").new({ min_priority = 0; skip_show = {} }, pool, {}, { is_target = function () return true; end }, error);
		local function presence(i)
			local stanza = st.presence({ from = "impl@example/" .. i .. long; to = "proxy.example" });
			stanza:tag("c", { xmlns = "http://jabber.org/protocol/caps"; hash = "sha-1"; ver = ("x"):rep(10000) .. i });
			targets:handle_presence(stanza);
		end
		local bytes = growth(3000, presence);
		assert.equal(1000, pool:count());
		assert.is_true(bytes < 2 * MB, bytes);
		pool:remove("impl@example/1" .. long);
		presence(3000);
		assert.equal(1000, pool:count());
		assert.is_true(pool:has("impl@example/3000" .. long));
	end);

	it("hashes of capabilities: 100, the last ones (P5c, G29)", function ()
		local function info(i)
			return st.stanza("query", { xmlns = "http://jabber.org/protocol/disco#info" }):tag("feature", { var = tostring(i) }):reset();
		end
		local asked = 0;
		-- each question is answered at once
		function module.send_iq()
			asked = asked + 1;
			local event = { stanza = st.iq({ type = "result"; id = "1" }):add_child(info(asked)) };
			return { next = function (_, answered) answered(event); end };
		end
		local features = load_lib("features").new("urn:none", function () end);
		local function check(i)
			features:check("impl@example/" .. i, calculate_hash(info(i)));
			features:forget("impl@example/" .. i);
		end
		local bytes = growth(5000, check);
		assert.equal(5000, asked);
		assert.is_true(bytes < 0.1 * MB, bytes);
		-- these are not asked for again
		for i = 4901, 5000 do check(i); end
		assert.equal(5000, asked);
		check(4900);
		assert.equal(5001, asked);
	end);

	it("requests to users: their number, and 4 MB of ids, 2 of one domain (X3, G29)", function ()
		local users = { at = function () return { jid = "a@x/r"; to = "proxy.example" }; end };
		local metrics = setmetatable({}, { __index = function () return function () end; end });
		local outbound = load_lib("outbound").new(users, load_lib("dialogues").new(), { max_pending = 10000; timeout = 60; timeouts = {} }, metrics);
		local refused = 0;
		local function ask(from, id)
			local stanza = st.iq({ type = "get"; from = from; to = "proxy.example/a@x/r"; id = id }):tag("q", { xmlns = "urn:q" }):up();
			outbound:ask({ stanza = stanza; origin = { send = function () refused = refused + 1; end } });
		end
		local bytes = growth(100, function (i) ask("impl@x/" .. i, i .. ("x"):rep(100000)); end);
		assert.equal(79, refused);
		assert.is_true(bytes < 2.5 * MB, bytes);
		ask("impl@y/1", "1");
		assert.equal(79, refused);
		outbound:shut_down();
		ask("impl@x/1", ("x"):rep(100000));
		assert.equal(79, refused);
		assert.equal("a@x/r", sent.attr.to);
	end);
end);
