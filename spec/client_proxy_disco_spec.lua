-- SPDX-License-Identifier: MIT
-- Merged service discovery of mod_client_proxy without a server: for how long an answer is used, and how many wait for it.

local st = require "util.stanza";
local time = require "util.time";

local info_ns = "http://jabber.org/protocol/disco#info";

describe("merged service discovery of client_proxy", function ()
	local monotonic, clock = time.monotonic, 0;
	local questions, answers, hooks, timer, disco;

	before_each(function ()
		clock, questions, answers, hooks = 1000, {}, {}, {};
		time.monotonic = function () return clock; end;
		package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.questions"] = nil, nil;
		local module = { host = "proxy.example" };
		function module.send(_, stanza)
			table.insert(stanza.attr.type == "get" and questions or answers, stanza);
		end
		function module.add_timer(_, _, callback) timer = callback; end
		function module.get_host_items() return {}; end
		function module.hook(_, name, handler) hooks[name] = handler; end
		module.depends, module.add_identity, module.add_feature = module.get_host_items, module.get_host_items, module.get_host_items;
		local lib = assert(loadfile("lua/mod_client_proxy/disco.lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
		local pool = { count = function () return 1; end; pick = function () return "impl@x/a"; end };
		disco = lib.new({ mode = "merge"; identities = {}; features = {} }, pool);
		disco:start(error);
	end);
	after_each(function ()
		time.monotonic = monotonic;
		package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.questions"] = nil, nil;
	end);

	local function ask(count, id, from)
		for i = 1, count or 1 do
			local attr = { type = "get"; id = id or tostring(i); from = from or "user@x/r"; to = "proxy.example" };
			local request = st.iq(attr):tag("query", { xmlns = info_ns }):up();
			assert.is_true(hooks["iq-get/host/" .. info_ns .. ":query"]({ stanza = request }));
		end
	end

	local function reply(question)
		return disco:answer(st.reply(question):tag("query", { xmlns = info_ns }):tag("feature", { var = "urn:test" }):reset());
	end

	local function last_has_feature()
		return answers[#answers]:find("{" .. info_ns .. "}query/feature") ~= nil;
	end

	it("uses an answer for a minute (X5)", function ()
		ask();
		assert.is_true(reply(questions[1]));
		assert.is_false(reply(questions[1]));
		clock = 1059;
		ask();
		assert.same({ 1, 2, true }, { #questions, #answers, last_has_feature() });
		clock = 1061;
		ask();
		assert.same({ 2, 2 }, { #questions, #answers });
		assert.is_true(reply(questions[2]));
		assert.same({ 3, true }, { #answers, last_has_feature() });
	end);

	it("asks again sooner when there was none (X5)", function ()
		ask();
		clock = 1006;
		timer();
		assert.same({ 1, 1, false }, { #questions, #answers, last_has_feature() });
		clock = 1015;
		ask();
		assert.same({ 1, 2, false }, { #questions, #answers, last_has_feature() });
		clock = 1017;
		ask();
		assert.equal(2, #questions);
	end);

	it("lets so many wait as half a megabyte holds, of one domain, whatever their ids (X5, G29)", function ()
		ask(2000);
		assert.same({ 1, 0 }, { #questions, #answers });
		ask(1, ("x"):rep(200 * 1024));
		assert.same({ 1, 1, false }, { #questions, #answers, last_has_feature() });
		ask(1, "1", "user@y/r");
		reply(questions[1]);
		assert.same({ 2002, true }, { #answers, last_has_feature() });
		-- the place is free again
		clock = 2000;
		ask(2000);
		assert.same({ 2, 2002 }, { #questions, #answers });
	end);
end);
