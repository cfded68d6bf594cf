-- SPDX-License-Identifier: MIT
-- mod_fmuc: a destroyed room is gone at the mirror as it is at the master. Its users learn where to go (F15, G17).

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local join, error_condition = federation.join, federation.error_condition;
local mirror_room = federation.mirror_room;
local muc_user = federation.muc_user;

local new_room = "agora@talk.example.com";
local gone = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}gone#";
local error_text = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#";

-- ask(client, what, room_jid) -> the answer to disco#WHAT
local function ask(client, what, room_jid)
	client:send(("<iq type='get' id='%s' to='%s'><query xmlns='http://jabber.org/protocol/disco#%s'/></iq>"):format(what, room_jid, what));
	return client:expect { "iq", id = what };
end

local function destroy(f, new_jid, before)
	federation.configure(f, ([[%s room:destroy(%s, "moved")]]):format(before or "", new_jid and ("%q"):format(new_jid) or "nil"));
end

local persistent = "room:set_persistent(true);";

local function refused(client, nick, room_jid)
	client:send(join(room_jid or mirror_room, nick));
	return client:expect { "presence", type = "error", from = (room_jid or mirror_room) .. "/" .. nick };
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and destroyed rooms, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("has no such room in its discovery as soon as it is destroyed (F15)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for _, what in ipairs { "info", "items" } do assert.equal("result", ask(f.kev, what, mirror_room).attr.type); end
		destroy(f);
		assert.truthy(f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev" }):find(muc_user .. "/destroy"));
		for _, what in ipairs { "info", "items" } do
			assert.equal("item-not-found", error_condition(ask(f.kev, what, mirror_room)), what);
		end
		assert.equal("item-not-found", error_condition(refused(f.kev, "Kev")));
		-- nor one that has never been
		for _, what in ipairs { "items", "info" } do
			assert.equal("item-not-found", error_condition(ask(f.bob, what, "nowhere\\40talk.example.com@mirror.remote.example.com")), what);
		end
	end));

	it("tells occupants where the room has moved, and who comes later, as its owner says (F15 G17)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		destroy(f, new_room, persistent);
		local element = f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Kev" }):find(muc_user .. "/destroy");
		assert.same({ new_room, "moved" }, { element.attr.jid, element:get_child_text("reason") });
		for _, what in ipairs { "info", "items" } do
			local answer = ask(f.kev, what, mirror_room);
			assert.same({ "gone", "xmpp:" .. new_room .. "?join" }, { error_condition(answer), answer:find(gone) });
		end
		for _, client in ipairs { f.kev, f.bob } do
			local refusal = refused(client, "Kev");
			assert.same({ "gone", "xmpp:" .. new_room .. "?join", "moved" },
				{ error_condition(refusal), refusal:find(gone), refusal:find(error_text) });
		end
	end));

	it("passes on the forwarding address when the mirror believes that the room is there (F15 M8)", bed.scenario(function (s)
		local f = federation.new(s, versions);
		ask(f.kev, "info", mirror_room); -- is remembered
		destroy(f, new_room, persistent);
		local refusal = refused(f.kev, "Kev");
		assert.same({ "gone", "xmpp:" .. new_room .. "?join" }, { error_condition(refusal), refusal:find(gone) });
		assert.equal("gone", error_condition(ask(f.kev, "info", mirror_room))); -- and not any more
		federation.configure(f, [[room._data.locked = os.time() - 1; room:save()]]); -- the time is over for which it is remembered at the master
		f.remote:reload("fmuc", "mirror.remote.example.com");
		assert.equal("item-not-found", error_condition(refused(f.kev, "Kev")));
	end));

	it("tells users after an outage that the room was destroyed meanwhile, and where it is now (F15 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		destroy(f, new_room, persistent);
		f.link:expect_broken();
		f.link:restore();
		for nick, client in pairs { Kev = f.kev; Bob = f.bob } do
			local presence = client:expect({ "presence", type = "unavailable", from = mirror_room .. "/" .. nick }, 25);
			local element = presence:find(muc_user .. "/destroy");
			assert.same({ new_room, "moved", "110" }, { element.attr.jid, element:get_child_text("reason"), federation.codes(presence) });
		end
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
	end));

	it("makes the best of a master that says strange things about the end of a room (F15)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		local function strange_end(stanza)
			local err = st.error_reply(stanza, "cancel", "gone");
			err:get_child("error"):get_child("gone", "urn:ietf:params:xml:ns:xmpp-stanzas"):tag("imp", { xmlns = "urn:imp" }):up();
			err.attr.to = fake.mirror;
			return err;
		end
		fake.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc" });
		f.fake:send(st.presence({ type = "error"; from = fake.room; to = fake.mirror })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up():up());
		f.fake:send(strange_end(f.fake:expect { "presence", type = false, to = fake.room .. "/Kev", has = federation.fmuc }));
		f.kev:expect { "presence", type = "unavailable", from = fake.mirror .. "/Kev", has = muc_user .. "/destroy" };
		f.kev:send(("<iq type='get' id='info' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"):format(fake.mirror));
		f.fake:send(strange_end(f.fake:expect { "iq", has = "{http://jabber.org/protocol/disco#info}query" }));
		assert.equal("gone", error_condition(f.kev:expect { "iq", id = "info" }));
	end));

	it("tells a user who waits to be let in that the room is being destroyed, and where to go (F15 G17)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.ask(f, f.kev, "Kev", { "http://isode.com/protocol/fmuc" });
		f.fake:send(st.presence({ type = "unavailable"; from = fake.room .. "/Alice"; to = fake.mirror })
			:tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
				:tag("item", { affiliation = "none"; role = "none" }):up()
				:tag("destroy", { jid = "agora@fake.example.com" }):text_tag("reason", "moved"):up():up());
		local refusal = f.kev:expect { "presence", type = "error", from = fake.mirror .. "/Kev" };
		assert.same({ "gone", "xmpp:agora@fake.example.com?join", "moved" },
			{ error_condition(refusal), refusal:find(gone), refusal:find(error_text) });
	end));
end);
end
