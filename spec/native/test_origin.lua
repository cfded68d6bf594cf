-- SPDX-License-Identifier: MIT
-- prosody_relay.origin: whose error it is (G26). With real servers: spec/e2e.

local lu = require "luaunit";
local origin = require "prosody_relay.origin";
local is_undeliverable, explained = origin.is_undeliverable, origin.explained;
local st = require "util.stanza";

-- luacheck: globals prosody

local TestOrigin = {};

local former_prosody;
function TestOrigin.setUp()
	former_prosody = prosody;
	prosody = { hosts = {} };
end
function TestOrigin.tearDown()
	prosody = former_prosody;
end

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

TestOrigin["test (G26) a component that a module of this server is needs no stream; one that has to connect does"] = function ()
	local event = { stanza = error_stanza("forbidden"); origin = { type = "component"; host = "there.example" } };
	prosody.hosts["there.example"] = { type = "component"; modules = { muc = {} } };
	lu.assertFalse(is_undeliverable(event));
	prosody.hosts["there.example"].modules.component = {};
	lu.assertTrue(is_undeliverable(event));
	prosody.hosts["there.example"] = { type = "local"; modules = {} };
	lu.assertTrue(is_undeliverable(event));
end;

TestOrigin["test (G26, F1) what was not acknowledged gets an error that says so; any other error stays as it is"] = function ()
	local bounce = { stanza = error_stanza("recipient-unavailable"); origin = { type = "component" } };
	local type, condition, text = explained(bounce):get_error();
	lu.assertEquals({ type, condition }, { "wait", "remote-server-timeout" });
	lu.assertStrContains(text, "there.example");
	lu.assertEquals(select(2, bounce.stanza:get_error()), "recipient-unavailable");
	local with_reason = { stanza = st.error_reply(st.message({ from = "a@b", to = "c@d" }), "cancel", "remote-server-not-found", "DNS") };
	lu.assertIs(explained(with_reason), with_reason.stanza);
	local word = { stanza = error_stanza("recipient-unavailable"); origin = { conn = {} } };
	lu.assertIs(explained(word), word.stanza);
end;

return TestOrigin;
