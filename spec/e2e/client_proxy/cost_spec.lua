-- SPDX-License-Identifier: MIT
-- mod_client_proxy: what a request must not cost. How much time it takes is for `make bench`; here is why it takes so little.

local bed = require "bed";
local proxy = require "client_proxy";

-- Notes each element that Prosody's serialiser is asked for
local watch = [[
	local stanza_mt = require "util.stanza".stanza_mt;
	local serialise = stanza_mt.__tostring;
	prosody.serialised = {};
	function stanza_mt.__tostring(stanza)
		local name = stanza.name .. (stanza.attr.id or "");
		prosody.serialised[name] = (prosody.serialised[name] or 0) + 1;
		return serialise(stanza);
	end
]];

for version in bed.versions() do
describe("cost of client_proxy on Prosody " .. version, function ()
	it("serialises nothing in Lua that it relays (A9)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, nil, { modules = { "smacks", "carbons", "csi_simple" } });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		capulet:eval(watch);
		juliet:send(proxy.request("1"));
		proxy.answer(impl, impl:expect { "iq", id = "1" });
		proxy.expect_answer(juliet, "1");
		local serialised = capulet:eval "return prosody.serialised";
		-- Prosody's router logs the start tags of what comes, one of the request and one of the answer
		assert.equal(2, serialised.iq1);
		assert.is_nil(serialised.question);
		assert.is_nil(serialised.answer);
	end));
end);
end
