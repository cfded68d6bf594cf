-- SPDX-License-Identifier: MIT
-- Messages of the master at a mirror (mod_fmuc, mirror/messages and mirror/shown), without a server.

local fmuc_lib = require "fmuc_lib";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local settings = { grace_period = 60; join_timeout = 30; max_occupants = 10; outage_policy = "replica"; bandwidth = "full"; nomirror = false };
local master, mirror = "r@rooms.example", "r\\40rooms.example@here.example";
local xmlns_sid = "urn:xmpp:sid:0";

describe("messages of the master", function ()
	local module, messages, outbox, room, link, told;

	setup(function () _G.prosody = { hosts = {} }; end); -- which prosody_relay.origin looks at
	teardown(function () _G.prosody = nil; end);

	before_each(function ()
		told = {};
		module = fmuc_lib.module { muc = { get_room_from_jid = function (jid) return jid == mirror and room or nil; end } };
		function module.fire_event(_, name) return name == "muc-message-is-historic"; end
		local lib = fmuc_lib.new(module, { settings = settings; ["mirror/administration"] = { methods = {} };
			["room/archive"] = { is_on = function () return false; end; has = function () return false; end; max_messages = function () return 0; end };
			["mirror/restart"] = { is_known = function () return false; end }; ["mirror/policy"] = { is_nomirror = function () return false; end };
			["mirror/from_master"] = { deny = function () end };
			["mirror/room"] = { get = function (jid) return jid == mirror and room or nil; end; send = function (_, stanza) link:send(stanza); end;
				each = function () return pairs {}; end; set_whois = function (_, whois) told[#told + 1] = "whois " .. whois; end;
				is_local = function (_, occupant_jid) return occupant_jid == mirror .. "/Kev"; end; add_occupant_id = function () end } });
		messages, outbox = lib "mirror/messages", lib "mirror/outbox";
		link = lib "link/link".open(mirror, master, "up", "generation1");
		room = { jid = mirror; _data = {}; fmuc = { authority = link; copies = {}; waiting = {}; recipients = fanout.new(); ways = {};
			info = { features = { [xmlns_sid] = true; ["http://jabber.org/protocol/muc#stable_id"] = true } } } };
		function room.broadcast_message(_, stanza)
			told[#told + 1] = stanza:get_child_text("body") or "subject " .. stanza:get_child_text("subject");
		end
		function room.broadcast(_, stanza) told[#told + 1] = "late " .. stanza:get_child_text("body"); end
		function room.get_historylength() return 20; end
		function room.get_occupant_by_real_jid() return { nick = mirror .. "/Kev"; role = "participant" }; end
		function room.get_occupant_by_nick() return { jid = "kev@here.example/x" }; end
		link:fire("synced");
	end);

	local function said(body, id, stanza_id)
		local stanza = st.message({ type = "groupchat"; from = master .. "/Alice"; to = mirror; id = id or body }):text_tag("body", body);
		if stanza_id then stanza:tag("stanza-id", { xmlns = xmlns_sid; by = master; id = stanza_id }):up(); end
		return stanza;
	end

	local function receive(stanza)
		messages.handle(mirror, { stanza = stanza; origin = { type = "s2sin"; conn = {} } });
	end

	local function delayed(stanza)
		return stanza:tag("delay", { xmlns = "urn:xmpp:delay"; from = master; stamp = "2026-11-30T10:00:00Z" }):up();
	end

	it("are shown once each, whatever they say (F14)", function ()
		receive(said("alert", "constant", "1"));
		receive(said("alert", "constant", "2"));
		receive(said("alert", "constant", "2")); -- by a stream that broke
		assert.same({ "alert", "alert" }, told);
		assert.equal(3, link.received);
	end);

	it("wait while the link is lost (G1)", function ()
		link:fire("broken");
		link:own("outage").held = {};
		receive(said("one"));
		assert.same({}, told);
		assert.equal("one", link:own("outage").held[1]:get_child_text("body"));
	end);

	it("that are repeated after an outage are shown if they are new (G3 F14)", function ()
		receive(said("before", nil, "1"));
		for _, stanza in ipairs { said("before", nil, "1"), said("missed", nil, "2"), said("missed", nil, "3") } do
			messages.handle_repeated { room = room; stanza = delayed(stanza) };
		end
		assert.same({ "before", "late missed", "late missed" }, told);
	end);

	it("that say that the room has become semi-anonymous count at once (F4 G28)", function ()
		receive(st.message({ type = "groupchat"; from = master; to = mirror }):text_tag("body", "x")
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):tag("status", { code = "173" }):up():up());
		assert.same({ "whois moderators", "x" }, told);
	end);

	it("change the subject, which is not repeated (G3)", function ()
		local function subject(text)
			return st.message({ type = "groupchat"; from = master .. "/Alice"; to = mirror }):text_tag("subject", text);
		end
		receive(subject("one"));
		receive(delayed(subject("one")));
		assert.same({ "subject one" }, told);
		assert.equal("one", room._data.subject);
		messages.handle_repeated { room = room; stanza = delayed(subject("one")) };
		messages.handle_repeated { room = room; stanza = delayed(subject("two")) };
		assert.same({ "subject one", "subject two" }, told);
	end);

	it("of local users end their way (M18)", function ()
		outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = "kev@here.example/x"; to = mirror; id = "m" }):text_tag("body", "mine"), room);
		assert.same({}, told);
		receive(st.message({ type = "groupchat"; from = master .. "/Kev"; to = mirror; id = "m" }):text_tag("body", "mine"));
		assert.same({ "mine" }, told);
		assert.is_nil(outbox.overdue_since(mirror));
	end);

	it("that are errors go to who has sent the message, once (G15)", function ()
		outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = "kev@here.example/x"; to = mirror; id = "m" }):text_tag("body", "mine"), room);
		module.sent = {};
		local refusal = st.message({ type = "error"; from = master; to = mirror .. "/Kev"; id = "m" })
			:tag("error", { type = "auth" }):tag("forbidden", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up():up();
		receive(refusal);
		receive(refusal);
		assert.equal(1, #module.sent);
		assert.same({ "kev@here.example/x", "forbidden" }, { module.sent[1].attr.to, (select(2, module.sent[1]:get_error())) });
		assert.equal("live", link.state);
	end);
end);
