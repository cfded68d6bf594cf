-- SPDX-License-Identifier: MIT
-- Examples of mod_fmuc's README, as a new user would try them: what the specs of examples share. Only addresses and paths are changed. The bed's
-- authority for certificates replaces a public one, and clients need no TLS.

local nodes = require "nodes";
local shell = require "shell";
local st = require "util.stanza";
local terminal = require "terminal";

local example = {};

local file = assert(io.open("lua/mod_fmuc/README.markdown"));
local readme = file:read("a");
file:close();

-- section(title) -> the text of the README from that title to the next one
function example.section(title)
	local start = select(2, readme:find("\n" .. title .. "\n", 1, true));
	return assert(readme:sub(start):match("^\n?[=-]+\n(.-)\n[^\n]+\n[=-][=-][=-][=-]+\n"), title);
end

-- blocks(text, mark) -> list of the blocks of code of that kind
function example.blocks(text, mark)
	local list = {};
	for block in text:gmatch("\n``` {%." .. mark .. "}\n(.-)\n```") do list[#list + 1] = block; end
	return list;
end

-- replace(text, old, new) -> text with that one occurrence of old replaced
function example.replace(text, old, new)
	local changed, count = text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")));
	assert(count == 1, "not once in the README: " .. old);
	return changed;
end

-- pattern(text) -> Lua pattern for the text, in which any space may stand for another, and any traffic
function example.pattern(text)
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
local function prepare(node, config, live, commands)
	write(node.dir .. "/example.cfg.lua", config);
	for command in example.replace(commands, "/etc/letsencrypt/live", live):gmatch("prosodyctl ([^\n]+)") do
		if not command:find("^install ") then
			-- root: the files are not those of user prosody
			local ok, output = shell.try("%s --root --config %s " .. command:gsub("^%-%-root ", ""), node.installations[node.version].prosodyctl,
				node.dir .. "/example.cfg.lua");
			assert(ok, command .. " says\n" .. output);
		end
	end
end

-- new_server(s, version, config, accounts, commands, [uncertified]) -> a server as an admin gets it who follows the example
--   config, accounts, commands: as in the README. uncertified: name of a host whose certificate is missing
function example.new_server(s, version, config, accounts, commands, uncertified)
	local node = s:node { version = version; config = config; start = false; global = ([[
		ssl = { cafile = %q }
	]]):format(s.authority.certificate) };
	config = example.replace(config, "/run/prosody/prosody.pid", node.dir .. "/prosody.pid");
	config = example.replace(config, "/var/log/prosody/prosody.log", node.dir .. "/prosody.log");
	node.config = config:gsub("modules_enabled = {", "%0 \"bed\",", 1); -- the test bed's probe
	shell.run("mkdir %s", node.dir .. "/certs");
	for _, name in node:hosts() do certify(s, node.dir .. "/live", name); end
	prepare(node, config, node.dir .. "/live", commands);
	if uncertified then shell.run("rm %s", node.dir .. "/certs/" .. uncertified .. ".crt"); end
	node:allow_log("Duplicate option"); -- the test bed has a value of its own before
	node:allow_log("Without stream management"); -- what a server must have stands in the example, and no more
	node:start();
	for jid in accounts:gmatch("prosodyctl adduser (%S+)") do node:add_user(jid); end
	return node;
end

-- What an owner in 0.12 fills in, where 13.0 has the command
local function configure(node, command)
	local room, name = command:match("%(\"[^\"]+\", \"([^\"]+)\""), command:match("fmuc:(%w+)");
	local rest = command:match("%(\"[^\"]+\", \"[^\"]+\", \"([^\"]+)\"");
	local peers = {};
	for peer in rest:gmatch("%S+") do peers[#peers + 1] = peer; end
	nodes.configure(node, room, name == "join" and { outbound_peer = rest } or { inbound_peers = peers });
end

-- federate(node, command): runs a command of the README that says with which rooms a room federates
function example.federate(node, command)
	if node.version == "0.12" then return configure(node, command); end
	local words = command:match("^prosodyctl shell '(.*)'$");
	shell.run("%s --root --config %s shell %s", node.installations[node.version].prosodyctl, node.dir .. "/prosody.cfg.lua", words);
end

-- start_profanity(s, node, jid) -> terminal with profanity, which has logged in
function example.start_profanity(s, node, jid)
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

-- overview(client, host, title) -> what the ad-hoc command of that title shows
function example.overview(client, host, title)
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

return example;
