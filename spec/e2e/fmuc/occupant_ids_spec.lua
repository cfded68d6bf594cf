-- SPDX-License-Identifier: MIT
-- mod_fmuc: if the room announces occupant-ids (XEP-0421), every presence and message of an occupant carries one. Stanzas that the mirror
-- writes itself carry one, too (F12, G10).

local bed = require "bed";
local federation = require "federation";
local outages = require "outages";

local say = federation.say;
local mirror_room, master_room = federation.mirror_room, federation.master_room;

local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local muc_user = federation.muc_user;

local function occupant_id(stanza)
	local id;
	for child in stanza:childtags("occupant-id", xmlns_occupant_id) do
		assert.is_nil(id, "two occupant-ids");
		id = child.attr.id;
	end
	assert.truthy(id, "no occupant-id: " .. tostring(stanza));
	return id;
end

-- known_ids(f) -> { [nick] = occupant-id }, as Kev sees them
local function known_ids(f)
	f.kev:send(federation.join(mirror_room, "Kev")); -- everything again
	local known = {};
	for _, nick in ipairs { "Kev", "Bob", "Curtis" } do
		known[nick] = occupant_id(f.kev:expect { "presence", from = mirror_room .. "/" .. nick, type = false });
	end
	f.kev:expect { "message", has = "subject" };
	return known;
end

-- the client is told that the occupant has left; code: nil or a status code
local function expect_end(client, nick, known, code)
	local presence = client:expect({ "presence", type = "unavailable", from = mirror_room .. "/" .. nick }, 15);
	assert.equal(known[nick], occupant_id(presence));
	if code then assert.matches(code, federation.codes(presence)); end
	return presence;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and occupant-ids, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("identifies users who part, who lose their connection, and the second of two sessions that leaves (F12 G10)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local known = known_ids(f);
		local tablet = f.remote:client("bob@remote.example.com/tablet");
		federation.enter(tablet, "Bob");
		tablet:send(("<presence type='unavailable' to='%s/Bob'/>"):format(mirror_room));
		expect_end(tablet, "Bob", known, "110");
		f.bob:kill();
		expect_end(f.kev, "Bob", known);
		f.kev:send(("<presence type='unavailable' to='%s/Kev'/>"):format(mirror_room));
		expect_end(f.kev, "Kev", known, "110");
	end));

	it("identifies occupants when the room is destroyed, or the mirror ends (F12 G17)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		local known = known_ids(f);
		federation.configure(f, [[room:destroy(nil, "the end")]]);
		for nick, client in pairs { Kev = f.kev; Bob = f.bob } do
			assert.truthy(expect_end(client, nick, known, "110"):find(muc_user .. "/destroy"));
		end
		federation.open_room(f, master_room);
		federation.enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		federation.enter(f.bob, "Bob");
		f.bob:expect { "message", has = "subject" };
		known = known_ids(f);
		f.remote:eval [[require "core.modulemanager".unload("mirror.remote.example.com", "fmuc"); return true]];
		expect_end(f.kev, "Kev", known, "332");
		expect_end(f.bob, "Bob", known, "332");
	end));

	it("identifies those who go in an outage, and those who have gone when it is over (F12 G1 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 2; fmuc_outage_policy = \"autonomous\"" });
		local known = known_ids(f);
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		say(f.kev, mirror_room, "waits");
		expect_end(f.kev, "Curtis", known, "333");
		for _, client in ipairs { f.kev, f.bob } do -- who see at last what was said before the grace period was over
			assert.equal(known.Kev, occupant_id(client:expect { "message", body = "waits" }));
		end
		say(f.bob, mirror_room, "alone");
		assert.equal(known.Bob, occupant_id(f.kev:expect { "message", body = "alone" }));
		f.bob:send(("<presence to='%s/Bob'><show>away</show></presence>"):format(mirror_room));
		assert.equal(known.Bob, occupant_id(f.kev:expect { "presence", from = mirror_room .. "/Bob", where = outages.is_away }));
		f.bob:send(("<presence type='unavailable' to='%s/Bob'/>"):format(mirror_room));
		expect_end(f.kev, "Bob", known);
	end));

	it("identifies those who have gone in an outage, and who cannot come back from it (F12 G3)", bed.scenario(function (s)
		local f = outages.new(s, versions, { mirror = "fmuc_grace_period = 8" });
		local dora = f.talk:client("dora@example.com/x");
		dora:send(federation.join(master_room, "Dora"));
		local known = { Dora = occupant_id(f.kev:expect { "presence", from = mirror_room .. "/Dora" }) };
		for nick, id in pairs(known_ids(f)) do known[nick] = id; end
		f.link:cut();
		s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
		dora:send(("<presence type='unavailable' to='%s/Dora'/>"):format(master_room));
		dora:expect { "presence", type = "unavailable" };
		federation.configure(f, [[room:set_affiliation(true, "bob@remote.example.com", "outcast")]]);
		f.link:expect_broken();
		f.link:restore();
		expect_end(f.kev, "Dora", known);
		expect_end(f.bob, "Bob", known);
		expect_end(f.kev, "Bob", known);
		outages.wait_until_live(s, f);
		f.link:cut();
		expect_end(f.kev, "Kev", known, "333"); -- the grace period is over
	end));
end);
end
