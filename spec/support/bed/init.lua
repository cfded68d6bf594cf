-- SPDX-License-Identifier: MIT
-- The test bed: real Prosody servers of both versions on loopback addresses, real s2s between them, raw clients and components.
--
--   local bed = require "bed";
--   for version in bed.versions() do
--   describe("x on Prosody " .. version, function ()
--       it("does y (P1)", bed.scenario(function (s)
--           local capulet = s:node { version = version; config = [[ VirtualHost "capulet.lit" ]] };
--           local juliet = capulet:client("juliet@capulet.lit/balcony");
--           juliet:send [[<iq type='get' id='1' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>]];
--           juliet:expect { "iq", id = "1", type = "result" };
--       end));
--   end);
--   end
--
-- See doc/testing.markdown for a tour; bed.node, bed.stream, bed.link and bed.match document every function.

local loop = require "bed.loop";
local new_node = require "bed.node".new;
local new_link = require "bed.link".new;
local dns = require "bed.dns";
local new_authority = require "bed.certificates".new;
local socket = require "socket";

local bed = { installations = require "bed.node".installations };

-- versions() -> iterator over the Prosody versions to test: all, or those in the environment variable PROSODY_VERSIONS
function bed.versions()
	return (os.getenv("PROSODY_VERSIONS") or "0.12 13.0"):gmatch("%S+");
end

local scenario = {};
local scenario_mt = { __index = scenario };

-- Each scenario owns the /24 whose .1 it listens on, so that scenarios of parallel runs cannot meet.
local function own_block()
	for _ = 1, 1000 do
		local block = ("127.%d.%d."):format(math.random(1, 254), math.random(0, 255));
		local lock = socket.bind(block .. "1", 5999);
		if lock then return block, lock; end
	end
	error("no free block of loopback addresses");
end

local function begin()
	math.randomseed(os.time(), math.tointeger(tonumber(tostring({}):match("0x(%x+)"), 16)));
	local block, lock = own_block();
	local pipe = assert(io.popen("mktemp -d -t prosody-relay-bed.XXXXXX"));
	local dir = pipe:read("l");
	pipe:close();
	return setmetatable({
		block = block; lock = lock; dir = dir; used = 9; authority = new_authority(dir); nodes = {}; links = {}; owner = {}; endings = {};
	}, scenario_mt);
end

function scenario:next_address()
	self.used = self.used + 1;
	return self.block .. self.used;
end

-- What the name server of `asking` says: the link between the two nodes where there is one, else the node itself
local function resolve(self, asking, name)
	local owner = self.owner[name];
	if not owner then return nil; end
	for _, link in ipairs(self.links) do
		if link.address[asking] and link.address[owner] and asking ~= owner then return link.address[asking]; end
	end
	return owner.address;
end

-- register(server): the name servers of the nodes lead to this server. It has an address, and hosts() as a node has. It may be any program.
-- Afterwards server.resolve(name) -> the address by which this server should reach a host of the scenario, or nil
function scenario:register(server)
	for _, name in server:hosts() do self.owner[name] = server; end
	function server.resolve(name) return resolve(self, server, name); end
end

-- node{ version, config, [global], [modules], [installed], [log_level], [start = false] } -> a started node.
--   config: the VirtualHost and Component sections; global: text before them, may override the bed's settings;
--   modules: names added to modules_enabled; plugins: folders added to plugin_paths;
--   dialback: servers (see register) that it believes without TLS and certificate; their streams have no stream management
--   installed: tree of `prosodyctl install`, used instead of the checkout.
function scenario:node(options)
	local start = options.start ~= false;
	options.start = nil;
	options.address, options.authority = self:next_address(), self.authority;
	options.dir = ("%s/node%d"):format(self.dir, #self.nodes + 1);
	assert(os.execute("mkdir -p '" .. options.dir .. "/data'"));
	local node = new_node(options);
	self:register(node);
	function node.serve_dns(address, port) return dns.serve(address, port, node.resolve); end
	table.insert(self.nodes, node);
	if start then node:start(); end
	return node;
end

-- link(a, b) -> relay on the s2s path between two nodes, before they first talk
function scenario:link(a, b)
	local link = new_link(a, b, self:next_address(), self:next_address());
	table.insert(self.links, link);
	return link;
end

-- at_end(callback): run when the scenario ends, the last one first, when the nodes have stopped
function scenario:at_end(callback)
	table.insert(self.endings, callback);
end

-- wait(seconds); wait_until(condition, [timeout = 5], [what]) -> result of the condition
function scenario:wait(seconds) -- luacheck: ignore 212/self
	loop.wait(seconds);
end

function scenario:wait_until(condition, timeout, what) -- luacheck: ignore 212/self
	return loop.wait_until(condition, timeout, what);
end

local function finish(self)
	local complaints = {};
	for _, node in ipairs(self.nodes) do node.log:scenario_ends(); end
	for i, node in ipairs(self.nodes) do
		for _, line in ipairs(node:finish()) do
			complaints[#complaints + 1] = ("node%d (%s): %s"):format(i, node.version, line);
		end
	end
	for _, link in ipairs(self.links) do link:finish(); end
	for i = #self.endings, 1, -1 do
		local ended, err = pcall(self.endings[i]);
		if not ended then complaints[#complaints + 1] = tostring(err); end
	end
	self.lock:close();
	return complaints;
end

-- scenario(run) -> function for busted's it(): runs run(s) with a fresh scenario, ends every process, and fails on any log line
-- that was not allowed. The files stay for a look when the scenario failed.
function bed.scenario(run)
	return function ()
		local self = begin();
		local ok, err = xpcall(run, function (e)
			return type(e) == "string" and debug.traceback(e, 2) or e;
		end, self);
		local complaints = finish(self);
		if not ok then
			if type(err) == "string" then
				err = err .. "\nfiles in " .. self.dir .. "\n" .. table.concat(complaints, "\n");
			end
			error(err, 0);
		end
		if #complaints > 0 then
			error("the log has\n" .. table.concat(complaints, "\n") .. "\nfiles in " .. self.dir, 0);
		end
		os.execute("rm -rf '" .. self.dir .. "'");
	end;
end

return bed;
