-- SPDX-License-Identifier: MIT
-- Messages of local users on their way to the master (mod_fmuc, mirror/outbox), without a server. Its bounds: fmuc_mirror_bounds_spec.lua.

local fmuc_lib = require "fmuc_lib";
local fanout = require "prosody_relay.fanout";
local st = require "util.stanza";

local settings = { grace_period = 60; join_timeout = 30; max_occupants = 10; outage_policy = "replica"; bandwidth = "full"; nomirror = false };
local master, mirror = "r@rooms.example", "r\\40rooms.example@here.example";
local kev = mirror .. "/Kev";

describe("the outbox", function ()
	local module, outbox, room, link, time, nomirror;

	before_each(function ()
		time, nomirror = 1000, false;
		local monotonic = package.loaded["util.time"];
		package.loaded["util.time"] = { monotonic = function () return time; end; now = os.time };
		module = fmuc_lib.module { muc = {} };
		local lib = fmuc_lib.new(module, { settings = settings; ["room/archive"] = {}; ["mirror/administration"] = { methods = {} };
			["mirror/policy"] = { is_nomirror = function () return nomirror; end } });
		outbox = lib "mirror/outbox";
		link = lib "link/link".open(mirror, master, "up", "generation1");
		package.loaded["util.time"] = monotonic;
		-- sends count at the link of the room
		lib "mirror/room".send = function (_, stanza) link:send(stanza); end;
		room = { jid = mirror; fmuc = { authority = link; copies = {}; waiting = {}; recipients = fanout.new(); ways = {} }; shown = {} };
		function room.get_occupant_by_real_jid(_, jid) return { nick = mirror .. "/" .. jid:match("^(.-)@"); role = "participant" }; end
		function room.handle_message_to_room(self, _, stanza)
			table.insert(self.shown, stanza:get_child_text("body"));
			return true;
		end
		function room.broadcast_message(self, stanza) table.insert(self.shown, stanza:get_child_text("body")); end
		link:fire("synced");
	end);

	local function say(id, body, user)
		return outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = user or "Kev@here.example/x"; to = mirror; id = id })
			:text_tag("body", body or id), room);
	end

	-- what has been sent since the last look: ids of messages, and conditions of errors with the id they are about
	local function sent()
		local list = {};
		for i, stanza in ipairs(module.sent) do
			list[i] = stanza.attr.type == "error" and stanza.attr.id .. " " .. select(2, stanza:get_error()) or stanza.attr.id;
		end
		module.sent = {};
		return list;
	end

	local function echo(id, body, stanza_id)
		local stanza = st.message({ type = "groupchat"; from = master .. "/Kev"; to = mirror; id = id }):text_tag("body", body or id);
		return outbox.take_echo(kev, stanza, nil, stanza_id);
	end

	it("sends a message with the user's nick, and keeps it until its copy comes (M17 M18)", function ()
		assert.is_true(say("m1"));
		assert.same({ kev, master }, { module.sent[1].attr.from, module.sent[1].attr.to });
		assert.same({ "m1" }, sent());
		assert.equal(1, link.sent);
		assert.is_nil(echo("m2"));
		assert.equal("m1", echo("m1").id);
		assert.is_nil(echo("m1"));
	end);

	it("knows a copy without its id by what it says (G5)", function ()
		say("m1", "hello");
		say("m2", "other");
		assert.equal("m2", echo("changed by the master", "other").id);
	end);

	it("lets a copy be of the oldest with that id, an error of the latest (M18 G15)", function ()
		nomirror = true; -- what is shown at once keeps its id
		say("same", "first");
		say("same", "second");
		local refused = st.message({ type = "error"; from = master; to = kev; id = "same" });
		assert.equal("second", outbox.take_echo(kev, refused).stanza:get_child_text("body"));
		assert.equal("first", echo("same", "first").stanza:get_child_text("body"));
	end);

	it("holds what is said in an outage, and sends it in order afterwards (G1 G3)", function ()
		link:fire("broken");
		for i = 1, 3 do say("m" .. i); end
		assert.same({}, sent());
		link:fire("complete");
		link:fire("returned");
		outbox.flush(mirror);
		assert.same({ "m1", "m2", "m3" }, sent());
		outbox.flush(mirror);
		assert.same({}, sent());
	end);

	it("sends again what may have been lost, and says when it was written (G3)", function ()
		say("m1");
		sent();
		time = time + 60;
		outbox.flush(mirror, true);
		assert.truthy(module.sent[1]:get_child("delay", "urn:xmpp:delay"));
		assert.same({ "m1" }, sent());
	end);

	it("gives up after five attempts, and tells the author (F2)", function ()
		say("m1");
		for _ = 1, 4 do outbox.flush(mirror, true); end
		assert.same({ "m1", "m1", "m1", "m1", "m1" }, sent());
		outbox.flush(mirror, true);
		assert.same({ "m1 remote-server-timeout" }, sent());
		assert.is_nil(echo("m1"));
	end);

	it("tells the author of a message whose copy does not come, not of one that waits behind others (G16)", function ()
		say("m1");
		say("m2");
		time = time + 59;
		echo("m1");
		time = time + 2;
		sent();
		outbox.expire(function () return false; end);
		assert.same({}, sent());
		time = time + 60;
		outbox.expire(function () return false; end);
		assert.same({ "m2 remote-server-timeout" }, sent());
	end);

	it("returns what has waited for 15 minutes in an outage, however often it was sent (G1 F2)", function ()
		say("m1");
		link:fire("broken");
		sent();
		time = time + 899;
		outbox.expire(function () return true; end);
		assert.same({}, sent());
		time = time + 2;
		outbox.expire(function () return true; end);
		assert.same({ "m1 remote-server-timeout" }, sent());
	end);

	it("shows users who carry on alone what they said before, and what they say (G1)", function ()
		link:fire("broken");
		say("m1");
		assert.same({}, room.shown);
		link:go_alone();
		outbox.show(room);
		say("m2");
		assert.same({ "m1", "m2" }, room.shown);
		outbox.fail_all(mirror);
		assert.same({ "m1 remote-server-timeout", "m2 remote-server-timeout" }, sent()); -- the master has got neither
	end);

	it("lets a subject that was set since replace what waits (G3)", function ()
		outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = "Kev@here.example/x"; to = mirror; id = "s" })
			:text_tag("subject", "mine"), room);
		sent();
		outbox.subject_changed(mirror);
		assert.same({ "s conflict" }, sent());
	end);

	it("forgets in an outage who is typing (G1)", function ()
		link:fire("broken");
		outbox.handle_groupchat({}, st.message({ type = "groupchat"; from = "Kev@here.example/x"; to = mirror; id = "c" })
			:tag("composing", { xmlns = "http://jabber.org/protocol/chatstates" }):up(), room);
		outbox.flush(mirror);
		assert.same({}, sent());
		assert.is_nil(outbox.in_doubt_since(mirror));
	end);

	it("outlives a reload (G4)", function ()
		say("m1");
		local saved = outbox.save();
		local lib = fmuc_lib.new(module, { settings = settings; ["room/archive"] = {}; ["mirror/administration"] = { methods = {} };
			["mirror/policy"] = {} });
		local next_outbox = lib "mirror/outbox";
		next_outbox.restore(saved);
		assert.equal("m1", next_outbox.take_echo(kev, st.message({ type = "groupchat"; id = "m1" })).id);
	end);
end);
