-- SPDX-License-Identifier: MIT
-- mod_client_proxy without a server: the ejection of resources, which takes time or many answers, and the proof that it needs.

local st = require "util.stanza";

local load_lib;
function load_lib(name, module)
	module = module or {};
	module.require = module.require or function (_, other) return load_lib(other, module); end;
	return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

describe("health of client_proxy", function ()
	local a, b = "impl@example/a", "impl@example/b";
	local pool, health, timers, module;

	before_each(function ()
		timers = {};
		module = { log = function () end };
		function module.add_timer(_, seconds, callback) timers[#timers + 1] = { seconds = seconds; callback = callback }; end
		pool = load_lib("pool").new(nil);
		for _, jid in ipairs { a, b } do pool:update(jid, "impl@example", 0); end
		health = load_lib("health", module).new(pool, 3, 30);
	end);

	-- another resource has answered what this one refused
	local function fail(jid, times)
		for _ = 1, times do health:outdone(jid, "feature-not-implemented"); end
	end
	local function is_out(jid) return pool:get(jid).ejected ~= nil; end

	it("ejects after failures in a row, of what others can (P5c, C1)", function ()
		fail(b, 2);
		health:answered(b);
		fail(b, 2);
		assert.is_false(is_out(b));
		health:outdone(b, "service-unavailable");
		assert.is_true(is_out(b));
		assert.equal(30, timers[1].seconds);
		assert.equal(1, #timers);
	end);

	it("does not want a resource to know everything that others know, and remembers 50 namespaces (C1, G29)", function ()
		health:answered(b, "urn:x:service");
		for _ = 1, 9 do health:outdone(b, "feature-not-implemented", "jabber:iq:version"); end
		assert.is_false(is_out(b));
		for i = 1, 100 do health:answered(b, "urn:x:" .. i); end
		health:answered(b, ("n"):rep(1000));
		assert.equal(50, health.served[b].count);
		-- over a reload, and until it has gone
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		for _ = 1, 9 do health:outdone(b, "feature-not-implemented", "jabber:iq:version"); end
		assert.is_false(is_out(b));
		for _ = 1, 3 do health:outdone(b, "service-unavailable", "urn:x:service"); end
		assert.is_true(is_out(b));
		health:forget(b);
		assert.is_nil(health.served[b]);
	end);

	it("wants a proof that another one answers what this one does not (P5c, C1)", function ()
		assert.is_false(health:silent(a));
		assert.is_false(health:silent(a));
		for _ = 1, 9 do assert.is_true(health:silent(a)); end
		-- nobody else does
		assert.is_false(is_out(a));
		health:answered(a);
		assert.is_false(health:silent(a));
		health:proven(a);
		assert.is_true(is_out(a));
		-- the last one is not even looked at
		for _ = 1, 9 do assert.is_false(health:silent(b)); end
		health:proven(b);
		fail(b, 9);
		assert.is_false(is_out(b));
	end);

	it("holds nothing against who hibernates, nor takes it for somebody better (C1, C6)", function ()
		pool:hibernate(b, true);
		fail(b, 9);
		for _ = 1, 9 do assert.is_false(health:silent(b)); end
		health:proven(b);
		assert.is_false(is_out(b));
		for _ = 1, 9 do assert.is_false(health:silent(a)); end
		fail(a, 9);
		assert.is_false(is_out(a));
	end);

	it("asks an ejected resource again, on trial and later each time (P5c)", function ()
		fail(b, 3);
		local waited = {};
		for i = 1, 7 do
			assert.is_true(is_out(b));
			health:answered(b); -- a late answer does not bring it back
			assert.is_true(is_out(b));
			waited[i] = timers[i].seconds;
			timers[i].callback();
			assert.is_false(is_out(b));
			if i % 2 == 1 then
				fail(b, 1);
			else
				assert.is_true(health:silent(b));
				health:proven(b);
			end
		end
		assert.same({ 30, 60, 120, 240, 480, 600, 600 }, waited);
		timers[8].callback();
		health:answered(b); -- recovered
		fail(b, 2);
		assert.is_false(is_out(b));
		fail(b, 1);
		assert.equal(30, timers[9].seconds);
	end);

	it("forgets who has gone, and remembers over a reload (P5c, P21)", function ()
		fail(b, 3);
		pool:remove(b);
		health:forget(b);
		pool:update(b, "impl@example", 0);
		timers[1].callback();
		fail(b, 2);
		assert.is_false(is_out(b));
		pool = load_lib("pool").new(nil, pool:save());
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		fail(b, 1);
		assert.is_true(is_out(b));
		pool = load_lib("pool").new(nil, pool:save());
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		assert.is_true(is_out(b));
		timers[3].callback();
		assert.is_false(is_out(b));
	end);

	it("keeps out whom an administrator ejected, until readmitted", function ()
		fail(b, 3);
		assert.is_true(health:hold(b));
		timers[1].callback();
		assert.is_true(is_out(b));
		pool = load_lib("pool").new(nil, pool:save());
		health = load_lib("health", module).new(pool, 3, 30, health:save());
		assert.equal(1, #timers);
		assert.is_true(is_out(b));
		assert.is_true(health:readmit(b));
		assert.is_false(is_out(b));
		assert.is_false(health:readmit(b));
		fail(b, 2);
		assert.is_false(is_out(b));
		assert.is_false(health:hold("impl@example/unknown"));
	end);

	it("puts back who has failed when nobody else is left, but nobody left out by hand (P5c)", function ()
		local was_empty = false;
		pool:watch(function () was_empty = was_empty or pool:count() == 0; end);
		fail(b, 3);
		pool:remove(a);
		assert.is_false(is_out(b));
		assert.equal(1, pool:count());
		assert.is_false(was_empty);
		-- on trial, and the end of the first ejection is not that of the second
		pool:update(a, "impl@example", 0);
		fail(b, 1);
		assert.is_true(is_out(b));
		timers[1].callback();
		assert.is_true(is_out(b));
		pool:bar(a, "show is dnd");
		assert.is_false(is_out(b));
		pool:bar(a, nil);
		health:hold(b);
		pool:remove(a);
		assert.is_true(is_out(b));
		assert.is_true(was_empty);
	end);

	it("ejects nobody when that is switched off (P5c)", function ()
		health = load_lib("health", module).new(pool, 0, 30);
		for _ = 1, 9 do assert.is_false(health:silent(a)); end
		fail(a, 9);
		health:proven(a);
		assert.is_false(is_out(a));
	end);
end);

describe("trials of client_proxy", function ()
	local suspect, witness = "impl@example/a", "impl@example/b";
	local asked, proven, trials, module;

	before_each(function ()
		asked, proven = {}, 0;
		module = { host = "proxy.example" };
		-- a promise that the test settles
		function module.send_iq(_, stanza)
			local question = { stanza = stanza };
			function question.answer() question.on_answer(); end
			function question.fail(condition) question.on_error({ condition = condition }); end
			asked[#asked + 1] = question;
			return { next = function (_, on_answer, on_error) question.on_answer, question.on_error = on_answer, on_error; end };
		end
		local pool = { pick = function () return witness; end };
		trials = load_lib("trials", module).new(pool, { proven = function (_, jid)
			assert.equal(suspect, jid);
			proven = proven + 1;
		end });
	end);

	local function start(type, payload)
		local iq = st.iq({ type = type; id = "1" }):add_child(payload or st.stanza("question", { xmlns = "urn:test" }));
		trials:start({ resource = suspect; address = "proxy.example/user@x/r"; type = type; copy = load_lib("copies").copy(iq) }, 60);
	end

	it("ask another resource the same, and take its answer for the proof (C1)", function ()
		start("get");
		assert.equal(1, #asked);
		local iq = asked[1].stanza;
		assert.same({ "get", witness, "proxy.example/user@x/r" }, { iq.attr.type, iq.attr.to, iq.attr.from });
		assert.truthy(iq:get_child("question", "urn:test"));
		-- one at a time
		start("get");
		assert.equal(1, #asked);
		asked[1].answer();
		assert.equal(1, proven);
		start("get");
		asked[2].fail("item-not-found");
		assert.equal(2, proven);
	end);

	it("prove nothing when that one does no better (C1)", function ()
		for i, condition in ipairs { "remote-server-timeout", "service-unavailable", "feature-not-implemented", "recipient-unavailable" } do
			start("get");
			asked[i].fail(condition);
		end
		assert.equal(0, proven);
	end);

	it("repeat no set, but ask who is alive (C1, P12)", function ()
		local function is_ping(question, to)
			return question.stanza.attr.to == to and question.stanza:get_child("ping", "urn:xmpp:ping") ~= nil;
		end
		start("set");
		assert.is_true(is_ping(asked[1], witness));
		asked[1].fail("service-unavailable"); -- it does not know what a ping is, or has gone
		assert.equal(1, #asked);
		start("set");
		asked[2].answer();
		assert.is_true(is_ping(asked[3], suspect));
		asked[3].fail("service-unavailable"); -- alive
		assert.equal(0, proven);
		start("set");
		asked[4].answer();
		asked[5].fail("remote-server-timeout");
		assert.equal(1, proven);
	end);
end);
