-- SPDX-License-Identifier: MIT
-- Options of mod_fmuc with wrong values, and other reasons why it does not load (case F23). The module loads as a whole or not at all.
-- If a reload would fail, the running instance stays as it is.

local bed = require "bed";
local broken_loading = require "broken_loading";
local fake_master = require "fake_master";
local federation = require "federation";

local join, say = federation.join, federation.say;
local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local wrong = {
	mirror = {
		fmuc_grace_period = [["sixty"]]; fmuc_join_timeout = "0"; fmuc_max_occupants = "1.5"; fmuc_allow_users = "{ 1 }";
		fmuc_allow_masters = [["not a domain"]]; fmuc_outage_policy = [["stay"]]; fmuc_bandwidth = "true"; fmuc_nomirror = [["yes"]];
	};
	master = {
		fmuc_grace_period = "{}"; fmuc_join_timeout = [["soon"]]; fmuc_max_occupants = "0"; fmuc_trust = [["b.example"]];
		fmuc_allow_peers = "true"; fmuc_deny_peers = [[{ "not a domain" }]];
	};
};

local function allow_failure(node)
	node:allow_log("Option 'fmuc_");
	node:allow_log("Error initializing module 'fmuc'");
	node:allow_log("Failed to load module fmuc");
	node:allow_log("Unable to load module 'fmuc'");
	node:allow_log("Aborting reload due to error");
end

local function reload(node, host)
	return node:eval(([[return (require "core.modulemanager".reload(%q, "fmuc")) ~= nil]]):format(host));
end

local function loads(node, host)
	return node:eval(([[return prosody.hosts[%q].modules.fmuc ~= nil]]):format(host));
end

local function is_in_step(f, text)
	say(f.kev, mirror_room, "up " .. text);
	say(f.curtis, master_room, "down " .. text);
	for _, way in ipairs { "up ", "down " } do
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect { "message", body = way .. text }; end
	end
end

