-- SPDX-License-Identifier: MIT
-- What the README says to paste is a configuration that Prosody starts with, without a warning.

local bed = require "bed";

local file = assert(io.open("README.markdown"));
local section = file:read("a"):match("\n## Configure\n(.-)\n## ");
file:close();

-- The lines indented below a link to a module's README are its example.
local examples = {};
for line in section:gmatch("[^\n]+") do
	local module = line:match("%[(mod_[%w_]+)%]");
	if module then
		examples[#examples + 1] = { module = module; config = "" };
	elseif line:match("^    ") then
		examples[#examples].config = examples[#examples].config .. line .. "\n";
	end
end

for version in bed.versions() do
describe("an example of the README on Prosody " .. version, function ()
	for _, example in ipairs(examples) do
		it("loads " .. example.module, bed.scenario(function (s)
			local node = s:node { version = version; config = example.config };
			assert.truthy(node:eval(([[
				local modulemanager = require "core.modulemanager";
				for host in pairs(prosody.hosts) do
					if modulemanager.is_loaded(host, %q) then return true; end
				end
			]]):format(example.module:match("mod_(.*)"))));
		end));
	end
end);
end

it("the README has an example for each module", function ()
	local modules = {};
	for i, example in ipairs(examples) do modules[i] = example.module; end
	table.sort(modules);
	assert.same({ "mod_client_proxy", "mod_delegation", "mod_fmuc" }, modules);
end);
