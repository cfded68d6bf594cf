-- SPDX-License-Identifier: MIT
-- mod_client_proxy: Prosody starts with every configuration in its README, without a warning. The module reads every option that the README names.

local bed = require "bed";
local shell = require "shell";

local function read(path)
	local file = assert(io.open(path));
	local text = file:read("a");
	file:close();
	return text;
end

local readme = read("lua/mod_client_proxy/README.markdown");

local function loads(version, config)
	return bed.scenario(function (s)
		if not config:find("VirtualHost") then config = "VirtualHost \"example.com\"\n" .. config; end
		local node = s:node { version = version; config = config };
		assert.is_true(node:eval [[return require "core.modulemanager".is_loaded("proxy.example.com", "client_proxy")]]);
	end);
end

for version in bed.versions() do
describe("README of client_proxy on Prosody " .. version, function ()
	local count = 0;
	for block in readme:gmatch("\n``` {%.lua}\n(.-)\n```") do
		count = count + 1;
		it("has configuration " .. count .. " right", loads(version, block));
	end
end);
end

it("README of client_proxy names the options that the module reads, and no others", function ()
	local documented, used = {}, {};
	for name in readme:gmatch("client_proxy_[%w_]+") do
		if name ~= "client_proxy_subscribers" then documented[name] = true; end
	end
	for _, file in ipairs(shell.lines("ls lua/mod_client_proxy/*.lua")) do
		for name in read(file):gmatch("\"(client_proxy_[%w_]+)\"") do used[name] = true; end
	end
	used.client_proxy_subscribers = nil; -- a store
	assert.same(used, documented);
end);
