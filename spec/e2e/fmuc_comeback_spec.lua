-- SPDX-License-Identifier: MIT
-- mod_fmuc after an outage that hid the outcome of something: what the room has heard is not said again, and who was sent away stays away.

local bed = require "bed";
local federation = require "e2e.federation";
local outages = require "e2e.outages";
local st = require "util.stanza";

local say = federation.say;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local function subject(text, id)
	return st.message({ type = "groupchat"; id = id or "subject-" .. text }):text_tag("subject", text);
end

local function send(client, room_jid, stanza)
	stanza.attr.to = room_jid;
	client:send(stanza);
end

-- lose_answer(s, f, act, heard): act() makes the room hear that pattern, and before the mirror knows the link breaks
local function lose_answer(s, f, act, heard)
	f.link:cut_after(f.talk, 1);
	act();
	f.curtis:expect(heard);
	s:wait(0.2);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc after an outage, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	for _, nomirror in ipairs { false, true } do
		local mode = nomirror and " when fired and forgotten" or "";

		it("does not repeat what is not to be stored" .. mode .. " (G3)", bed.scenario(function (s)
			local f = outages.new(s, versions, { mirror = "fmuc_nomirror = " .. tostring(nomirror) });
			local function secret(text)
				return st.message({ type = "groupchat"; id = "id-" .. text }):text_tag("body", text):tag("no-store", { xmlns = "urn:xmpp:hints" }):up();
			end
			lose_answer(s, f, function ()
				send(f.kev, mirror_room, secret "heard");
				if nomirror then say(f.curtis, master_room, "lost"); end -- there is no other answer
			end, { "message", body = "heard" });
			send(f.curtis, master_room, secret "missed");
			f.link:restore();
			f.bob:expect({ "message", body = "heard" }, 20);
			f.bob:expect({ "message", body = "missed" }, 20);
			outages.wait_until_live(s, f);
			outages.settle(f);
			for _, client in ipairs { f.curtis, f.bob } do client:expect_none({ "message", body = "heard" }, 0); end
			-- who comes later is told nothing of it
			local eve = f.remote:client("eve@remote.example.com/Gajim");
			federation.enter(eve, "Eve");
			eve:expect { "message", has = "subject" };
			eve:expect_none({ "message", has = "{urn:xmpp:hints}no-store" }, 0);
		end));
	end

	it("does not say again that somebody was typing (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		local function state(name)
			return st.message({ type = "groupchat"; id = name }):tag(name, { xmlns = "http://jabber.org/protocol/chatstates" }):up();
		end
		lose_answer(s, f, function () send(f.kev, mirror_room, state "composing"); end, { "message", id = "composing" });
		send(f.kev, mirror_room, state "paused");
		f.kev:sync();
		f.link:restore();
		outages.wait_until_live(s, f);
		outages.settle(f);
		f.curtis:expect_none({ "message", has = "{http://jabber.org/protocol/chatstates}composing" }, 0);
		f.curtis:expect_none({ "message", has = "{http://jabber.org/protocol/chatstates}paused" }, 0);
		f.kev:expect_none({ "message", type = "error" }, 0);
		send(f.kev, mirror_room, state "active");
		f.curtis:expect { "message", id = "active" };
	end));

	it("does not set a subject again over one that came later (G3)", bed.scenario(function (s)
		local f = outages.new(s, versions);
		federation.configure(f, "room:set_changesubject(true)");
		federation.forget(f);
		lose_answer(s, f, function () send(f.kev, mirror_room, subject "first"); end, { "message", has = "subject" });
		send(f.curtis, master_room, subject "second");
		f.curtis:expect { "message", where = function (stanza) return stanza:get_child_text("subject") == "second"; end };
		f.link:restore();
		assert.equal("second", f.bob:expect({ "message", has = "subject" }, 20):get_child_text("subject"));
		assert.equal("conflict", federation.error_condition(f.kev:expect { "message", type = "error", id = "subject-first" }));
		outages.wait_until_live(s, f);
		outages.settle(f);
		f.curtis:expect_none({ "message", has = "subject" }, 0);
	end));
end);
end
