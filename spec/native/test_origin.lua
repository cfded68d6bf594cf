-- SPDX-License-Identifier: MIT
-- prosody_relay.origin: whose error it is (G26). With real servers: spec/e2e.

local lu = require "luaunit";
local is_undeliverable = require "prosody_relay.origin".is_undeliverable;
local st = require "util.stanza";

local TestOrigin = {};

local function error_stanza(condition)
	return st.error_reply(st.message({ from = "a@here.example", to = "b@there.example" }), "cancel", condition);
end

TestOrigin["test (G26) the origin decides, not the condition"] = function ()
	for _, condition in ipairs { "remote-server-not-found", "resource-constraint", "forbidden", "recipient-unavailable" } do
		local stanza = error_stanza(condition);
		lu.assertFalse(is_undeliverable { stanza = stanza; origin = { type = "s2sin"; conn = {} } });
		lu.assertTrue(is_undeliverable { stanza = stanza; origin = { type = "s2sin"; dummy = true } });
		lu.assertTrue(is_undeliverable { stanza = stanza; origin = { type = "component"; host = "here.example" } });
	end
end;

TestOrigin["test (G26) what is no error was delivered"] = function ()
	lu.assertFalse(is_undeliverable { stanza = st.message(); origin = { dummy = true } });
end;

return TestOrigin;
