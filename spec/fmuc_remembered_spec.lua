-- SPDX-License-Identifier: MIT
-- Whom another kind of node may have (node/remembered), without a server.

local fmuc_lib = require "fmuc_lib";

describe("whom another kind of node may have", function ()
	local remembered, stored, writes, linked, time;

	before_each(function ()
		stored, writes, linked, time = {}, 0, {}, 1000;
		local store = {};
		function store.set(_, key, _, record)
			stored[key], writes = record, writes + 1;
			return true;
		end
		local module = fmuc_lib.module();
		function module.open_store() return store; end
		local links = { get = function (room, peer) return linked[room .. peer]; end };
		remembered = fmuc_lib.new(module, { settings = { max_occupants = 10 }; ["link/link"] = links },
			{ os = { time = function () return time; end } })("node/remembered");
		remembered.restore(nil);
	end);

	local function link(peer, room)
		return { room_jid = room or "r@here.example"; peer = peer or "w@there.example"; direction = "up" };
	end

	local function count(map)
		local number = 0;
		for _ in pairs(map) do number = number + 1; end
		return number;
	end

	local function users(one, without_gone)
		local nicks = {};
		for _, nick in pairs(remembered.users(one.room_jid, one.peer, without_gone)) do nicks[#nicks + 1] = nick; end
		table.sort(nicks);
		return table.concat(nicks, " ");
	end

	it("is stored at each change, until the node has nobody (O17)", function ()
		local one = link();
		remembered.add(one, "a@here.example/pc", "A"); -- a node of this module: not opened
		assert.same({ "", 0 }, { users(one), writes });
		remembered.open(one);
		remembered.add(one, "a@here.example/pc", "A");
		remembered.add(one, "b@here.example/pc", "B");
		remembered.add(one, "b@here.example/pc", "B");
		assert.same({ "A B", 3, 1 }, { users(one), writes, count(stored) });
		remembered.leave(one, "a@here.example/pc");
		assert.same({ "A B", "B" }, { users(one), users(one, true) });
		remembered.only(one, { C = { real_jid = "c@here.example/pc" } });
		assert.equal("C", users(one));
		remembered.close(one.room_jid, one.peer);
		assert.same({ "", 0 }, { users(one), count(stored) });
	end);

	it("is written once for many changes at once (O17)", function ()
		local one = link();
		remembered.open(one);
		remembered.together(function ()
			for i = 1, 5 do remembered.add(one, ("%d@here.example/pc"):format(i), tostring(i)); end
		end);
		assert.same({ "1 2 3 4 5", 2 }, { users(one), writes });
		local ok, err = pcall(remembered.together, function ()
			remembered.leave(one, "1@here.example/pc");
			error("broken", 0);
		end);
		assert.same({ false, "2 3 4 5", 3 }, { ok, users(one, true), writes });
		assert.truthy(err:find("broken"));
	end);

	it("is at most fmuc_max_occupants for a link; those who have left are forgotten after a while (G29)", function ()
		local one = link();
		remembered.open(one);
		for i = 1, 30 do remembered.add(one, ("%d@here.example/pc"):format(i), tostring(i)); end
		assert.equal(10, count(remembered.users(one.room_jid, one.peer)));
		for i = 1, 10 do remembered.leave(one, ("%d@here.example/pc"):format(i)); end
		time = time + 3600;
		remembered.leave(one, "1@here.example/pc");
		remembered.add(one, "31@here.example/pc", "31");
		assert.equal("1 31", users(one));
	end);

	it("is at most that of 5000 links, shared; unused ones make way (G29)", function ()
		local function open(domain, room)
			local one = link("w@" .. domain, room);
			remembered.open(one);
			return remembered.direction(one.room_jid, one.peer) ~= nil, one;
		end
		for i = 1, 6000 do
			local is_kept, one = open("evil.example", ("r%d@here.example"):format(i));
			linked[one.room_jid .. one.peer] = true;
			assert.equal(i <= 2500, is_kept);
		end
		assert.is_true(open("good.example"));
		linked, time = {}, time + 1;
		assert.is_true(open("evil.example", "new@here.example"));
		assert.same({ nil, 1 }, { remembered.direction("r1@here.example", "w@evil.example"), count(stored) });
	end);
end);
