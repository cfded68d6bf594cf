-- SPDX-License-Identifier: MIT
-- The subscriptions of users to mod_client_proxy without a server: their limits, and a storage that fails.

local st = require "util.stanza";

describe("presence of client_proxy", function ()
	local sent, stored, writes, logged, failure, presence, available;

	local function new(saved)
		sent, logged = {}, {};
		local module = { host = "proxy.example" };
		function module.send(_, stanza)
			sent[#sent + 1] = ("%s %s>%s"):format(stanza.attr.type or "available", stanza.attr.from, stanza.attr.to);
		end
		function module.log(_, level) logged[#logged + 1] = level; end
		function module.open_store(_, name)
			if name ~= "client_proxy_subscribers" then return nil, "no such storage"; end
			return {
				get = function (_, key) if failure then return nil, failure; end return stored[key or "host"]; end;
				set = function (_, key, value)
					if failure then return nil, failure; end
					writes = writes + 1;
					stored[key or "host"] = value;
					return true;
				end;
				users = function ()
					local keys = {};
					for key in pairs(stored) do if key ~= "host" then keys[#keys + 1] = key; end end
					local i = 0;
					return function () i = i + 1; return keys[i]; end;
				end;
			};
		end
		local function load_lib(name)
			return assert(loadfile("lua/mod_client_proxy/" .. name .. ".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
		end
		function module.require(_, name) return load_lib(name); end
		presence = load_lib("presence").new({ count = function () return available and 1 or 0; end; watch = function () end }, saved);
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
		stored, writes, failure, available = {}, 0, nil, true;
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
		local _, record = next(stored);
		assert.same({ user = "a@x"; addresses = { ["proxy.example"] = true } }, record);
	end);

	it("has a limit of bytes, a share for each domain, and a number for each user (X2, C10, G29)", function ()
		local bytes, places = 300 + #"00001@x" + #"proxy.example", 0;
		while not receive("subscribe", ("%05d@x"):format(places)) do places = places + 1; end
		-- half of 8 MB, and not one more
		assert.is_true(math.abs(places * bytes - 4 * 1024 * 1024) <= bytes, places);
		assert.equal("resource-constraint", receive("subscribe", "b@x"));
		assert.equal("resource-constraint", receive("subscribe", "00001@x", nil, "node@proxy.example"));
		assert.is_nil(receive("subscribe", "00001@x"));
		-- nobody else is kept out, not even by long addresses
		local long = ("n"):rep(1000) .. "@proxy.example";
		for i = 1, 20 do assert.is_nil(receive("subscribe", "a@y", nil, i .. long)); end
		assert.equal("resource-constraint", receive("subscribe", "a@y", nil, "21" .. long));
		assert.is_nil(receive("subscribe", "b@y"));
		-- also after a restart
		new();
		assert.equal("resource-constraint", receive("subscribe", "b@x"));
		assert.is_nil(receive("subscribe", "c@y"));
		-- who goes makes room
		for i = 100, 199 do receive("unsubscribe", ("%05d@x"):format(i)); end
		receive("error", "00200@x", "gone");
		receive("unsubscribe", "00200@x");
		assert.is_nil(receive("subscribe", "b@x"));
	end);

	it("costs one write, however many others there are (X2, C10)", function ()
		for i = 1, 1000 do receive("subscribe", i .. "@x"); end
		assert.equal(1000, writes);
		local size = 0;
		for _, record in pairs(stored) do size = math.max(size, #require "util.serialization".serialize(record)); end
		assert.is_true(size < 200, size);
	end);

	it("is taken over from the one record of an earlier version (X2, C10)", function ()
		stored.host = { ["a@x"] = { ["proxy.example"] = true }; ["b@y"] = { ["proxy.example"] = true; ["n@proxy.example"] = true } };
		new();
		assert.is_nil(stored.host);
		for _ = 1, 2 do
			presence:start();
			table.sort(sent);
			assert.same({ "available n@proxy.example>b@y", "available proxy.example>a@x", "available proxy.example>b@y" }, sent);
			-- and read from where it is now
			new();
		end
	end);

	it("is not lost when it could not be taken over (X2, C10)", function ()
		local all = { ["a@x"] = { ["proxy.example"] = true } };
		stored.host = all;
		local get = stored;
		stored = setmetatable({}, { __index = get; __newindex = function () error("disk full"); end });
		pcall(new);
		stored = get;
		assert.equal(all, stored.host);
		new();
		receive("probe", "a@x/r");
		assert.same({ "available proxy.example>a@x/r" }, sent);
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

	it("says so when a subscription cannot be read, and goes on with the others (X2, F23)", function ()
		receive("subscribe", "a@x");
		local key = next(stored);
		stored["0"], stored["1"], stored["2"] = stored[key], "text", { user = 1; addresses = {} };
		new();
		assert.same({ "error", "error", "error" }, logged);
		receive("probe", "a@x");
		assert.same({ "available proxy.example>a@x" }, sent);
		failure = "permission denied";
		new();
		assert.is_nil(receive("probe", "a@x"));
		assert.is_nil(receive("unsubscribe", "a@x"));
	end);
end);
