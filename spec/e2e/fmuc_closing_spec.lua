-- SPDX-License-Identifier: MIT
-- mod_fmuc: nobody waits for a module that is unloaded or a server that stops. Who asked for something gets the answer that there is.

local bed = require "bed";
local fake = require "e2e.fake_master";
local federation = require "e2e.federation";

local error_condition = federation.error_condition;

local function unload(host)
	return function (node) node:eval(("assert(require 'core.modulemanager'.unload(%q, 'fmuc'))"):format(host)); end
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc closing, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	for what, close in pairs { ["module is unloaded"] = unload "mirror.remote.example.com"; ["server stops"] = function (node) node:stop(); end } do
		it("tells who waits whether the room can be mirrored, when the " .. what .. " (section 2b)", bed.scenario(function (s)
			local f = fake.new(s, versions, federation.mirror_config);
			f.kev:send(federation.join(fake.mirror, "Kev"));
			f.fake:expect { "iq", type = "get" };
			close(f.remote);
			local refusal = f.kev:expect { "presence", type = "error", id = "join-Kev", from = fake.mirror .. "/Kev" };
			assert.equal("service-unavailable", error_condition(refusal));
			assert.truthy(refusal:get_child("x", "http://jabber.org/protocol/muc"));
			f.kev:expect_none({ "presence", type = "error" }, 0.3); -- once
		end));
	end
end);
end
