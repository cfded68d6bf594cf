-- SPDX-License-Identifier: MIT
-- mod_fmuc and masters that are listed in fmuc_allow_masters, but do not know mirrors or the room: the user is told at once what is wrong
-- (F16, section 2b of the requirements).

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local join, error_condition = federation.join, federation.error_condition;
local error_text = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#";

-- a timeout that no test waits for
local patient = federation.believing_config .. "\tfmuc_join_timeout = 600\n";

local function refused(client, nick, condition, room_jid)
	local refusal = client:expect { "presence", type = "error", from = (room_jid or fake.mirror) .. "/" .. nick };
	assert.equal(condition, error_condition(refusal));
	return refusal:find(error_text);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and listed masters, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("says that there are no mirrors there when the join is ignored, as by Openfire, to everybody who waits (F16)", bed.scenario(function (s)
		local f = fake.new(s, versions, patient);
		fake.ask(f, f.kev, "Kev", { "http://jabber.org/protocol/muc" });
		local bob = f.remote:client("bob@remote.example.com/Gajim");
		fake.ask(f, bob, "Bob");
		assert.matches("does not support mirrors. Join " .. fake.room .. " itself", refused(f.kev, "Kev", "feature-not-implemented"), 1, true);
		refused(bob, "Bob", "feature-not-implemented");
		assert.is_true(federation.is_empty(f.remote, "mirror.remote.example.com"));
		fake.ask(f, f.kev, "Kev"); -- from what is remembered
		refused(f.kev, "Kev", "feature-not-implemented");
	end));

	it("says that there is no such room when the master says so of its description, and ignores the join (F16)", bed.scenario(function (s)
		local f = fake.new(s, versions, patient);
		f.kev:send(join(fake.mirror, "Kev"));
		local question = f.fake:expect { "iq", type = "get", has = "{http://jabber.org/protocol/disco#info}query" };
		f.fake:send(st.error_reply(question, "cancel", "item-not-found"));
		refused(f.kev, "Kev", "item-not-found");
	end));

	it("says so of the rooms of a stock service, which finds no room for a mirror (F16)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = patient; master = [[
VirtualHost "example.com"
Component "talk.example.com" "muc"
]] });
		f.kev:send(join(federation.mirror_room, "Kev"));
		refused(f.kev, "Kev", "feature-not-implemented", federation.mirror_room);
		local nowhere = "nowhere\\40talk.example.com@mirror.remote.example.com";
		f.kev:send(join(nowhere, "Kev"));
		refused(f.kev, "Kev", "item-not-found", nowhere);
	end));

	it("still lets users in where the master accepts them and says nothing about mirrors (section 2b rule 3)", bed.scenario(function (s)
		local f = fake.new(s, versions, patient);
		local asked = fake.ask(f, f.kev, "Kev", { "http://jabber.org/protocol/muc" });
		f.fake:send(fake.presence("Kev", asked.attr.id));
		s:wait(4); -- longer than a join may go unanswered there
		f.fake:send(fake.subject());
		f.kev:expect { "presence", from = fake.mirror .. "/Kev", has = federation.muc_user .. "/status" };
	end));
end);
end
