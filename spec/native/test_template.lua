-- SPDX-License-Identifier: MIT
-- prosody_relay.fanout, templates: every byte against Prosody's own serialiser.

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";
local stanzas = require "stanzas";

local JIDS, same, sorted_attributes = stanzas.JIDS, stanzas.same, stanzas.sorted_attributes;
local serialise = st.stanza_mt.__tostring;

local TestTemplate = {};

-- What Prosody writes for the very stanza with these attributes.
local function expected(stanza, to, from, extra)
	local attr = stanza.attr;
	local own_to, own_from = attr.to, attr.from;
	attr.to, attr.from = to, from or own_from;
	if extra then table.insert(stanza, extra); end
	local text = serialise(stanza);
	if extra then table.remove(stanza); end
	attr.to, attr.from = own_to, own_from;
	return text;
end

local function check(stanza, template, to, from, extra)
	local actual, wanted = template:render(to, from, extra and tostring(extra)), expected(stanza, to, from, extra);
	if stanza.attr.to and to and (stanza.attr.from or not from) then
		same(actual, wanted);
	else
		same(sorted_attributes(actual), sorted_attributes(wanted));
	end
end

TestTemplate["test (A9) random stanzas byte for byte"] = function ()
	for _ = 1, 800 do
		local stanza = stanzas.random(3, true);
		local to, from = stanza.attr.to, stanza.attr.from;
		local template = fanout.template(stanza);
		lu.assertIs(stanza.attr.to, to);
		lu.assertIs(stanza.attr.from, from);
		local extra = st.stanza("extra", { xmlns = "urn:example:extra"; a = "<'>" }):text("&");
		for _, jid in ipairs(JIDS) do
			check(stanza, template, jid);
			check(stanza, template, jid, nil, extra);
		end
		for _, jid in ipairs(JIDS) do
			check(stanza, template, jid, "o'ther@x.lit");
			check(stanza, template, jid, jid, extra);
		end
		check(stanza, template, nil);
	end
end;

TestTemplate["test (A9) shapes of a stanza"] = function ()
	for _, attr in ipairs { {}, { to = "x" }, { from = "x" }, { to = "x", from = "y" }, { from = "&'", id = "<", to = "''" } } do
		local stanza = st.stanza("message", attr);
		check(stanza, fanout.template(stanza), "a@b");
		check(stanza, fanout.template(stanza), "a@b", "c@d");
		check(stanza, fanout.template(stanza), nil, "c@d");
	end
	lu.assertEquals(fanout.template(st.stanza("message")):render("a@b", nil, "<x/>"), "<message to='a@b'><x/></message>");
	lu.assertEquals(fanout.template(st.stanza("message")):render("a@b", nil, ""), "<message to='a@b'/>");
	lu.assertEquals(fanout.template(st.stanza("message")):render(nil, nil, nil), "<message/>");
	lu.assertEquals(fanout.template(st.message({}, "hi")):render("&"), "<message to='&amp;'><body>hi</body></message>");
	-- an element that looks like the end of the stanza
	local nested = st.stanza("message", { to = "x", from = "y" }):tag("message"):text("</message>");
	check(nested, fanout.template(nested), "a@b", "c@d", st.stanza("y"));
	-- longer than the buffer on the stack
	local long = st.message({ to = "x", from = "y", type = "chat" }, ("&"):rep(20000));
	check(long, fanout.template(long), "a@b", "c@d", st.stanza("y"));
end;

TestTemplate["test (A9) a template is the state at its making"] = function ()
	local stanza = st.message({ to = "x" }, "before");
	local template = fanout.template(stanza);
	local text = expected(stanza, "a@b");
	stanza:body("after");
	stanza.attr.id = "5";
	collectgarbage();
	lu.assertEquals(template:render("a@b"), text);
end;

TestTemplate["test (A9) an error of the serialiser leaves the stanza alone"] = function ()
	local stanza = st.stanza("message", { from = "x" });
	stanza.attr.broken = {};
	lu.assertError(fanout.template, stanza);
	lu.assertNil(stanza.attr.to);
	lu.assertEquals(stanza.attr.from, "x");
end;

TestTemplate["test (A10) wrong arguments are named"] = function ()
	lu.assertErrorMsgContains("bad argument #1 to 'template' (stanza expected, got string)", fanout.template, "<x/>");
	lu.assertErrorMsgContains("bad argument #1 to 'view' (stanza expected, got table)", fanout.view, {});
	local template = fanout.template(st.stanza("message"));
	lu.assertErrorMsgContains("bad argument #2", template.render, template, 5);
	lu.assertErrorMsgContains("bad argument #3", template.render, template, "a", {});
	lu.assertErrorMsgContains("bad argument #4", template.render, template, "a", "b", st.stanza("x"));
	lu.assertErrorMsgContains("prosody_relay.template expected", template.render, io.stdout, "a");
end;

return TestTemplate;
