-- SPDX-License-Identifier: MIT
-- Only what must cross the link crosses it (M2). The spec sends the same stanzas through a mirrored room, and for one user who is in the room
-- directly. It compares the bytes. `make bytes` prints the whole table.

local bed = require "bed";
local federation = require "federation";
local traffic = require "fmuc_traffic";
local st = require "util.stanza";

local mirror_room = federation.mirror_room;
local users = 50;

local function sum(cost) return cost.up + cost.down; end

local function at_most(limit, cost, what)
	assert(cost <= limit, ("%s: %d bytes, of %.0f at most"):format(what, cost, limit));
end

for version in bed.versions() do
describe("fmuc traffic, Prosody " .. version, function ()
	local versions = { master = version; mirror = version };
	local single;

	setup(bed.scenario(function (s)
		single = traffic.measure(traffic.populate(s, versions, 1, 1, "direct"));
	end));

	it("carries one copy of each stanza for fifty users, and 45 kB for them to join (M2 M5 M10 M17 M19)", bed.scenario(function (s)
		local f = traffic.populate(s, versions, users, 1, "mirror");
		at_most(45000, sum(f.joins), "joins");
		at_most(1000, sum(f.last_join), "the last join");
		local costs = traffic.measure(f);
		for _, name in ipairs { "own_message", "other_message", "presence", "other_presence" } do
			at_most(1.15 * single[name].up, costs[name].up, name .. " up");
			at_most(1.15 * single[name].down, costs[name].down, name .. " down");
		end
		assert.same({ up = 0; down = 0 }, costs.silence); -- M15
	end));

	it("carries a message once between two nodes, and nothing back (N2 N12 N13)", bed.scenario(function (s)
		local f = traffic.populate(s, versions, 10, 1, "node");
		at_most(12000, sum(f.joins), "joins");
		local costs = traffic.measure(f);
		-- a direct stanza: the copy that the room sends to one user
		at_most(1.2 * single.own_message.down, costs.own_message.up, "own message");
		assert.equal(0, costs.own_message.down);
		at_most(1.2 * single.other_message.down, costs.other_message.down, "other's message");
		assert.equal(0, costs.other_message.up);
		at_most(1.2 * single.presence.down, costs.presence.up, "presence");
		assert.equal(0, costs.presence.down);
		assert.same({ up = 0; down = 0 }, costs.silence); -- N16
	end));

	it("carries a message once and not back when it is fired and forgotten (M21 M22)", bed.scenario(function (s)
		local f = traffic.populate(s, versions, users, 1, "mirror", { mirror = federation.mirror_config .. "\tfmuc_nomirror = true" });
		local costs = traffic.measure(f);
		assert.equal(0, costs.own_message.down);
		at_most(1.3 * single.own_message.up, costs.own_message.up, "own message"); -- the mark is 51 bytes
		at_most(1.15 * single.other_message.down, sum(costs.other_message), "other's message");
	end));

	it("carries nothing of what concerns one side only (M2 G11 G12 G13 G23)", bed.scenario(function (s)
		local f = traffic.populate(s, versions, 2, 1, "mirror");
		local bob = f.users[2];
		local tablet = f.remote:client("kev@remote.example.com/tablet");
		f.kev:drain();
		local cost = traffic.cost(f, function ()
			bob:send(st.message({ type = "chat"; id = "pm"; to = mirror_room .. "/remote1" }):text_tag("body", "psst"));
			f.kev:expect { "message", type = "chat", body = "psst" };
			bob:send(("<iq type='get' id='ping' to='%s/remote1'><ping xmlns='urn:xmpp:ping'/></iq>"):format(mirror_room));
			f.kev:send(st.reply(f.kev:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" }));
			bob:expect { "iq", type = "result", id = "ping" };
			bob:send(("<iq type='get' id='self' to='%s/remote2'><ping xmlns='urn:xmpp:ping'/></iq>"):format(mirror_room));
			bob:expect { "iq", type = "result", id = "self" };
			for _, query in ipairs { "info", "items" } do
				bob:send(("<iq type='get' id='%s' to='%s'><query xmlns='http://jabber.org/protocol/disco#%s'/></iq>"):format(query, mirror_room, query));
				bob:expect { "iq", type = "result", id = query };
			end
			federation.enter(tablet, "remote1");
			tablet:send(st.presence({ type = "unavailable"; to = mirror_room .. "/remote1" }));
			tablet:expect { "presence", type = "unavailable"; from = mirror_room .. "/remote1" };
			f.kev:send(federation.join(mirror_room, "remote1")); -- once more, by one who is there
			f.kev:expect { "message", has = "subject" };
		end);
		assert.same({ up = 0; down = 0 }, cost);
	end));
end);
end
