-- SPDX-License-Identifier: MIT
-- mod_fmuc in operation: metrics and the commands of administrators, in both roles (section 5 of the requirements).

local bed = require "bed";
local federation = require "federation";
local operation = require "operation";
local shell = require "shell";

local master_room, mirror_room = federation.master_room, federation.mirror_room;
local muc_user = federation.muc_user;

local talk_host, mirror_host = "talk.example.com", "mirror.remote.example.com";

local command_node = "https://prosody-relay/fmuc#links";

local function metrics(node, host)
	return operation.metrics(node, "fmuc", host);
end

local function overview(client, host)
	return operation.command(host, command_node):overview(client);
end

local function act(client, host, action, link)
	return operation.command(host, command_node):act(client, { action = action; link = link });
end

for version in bed.versions() do
describe("operation of fmuc on Prosody " .. version, function ()
	-- Kev and Bob are in the room through the mirror; they and Curtis have said something
	local function start(s)
		local f = federation.new(s, { master = version; mirror = version }, {
			global = [[
				admins = { "curtis@example.com", "kev@remote.example.com" }
				statistics = "internal"
				statistics_interval = "manual"
			]];
			modules = { "admin_shell" };
		});
		f.bob = f.remote:client("bob@remote.example.com/Gajim");
		federation.enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		federation.enter(f.bob, "Bob");
		federation.say(f.kev, mirror_room, "hello");
		for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect { "message", body = "hello" }; end
		return f;
	end

	it("counts stanzas, bytes and spared copies of each link, deliveries, refusals and resyncs (section 5, G25)", bed.scenario(function (s)
		local f = start(s);
		f.bob:sync();
		f.curtis:sync();
		local here, there = metrics(f.remote, mirror_host), metrics(f.talk, talk_host);
		-- a question for the room's features, two joins, one message
		assert.equal(4, here["link_stanzas_total talk.example.com sent"]);
		assert.equal(4, there["link_stanzas_total mirror.remote.example.com received"]);
		local down = #f.link:sent(f.talk);
		assert.equal(down, here["link_stanzas_total talk.example.com received"]);
		assert.equal(down, there["link_stanzas_total mirror.remote.example.com sent"]);
		-- a server adds the language of the stream to what it reads
		local function near(node, count)
			local bytes = 0;
			for _, stanza in ipairs(f.link:sent(node)) do bytes = bytes + #tostring(stanza); end
			assert.truthy(count > 0.9 * bytes and count < 1.2 * bytes, ("%d bytes crossed, %d were counted"):format(bytes, count));
		end
		near(f.remote, here["link_bytes_total talk.example.com sent"]);
		near(f.remote, there["link_bytes_total mirror.remote.example.com received"]);
		near(f.talk, here["link_bytes_total talk.example.com received"]);
		near(f.talk, there["link_bytes_total mirror.remote.example.com sent"]);
		-- Bob's join went to Kev and Bob at once; the message too
		assert.equal(2, there["copies_avoided_total mirror.remote.example.com"]);
		assert.equal(1, here["copies_avoided_total talk.example.com"]); -- Bob was not in yet when his join came back
		assert.equal(3, here.local_deliveries_total); -- Bob for Kev, the message for both
		assert.equal(1, here["links live"]);
		assert.equal(1, there["links live"]);

		local mallory = f.remote:client("mallory@remote.example.com/x");
		mallory:send(federation.join(mirror_room, "Curtis"));
		mallory:expect { "presence", type = "error" };
		assert.equal(1, metrics(f.remote, mirror_host)["joins_refused_total conflict"]);
		assert.equal(1, metrics(f.talk, talk_host)["joins_refused_total conflict"]);
		f.link:cut();
		s:wait_until(function () return metrics(f.remote, mirror_host)["links lost"] == 1; end, 10);
		f.link:restore();
		s:wait_until(function () return metrics(f.remote, mirror_host)["links live"] == 1; end, 30);
		local before, master_before = metrics(f.remote, mirror_host).resyncs_total or 0, metrics(f.talk, talk_host).resyncs_total or 0;
		act(f.kev, mirror_host, "resync", master_room);
		s:wait_until(function () return metrics(f.remote, mirror_host).resyncs_total == before + 1; end, 20);
		assert.equal(master_before + 1, metrics(f.talk, talk_host).resyncs_total);
	end));

	it("has no more labels than it has to, whoever asks for a room (section 5)", bed.scenario(function (s)
		local node = s:node { version = version; global = "statistics = \"internal\"\nstatistics_interval = \"manual\"\n";
			config = federation.mirror_config .. "\tfmuc_allow_masters = { \"known.example\" }\n" };
		local labels = node:eval [[
			local metrics = prosody.hosts["mirror.remote.example.com"].modules.fmuc.lib "link/metrics";
			for i = 1, 60 do metrics.crossed("peer" .. i .. ".example", "sent", 1, 1); end
			metrics.crossed("known.example", "sent", 1, 1);
			local count, known = 0, false;
			local family = require "core.statsmanager".get_metric_registry():get_metric_families()["prosody_mod_fmuc/copies_avoided"];
			for labels in family:iter_metrics() do
				count = count + 1;
				known = known or labels[2] == "known.example";
			end
			return { count = count; known = known };
		]];
		assert.same({ count = 52; known = true }, labels);
	end));

	it("shows admins the links of a mirror, and lets them resync or drop one, by an ad-hoc command (section 5)", bed.scenario(function (s)
		local f = start(s);
		local lines = overview(f.kev, mirror_host);
		assert.matches(mirror_room .. "  master " .. master_room .. ", generation 1, live, 2 local and 1 remote occupants, sent 4 stanzas of ",
			lines[1], 1, true);
		assert.equal("1 links", lines[2]);
		assert.truthy(act(f.kev, mirror_host, "resync", master_room):find("is brought up to date"));
		f.link:expect(f.remote, { "presence", has = federation.fmuc .. "/history" });
		f.bob:expect_none({ "presence", type = "unavailable" }, 0.3); -- who has seen nothing of it
		assert.truthy(act(f.kev, mirror_host, "drop", "x@y"):find("There is no link with x@y"));
		assert.equal("Nothing was changed", act(f.kev, mirror_host, "", master_room));
		s:wait_until(function () return overview(f.kev, mirror_host)[1]:find(", live, ", 1, true); end);
		assert.truthy(act(f.kev, mirror_host, "drop", master_room):find("is closed"));
		local out = f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		assert.equal("307", out:find(muc_user .. "/status@code"));
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		assert.same({ "0 links" }, overview(f.kev, mirror_host));
	end));

	it("shows admins the links of a master, and lets them resync or drop one, by an ad-hoc command (section 5)", bed.scenario(function (s)
		local f = start(s);
		local lines = overview(f.curtis, talk_host);
		assert.matches(master_room .. "  mirror " .. mirror_room .. ", generation 1, live, 1 local and 2 remote occupants, sent ", lines[1], 1, true);
		assert.matches("received 4 of %d+, 2 copies saved", lines[1]);
		assert.truthy(act(f.curtis, talk_host, "resync", mirror_room):find("is brought up to date"));
		f.link:expect(f.remote, { "presence", has = federation.fmuc .. "/history" });
		s:wait_until(function () return overview(f.kev, mirror_host)[1]:find(", live, ", 1, true); end);
		assert.truthy(act(f.curtis, talk_host, "drop", mirror_room):find("is closed"));
		for _, user in ipairs { { f.kev, "Kev" }, { f.bob, "Bob" } } do
			user[1]:expect { "presence", type = "unavailable", from = mirror_room .. "/" .. user[2], has = muc_user .. "/status" };
		end
		assert.same({ "0 links" }, overview(f.curtis, talk_host));
		local reply = operation.command(talk_host, command_node):run(f.talk:client("alice@example.com/desk"));
		assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden"));
	end));

	if version ~= "0.12" then -- whose shell takes no commands of modules
		it("does the same in Prosody's shell (section 5)", bed.scenario(function (s)
			local f = start(s);
			local function run(node, text)
				local prosodyctl = node.installations[version].prosodyctl;
				return select(2, shell.try("%s --root --config %s shell %s", prosodyctl, node.dir .. "/prosody.cfg.lua", text));
			end
			assert.matches("1 local and 2 remote occupants", run(f.talk, [[fmuc:links("talk.example.com")]]), 1, true);
			f.remote:reload("fmuc", mirror_host);
			assert.matches("2 local and 1 remote occupants, sent 4", run(f.remote, [[fmuc:links("mirror.remote.example.com")]]), 1, true);
			assert.truthy(run(f.remote, [[fmuc:resync("mirror.remote.example.com", "jabberchat@talk.example.com")]]):find("up to date"));
			assert.truthy(run(f.talk, [[fmuc:links("example.com")]]):find("mod_fmuc is not loaded on example.com", 1, true));
			assert.truthy(run(f.remote, [[fmuc:drop("mirror.remote.example.com", "jabberchat@talk.example.com")]]):find("is closed"));
			f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		end));
	end
end);
end
