-- SPDX-License-Identifier: MIT
-- Rooms that are no FMUC masters (requirements section 2b, rules 3 and 5, "What plain servers do"). The mirror finds this out before the first
-- join, with one question for each room. It tells the user.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local join, error_condition = federation.join, federation.error_condition;
local mirror_room, master_room = federation.mirror_room, federation.master_room;

local disco_info = "{http://jabber.org/protocol/disco#info}query";

-- The mirror, and in place of the room's server a component that plays it; configure: more text for the mirror's configuration
local function with_stranger(s, version, configure)
	local f = {};
	f.talk = s:node { version = version; config = [[
		VirtualHost "example.com"
		Component "talk.example.com"
			component_secret = "hush"
	]] };
	f.remote = s:node { version = version; config = federation.mirror_config .. (configure or "") };
	f.link = s:link(f.talk, f.remote);
	f.stranger = f.talk:component("talk.example.com", "hush");
	f.kev = f.remote:client("kev@remote.example.com/Swift");
	return f;
end

local function refused(client, nick, condition)
	local refusal = client:expect({ "presence", type = "error", id = "join-" .. nick, from = mirror_room .. "/" .. nick }, 10);
	assert.equal(condition, error_condition(refusal));
	assert.truthy(refusal:get_child("x", "http://jabber.org/protocol/muc"));
	return refusal:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#");
end

local function plain_info(question)
	return st.reply(question):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" })
		:tag("identity", { category = "conference"; type = "text" }):up()
		:tag("feature", { var = "http://jabber.org/protocol/muc" }):up();
end

local function fmuc_info(question)
	return plain_info(question):tag("feature", { var = "http://isode.com/protocol/fmuc" }):up();
end

for version in bed.versions() do
describe("fmuc mirror and masters that are none, Prosody " .. version, function ()
	it("says that a plain Prosody room cannot be mirrored, after one question for all users (section 2b rules 3 and 5)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version }, { master = [[
			VirtualHost "example.com"
			Component "talk.example.com" "muc"
		]] });
		f.kev:send(join(mirror_room, "Kev"));
		local text = refused(f.kev, "Kev", "feature-not-implemented");
		assert.matches("Join " .. master_room .. " itself", text, 1, true);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		bob:send(join(mirror_room, "Bob"));
		refused(bob, "Bob", "feature-not-implemented");
		assert.equal(1, #f.link:sent(f.remote));
		assert.equal("iq", f.link:sent(f.remote)[1].name);
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("says that there is no such room, and finds it when there is (section 2b)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		local other = "other@talk.example.com";
		local mirror_of_other = "other\\40talk.example.com@mirror.remote.example.com";
		f.kev:send(join(mirror_of_other, "Kev"));
		local refusal = f.kev:expect { "presence", type = "error", from = mirror_of_other .. "/Kev" };
		assert.equal("item-not-found", error_condition(refusal));
		federation.open_room(f, other);
		federation.enter(f.kev, "Kev", mirror_of_other);
	end));

	it("meets a silent Openfire with a deadline, and no presence ever reaches it (section 2b, G5)", bed.scenario(function (s)
		local f = with_stranger(s, version, "\tfmuc_join_timeout = 1");
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		f.kev:send(join(mirror_room, "Kev"));
		bob:send(join(mirror_room, "Bob"));
		f.stranger:expect { "iq", type = "get", has = disco_info };
		refused(f.kev, "Kev", "remote-server-timeout");
		refused(bob, "Bob", "remote-server-timeout");
		f.stranger:expect_none({ "iq" }, 0.2);
		f.stranger:expect_none({ "presence" }, 0);
	end));

	it("does not become an occupant of an ejabberd that takes its second user for a new nick (section 2b)", bed.scenario(function (s)
		local f = with_stranger(s, version);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		f.kev:send(join(mirror_room, "Kev"));
		bob:send(join(mirror_room, "Bob"));
		local question = f.stranger:expect { "iq", type = "get", from = mirror_room, to = master_room, has = disco_info };
		f.kev:send(st.presence({ type = "unavailable"; to = mirror_room .. "/Kev" })); -- does not want to wait
		f.kev:sync();
		f.stranger:send(plain_info(question));
		refused(bob, "Bob", "feature-not-implemented");
		f.kev:expect_none({ "presence" }, 0.2);
		bob:send(join(mirror_room, "Bob")); -- and not with a second attempt
		refused(bob, "Bob", "feature-not-implemented");
		f.stranger:expect_none({ "iq" }, 0.2);
		f.stranger:expect_none({ "presence" }, 0);
	end));

	it("lets everybody in who waited for the answer, over a reload, in order (section 2b)", bed.scenario(function (s)
		local f = with_stranger(s, version);
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		f.kev:send(join(mirror_room, "Kev"));
		f.kev:sync();
		bob:send(join(mirror_room, "Bob"));
		bob:send(st.presence({ to = mirror_room .. "/Bob" }):text_tag("show", "away"));
		bob:sync();
		bob:expect_none({ "presence" }, 0);
		local question = f.stranger:expect { "iq", type = "get", has = disco_info };
		f.remote:reload("fmuc", "mirror.remote.example.com");
		f.stranger:send(fmuc_info(question));
		local first = f.stranger:expect { "presence" };
		assert.equal(master_room .. "/Kev", first.attr.to);
		f.stranger:send(st.presence({ from = master_room .. "/Kev"; to = mirror_room; id = first.attr.id })
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("item", { affiliation = "none"; role = "participant" }));
		local last = f.stranger:expect { "presence" };
		assert.equal(master_room .. "/Bob", last.attr.to);
		assert.equal("away", last:get_child_text("show"));
		f.stranger:expect_none({ "iq" }, 0.2);
	end));

	it("asks nobody first whom the admin has listed (section 2b rule 3)", bed.scenario(function (s)
		local f = with_stranger(s, version, "\tfmuc_allow_masters = { \"talk.example.com\" }");
		f.kev:send(join(mirror_room, "Kev"));
		f.stranger:expect { "presence", from = mirror_room, to = master_room .. "/Kev" };
	end));

	it("asks no server for those who may not use it (G20)", bed.scenario(function (s)
		local f = with_stranger(s, version);
		local eve = f.talk:client("eve@example.com/attic");
		eve:send(join(mirror_room, "Eve"));
		eve:expect { "presence", type = "error" };
		f.stranger:expect_none({ "iq" }, 0.3);
	end));
end);
end
