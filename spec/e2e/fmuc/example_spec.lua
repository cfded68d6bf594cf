-- SPDX-License-Identifier: MIT
-- mod_fmuc: the example of its README, as a new user would try it. The spec takes the configurations and commands from the README, and changes
-- only addresses and paths. The bed's authority for certificates replaces a public one, and clients need no TLS.

local bed = require "bed";
local example = require "example";
local federation = require "federation";
local shell = require "shell";

local text = example.section("Example: two servers");
local mirror_config, master_config = table.unpack(example.blocks(text, "lua"));
local commands, remote_accounts, talk_accounts = table.unpack(example.blocks(text, "sh"));
local make_room, accept_room = text:match("\n    (/join jabberchat@[^\n]+)\n    (/room [^\n]+)\n");
local join_mirror = text:match("\n    (/join jabberchat\\40[^\n]+)\n");
local mirror_room = join_mirror:match("/join (%S+)");
local log_lines = text:match("one for each direction%. At the\nmirror:\n\n(.-)\n\n%S");
local show_links, links = text:match("\n    prosodyctl shell '([^\n]+)'\n\nIt prints[^\n]*\n\n(.-)\n    1 links\n");
local refusal = {};
refusal.line, refusal.condition = text:match("\n    s2sout%x+  warn  ([^\n]+)\n\nand the client shows ([%a-]+)%.");

local pattern, overview, start_profanity = example.pattern, example.overview, example.start_profanity;

local function new_server(s, version, config, accounts, uncertified)
	return example.new_server(s, version, config, accounts, commands, uncertified);
end

for _, versions in ipairs(federation.crossings()) do
describe(("the README's example of fmuc, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("has everybody in the room, and one copy on the link", bed.scenario(function (s)
		local remote = new_server(s, versions.mirror, mirror_config, remote_accounts);
		local talk = new_server(s, versions.master, master_config, talk_accounts);
		local link = s:link(talk, remote);
		local curtis = start_profanity(s, talk, "curtis@example.com");
		curtis:type(make_room);
		curtis:expect("Room locked");
		curtis:type(accept_room);
		curtis:expect("Room unlocked");
		curtis:type("before you came");
		curtis:expect("Curtis: before you came");
		local ann = remote:client("ann@remote.example.com/Gajim");
		federation.enter(ann, "Ann", mirror_room);
		ann:expect { "message", has = "subject" };
		local kev = start_profanity(s, remote, "kev@remote.example.com");
		kev:type(join_mirror);
		for _, seen in ipairs { "You have joined the room as Kev", "Curtis: before you came", "3 occupants: Ann , Curtis , Kev" } do
			kev:expect(seen);
		end

		kev:type("here I am");
		curtis:expect("Kev: here I am");
		ann:expect { "message", body = "here I am", from = mirror_room .. "/Kev" };
		curtis:type("good morning");
		kev:expect("Curtis: good morning");
		ann:expect { "message", body = "good morning", from = mirror_room .. "/Curtis" };
		link:expect(talk, { "message", body = "good morning" });
		link:expect_none(talk, { "message", body = "good morning" }, 0);

		for line in log_lines:gmatch("info  ([^\n]+)") do remote:expect_log(pattern(line)); end
		local shown = overview(remote:client("kev@remote.example.com/admin"), "mirror.remote.example.com", "Mirrored rooms");
		assert.truthy(shown:find(pattern(links)), shown);
		if versions.mirror ~= "0.12" then
			local prosodyctl = remote.installations[versions.mirror].prosodyctl;
			shown = shell.run("%s --root --config %s shell %s", prosodyctl, remote.dir .. "/prosody.cfg.lua", show_links);
			assert.truthy(shown:find(pattern(links)), shown);
		end
	end));

	it("fails without a certificate as the troubleshooting says", bed.scenario(function (s)
		local remote = new_server(s, versions.mirror, mirror_config, remote_accounts);
		local talk = new_server(s, versions.master, master_config, talk_accounts, "talk.example.com");
		local ann = remote:client("ann@remote.example.com/Gajim");
		for _, node in ipairs { remote, talk } do node:allow_log("certificate"); end
		ann:send(federation.join(mirror_room, "Ann"));
		local answer = ann:expect({ "presence", type = "error" }, 40);
		assert.equal(refusal.condition, federation.error_condition(answer));
		remote:expect_log(pattern(refusal.line));
	end));
end);
end
