-- SPDX-License-Identifier: MIT
-- mod_client_proxy: the example of its README, as a new user would try it. The spec takes the configuration and the program from the README.

local bed = require "bed";
local shell = require "shell";

local file = assert(io.open("lua/mod_client_proxy/README.markdown"));
local example = file:read("a"):match("\nExample: a bot on two machines\n(.-)\n[^\n]+\n=====");
file:close();
local config, program = example:match("\n``` {%.lua}\n(.-)\n```"), example:match("\n``` {%.python}\n(.-)\n```");
local question = example:match("\n    (<iq type='get' id='1'[^\n]+)");

for version in bed.versions() do
describe("example of client_proxy on Prosody " .. version, function ()
	local pids;

	before_each(function () pids = {}; end);
	after_each(function ()
		for _, pid in pairs(pids) do shell.try("kill -9 %s", pid); end
	end);

	it("answers from either machine, and from the one that is left", bed.scenario(function (s)
		local node = s:node { version = version; config = config };
		node:add_user("hourbot@example.com");
		node:reload_config(config);
		-- there is no name service for example.com here, and no TLS
		local script = node.dir .. "/hourbot.py";
		local connect = ("bot.connect((%q, 5222), force_starttls=False, disable_starttls=True)"):format(node.address);
		local adapted, count = program:gsub("bot%.connect%(%)", connect);
		assert.equal(1, count);
		local out = assert(io.open(script, "w"));
		out:write(adapted);
		out:close();
		local function start_bot(machine)
			pids[machine] = shell.lines("/usr/bin/python3 %s %s secret >>%s 2>&1 </dev/null & echo $!", script, "hourbot@example.com/" .. machine,
				node.dir .. "/" .. machine .. ".out")[1];
		end
		local romeo = node:client("romeo@example.com/abc");
		local function ask()
			romeo:send(question);
			return romeo:expect { "iq", id = "1", from = "proxy.example.com" };
		end
		local function wait_for_answers(expected)
			local seen = {};
			s:wait_until(function ()
				local by = ask():find("{urn:example:hour}hour@by");
				if by then seen[by] = true; end
				for _, machine in ipairs(expected) do
					if not seen[machine] then return false; end
				end
				return true;
			end, 15, "answers of " .. table.concat(expected, " and "));
		end
		assert.equal("error", ask().attr.type);
		start_bot("first");
		start_bot("second");
		wait_for_answers { "first", "second" };
		shell.run("kill -9 %s", pids.first);
		s:wait_until(function () return node:eval [[return prosody.full_sessions["hourbot@example.com/first"] == nil]]; end);
		for _ = 1, 5 do assert.equal("second", ask():find("{urn:example:hour}hour@by")); end
		shell.run("kill -9 %s", pids.second);
		s:wait_until(function () return ask().attr.type == "error"; end);
		local log = assert(io.open(node.dir .. "/second.out"));
		assert.truthy(log:read("a"):find("asked by romeo@example.com/abc", 1, true));
		log:close();
	end));
end);
end
