-- SPDX-License-Identifier: MIT
-- mod_client_proxy: wrong options, and files whose content somebody else has written. Neither keeps a server from starting, serving or
-- stopping.

local bed = require "bed";
local broken_loading = require "broken_loading";
local proxy = require "client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("options and files of client_proxy on Prosody " .. version, function ()
	local function works(user, impl)
		impl:sync();
		proxy.serve(impl);
		user:send(proxy.request("works"));
		assert.equal(impl.jid, proxy.expect_answer(user, "works"));
	end

	it("are refused at a reload by an instance that goes on (F23, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_presence = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:allow_log("Option '");
		capulet:allow_log("Aborting reload");
		for _, option in ipairs {
			"target_address = 7", "client_proxy_jat = 'plain'", "client_proxy_timeout = 'sixty'", "client_proxy_timeouts = { 'x' }",
			"client_proxy_max_pending = {}", "client_proxy_max_pending_per_user = '100'", "client_proxy_max_pending_per_resource = -1",
			"client_proxy_strategy = false", "client_proxy_sticky_by = 1", "client_proxy_min_priority = 'high'", "client_proxy_skip_show = 5",
			"client_proxy_resource_pattern = '['", "client_proxy_required_feature = {}", "client_proxy_eject_after = 1.5",
			"client_proxy_eject_time = 'x'", "client_proxy_messages = 1", "client_proxy_outbound_iq = 'yes'", "client_proxy_presence = 0",
			"client_proxy_disco = true", "client_proxy_disco = 'static'; client_proxy_identity = 'bot'", "client_proxy_features = { 5 }",
			"client_proxy_user_ttl = 'hour'", "client_proxy_disco = 'merge'; name = {}",
		} do
			juliet:send(proxy.request("flight"));
			impl.on_stanza = nil;
			local request = impl:expect { "iq", type = "get", id = "flight" };
			local text = proxy.config(option);
			if option:find("^target") then text = text:gsub('target_address = "impl@capulet.lit"', ""); end
			capulet:reload_config(text);
			assert.has_error(function () proxy.reload(capulet); end);
			proxy.answer(impl, request);
			proxy.expect_answer(juliet, "flight");
			works(juliet, impl);
		end
	end));

	it("are read before anything is hooked, when another module cannot be loaded (F23)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- as with a module of that name that somebody else has written
		capulet:eval [[
			local modulemanager = require "core.modulemanager";
			local load = modulemanager.load;
			function modulemanager.load(host, name, ...)
				if name == "disco" and host == "proxy.capulet.lit" then return nil, "broken on purpose"; end
				return load(host, name, ...);
			end
		]];
		capulet:allow_log("broken on purpose");
		capulet:allow_log("Aborting reload");
		capulet:reload_config(proxy.config("client_proxy_disco = 'static'"));
		assert.has_error(function () proxy.reload(capulet); end);
		works(juliet, impl);
		-- and at a start nothing of it stays
		capulet:eval [[assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"))]];
		assert.has_error(function ()
			capulet:eval [[assert(require "core.modulemanager".load("proxy.capulet.lit", "client_proxy"))]];
		end);
		assert.same({}, broken_loading.left(capulet, "client_proxy", proxy.host));
	end));

	it("and a file that does not load leave the running instance as it is (F23)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("flight"));
		local request = impl:expect { "iq", type = "get", id = "flight" };
		for _, file in ipairs { "proxy", "relay", "trials" } do
			broken_loading.break_file(capulet, "client_proxy", file);
			-- files first: to read the options may load other modules
			capulet:reload_config(proxy.config("client_proxy_timeout = 'x'"));
			assert.has_error(function () proxy.reload(capulet); end);
			capulet:expect_log("deliberate failure of " .. file);
		end
		proxy.answer(impl, request);
		proxy.expect_answer(juliet, "flight");
		works(juliet, impl);
	end));

	it("are checked with the files that an upgrade brings, without those that it removes (F23)", bed.scenario(function (s)
		local plugins = s.dir .. "/plugins";
		assert(os.execute(("mkdir %s && cp -r lua/mod_client_proxy spec/support/bed/plugins/* %s"):format(plugins, plugins)));
		local folder = plugins .. "/mod_client_proxy/";
		local capulet, impl = proxy.start(s, version, nil, nil, { global = ("plugin_paths = { %q }"):format(plugins) });
		capulet:allow_log("Duplicate option 'plugin_paths'");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function write(name, text)
			local file = assert(io.open(folder .. name, "w"));
			file:write(text);
			file:close();
		end
		local function read(name)
			local file = assert(io.open(folder .. name));
			return file:read("a"), file:close();
		end
		local relay = read "relay.lib.lua";
		assert.truthy(relay:find('module:require "trials"', 1, true));
		write("relay.lib.lua", (relay:gsub('module:require "trials"', 'module:require "parts/probes"')));
		assert(os.execute(("mkdir %sparts && mv %strials.lib.lua %sparts/probes.lib.lua"):format(folder, folder, folder)));
		local probes = read "parts/probes.lib.lua";
		-- an unfinished upgrade, and what editors leave
		write("parts/probes.lib.lua", probes .. "\nthis is no code");
		write("relay.lib.lua~", "nor is this");
		write(".relay.lib.lua", "nor is this");
		capulet:allow_log("Aborting reload");
		capulet:allow_log("Error saving");
		assert.has_error(function () proxy.reload(capulet); end);
		capulet:expect_log("parts/probes.lib.lua:%d+");
		works(juliet, impl);
		write("parts/probes.lib.lua", probes);
		-- a version that could not go on with what is in flight
		local settings = read "settings.lib.lua";
		write("settings.lib.lua", (settings:gsub("format = (%d+)", "format = %1000")));
		assert.has_error(function () proxy.reload(capulet); end);
		capulet:expect_log("cannot go on with the state of the running one");
		works(juliet, impl);
		write("settings.lib.lua", settings);
		proxy.reload(capulet);
		works(juliet, impl);
	end));

	it("answer what is in flight when a reload is forced that cannot go on with it (F23, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, nil, { global = "force_module_reload = true" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("flight"));
		impl:expect { "iq", type = "get", id = "flight" };
		capulet:allow_log("Error saving");
		capulet:allow_log("Continuing with reload");
		broken_loading.break_file(capulet, "client_proxy", "relay");
		capulet:allow_log("Error initializing");
		assert.has_error(function () proxy.reload(capulet); end);
		proxy.expect_error(juliet, "flight", "service-unavailable");
	end));

	it("begin anew when the state before a reload is another version's (F23)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:eval [[
			local module = hosts["proxy.capulet.lit"].modules.client_proxy.module;
			local save = module.save;
			function module.save()
				save();
				return { format = 1; pool = 5; requests = "other" };
			end
		]];
		capulet:allow_log("The state of an earlier version cannot be used");
		proxy.reload(capulet);
		proxy.available(impl);
		works(juliet, impl);
	end));

	it("and whatever else fails while it loads leave nothing of it behind (F23)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_presence = true; client_proxy_disco = 'merge'");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		broken_loading.check(capulet, "client_proxy", proxy.host);
		proxy.available(impl);
		works(juliet, impl);
	end));

	it("that fail at any step of a reload leave no request without an answer (F23, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local n, is_last = 0;
		repeat
			n = n + 1;
			juliet:send(proxy.request("flight"));
			impl:expect { "iq", type = "get", id = "flight" };
			local is_loaded, has_failed = broken_loading.reload(capulet, "client_proxy", proxy.host, n, { "settings.lib", "metrics.lib", "pending.lua" });
			is_last = not has_failed;
			if not is_last then
				assert.is_false(is_loaded);
				proxy.expect_error(juliet, "flight", "service-unavailable");
				juliet:sync();
				juliet:expect_none({ "iq" }, 0);
				broken_loading.load(capulet, "client_proxy", proxy.host);
				proxy.available(impl);
			end
		until is_last;
		assert.is_true(n > 10);
	end));

	local contents = {
		"return", "return { ", "\0\1\2", "return 5;", "return 'text';", "return {};", "return { key = 5 };", "return { key = 'AAAA' };",
		"return { key = '***' };", "return { ['a@x'] = true };", "return { ['a@x'] = { 'proxy.capulet.lit' } };", "return { { [{}] = {} } };",
		"return { user = {}; addresses = 1 };", "return { user = 'a@x'; addresses = { [1] = true } };",
	};

	it("may hold anything: what cannot be used is kept aside (F23, X2)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_presence = true");
		local function online()
			local client = capulet:client("juliet@capulet.lit/balcony");
			client:send "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
			proxy.available(client);
			return client;
		end
		local juliet = online();
		juliet:send "<presence type='subscribe' to='proxy.capulet.lit'/>";
		juliet:expect { "presence", type = "subscribed", from = proxy.host };
		local dir = capulet.dir .. "/data/proxy%2ecapulet%2elit";
		-- what the module has written
		local pipe = io.popen(("ls '%s/client_proxy_subscribers'"):format(dir));
		local file = pipe:read("l");
		assert.is_nil(pipe:read("l"));
		pipe:close();
		local paths = { "/client_proxy.dat", "/client_proxy_subscribers.dat", "/client_proxy_subscribers/other.dat",
			"/client_proxy_subscribers/" .. file };
		local function list(name)
			local found = io.popen(("ls '%s' '%s/client_proxy_subscribers' | grep -c '%s'"):format(dir, dir, name));
			local count = tonumber(found:read("l"));
			found:close();
			return count;
		end
		capulet:allow_log("cannot be used");
		capulet:allow_log("Failed to load .*storage"); -- Prosody's own word on it
		capulet:allow_log("Unable to load");
		for i, content in ipairs(contents) do
			capulet:stop();
			for _, path in ipairs(paths) do
				local out = assert(io.open(dir .. path, "w"));
				out:write(content);
				out:close();
			end
			capulet:start();
			impl = capulet:client(impl.jid);
			juliet = online();
			proxy.available(impl);
			works(juliet, impl);
			-- a file that says nothing is none
			if content ~= "return" then assert.is_true(list("broken") > 0, content); end
			if i > 1 then os.execute(("rm -f '%s'/*.broken '%s'/client_proxy_subscribers/*.broken"):format(dir, dir)); end
			-- and it works as before
			juliet:send "<presence type='subscribe' to='node@proxy.capulet.lit'/>";
			juliet:expect { "presence", type = "subscribed", from = "node@proxy.capulet.lit" };
			juliet:send "<presence type='unsubscribe' to='node@proxy.capulet.lit'/>";
			juliet:sync();
		end
	end));

	it("of an earlier version are taken over (X2, C10)", bed.scenario(function (s)
		local capulet = s:node { version = version; config = proxy.config("client_proxy_presence = true"); start = false };
		local dir = capulet.dir .. "/data/proxy%2ecapulet%2elit";
		assert(os.execute(("mkdir -p '%s'"):format(dir)));
		local out = assert(io.open(dir .. "/client_proxy_subscribers.dat", "w"));
		out:write [[return { ["juliet@capulet.lit"] = { ["proxy.capulet.lit"] = true }; ["nurse@capulet.lit"] = { ["n@proxy.capulet.lit"] = true } };]];
		out:close();
		capulet:start();
		for _ = 1, 2 do
			local juliet, nurse = capulet:client("juliet@capulet.lit/balcony"), capulet:client("nurse@capulet.lit/x");
			juliet:send "<presence type='probe' to='proxy.capulet.lit'/>";
			juliet:expect { "presence", type = "unavailable", from = "proxy.capulet.lit" };
			nurse:send "<presence type='probe' to='n@proxy.capulet.lit'/>";
			nurse:expect { "presence", type = "unavailable", from = "n@proxy.capulet.lit" };
			assert.is_nil(io.open(dir .. "/client_proxy_subscribers.dat"));
			juliet:close();
			nurse:close();
			capulet:restart();
		end
	end));

	it("do not keep Prosody from stopping, whatever goes wrong (F23)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_outbound_iq = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("flight"));
		local request = impl:expect { "iq", type = "get", id = "flight" };
		impl:send(st.iq({ type = "get"; id = "out"; to = request.attr.from }):tag("x", { xmlns = "urn:x" }));
		juliet:expect { "iq", type = "get", has = "{urn:x}x" };
		capulet:allow_log("While the server stops: .*broken on purpose");
		-- when the user is to be told
		capulet:eval [[
			local module = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module;
			local send = module.send;
			function module.send(self, stanza, ...)
				if stanza.attr.id == "flight" then error("broken on purpose"); end
				return send(self, stanza, ...);
			end
		]];
		capulet:stop();
		assert.truthy(capulet.log:find("broken on purpose"));
		-- the rest was answered
		proxy.expect_error(impl, "out", "service-unavailable");
	end));
end);
end