for version in bed.versions() do
describe("fmuc settings, Prosody " .. version, function ()
	it("names each wrong option in one line at a start, and hooks nothing (F23)", bed.scenario(function (s)
		local lines, mirrors, masters = { "VirtualHost \"a.example\"" }, {}, {};
		for option, value in pairs(wrong.mirror) do
			mirrors[option] = option:gsub("_", "-") .. ".a.example";
			table.insert(lines, ("Component %q \"fmuc\"\n\t%s = %s"):format(mirrors[option], option, value));
		end
		for option, value in pairs(wrong.master) do
			masters[option] = option:gsub("_", "-") .. ".talk.a.example";
			table.insert(lines, ("Component %q \"muc\"\n\tmodules_enabled = { \"fmuc\" }\n\t%s = %s"):format(masters[option], option, value));
		end
		local node = s:node { version = version; config = table.concat(lines, "\n") };
		allow_failure(node);
		local client = node:client("kev@a.example/Swift");
		for option, host in pairs(mirrors) do
			node:expect_log("Error initializing module 'fmuc' on '" .. host:gsub("%p", "%%%0") .. "': Option '" .. option .. "': expected");
			local room = "room\\40b.example@" .. host;
			client:send(join(room, "Kev"));
			assert.equal("service-unavailable", error_condition(client:expect { "presence", type = "error", from = room .. "/Kev" }));
			client:send(("<message type='groupchat' id='m1' to='%s'><body>anyone?</body></message>"):format(room));
			assert.equal("service-unavailable", error_condition(client:expect { "message", type = "error", from = room }));
		end
		for option, host in pairs(masters) do
			node:expect_log("Error initializing module 'fmuc' on '" .. host:gsub("%p", "%%%0") .. "': Option '" .. option .. "': expected");
			local room = "room@" .. host;
			federation.open_room({ curtis = client }, room:gsub("room", "open")); -- it is an ordinary service
			client:send(("<iq type='get' id='i1' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(room:gsub("room", "open")));
			assert.is_nil(client:expect({ "iq", id = "i1" }):find("{http://jabber.org/protocol/disco#info}query"):get_child_with_attr("feature", nil, "var",
				"http://isode.com/protocol/fmuc"));
		end
		assert.is_nil(node.log:find("stack traceback"));
	end));

	it("keeps the running instance when a reload finds a wrong option (F23)", bed.scenario(function (s)
		local f = federation.meet(s, { master = version; mirror = version });
		for role, options in pairs(wrong) do
			local node = role == "mirror" and f.remote or f.talk;
			local host = role == "mirror" and "mirror.remote.example.com" or "talk.example.com";
			local config = role == "mirror" and federation.mirror_config or federation.master_config;
			allow_failure(node);
			for option, value in pairs(options) do
				node:reload_config(config .. "\t" .. option .. " = " .. value .. "\n");
				assert.is_false(reload(node, host));
				node:expect_log("Option '" .. option .. "': expected");
				is_in_step(f, role .. option);
			end
			assert.is_nil(node.log:find("stack traceback"));
			node:reload_config(config);
			assert.is_true(reload(node, host));
			is_in_step(f, role);
		end
	end));

	it("goes on with the options it had when mod_muc is reloaded, which takes the rooms along (F23)", bed.scenario(function (s)
		local f = federation.meet(s, { master = version; mirror = version });
		for role, config in pairs { mirror = federation.mirror_config; master = federation.master_config } do
			local node = role == "mirror" and f.remote or f.talk;
			node:allow_log("Option 'fmuc_grace_period': expected");
			node:reload_config(config .. "\tfmuc_grace_period = \"sixty\"\n");
			node:reload("muc", role == "mirror" and "mirror.remote.example.com" or "talk.example.com");
			node:expect_log("goes on with the options that it had");
			is_in_step(f, role);
		end
	end));

	it("keeps the running instance when a reload finds a file that does not load (F23)", bed.scenario(function (s)
		local f = federation.meet(s, { master = version; mirror = version });
		for node, host in pairs { [f.remote] = "mirror.remote.example.com"; [f.talk] = "talk.example.com" } do
			broken_loading.break_file(node, "fmuc", "link/log");
			assert.is_false(reload(node, host));
			node:expect_log("deliberate failure");
			is_in_step(f, host);
		end
	end));

	it("leaves nothing behind when it fails while it loads (F23)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		for node, host in pairs { [f.remote] = "mirror.remote.example.com"; [f.talk] = "talk.example.com" } do
			allow_failure(node);
			node:allow_log("deliberate failure");
			node:eval(([[
				local muc, live_rooms = prosody.hosts[%q].modules.muc;
				for _, name in ipairs { "all_rooms", "live_rooms" } do
					local f = muc[name];
					muc[name] = function (...)
						if debug.getinfo(2, "S").source:find("mod_fmuc") then error("deliberate failure"); end
						return f(...);
					end
				end
				require "core.modulemanager".unload(%q, "fmuc");
				assert(not require "core.modulemanager".load(%q, "fmuc"));
			]]):format(host, host, host));
			node:expect_log("deliberate failure");
			assert.is_false(loads(node, host));
			for _, what in ipairs(broken_loading.left(node, "fmuc", host)) do assert.matches("own_rooms", what); end
		end
		f.kev:send(join(mirror_room, "Kev"));
		assert.equal("service-unavailable", error_condition(f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" }));
		f.curtis:send(join("other@talk.example.com", "Curtis"));
		f.curtis:expect { "presence", type = false, from = "other@talk.example.com/Curtis" };
	end));

	-- Reloads the module until a reload does not fail any more: in its first step, its fourth and so on. begin() and check() are called before and
	-- after each failure.
	local function fail_at_steps(node, host, early, begin, check)
		local n, is_last = -2;
		repeat
			n = n + 3;
			begin();
			local is_loaded, has_failed = broken_loading.reload(node, "fmuc", host, n, early);
			is_last = not has_failed;
			if not is_last then
				assert.is_false(is_loaded);
				check();
				broken_loading.load(node, "fmuc", host);
			end
		until is_last;
		assert.is_true(n > 20);
	end

	it("answers everybody at a mirror who waits, at whichever step a reload fails (F23, G2)", bed.scenario(function (s)
		local f = fake_master.new(s, { master = version; mirror = version });
		allow_failure(f.remote);
		local waiting, held = f.remote:client("bob@remote.example.com/Gajim"), f.remote:client("eve@remote.example.com/Psi");
		local other = "other\\40fake.example.com@mirror.remote.example.com";
		fail_at_steps(f.remote, "mirror.remote.example.com", { "settings.lib", "metrics.lib", "moduleapi.depends", "pending.lua" }, function ()
			fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
			fake_master.ask(f, waiting, "Bob");
			waiting:send(("<iq type='set' id='query' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>"):format(fake_master.mirror));
			fake_master.lose(f);
			say(f.kev, fake_master.mirror, "kept for the master");
			held:send(join(other, "Eve"));
			f.fake:expect { "iq", type = "get", to = "other@fake.example.com" };
		end, function ()
			waiting:expect { "presence", type = "error", from = fake_master.mirror .. "/Bob" };
			waiting:expect { "iq", type = "error", id = "query" };
			f.fake:expect { "message", body = "kept for the master" };
			held:expect { "presence", type = "error", from = other .. "/Eve" };
			f.kev:expect { "presence", type = "unavailable", from = fake_master.mirror .. "/Kev", has = federation.muc_user .. "/status" };
			f.fake:expect { "presence", type = "unavailable" };
			f.fake:sync();
			f.fake:drain();
		end);
	end));

	it("ends links at a master in order, at whichever step a reload fails (F23, G2)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		allow_failure(f.talk);
		local early = { "settings.lib", "metrics.lib", "moduleapi.depends", "pending.lua" };
		fail_at_steps(f.talk, "talk.example.com", early, function ()
			federation.enter(f.kev, "Kev");
			f.kev:expect { "message", has = "subject" };
			f.curtis:expect { "presence", type = false, from = master_room .. "/Kev" };
		end, function ()
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
		end);
	end));

	it("makes no ordinary rooms of mirrors' names while it is unloaded, and removes what there is (M2)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		local host = "mirror.remote.example.com";
		f.remote:eval(([[assert(require "core.modulemanager".unload(%q, "fmuc"))]]):format(host));
		f.kev:send(join(mirror_room, "Kev"));
		local refused = f.kev:expect { "presence", type = "error", from = mirror_room .. "/Kev" };
		assert.same({ "wait", "service-unavailable" }, { (refused:get_error()), error_condition(refused) });
		-- as mod_muc did before
		f.remote:eval(([[
			local muc = prosody.hosts[%q].modules.muc;
			local room = muc.new_room(%q);
			muc.track_room(room);
			room:set_persistent(true);
			room:set_password("secret");
		]]):format(host, mirror_room));
		f.remote:eval(([[assert(require "core.modulemanager".load(%q, "fmuc"))]]):format(host));
		assert.is_true(federation.is_empty(f.remote, host));
		federation.enter(f.kev, "Kev");
		f.kev:expect { "presence", from = mirror_room .. "/Curtis" };
	end));
end);
end
