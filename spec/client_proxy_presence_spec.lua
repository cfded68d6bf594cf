-- SPDX-License-Identifier: MIT
-- The subscriptions of users to mod_client_proxy without a server: their limits, and a storage that fails.

local st = require "util.stanza";

describe("presence of client_proxy", function ()
	local sent, stored, logged, failure, presence, available;

	local function new(saved)
		sent, logged = {}, {};
		local module = { host = "proxy.example" };
		function module.send(_, stanza)
			sent[#sent + 1] = ("%s %s>%s"):format(stanza.attr.type or "available", stanza.attr.from, stanza.attr.to);
		end
		function module.log(_, level) logged[#logged + 1] = level; end
		function module.open_store(_, name)
			assert.equal("client_proxy_subscribers", name);
			return {
				get = function () if failure then return nil, failure; end return stored; end;
				set = function (_, user, key, value)
					assert.is_nil(user);
					if failure then return nil, failure; end
					stored[key] = value;
					return true;
				end;
			};
		end
		local lib = assert(loadfile("lua/mod_client_proxy/presence.lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
		presence = lib.new({ count = function () return available and 1 or 0; end; watch = function () end }, saved);
	end

	-- -> condition of the error the user got, or nil
	local function receive(type, from, condition, to)
		local stanza = st.presence({ type = type; from = from; to = to or "proxy.example" });
		if condition then stanza = st.error_reply(st.presence({ from = "proxy.example"; to = from }), "cancel", condition); end
		local reply;
		assert.is_true(presence:from_user({ stanza = stanza; origin = { send = function (s) reply = s; end } }));
		return reply and select(2, reply:get_error());
	end

	before_each(function ()
		stored, failure, available = {}, nil, true;
		_G.prosody = { start_time = 1 };
		new();
	end);
	after_each(function () _G.prosody = nil; end);

	it("is not promised when it cannot be stored (X2)", function ()
		failure = "disk full";
		assert.equal("internal-server-error", receive("subscribe", "a@x"));
		assert.same({}, sent);
		assert.same({ "error" }, logged);
		assert.is_nil(receive("probe", "a@x"));
		assert.same({ "unsubscribed proxy.example>a@x" }, sent);
		failure = nil;
		assert.is_nil(receive("subscribe", "a@x/r"));
		assert.same({ "subscribed proxy.example>a@x", "available proxy.example>a@x" }, { sent[2], sent[3] });
		assert.same({ ["a@x"] = { ["proxy.example"] = true } }, stored);
	end);

	it("has a limit (X2)", function ()
		for i = 1, 10000 do assert.is_nil(receive("subscribe", i .. "@x")); end
		assert.equal("resource-constraint", receive("subscribe", "b@x"));
		assert.equal("resource-constraint", receive("subscribe", "1@x", nil, "node@proxy.example"));
		assert.is_nil(receive("subscribe", "1@x"));
		-- also after a restart
		new();
		assert.equal("resource-constraint", receive("subscribe", "b@x"));
		receive("unsubscribe", "1@x");
		receive("unsubscribe", "1@x");
		assert.is_nil(receive("subscribe", "2@x", nil, "node@proxy.example"));
		new();
		assert.equal("resource-constraint", receive("subscribe", "b@x"));
		receive("unsubscribe", "2@x", nil, "node@proxy.example");
		assert.is_nil(receive("subscribe", "b@x"));
		assert.equal("resource-constraint", receive("subscribe", "c@x"));
		receive("error", "2@x", "gone");
		assert.is_nil(receive("subscribe", "c@x"));
	end);

	it("is withheld after an error, until the user asks or probes (X2)", function ()
		receive("subscribe", "a@x");
		receive("subscribe", "b@x");
		presence:start();
		receive("error", "a@x", "remote-server-timeout");
		receive("error", "c@x", "remote-server-timeout");
		sent = {};
		presence:close();
		assert.same({ "unavailable proxy.example>b@x" }, sent);
		new(presence:save());
		presence:start();
		assert.same({ "available proxy.example>b@x" }, sent);
		receive("subscribe", "a@x");
		sent = {};
		presence:close();
		table.sort(sent);
		assert.same({ "unavailable proxy.example>a@x", "unavailable proxy.example>b@x" }, sent);
	end);

	it("says so when the subscriptions cannot be read (X2)", function ()
		failure = "permission denied";
		new();
		assert.same({ "error" }, logged);
		assert.is_nil(receive("unsubscribe", "a@x"));
	end);
end);
