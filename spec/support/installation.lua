-- SPDX-License-Identifier: MIT
-- Private installations of the rocks by `prosodyctl install`, of each Prosody version, as an admin would make them. Nothing of this
-- machine's own Prosody is touched and nothing is asked of the network.

local shell = require "shell";

local installation = {};
local installation_mt = { __index = installation };

local function write_file(path, text)
	local file = assert(io.open(path, "w"));
	assert(file:write(text));
	file:close();
end

-- The PATH of a machine without compiler: all programs but those.
local function path_without_compiler(directory)
	shell.run("mkdir %s && ln -s /usr/bin/* /usr/sbin/* %s 2>/dev/null || true", directory, directory);
	shell.run("cd %s && rm -f cc c89* c99* gcc* g++* *-gcc* *-g++* clang* tcc ld ld.* as make", directory);
	return directory;
end

-- workshop() -> what all installations of one spec share: a rock server with all rocks, one with source rocks only, and the programs of
-- each Prosody version. Every user can read them. The spec must remove `directory` at the end.
function installation.workshop()
	local self = { directory = shell.temporary_directory() };
	self.server = { binary = self.directory .. "/rocks", source = self.directory .. "/source-rocks" };
	shell.run("tools/rocks %s", self.server.binary);
	shell.run("mkdir %s && cp %s/*.src.rock %s", self.server.source, self.server.binary, self.server.source);
	shell.run("luarocks-admin --lua-version=5.4 make_manifest %s", self.server.source);
	self.prosodyctl = {
		["0.12"] = "/usr/bin/prosodyctl";
		-- a copy of its own: user prosody may not be able to enter the checkout
		["13.0"] = shell.lines("tools/prosody13 %s 2>/dev/null", self.directory .. "/prosody13")[1] .. "/usr/bin/prosodyctl";
	};
	self.path = { source = os.getenv("PATH"), binary = path_without_compiler(self.directory .. "/bin") };
	shell.run("chmod -R a+rX %s", self.directory);
	return self;
end

-- users() -> the users as whom an installation can be tested. prosodyctl started by root goes on as user prosody.
function installation.users()
	return shell.lines("id -u")[1] == "0" and { "root", "nobody" } or { "the user of the tests" };
end

-- new{ workshop, version, user, rocks = "source" or "binary" } -> empty installation
--   source: with compiler and headers, from source rocks; binary: without either
function installation.new(options)
	local self = setmetatable(options, installation_mt);
	self.directory = shell.lines("mktemp -d %s", self.workshop.directory .. "/tree.XXXXXX")[1];
	self.tree = self.directory .. "/data/plugins";
	write_file(self.directory .. "/prosody.cfg.lua", ([[
		data_path = "%s/data"
		pidfile = "%s/data/prosody.pid"
		installer_plugin_path = "%s"
		VirtualHost "localhost"
	]]):format(self.directory, self.directory, self.tree));
	-- replaces the servers on the network
	write_file(self.directory .. "/luarocks.lua", "rocks_servers = { '/nonexistent' }\n"
		.. (self.rocks == "binary" and "variables = { LUA_INCDIR = '/nonexistent' }\n" or ""));
	shell.run("mkdir %s/data && chmod -R a+rX %s", self.directory, self.directory);
	local owner = ({ root = "prosody", nobody = "nobody" })[self.user];
	if owner then shell.run("chown %s %s/data", owner, self.directory); end
	return self;
end

-- ctl(argument...) -> true or nil, output of prosodyctl
function installation:ctl(...)
	local words = { self.directory, self.workshop.path[self.rocks], self.directory .. "/luarocks.lua",
		self.workshop.prosodyctl[self.version], self.directory .. "/prosody.cfg.lua", ... };
	local as_user = self.user == "nobody" and "setpriv --reuid=nobody --regid=nogroup --clear-groups " or "";
	-- LuaRocks tries for ever when it cannot write to the tests' TMPDIR
	return shell.try("cd / && env -u LUA_PATH -u LUA_CPATH -u TMPDIR HOME=%s/data PATH=%s LUAROCKS_CONFIG=%s " .. as_user
		.. "%s --config %s" .. (" %s"):rep(select("#", ...)), table.unpack(words));
end

-- list() -> set of the rocks that are installed. prosodyctl's exit status says nothing: it is 0 when LuaRocks failed, too.
function installation:list()
	local _, output = self:ctl("list");
	local rocks = {};
	for name in output:gmatch("\n([%w_-]+)\n   %d") do rocks[name] = true; end
	return rocks;
end

-- install(module) as in `prosodyctl install --server=... mod_x`; raises the output when it is not installed then
function installation:install(module)
	local _, output = self:ctl("install", "--server=" .. self.workshop.server[self.rocks], module);
	if not self:list()[module] then error(output, 2); end
end

return installation;
