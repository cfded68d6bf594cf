-- SPDX-License-Identifier: MIT
-- mod_delegation's client mode with a real client library: the example of the README, as the author of an entity would try it. The spec takes
-- the configuration and the program from the README. The client of the user is slixmpp.

local bed = require "bed";
local shell = require "shell";

local file = assert(io.open("lua/mod_delegation/README.markdown"));
local example = file:read("a"):match("\nClient mode\n===(.-)\nCompatibility\n===");
file:close();
local config, program = example:match("\n``` {%.lua}\n(.-)\n```"), example:match("\n``` {%.python}\n(.-)\n```");

for version in bed.versions() do
describe("example of client mode on Prosody "..version, function ()
	local pids;

	before_each(function () pids = {}; end);
	after_each(function ()
		for _, pid in ipairs(pids) do shell.try("kill -9 %s", pid); end
	end);

	it("works with the forms and commands of a client library (D33, D34, D35, D36, C12, C20, C22)", bed.scenario(function (s)
		local node = s:node { version = version; config = config };
		node:add_user("romeo@example.com");
		local script = node.dir.."/notes.py";
		local out = assert(io.open(script, "w"));
		out:write(program);
		out:close();
		local function contents(name)
			local output = io.open(node.dir.."/"..name);
			local text = output and output:read("a") or "";
			if output then output:close(); end
			return text;
		end
		local function start(name, command, ...)
			local pid = shell.lines("cd %s && "..command.." >"..name.." 2>"..name..".err </dev/null & echo $!", node.dir, ...)[1];
			pids[#pids + 1] = pid;
			return pid;
		end
		local function run_entity(name)
			return start(name, "/usr/bin/python3 notes.py notes.example.com 'change me' "..node.address.." example.com romeo@example.com");
		end
		local user_program = shell.lines("pwd")[1].."/spec/support/delegation_user.py";
		local function run_user(name, actions, expected)
			start(name, "/usr/bin/python3 %s romeo@example.com secret "..node.address.." notes.example.com "..actions, user_program);
			local text;
			s:wait_until(function ()
				text = contents(name);
				return select(2, text:gsub("\n", "")) >= #expected;
			end, 20, function () return name..":\n"..text..contents(name..".err"); end);
			local lines = {};
			for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line; end
			assert.same(expected, lines);
			s:wait_until(function () return node:eval [[return prosody.bare_sessions["romeo@example.com"] == nil]]; end);
		end
		local asked = "asked: Manage urn:example:notes 0 ['FORM_TYPE', 'challenge', 'persist', 'urn:example:notes']";
		local entity = run_entity("entity1");
		-- asked while he was away
		run_user("cancels", "cancel get", { "note: service-unavailable" });
		shell.run("kill -9 %s", entity);
		run_entity("entity2");
		run_user("refuses", "no get", { asked, "note: service-unavailable" });
		shell.run("kill -9 %s", pids[#pids - 1]);
		run_entity("entity3");
		local manages = { "entities: ['notes.example.com']", "values: {'persist': '1', 'urn:example:notes': '1'}" };
		run_user("allows", "yes set=ladder get show", {
			asked, "note: ladder", "note: ladder", manages[1], manages[2],
			"note of the command: [('info', 'Nothing was revoked')] completed",
		});
		-- he wanted to keep it
		run_user("revokes", "get revoke get", {
			"note: ladder", manages[1], manages[2],
			"note of the command: [('info', '\"notes.example.com\" does not manage any more: urn:example:notes')] completed",
			"note: service-unavailable",
		});
		local told = "romeo@example.com delegates urn:example:notes\nromeo@example.com delegates nothing\n";
		s:wait_until(function () return contents("entity3") == told; end, nil, function () return told .. "but:\n" .. contents("entity3"); end);
	end));
end);
end
