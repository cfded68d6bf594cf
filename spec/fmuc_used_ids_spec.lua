-- SPDX-License-Identifier: MIT
-- mod_fmuc's memory of the stanza-ids that a mirrored room has given (F9, G29).

local used_ids = dofile "lua/mod_fmuc/room/used_ids.lib.lua";

describe("used_ids of mod_fmuc", function ()
	it("knows every id of the latest, and no other (F9)", function ()
		local list = nil; -- as of a new room
		assert.is_false(used_ids.has(list, "id 1"));
		for i = 1, 5000 do
			assert.is_false(used_ids.has(list, "id " .. i));
			list = used_ids.add(list, "id " .. i, 1000);
			assert.is_true(used_ids.has(list, "id " .. i));
			assert.is_true(used_ids.has(list, "id " .. math.max(1, i - 999)));
		end
		assert.is_false(used_ids.has(list, "id 1"));
	end);

	it("keeps at most some more of them than it must (G29)", function ()
		local list = nil; -- as of a new room
		for i = 1, 20000 do list = used_ids.add(list, ("x"):rep(256) .. i, 2000); end
		local bytes = 0;
		for _, chunk in ipairs(list) do bytes = bytes + #chunk; end
		assert.is_true(bytes >= 2000 * 8 and bytes <= 3100 * 8, bytes);
	end);
end);
