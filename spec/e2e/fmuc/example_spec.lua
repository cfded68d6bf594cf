-- SPDX-License-Identifier: MIT
-- mod_fmuc: the example of its README, as a new user would try it. The spec takes the configurations and commands from the README, and changes
-- only addresses and paths. The bed's authority for certificates replaces a public one, and clients need no TLS.

local bed = require "bed";
local federation = require "federation";
local terminal = require "terminal";
local shell = require "shell";
local st = require "util.stanza";

local file = assert(io.open("lua/mod_fmuc/README.markdown"));
local readme = file:read("a");
file:close();
local example = readme:match("\nExample: two servers\n(.-)\n[^\n]+\n=====");

local function blocks(mark)
	local list = {};
	for block in example:gmatch("\n``` {%." .. mark .. "}\n(.-)\n```") do list[#list + 1] = block; end
	return list;
end

local mirror_config, master_config = table.unpack(blocks "lua");
local commands, remote_accounts, talk_accounts = table.unpack(blocks "sh");
local make_room, accept_room = example:match("\n    (/join jabberchat@[^\n]+)\n    (/room [^\n]+)\n");
local join_mirror = example:match("\n    (/join jabberchat\\40[^\n]+)\n");
local mirror_room = join_mirror:match("/join (%S+)");
local log_lines = example:match("one for each direction%. At the\nmirror:\n\n(.-)\n\n%S");
local show_links, links = example:match("\n    prosodyctl shell '([^\n]+)'\n\nIt prints[^\n]*\n\n(.-)\n    1 links\n");
local refusal = {};
refusal.line, refusal.condition = example:match("\n    s2sout%x+  warn  ([^\n]+)\n\nand the client shows ([%a-]+)%.");

-- replace(text, old, new) -> text with that one occurrence of old replaced
local function replace(text, old, new)
	local changed, count = text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")));
	assert(count == 1, "not once in the README: " .. old);
	return changed;
end

-- pattern(text) -> Lua pattern for the text, in which any space may stand for another, and any traffic
local function pattern(text)
	local escaped = text:gsub("^%s+", ""):gsub("%p", "%%%0"):gsub("%s+", "%%s+");
	return (escaped:gsub("%f[%w]sent.-$", function (traffic) return (traffic:gsub("%d+%%s%+", "%%d+%%s+"):gsub("%d+%%,", "%%d+%%,")); end));
end

local function write(path, text)
	local out = assert(io.open(path, "w"));
	out:write(text);
	out:close();
end

-- A certificate as certbot leaves it in the folder `live`
local function certify(s, live, name)
	local path = live .. "/" .. name;
	shell.run("mkdir -p %s && cp %s %s", path, s.authority.key, path .. "/privkey.pem");
	s.authority:issue({ name }, path .. "/fullchain.pem");
end

-- Runs the commands of the example, except installation and restart, with the configuration of the README. The test bed adds nothing to it yet.
local function prepare(node, config, live)
	write(node.dir .. "/example.cfg.lua", config);
	for command in replace(commands, "/etc/letsencrypt/live", live):gmatch("prosodyctl ([^\n]+)") do
		if not command:find("^install ") then
			-- root: the files are not those of user prosody
			local ok, output = shell.try("%s --root --config %s " .. command:gsub("^%-%-root ", ""), node.installations[node.version].prosodyctl,
				node.dir .. "/example.cfg.lua");
			assert(ok, command .. " says\n" .. output);
		end
	end
end

-- A server as an admin gets it who follows the example. uncertified: name of a host whose certificate is missing
local function new_server(s, version, config, accounts, uncertified)
	local node = s:node { version = version; config = config; start = false; global = ([[
		ssl = { cafile = %q }
	]]):format(s.authority.certificate) };
	config = replace(config, "/run/prosody/prosody.pid", node.dir .. "/prosody.pid");
	config = replace(config, "/var/log/prosody/prosody.log", node.dir .. "/prosody.log");
	node.config = config:gsub("modules_enabled = {", "%0 \"bed\",", 1); -- the test bed's probe
	shell.run("mkdir %s", node.dir .. "/certs");
	for _, name in node:hosts() do certify(s, node.dir .. "/live", name); end
	prepare(node, config, node.dir .. "/live");
	if uncertified then shell.run("rm %s", node.dir .. "/certs/" .. uncertified .. ".crt"); end
	node:allow_log("Duplicate option"); -- the test bed has a value of its own before
	node:allow_log("Without stream management"); -- what a server must have stands in the example, and no more
	node:start();
	for jid in accounts:gmatch("prosodyctl adduser (%S+)") do node:add_user(jid); end
	return node;
end

local function start_profanity(s, node, jid)
	local dir = s.dir .. "/" .. jid;
	shell.run("mkdir -p %s %s", dir .. "/data/profanity", dir .. "/config/profanity");
	write(dir .. "/data/profanity/accounts", ("[%s]\nenabled=true\nresource=profanity\nserver=%s\nport=5222\ntls.policy=disable\n"
		.. "password=secret\n"):format(jid, node.address));
	write(dir .. "/config/profanity/profrc", "[ui]\nsplash=false\noccupants=false\n[connection]\nautoping=0\n");
	local profanity = terminal.start(s, dir, "profanity -a " .. jid, {
		HOME = dir; XDG_CONFIG_HOME = dir .. "/config"; XDG_DATA_HOME = dir .. "/data";
	});
	profanity:expect(jid .. "/profanity logged in");
	return profanity;
end

-- What the ad-hoc command of that title shows
local function overview(client, host, title)
	local function ask(type, payload)
		client:send(st.iq({ type = type; id = "command"; to = host }):add_child(payload));
		return client:expect { "iq", type = "result", id = "command" };
	end
	local node;
	for item in ask("get", st.stanza("query", { xmlns = "http://jabber.org/protocol/disco#items";
		node = "http://jabber.org/protocol/commands" })).tags[1]:childtags("item") do
		if item.attr.name == title then node = item.attr.node; end
	end
	local answer = ask("set", st.stanza("command", { xmlns = "http://jabber.org/protocol/commands"; node = node; action = "execute" }));
	for field in answer.tags[1]:get_child("x", "jabber:x:data"):childtags("field") do
		if field.attr.var == "overview" then return field:get_child_text("value"); end
	end
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
		for _, text in ipairs { "You have joined the room as Kev", "Curtis: before you came", "3 occupants: Ann , Curtis , Kev" } do
			kev:expect(text);
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
