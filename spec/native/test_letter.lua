-- SPDX-License-Identifier: MIT
-- prosody_relay.fanout: shared stanzas, and letters, which are made again from a text for each recipient.

local lu = require "luaunit";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";
local random = require "random_input";
local stanzas = require "stanzas";

local JIDS, same, sorted_attributes = stanzas.JIDS, stanzas.same, stanzas.sorted_attributes;
local serialise = st.stanza_mt.__tostring;

local TestLetter = {};

TestLetter["test (A9) a shared stanza is serialised as it is, for each recipient"] = function ()
	for _ = 1, 300 do
		local stanza = stanzas.random(3, true);
		for _, jid in ipairs(JIDS) do
			fanout.share(stanza);
			stanza.attr.to = jid;
			same(tostring(stanza), serialise(stanza));
		end
		stanza:text("more");
		same(tostring(stanza), serialise(stanza));
	end
end;

TestLetter["test (A9) a shared stanza is a stanza, and a view may be shared"] = function ()
	local stanza = st.presence({ to = "a@b" }):text_tag("show", "away");
	fanout.share(stanza);
	fanout.share(stanza);
	lu.assertTrue(st.is_stanza(stanza));
	lu.assertEquals(stanza:get_child_text("show"), "away");
	lu.assertIs(debug.getmetatable(st.clone(stanza)), st.stanza_mt);
	local view = fanout.view(stanza);
	fanout.share(view);
	same(tostring(view), "<presence to='a@b'><show>away</show></presence>");
end;

local function sample()
	return st.presence({ to = "first@b", from = "room@c/d", id = "1" }):text_tag("show", "away")
		:tag("x", { xmlns = "urn:example:x" }):text("1&"):tag("status", { code = "110" }):up():up();
end

local function addressed(to)
	local stanza = sample();
	stanza.attr.to = to;
	return stanza;
end

TestLetter["test (A9) letters of random stanzas are the stanza for that recipient"] = function ()
	local letter;
	for _ = 1, 300 do
		local stanza = stanzas.random(3, true);
		stanza.attr.xmlns = nil;
		local to = stanza.attr.to;
		local form = fanout.form(stanza, function () return st.clone(stanza); end);
		lu.assertEquals(stanza.attr.to, to);
		for _, jid in ipairs(JIDS) do
			stanza.attr.to = jid;
			letter = fanout.letter(form, jid, letter);
			same(sorted_attributes(tostring(letter)), sorted_attributes(serialise(stanza)));
			lu.assertEquals(letter.attr, stanza.attr);
			if random.integer(3) == 1 then lu.assertEquals(#letter, #letter.tags + #letter - #letter.tags); end -- opens it
		end
	end
end;

-- What modules do with a stanza that they are handed
local uses = {
	function (s) return s:get_child_text("show"); end;
	function (s) return s:find("{urn:example:x}x/status@code"); end;
	function (s) return #s, #s.tags; end;
	function (s) return s[2].name, s[3]; end;
	function (s)
		local names = {};
		for i, child in ipairs(s) do names[i] = child.name; end
		return table.concat(names, " ");
	end;
	function (s) return s:maptags(function (tag) return tag.name ~= "x" and tag or nil; end); end;
	function (s) return s:tag("added"):up(); end;
	function (s) return s:text("added"); end;
	function (s) return s:add_direct_child(st.stanza("added")); end;
	function (s) s.attr.type = "unavailable"; end;
	function (s) s.attr.id = nil; end;
	function (s) s.attr.to = nil; end;
	function (s) s.name = "message"; end;
	function (s) return st.preserialize(s); end;
	function (s) return sorted_attributes(s:top_tag()); end;
	function (s) return sorted_attributes(tostring(st.clone(s))); end;
	function (s) return sorted_attributes(tostring(st.error_reply(s, "cancel", "gone"))); end;
};

TestLetter["test (A9) a letter works as the stanza that it is"] = function ()
	local form = fanout.form(sample(), sample);
	local letter;
	for i, use in ipairs(uses) do
		for round = 1, 2 do -- the second one is used after it was made bytes
			letter = fanout.letter(form, "next@b", letter);
			local stanza = addressed("next@b");
			if round == 2 then tostring(letter); end
			local mine, theirs = table.pack(use(letter)), table.pack(use(stanza));
			for n = 1, theirs.n do
				if st.is_stanza(theirs[n]) then
					same(sorted_attributes(tostring(mine[n])), sorted_attributes(tostring(theirs[n])));
				else
					lu.assertEquals(mine[n], theirs[n], "use " .. i);
				end
			end
			same(sorted_attributes(tostring(letter)), sorted_attributes(tostring(stanza)));
		end
	end
	lu.assertTrue(st.is_stanza(fanout.letter(form, "a@b")));
end;

local function new_form()
	local function make() return st.message({ to = "x" }):text_tag("body", "words"); end
	return fanout.form(make(), make);
end

TestLetter["test (A9) one letter becomes the next, unless somebody has opened it"] = function ()
	local form, other = fanout.form(sample(), sample), new_form();
	local first = fanout.letter(form, "a@b");
	first.attr.added = "1";
	local second = fanout.letter(other, "c@d", first);
	lu.assertIs(second, first);
	lu.assertEquals(second.attr, { to = "c@d" });
	same(tostring(second), "<message to='c@d'><body>words</body></message>");
	second:text("opened");
	local third = fanout.letter(other, "e@f", second);
	lu.assertNotIs(third, second);
	same(tostring(third), "<message to='e@f'><body>words</body></message>");
	same(tostring(second), "<message to='c@d'><body>words</body>opened</message>");
end;

return TestLetter;
