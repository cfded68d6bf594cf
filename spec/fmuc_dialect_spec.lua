-- SPDX-License-Identifier: MIT
-- What the two generations say on the wire, made and read without a server (mod_fmuc, dialect/).

local fmuc_lib = require "fmuc_lib";
local st = require "util.stanza";
local parse = require "prosody_relay.stanza".parse;

local lib = fmuc_lib.new {};
local generation1, generation2 = lib "dialect/generation1", lib "dialect/generation2";

local xmlns, xmlns_muc = "http://isode.com/protocol/fmuc", "http://jabber.org/protocol/muc";

-- as it comes from the other side
local function crossed(stanza)
	return parse(tostring(stanza));
end

describe("generation 1", function ()
	local function presence(attr)
		return st.presence(attr or { from = "r\\40m@mirror"; to = "r@m/Kev" });
	end

	it("joins with what the user and the mirror want (M4 G3 G4 G22)", function ()
		for _, join in ipairs {
			{ real_jid = "kev@remote/x" };
			{ real_jid = "kev@remote/x"; history = {}; password = "s3cr3t" };
			{ real_jid = "kev@remote/x"; history = { maxstanzas = "0" }; ids = "" };
			{ real_jid = "kev@remote/x"; history = { since = "2026-11-29T10:00:00Z"; seconds = "90" }; again = true; ids = "abc" };
		} do
			local stanza = presence();
			generation1.add_join(stanza, join);
			local read = generation1.read_join(crossed(stanza));
			assert.same({ join.real_jid, join.again or false, join.ids, join.history, join.password, nil },
				{ read.real_jid, read.again, read.ids, read.history, read.password, read.bandwidth });
		end
	end);

	it("joins with a level of bandwidth, if it joins at all (G25)", function ()
		local join, update = presence(), presence();
		generation1.add_join(join, { real_jid = "kev@remote/x" });
		generation1.add_bandwidth(join, "messages");
		generation1.add_bandwidth(update, "messages");
		assert.equal("messages", generation1.read_join(crossed(join)).bandwidth);
		assert.is_false(generation1.speaks(crossed(update)));
	end);

	it("takes for no join what is none (M4)", function ()
		assert.is_nil(generation1.read_join(presence()));
		assert.is_nil(generation1.read_join(presence():tag("fmuc", { xmlns = xmlns }):up())); -- nobody is named
		assert.is_nil(generation1.read_join(presence():tag("fmuc", { xmlns = "urn:other"; from = "kev@remote/x" }):up()));
		for _, type in ipairs { "unavailable", "error", "probe" } do
			assert.is_nil(generation1.read_join(presence({ type = type }):tag("fmuc", { xmlns = xmlns; from = "kev@remote/x" }):up()));
		end
	end);

	it("makes a direct join of it, with nothing that a mirror may not pass on (M5 G21)", function ()
		local stanza = presence():tag("fmuc", { xmlns = xmlns; from = "kev@remote/x" })
			:tag("history", { maxstanzas = "3"; evil = "1"; xmlns = xmlns }):up():text_tag("password", "s3cr3t"):tag("other"):up():up();
		local direct = presence();
		generation1.add_direct_join(direct, generation1.read_join(crossed(stanza)));
		direct = crossed(direct);
		local x = direct:get_child("x", xmlns_muc);
		assert.equal("s3cr3t", x:get_child_text("password"));
		assert.same({ "history", "password" }, (function ()
			local names = {};
			for _, child in ipairs(x.tags) do names[#names + 1] = child.name; end
			table.sort(names);
			return names;
		end)());
		local attr = x:get_child("history").attr;
		assert.same({ "3", nil }, { attr.maxstanzas, attr.evil });
		assert.is_nil(direct:get_child("fmuc", xmlns));
	end);

	it("refuses in the form that users know (M8)", function ()
		local err = st.error_reply(presence({ from = "a@b/c"; to = "r@m/Kev"; id = "1" }), "auth", "forbidden"):get_child("error");
		local refusal = crossed(generation1.refusal(err, { from = "r@m"; to = "r\\40m@mirror/Kev"; id = "1" }));
		assert.same({ "error", "1", "r@m", "r\\40m@mirror/Kev" }, { refusal.attr.type, refusal.attr.id, refusal.attr.from, refusal.attr.to });
		assert.truthy(refusal:get_child("x", xmlns_muc));
		assert.equal("forbidden", select(2, refusal:get_error()));
	end);

	it("parts with the user's last words (M12)", function ()
		local part = crossed(generation1.part("r\\40m@mirror", "r@m/Kev", st.stanza("status"):text("bye")));
		assert.same({ "unavailable", "r@m/Kev", "bye" }, { part.attr.type, part.attr.to, part:get_child_text("status") });
		assert.same({}, generation1.part("r\\40m@mirror", "r@m/Kev").tags);
	end);

	it("marks whom the mirror itself has brought, and counts for the one who asks (G3)", function ()
		for _, mark in ipairs { { real_jid = "kev@remote/x" }, { real_jid = "kev@remote/x"; sent = 12; is_complete = true } } do
			local stanza = presence { from = "r@m/Kev" };
			generation1.add_mark(stanza, mark);
			local read = generation1.read_mark(crossed(stanza));
			assert.same({ mark.real_jid, mark.sent, mark.is_complete or false }, { read.real_jid, read.sent, read.is_complete });
		end
		assert.is_nil(generation1.read_mark(presence()));
		assert.is_nil(generation1.read_mark(presence():tag("fmuc", { xmlns = xmlns; sent = "many" }):up()).sent);
	end);

	it("says which message needs no copy (M21)", function ()
		local message = st.message { type = "groupchat" };
		assert.is_false(generation1.is_nomirror(message));
		generation1.add_nomirror(message);
		assert.is_true(generation1.is_nomirror(crossed(message)));
	end);

	it("gives a mirror its prefix of ids (G9)", function ()
		assert.equal("abc", generation1.read_prefix(crossed(generation1.prefix("r@m", "abc"))));
		assert.is_nil(generation1.read_prefix(presence()));
		assert.is_nil(generation1.read_prefix(presence({ type = "unavailable" }):tag("fmuc", { xmlns = xmlns; ids = "abc" }):up()));
	end);

	it("asks whether the link is in order, and answers with counts (G7)", function ()
		local plain = crossed(generation1.ping("a@here", "b@there", "1"));
		assert.is_nil(generation1.read_ping(plain));
		assert.truthy(plain:get_child("ping", "urn:xmpp:ping"));
		local ping = crossed(generation1.ping("a@here", "b@there", "1", 7));
		assert.equal(7, generation1.read_ping(ping));
		local pong = crossed(generation1.pong(ping, 12, 7));
		assert.same({ "result", "1", "a@here" }, { pong.attr.type, pong.attr.id, pong.attr.to });
		assert.same({ 12, 7 }, { generation1.read_pong(pong) });
		assert.same({}, { generation1.read_pong(st.reply(ping)) });
		assert.same({}, { generation1.read_pong(st.reply(ping):tag("fmuc", { xmlns = xmlns; sent = "x"; received = "7" }):up()) });
	end);

	it("tells who is not in the room to join again (G4)", function ()
		local stanza = crossed(generation1.unknown("r@m", "r\\40m@mirror"));
		assert.same({ "presence", "error", "item-not-found" }, { stanza.name, stanza.attr.type, (select(2, stanza:get_error())) });
	end);
end);

describe("generation 2", function ()
	local function said(build)
		local stanza = st.presence { from = "room@node"; to = "room@here" };
		build(stanza);
		return generation2.read(crossed(stanza));
	end

	it("knows what nodes say (N5 F13)", function ()
		assert.is_nil(said(function () end));
		local expected = { real_jid = "a@b/c"; is_join = true; is_left = false; is_reject = false; is_from_room = false; is_registered = false };
		expected.codes, expected.is_complete = {}, false;
		assert.same(expected, said(function (stanza)
			stanza:tag("x", { xmlns = xmlns_muc }):up():tag("fmuc", { xmlns = xmlns; from = "a@b/c" }):up();
		end));
		assert.is_true(said(function (stanza) stanza:tag("fmuc", { xmlns = xmlns }):tag("left"):up():up(); end).is_left);
		assert.is_true(said(function (stanza) stanza:tag("fmuc", { xmlns = xmlns }):tag("reject"):up():up(); end).is_reject);
		assert.is_nil(said(function (stanza)
			stanza.attr.type = "error";
			stanza:tag("fmuc", { xmlns = xmlns }):up();
		end));
	end);

	it("refuses from room to room, without an error (N5 O2)", function ()
		local stanza = crossed(generation2.reject("room@here", "room@node", "No"));
		assert.same({ nil, "room@here", "room@node" }, { stanza.attr.type, stanza.attr.from, stanza.attr.to });
		assert.equal("No", stanza:get_child("fmuc", xmlns):get_child_text("reject"));
	end);
end);
