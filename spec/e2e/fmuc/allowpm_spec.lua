-- SPDX-License-Identifier: MIT
-- mod_fmuc: the room decides who may send private messages (G12; XEP-0045 section 7.5). This is also true for two users of one mirror,
-- whose messages stay there.

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_info = "http://jabber.org/protocol/disco#info";
local allowpm, allow_modpm = "muc#roomconfig_allowpm", "{xmpp:prosody.im}muc#allow_modpm";

local function whisper(client, to, text, type)
	client:send(st.message({ type = type or "chat"; to = to; id = "id-" .. text }):text_tag("body", text));
end

local count = 0;

-- passes(from, to, target, seen_from): what the one writes reaches the other; refused(from, to, target): it does not
local function passes(from, to, target, seen_from)
	count = count + 1;
	whisper(from, target, "passes " .. count);
	to:expect { "message", type = "chat", body = "passes " .. count, from = seen_from };
end

local function refused(from, to, target)
	count = count + 1;
	whisper(from, target, "refused " .. count, count % 2 == 0 and "normal" or "chat");
	local refusal = from:expect { "message", type = "error", id = "id-refused " .. count, from = target };
	assert.equal("policy-violation", error_condition(refusal));
	assert.equal("cancel", (refusal:get_error()));
	from:expect_none({ "message", type = "error" }, 0); -- once
	to:sync();
	to:expect_none({ "message" }, 0);
end

-- rule_of(client, room_jid) -> what the room's description says
local function rule_of(client, room_jid)
	client:send(("<iq type='get' id='info' to='%s'><query xmlns='%s'/></iq>"):format(room_jid, xmlns_info));
	local form = client:expect({ "iq", type = "result", id = "info" }):get_child("query", xmlns_info):get_child("x", "jabber:x:data");
	for field in form:childtags("field") do
		if field.attr.var == allowpm then return field:get_child_text("value"); end
	end
end

local function configure(client, room_jid, fields)
	local submit = st.iq({ type = "set"; id = "cfg"; to = room_jid }):tag("query", { xmlns = "http://jabber.org/protocol/muc#owner" })
		:tag("x", { xmlns = "jabber:x:data"; type = "submit" });
	fields.FORM_TYPE = "http://jabber.org/protocol/muc#roomconfig";
	for name, value in pairs(fields) do submit:tag("field", { var = name }):text_tag("value", value):up(); end
	client:send(submit);
	client:expect { "iq", id = "cfg", type = "result" };
end

-- The description of a room whose rule is `who`, in answer to the mirror's question
local function description(question, who)
	return st.reply(question):tag("query", { xmlns = xmlns_info }):tag("x", { xmlns = "jabber:x:data"; type = "result" })
		:tag("field", { var = "FORM_TYPE"; type = "hidden" }):text_tag("value", "http://jabber.org/protocol/muc#roominfo"):up()
		:tag("field", { var = allowpm }):text_tag("value", who):up();
end

for _, versions in ipairs(federation.pairings()) do
if versions.master ~= "0.12" then -- whose mod_muc knows no such rooms
describe(("fmuc private messages in a room that restricts them, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("keeps to the room's rule, and to its next (G12)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local kev, bob, curtis = mirror_room .. "/Kev", mirror_room .. "/Bob", mirror_room .. "/Curtis";
		local function rule(fields, announced)
			configure(f.curtis, master_room, fields);
			s:wait_until(function () return rule_of(f.kev, mirror_room) == announced; end, 5, "the new rule");
			federation.forget(f);
		end
		passes(f.kev, f.bob, bob, kev);

		rule({ [allowpm] = "none" }, "none");
		refused(f.kev, f.bob, bob);
		refused(f.kev, f.curtis, curtis); -- by the master
		passes(f.kev, f.kev, kev, kev);

		rule({ [allowpm] = "moderator"; [allow_modpm] = "1" }, "moderators");
		refused(f.kev, f.bob, bob);
		passes(f.kev, f.curtis, curtis, master_room .. "/Kev");
		federation.configure(f, [[room:set_role(true, room.jid .. "/Bob", "moderator")]]);
		f.kev:expect { "presence", from = bob };
		passes(f.kev, f.bob, bob, kev);
		passes(f.bob, f.kev, kev, bob);

		rule({ [allowpm] = "participant"; [allow_modpm] = "0" }, "participants");
		passes(f.kev, f.bob, bob, kev);
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", "visitor")]]);
		f.bob:expect { "presence", from = kev };
		refused(f.kev, f.bob, bob);
		passes(f.bob, f.kev, kev, bob);
		-- what a visitor's client cannot take is not a message of its own
		whisper(f.bob, kev, "too much");
		f.kev:send(st.error_reply(f.kev:expect { "message", body = "too much" }, "modify", "bad-request"));
		assert.equal("bad-request", error_condition(f.bob:expect { "message", type = "error", from = kev }));

		rule({ [allowpm] = "visitor" }, nil);
		passes(f.kev, f.bob, bob, kev);
		assert.equal(0, #f.link:sent(f.remote));
	end));
end);
end
end

for version in bed.versions() do
describe("fmuc private messages in a room whose master says who may send them, mirror " .. version, function ()
	for _, case in ipairs {
		{ who = "members"; affiliation = "none"; passes = false };
		{ who = "affiliated"; affiliation = "none"; passes = false };
		{ who = "affiliated"; affiliation = "member"; passes = true };
		{ who = "moderators"; affiliation = "owner"; passes = false };
		{ who = "anyone"; affiliation = "none"; passes = true };
		{ who = "<nonsense>"; affiliation = "none"; passes = true };
	} do
		it(("understands what other masters announce: %s, %s (G12)"):format(case.who, case.affiliation), bed.scenario(function (s)
			local f = fake.new(s, { master = version; mirror = version });
			f.bob = f.remote:client("bob@remote.example.com/Gajim");
			for nick, client in pairs { Kev = f.kev; Bob = f.bob } do
				client:send(federation.join(fake.mirror, nick));
				local request = f.fake:next();
				if request.name == "iq" then
					f.fake:send(description(request, case.who));
					request = f.fake:next();
				end
				f.fake:send(fake.presence(nick, request.attr.id, nil, nil, { affiliation = case.affiliation; role = "participant" }));
				f.fake:send(fake.subject());
				client:expect { "message", has = "subject" };
			end
			f.fake:send(fake.message("Kev", "here"));
			for _, client in ipairs { f.kev, f.bob } do
				client:expect { "message", body = "here" };
				client:drain();
			end
			(case.passes and passes or refused)(f.kev, f.bob, fake.mirror .. "/Bob", fake.mirror .. "/Kev");
		end));
	end
end);
end
