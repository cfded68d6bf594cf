-- SPDX-License-Identifier: MIT
-- The rules for the files of mod_fmuc (doc/architecture.markdown). No file uses a file that uses it. One file writes each field.
-- For each role, one file hooks the events of that role.

local files = require "structure".read("lua/mod_fmuc/", "lib \"([%w_/]+)\"");
local sources = files.sources;

describe("the files of mod_fmuc", function ()
	it("use none that uses them", function ()
		local floors = files:floors();
		assert.is_true(floors["mirror/mirror"] > 5);
	end);

	it("of both roles use none of one role, and the roles none of each other", function ()
		local may_use = { link = "^link/", dialect = "^dialect/", room = "^room/", mirror = "^mirror/", master = "^master/", node = "^node/" };
		for name in pairs(sources) do
			local folder = name:match("^(%w+)/");
			for _, other in ipairs(folder and files:uses(name) or {}) do
				local is_role = other:find(may_use.mirror) or other:find(may_use.master) or other:find(may_use.node);
				if name == "master/master" then is_role = other:find(may_use.mirror); end -- the door of both roles of a MUC service
				assert.is_true(not is_role or other:find(may_use[folder]) ~= nil, name .. " uses " .. other);
				if folder == "dialect" then assert.truthy(other:find("^dialect/"), name .. " uses " .. other); end
			end
		end
	end);

	it("hook events in one place for each role", function ()
		assert.same({ "link/events", "mirror/own_rooms" }, files:with("module:hook%("));
		assert.same({ "master/master", "mirror/mirror" }, files:with("lib \"link/events\""));
	end);

	it("keep what they know of a link to themselves", function ()
		for name, source in pairs(sources) do
			for owner in source:gmatch(":own%(\"([%w_]+)\"%)") do assert.equal(name:match("[%w_]+$"), owner, name); end
		end
	end);

	it("have one that writes each field of a link", function ()
		for _, field in ipairs { "state", "sent", "received", "heard", "must_join", "alone", "counts", "asked", "data" } do
			for _, link in ipairs { "link", "authority" } do assert.same({}, files:writers(link .. "%." .. field), field); end
			assert.same({ "link/link" }, files:writers("self%." .. field), field);
		end
		for _, field in ipairs { "nicks", "joins" } do assert.same({ "master/links" }, files:writers("link%." .. field), field); end
	end);

	it("have one that writes each field of room.fmuc", function ()
		local owners = { copies = "mirror/room"; hidden = "mirror/room"; waiting = "mirror/joins"; reflects_ids = "mirror/joins";
			info = "mirror/room_info"; logged = "mirror/presences"; avatar = "mirror/avatar"; vcard = "mirror/avatar"; history_bytes = "mirror/messages" };
		for field, owner in pairs(owners) do
			local found = files:writers("room%.fmuc%." .. field);
			table.move(files:writers("state%." .. field), 1, 10, #found + 1, found);
			for _, name in ipairs(found) do assert.equal(owner, name, field); end
			assert.truthy(found[1], field);
		end
	end);

	it("name the errors that there are, and all of them", function ()
		assert.is_true(50 < files:errors {
			"errors%.%l+%(%w+, \"([%w-]+)\"", "refusal%.join%(%w+, \"([%w-]+)\"", "errors%.element%(\"([%w-]+)\"" });
	end);
end);
