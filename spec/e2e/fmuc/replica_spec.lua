-- SPDX-License-Identifier: MIT
-- Federated rooms in mode primary-replica (mod_fmuc, generation 2): one order, and silence while the primary is away.

local bed = require "bed";
local nodes = require "nodes";
local st = require "util.stanza";

local fmuc = nodes.fmuc;

local function condition(stanza)
	return (select(2, stanza:get_error()));
end

local function meet(s, versions)
	return nodes.meet(s, versions, nil, "primary-replica");
end

-- order(client, room_jid) -> the bodies that the client got, in order
local function order(client)
	local list = {};
	client:sync();
	for _, stanza in ipairs(client:drain()) do
		if stanza.name == "message" and stanza.attr.type == "groupchat" then list[#list + 1] = stanza:get_child_text("body"); end
	end
	return table.concat(list, " ");
end

for _, versions in ipairs(nodes.crossings()) do
describe(("a replica, %s of %s"):format(versions.e, versions.w), function ()
	it("shows what is said when the primary returns it, in the primary's order (N2 N20)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.link:delay(0.3);
		nodes.say(f.hamlet, f.elsinore, "one", "m1");
		f.hamlet:sync();
		f.hamlet:expect_none({ "message" }, 0.2);
		nodes.say(f.alice, f.rabbithole, "two", "m2");
		nodes.say(f.hamlet, f.elsinore, "three", "m3");
		f.alice:expect { "message", id = "m3" };
		f.hamlet:expect { "message", id = "m3"; from = f.elsinore .. "/Hamlet" };
		f.link:delay(0);
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "four", "m4");
		f.hamlet:expect { "message", id = "m4" };
		f.alice:expect { "message", id = "m4" };
		f.hamlet:send(st.message({ type = "groupchat"; to = f.elsinore; id = "s" }):text_tag("subject", "Order"));
		f.hamlet:expect { "message", has = "subject"; from = f.elsinore .. "/Hamlet" };
		f.alice:expect { "message", has = "subject"; from = f.rabbithole .. "/Hamlet" };
		f.link:settle();
		assert.equal("two one", order(f.alice)); -- three and four were taken above
		assert.equal("two one", order(f.hamlet));
		local sent = 0;
		for _, stanza in ipairs(f.link:sent(f.e)) do if stanza.name == "message" then sent = sent + 1; end end
		assert.equal(4, sent); -- three messages and a subject
		assert.truthy(f.link:expect(f.w, { "message", id = "m4"; from = f.rabbithole .. "/Hamlet" }):find(fmuc));
	end));

	it("lets nobody speak while the primary cannot be reached, and loses nothing that was on its way (N2 G1 G15 G16)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.link:stall();
		nodes.say(f.hamlet, f.elsinore, "on its way", "m1");
		f.hamlet:sync();
		f.link:cut();
		f.e:expect_log("is not federated with");
		nodes.say(f.hamlet, f.elsinore, "cut off", "m2");
		local refusal = f.hamlet:expect { "message", type = "error"; id = "m2" };
		assert.same({ "remote-server-timeout", "This room cannot reach rabbithole@rooms.w.example. Nothing can be said here until it does" },
			{ condition(refusal), (select(3, refusal:get_error())) });
		nodes.say(f.alice, f.rabbithole, "the primary goes on", "m3");
		f.alice:expect { "message", id = "m3" };
		f.link:expect_broken();
		f.link:restore();
		f.hamlet:expect({ "message", type = "groupchat"; id = "m3" }, 15);
		f.hamlet:expect({ "message", type = "groupchat"; id = "m1" }, 15);
		f.alice:expect({ "message", id = "m1" }, 15);
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "together", "m4");
		f.hamlet:expect { "message", type = "groupchat"; id = "m4" };
		f.hamlet:sync();
		f.hamlet:expect_none({ "message" }, 0);
	end));

	it("tells who may not speak at the primary (G15)", bed.scenario(function (s)
		local f = meet(s, versions);
		f.w:eval(([[
			local room = prosody.hosts["rooms.w.example"].modules.muc.get_room_from_jid(%q);
			return room:set_affiliation(true, "hamlet@e.example", "outcast");
		]]):format(f.rabbithole));
		f.link:settle();
		nodes.say(f.hamlet, f.elsinore, "muted", "m1");
		assert.equal("forbidden", condition(f.hamlet:expect { "message", type = "error"; id = "m1"; from = f.elsinore }));
		f.alice:sync();
		f.alice:expect_none({ "message" }, 0);
	end));
end);
end
