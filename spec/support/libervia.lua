-- SPDX-License-Identifier: MIT
-- Libervia Pubsub as the README of mod_delegation sets it up: Prosody, PostgreSQL and the service itself run with the very texts that stand
-- there, and only addresses are adapted.

local loop = require "bed.loop";
local process = require "bed.process";
local postgresql = require "bed.postgresql";
local shell = require "shell";
local pep = require "pep";

local libervia = {};

-- Features that are in service discovery only while the service is in charge
libervia.features = { "http://jabber.org/protocol/pubsub#groupblog", "urn:xmpp:order-by:0" };

local service = {};
local service_mt = { __index = service };

local start_timeout = 60;

local function read(path)
	local file = assert(io.open(path));
	local text = file:read("a");
	file:close();
	return text;
end

local section = read("lua/mod_delegation/README.markdown"):match("\nExample: Libervia Pubsub as PEP service\n(.-)\n[^\n]+\n=====");

-- The block of the section that has this mark
local function block(mark)
	return section:match("\n``` {%." .. mark .. "}\n(.-)\n```");
end

-- replace(text, old, new) -> text with each old replaced; there must be one
local function replace(text, old, new)
	local changed, count = text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")));
	assert(count > 0, "not in the README: " .. old);
	return changed;
end

-- A node with the configuration of the README; options as for s:node, and more = text behind it
local function new_node(s, version, options)
	local plugins = s.dir .. "/plugins";
	-- 13.0 must not see the other modules of 0.12
	shell.run("mkdir -p %s && ln -sfn /usr/lib/prosody/modules/mod_privilege %s", plugins, plugins .. "/mod_privilege");
	options = options or {};
	options.version, options.config, options.plugins = version, block("lua") .. "\n" .. (options.more or ""), { plugins };
	return s:node(options);
end

local function prepare_database(cluster)
	local commands = replace(block("sh"), "su postgres -c psql", ("psql -h '%s' -p %d -U postgres"):format(cluster.dir, cluster.port));
	shell.run("cd / && PGPORT=%s sh -ec %s", tostring(cluster.port), replace(commands, "127.0.0.1", cluster.address));
end

-- The variables of Debian's unit and of the file in the README. More variables adapt both to the addresses of the scenario.
local function environment(self)
	local words = {};
	for setting in read("/lib/systemd/system/libervia-pubsub.service"):gmatch("\nEnvironment=([^\n]+)") do words[#words + 1] = setting; end
	for setting in block("environment"):gmatch("[^\n]+") do words[#words + 1] = setting; end
	for name, value in pairs {
		HOME = self.dir; LIBERVIA_PUBSUB_RHOST = self.node.address; PGHOST = self.cluster.address; PGPORT = self.cluster.port;
	} do words[#words + 1] = name .. "=" .. value; end
	for i, word in ipairs(words) do words[i] = shell.quote(word); end
	return table.concat(words, " ");
end

local as_nobody = shell.lines("id -u")[1] == "0" and "setpriv --reuid=nobody --regid=nogroup --clear-groups " or "";

-- start(): runs the service and waits until it knows its delegations
function service:start()
	self.starts = self.starts + 1;
	local dir = ("%s/%d"):format(self.dir, self.starts);
	shell.run("mkdir %s", dir);
	local command = block("systemd"):match("\nExecStart=(/[^\n]+)");
	self.process = process.start(dir, ("%s/usr/bin/env %s %s --verbose"):format(as_nobody, environment(self), command));
	loop.wait_until(function ()
		if not self.process:alive() then error("Libervia ended at its start:\n" .. self.process:output(), 0); end
		return self.process:output():find("delegations updated", 1, true);
	end, start_timeout, function () return "start of Libervia:\n" .. self.process:output(); end);
end

-- kill(): SIGKILL, and wait
function service:kill()
	if self.process and self.process:alive() then self.process:signal("KILL"); end
end

-- pause(), resume(): a service that does not answer
function service:pause()
	os.execute("kill -STOP " .. self.process.pid);
end

function service:resume()
	os.execute("kill -CONT " .. self.process.pid);
end

-- The service with a fresh database, in charge of the node's accounts
local function new_service(s, node)
	local self = setmetatable({ node = node; cluster = postgresql.start(s); dir = s.dir .. "/libervia"; starts = 0 }, service_mt);
	prepare_database(self.cluster);
	shell.run("mkdir %s", self.dir);
	s:at_end(function () self:kill(); end);
	self:start();
	return self;
end

local function is_announced(user, to)
	local found = pep.counts(pep.ask(user, pep.query "http://jabber.org/protocol/disco#info", { to = to }));
	for _, name in ipairs(libervia.features) do
		if not found[name] then return false; end
	end
	return true;
end

-- settle(scenario, user): waits until the server and the user's account show the features of the service
function libervia.settle(s, user)
	s:wait_until(function ()
		s:wait(0.05);
		return is_announced(user) and is_announced(user, user.host);
	end, pep.patience, "features of the service");
end

-- start(scenario, version, [options]) -> node, juliet's stream, service: all of it at work; options as for s:node, and
-- more = text behind the configuration
function libervia.start(s, version, options)
	local node = new_node(s, version, options);
	local pubsub = new_service(s, node);
	local juliet = node:client("juliet@capulet.lit/balcony");
	libervia.settle(s, juliet);
	return node, juliet, pubsub;
end

return libervia;
