-- SPDX-License-Identifier: MIT
-- 200 000 delegated IQs through a real Prosody, 64 at a time: memory, event handlers and cost must be the same at the end as at the
-- beginning (B1). Not one of `make bench`, as it takes a minute; `make soak` runs it. PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local delegation = require "delegation_bed";
local measure = require "measure";

local WINDOW, PARTS, IQS = 64, 10, 20000;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

-- KiB in use, and event handlers of all hosts
local function state_of(node)
	return table.unpack(node:eval [[
		local handlers = 0;
		for _, host in pairs(prosody.hosts) do
			for _, map in pairs(host.events._event_map) do
				for _ in pairs(map) do handlers = handlers + 1; end
			end
		end
		collectgarbage(); collectgarbage();
		return { collectgarbage("count"), handlers };
	]]);
end

local function run(s, node, user)
	local before = measure.cpu_of(node.pid);
	measure.exchange(s, user, IQS, WINDOW, function (i) return ("<iq type='set' id='r%d'><pubsub xmlns='urn:x:delegated'/></iq>"):format(i); end);
	return (measure.cpu_of(node.pid) - before) / IQS * 1e6;
end

bed.scenario(function (s)
	local node = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]], { log_level = "error" });
	local entity, user = delegation.entity(node), node:client("juliet@capulet.lit/balcony");
	entity:sync();
	delegation.serve(entity, "<pubsub xmlns='urn:x:delegated'/>");
	run(s, node, user); -- what a server keeps of its first load, it keeps
	local memory_before, handlers_before = state_of(node);
	local costs = {};
	for i = 1, PARTS do costs[i] = run(s, node, user); end
	local memory, handlers = state_of(node);
	-- the least of each half: what else runs on the machine only makes it more
	local first, second = math.min(table.unpack(costs, 1, PARTS // 2)), math.min(table.unpack(costs, PARTS // 2 + 1));
	print(([[{"soak": "delegation, %s", "iqs": %d, "KiB before": %.0f, "KiB after": %.0f, "handlers before": %d, "handlers after": %d, ]]
		..[["us per IQ in the first half": %.1f, "in the second": %.1f}]]):format(version, PARTS * IQS, memory_before, memory, handlers_before,
		handlers, first, second));
	assert(memory < memory_before * 1.05, "the heap has grown");
	assert(handlers == handlers_before, "there are more event handlers");
	assert(second < first * 1.2, "an IQ costs more at the end");
end)();
