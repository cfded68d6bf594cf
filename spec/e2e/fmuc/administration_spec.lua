-- SPDX-License-Identifier: MIT
-- mod_fmuc: nothing at a mirror pretends to administer a room, which only its master can (F17, M25).

local bed = require "bed";
local federation = require "federation";
local operation = require "operation";

local mirror_room, master_room = federation.mirror_room, federation.master_room;
local mirror = "mirror.remote.example.com";

local config = federation.mirror_config .. "\tadmins = { \"kev@remote.example.com\" }\n";

-- commands(client, host) -> set of the nodes of the ad-hoc commands that the client is offered
local function commands(client, host)
	client:send(("<iq type='get' id='list' to='%s'><query xmlns='http://jabber.org/protocol/disco#items' "
		.. "node='http://jabber.org/protocol/commands'/></iq>"):format(host));
	local list = {};
	for item in client:expect({ "iq", id = "list", type = "result" }).tags[1]:childtags("item") do list[item.attr.node] = true; end
	return list;
end

-- at_mirror(f, code) -> results of the code with `room` and `muc` (the environment of mod_muc)
local function at_mirror(f, code)
	return f.remote:eval(([[
		local muc = prosody.hosts[%q].modules.muc;
		local room = muc.get_room_from_jid(%q);
		%s
	]]):format(mirror, mirror_room, code));
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc administration, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("offers no command of mod_muc at a mirror, and takes none, also after reloads (F17 M25)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = config });
		for _, reload in ipairs { false, "fmuc", "muc", "adhoc" } do
			if reload then f.remote:reload(reload, mirror); end
			local offered = commands(f.kev, mirror);
			local own = false;
			for node in pairs(offered) do
				assert.is_nil(node:find("protocol/muc", 1, true), node .. " after a reload of " .. tostring(reload));
				own = own or node:find("fmuc", 1, true) ~= nil;
			end
			assert.is_true(own);
			for _, name in ipairs { "destroy", "set-affiliation" } do
				assert.equal("error", operation.command(mirror, "http://prosody.im/protocol/muc#" .. name):run(f.kev).attr.type);
			end
		end
	end));

	it("refuses what the shell or a module asks of a mirrored room, and makes no room for them (F17)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for _, code in ipairs {
			[[return (room:set_affiliation(true, "bob@remote.example.com", "outcast"))]];
			[[return (room:destroy(nil, "over"))]];
			[[return (room:set_role(true, room.jid .. "/Bob", "visitor"))]];
			[[return (room:set_role(true, room.jid .. "/Curtis", nil))]];
			[[return (muc.create_room("own@]] .. mirror .. [["))]];
		} do
			assert.is_nil(at_mirror(f, code), code);
			f.remote:reload("fmuc", mirror);
		end
		assert.equal("not-allowed", at_mirror(f, [[return (select(3, room:set_affiliation(true, "bob@remote.example.com", "owner")))]]));
		f.bob:sync();
		f.bob:expect_none({}, 0);
		assert.is_true(at_mirror(f, [[return muc.get_room_from_jid("own@]] .. mirror .. [[") == nil]]));
		-- who kicks a local user takes the user out of the room
		assert.is_true(at_mirror(f, [[return room:set_role(true, room.jid .. "/Bob", nil)]]));
		f.bob:expect { "presence", type = "unavailable", from = mirror_room .. "/Bob" };
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Bob" };
		-- and rooms are still mirrored
		federation.enter(f.bob, "Bob");
	end));
end);
end
