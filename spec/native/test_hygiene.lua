-- SPDX-License-Identifier: MIT
-- Passes over a stanza: prosody_relay.stanza and the tables of mod_fmuc, compared with Prosody's maptags, and their cost (F7).

local lu = require "luaunit";
local random = require "random_input";
local steps = require "steps";

local fmuc_lib = require "fmuc_lib";

-- util.stanza and whatever builds on it, loaded with functions that count
local st, stanza_lib, hygiene, equivalent = steps.fresh({ "util.stanza", "prosody.util.stanza", "prosody_relay.stanza" }, function ()
	return require "util.stanza", require "prosody_relay.stanza", fmuc_lib.new {} "link/hygiene", fmuc_lib.new {} "link/equivalent";
end);

local TestHygiene = {};

local xmlns_fmuc, xmlns_muc = "http://isode.com/protocol/fmuc", "http://jabber.org/protocol/muc";
local xmlns_muc_user, xmlns_sid = "http://jabber.org/protocol/muc#user", "urn:xmpp:sid:0";
local room, master = "r\\40m@mirror", "r@m";
local context = { by = { [room] = true; [master] = true }; room_jid = room; is_hidden = true; has_occupant_ids = true };

local NAMES = { "fmuc", "x", "item", "status", "stanza-id", "a", "error" };
local NAMESPACES = { xmlns_fmuc, xmlns_muc, xmlns_muc_user, xmlns_sid, "urn:x" };

local function random_element(depth)
	local element = st.stanza(random.pick(NAMES), { xmlns = random.integer(3) > 1 and random.pick(NAMESPACES) or nil;
		by = random.integer(3) == 1 and random.pick { room, master, "x@y" } or nil });
	for _ = 1, depth > 0 and random.integer(0, 5) or 0 do
		if random.integer(4) == 1 then element:text(random.pick { "a", "b" }); else element:add_direct_child(random_element(depth - 1)); end
	end
	return element;
end

-- what the rules mean, said with Prosody's functions
local function oracle(element, rules)
	local met = {};
	return element:maptags(function (child)
		local xmlns = child.attr.xmlns;
		if xmlns == element.attr.xmlns then xmlns = nil; end
		local names = rules[xmlns or ""] or {};
		local action = names[child.name];
		if action == nil then action = names["*"]; end
		if action == nil then action = rules.other; end
		if action == false then return nil; end
		if type(action) ~= "table" then return child; end
		if action.stays and not action.stays(child, context) then return nil; end
		if action.once and met[action] then return nil; end
		met[action] = true;
		if action.within then oracle(child, action.within); end
		if action.change then action.change(child, context); end
		return child;
	end);
end

local RULES = {
	{};
	{ [xmlns_fmuc] = { fmuc = false } };
	{ [xmlns_fmuc] = { ["*"] = false; x = true }; [""] = { a = false } };
	{ [xmlns_muc] = { x = { once = true } }; other = false };
	{ [xmlns_sid] = { ["stanza-id"] = { stays = function (child, by) return not by.by[child.attr.by]; end } } };
	{ [""] = { x = { within = { [""] = { a = false }; other = { once = true } };
		change = function (child) child.attr.by, child.attr.changed = nil, "yes"; end } } };
};

