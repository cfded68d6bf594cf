-- SPDX-License-Identifier: MIT
-- mod_client_proxy without a server: which resources are taken to have gone without a word.

local st = require "util.stanza";

local function load_lib(name, module)
	return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

describe("targets of client_proxy", function ()
	local account, a, b, c = "impl@example", "impl@example/a", "impl@example/b", "impl@example/c";
	local pool, targets, timers, gone, probes, approved;

	local function presence(jid)
		targets:handle_presence(st.presence({ from = jid; to = "proxy.example" }));
	end

	after_each(function () _G.prosody = nil; end);
	before_each(function ()
		_G.prosody = { hosts = {} };
		timers, gone, probes, approved = {}, {}, 0, true;
		local module = { host = "proxy.example"; log = function () end };
		function module.add_timer(_, seconds, callback) timers[#timers + 1] = { seconds = seconds; callback = callback }; end
		function module.require(_, name)
			return name == "features" and { caps = function () end } or load_lib(name, module);
		end
		local subscriptions = { is_target = function (_, jid) return jid == account; end };
		function subscriptions.probe() probes = probes + 1; return approved; end
		pool = load_lib("pool").new(nil);
		local health = { forget = function () end };
		targets = load_lib("targets", module).new({ min_priority = 0; skip_show = {} }, pool, health, subscriptions, function (is_gone)
			for _, jid in ipairs { a, b, c } do
				if is_gone(jid) then gone[#gone + 1] = jid; end
			end
		end, error);
		for _, jid in ipairs { a, b, c } do presence(jid); end
	end);

	it("have lost who does not show up after a probe, when others do", function ()
		targets:doubt("impl@example/unknown");
		assert.equal(0, probes);
		targets:doubt(a);
		targets:doubt(a);
		assert.equal(1, probes);
		presence(b);
		presence(c);
		assert.is_true(pool:has(a));
		timers[1].callback();
		assert.is_false(pool:has(a));
		assert.same({ a }, gone);
		assert.equal(2, pool:count());
		assert.equal(1, #timers);
		-- too late is early enough
		presence(a);
		assert.equal(3, pool:count());
	end);

	it("are asked again, once, when their account is said to be gone while they are there (P3, P4)", function ()
		local unavailable = st.presence({ from = account; to = "proxy.example"; type = "unavailable" });
		targets:handle_presence(unavailable);
		assert.equal(0, pool:count());
		assert.equal(1, probes);
		targets:handle_presence(unavailable);
		assert.equal(1, probes);
		-- on this server nothing is overtaken
		presence(a);
		_G.prosody.hosts.example = {};
		targets:handle_presence(unavailable);
		assert.equal(0, pool:count());
		assert.equal(1, probes);
	end);

	it("have lost nobody when nobody answers the probe, or it cannot be sent", function ()
		targets:doubt(a);
		timers[1].callback();
		assert.equal(3, pool:count());
		approved = false;
		targets:doubt(a);
		presence(b);
		timers[2].callback();
		assert.equal(3, pool:count());
	end);

	it("ask once for all who are doubted meanwhile", function ()
		targets:doubt(a);
		presence(a);
		presence(b);
		-- the answer to the probe may have passed already
		targets:doubt(b);
		targets:doubt(c);
		presence(c);
		timers[1].callback();
		assert.equal(3, pool:count());
		assert.equal(2, probes);
		presence(a);
		timers[2].callback();
		assert.same({ b }, gone);
		assert.equal(2, #timers);
	end);
end);