local function check_same(actual, wanted)
	lu.assertEquals(st.preserialize(actual), st.preserialize(wanted));
	lu.assertEquals(#actual.tags, #wanted.tags);
	for i, tag in ipairs(wanted.tags) do lu.assertEquals(actual.tags[i].name, tag.name); end
end

TestHygiene["test (F7) a pass does what maptags does, in place and in a copy"] = function ()
	for _ = 1, 2000 do
		local stanza = random_element(3);
		local before = st.preserialize(st.clone(stanza));
		for _, rules in ipairs(RULES) do
			local wanted = oracle(st.clone(stanza), rules);
			check_same(stanza_lib.copy(stanza, rules, context), wanted);
			check_same(stanza_lib.filter(st.clone(stanza), rules, context), wanted);
			lu.assertEquals(st.preserialize(stanza), before);
		end
	end
end;

TestHygiene["test (F7) nothing is copied where nothing goes"] = function ()
	local stanza = random_element(3);
	stanza.attr.xmlns = nil; -- as that of each stanza
	lu.assertIs(stanza_lib.cleaned(stanza, { ["urn:other"] = { ["*"] = false } }, context), stanza);
	stanza:tag("nomirror", { xmlns = xmlns_fmuc }):up();
	local cleaned = hygiene.cleaned("from anybody", stanza);
	lu.assertNotIs(cleaned, stanza);
	lu.assertNil(cleaned:get_child("nomirror", xmlns_fmuc));
	lu.assertNotNil(stanza:get_child("nomirror", xmlns_fmuc));
end;

-- n children of a kind, which all go in some way or other, with others between them
local hostile = {
	fmuc = function () return st.stanza("fmuc", { xmlns = xmlns_fmuc }); end;
	muc = function () return st.stanza("x", { xmlns = xmlns_muc }); end;
	item = function () return st.stanza("x", { xmlns = xmlns_muc_user }):tag("item"):tag("reason"):up():tag("actor", { jid = "a" }):up():up(); end;
	ids = function () return st.stanza("stanza-id", { xmlns = xmlns_sid; by = room; id = "1" }); end;
	occupant = function () return st.stanza("occupant-id", { xmlns = "urn:xmpp:occupant-id:0"; id = "1" }); end;
	delay = function () return st.stanza("delay", { xmlns = "urn:xmpp:delay"; from = room }); end;
	plain = function () return st.stanza("a"); end;
};

local function many(child)
	return function (n)
		local stanza = st.message({ type = "groupchat"; from = "a@b/c"; to = "d@e" }):tag("x", { xmlns = xmlns_muc_user });
		for _ = 1, n / 2 do stanza:tag("status", { code = "110" }):up():tag("item"):tag("reason"):up():up(); end
		stanza:up();
		for i = 1, n do stanza:add_child(child(i)):add_child(st.stanza("b")); end
		return stanza;
	end
end

TestHygiene["test (F7) the measure tells quadratic from linear"] = function ()
	local function remove(stanza) stanza:remove_children("fmuc", xmlns_fmuc); end
	lu.assertTrue(steps.ratio(remove, many(hostile.fmuc), 2000) > 3);
end;

TestHygiene["test (F7) each way costs twice as much for twice as many children"] = function ()
	for way in hygiene.ways() do
		for kind, child in pairs(hostile) do
			for name, f in pairs { copy = hygiene.copy; filter = hygiene.filter; cleaned = hygiene.cleaned } do
				local ratio = steps.ratio(function (stanza) f(way, stanza, context); end, many(child), 200);
				lu.assertTrue(ratio < 2.5, ("%s, %s, %s: %.2f"):format(way, kind, name, ratio));
			end
		end
	end
end;

TestHygiene["test (F7) no file of mod_fmuc takes children out in another way"] = function ()
	local count = 0;
	for name in io.popen("find lua/mod_fmuc -name '*.lua'"):lines() do
		local file = assert(io.open(name));
		local text = file:read("a");
		lu.assertNil(text:find("maptags", 1, true) or text:find("remove_children", 1, true), name);
		file:close();
		count = count + 1;
	end
	lu.assertTrue(count > 50);
end;

TestHygiene["test (F7) an actor shows no real JID, be there one or more"] = function ()
	local stanza = st.presence():tag("x", { xmlns = xmlns_muc_user }):tag("item", { jid = "a@b"; role = "none" })
		:tag("actor", { jid = "a@b" }):up():tag("actor", { jid = "c@d" }):up():up():up();
	for _, way in ipairs { "presence to a mirror", "presence from the master" } do
		lu.assertNil(tostring(hygiene.copy(way, stanza, context)):find("jid", 1, true), way);
	end
end;

local function shuffled(stanza)
	local copy, children = st.clone(stanza, true), table.move(stanza, 1, #stanza, 1, {});
	for i = #children, 1, -1 do
		local j = random.integer(i);
		children[i], children[j] = children[j], children[i];
		copy:add_direct_child(children[i]);
	end
	return copy;
end

TestHygiene["test (G3 F7) presences are equivalent whatever the order, and not when anything differs"] = function ()
	for _ = 1, 1000 do
		local a = random_element(3);
		local b = shuffled(a);
		a.attr.id, a.attr.from, a.attr.to, a.attr["xml:lang"] = "1", "a", "b", "en";
		lu.assertTrue(equivalent(a, b));
		local changed = st.clone(b); -- b shares children with a
		local deepest = changed;
		while deepest.tags[1] do deepest = deepest.tags[1]; end
		random.pick {
			function () deepest:text("more"); end;
			function () deepest.attr.more = "more"; end;
			function () deepest:add_direct_child(st.stanza("more")); end;
			function () changed.attr.more = "more"; end;
			function () changed:add_direct_child(st.stanza("item", { id = "1" })); end;
		}();
		lu.assertFalse(equivalent(a, changed));
		lu.assertFalse(equivalent(changed, a));
	end
	local function with(...)
		local presence = st.presence();
		for _, child in ipairs { ... } do presence:add_direct_child(child); end
		return presence;
	end
	local function c(attr) return st.stanza("c", attr); end
	lu.assertFalse(equivalent(with(c { id = "1" }), with(c { id = "2" })));
	lu.assertFalse(equivalent(with(c { from = "1" }), with(c { from = "2" })));
	lu.assertFalse(equivalent(with(c { a = "1"; b = "2" }), with(c { a = "12"; b = "" })));
	lu.assertFalse(equivalent(with(c {}, c {}, c { a = "1" }), with(c {}, c { a = "1" }, c { a = "1" })));
	lu.assertFalse(equivalent(with("text:x"), with("x")));
	lu.assertTrue(equivalent(with(c { ["xml:lang"] = "de" }), with(c {})));
end;

TestHygiene["test (F7) to compare two presences costs twice as much for twice as many children, nested or not"] = function ()
	local shapes = {
		flat = many(hostile.plain);
		different = many(function (i) return st.stanza("c" .. i); end);
		nested = many(function (i) return st.stanza("c"):add_child(st.stanza("d"):text("" .. i % 7)); end);
	};
	for name, make in pairs(shapes) do
		local ratio = steps.ratio(function (stanza)
			local other = shuffled(stanza);
			lu.assertTrue(equivalent(stanza, other));
		end, make, 2000);
		lu.assertTrue(ratio < 2.5, ("%s: %.2f"):format(name, ratio));
	end
end;

TestHygiene["test (F7) a stanza that is nested very deep is different from any other, and costs no more for it"] = function ()
	local function deep(levels)
		local stanza = st.presence();
		for _ = 1, levels do stanza:tag("x"); end
		return stanza:reset();
	end
	lu.assertTrue(equivalent(deep(20), deep(20)));
	lu.assertFalse(equivalent(deep(10000), deep(10000)));
	lu.assertTrue(steps.count(function () equivalent(deep(10000), deep(10000)); end) < 3 * steps.count(function () deep(10000); deep(10000); end));
	check_same(hygiene.copy("from a client", deep(10000), context), deep(10000));
end;

return TestHygiene;
