-- SPDX-License-Identifier: MIT
-- How often Lua serialises a message. The message goes from a user of a mirror to the master and back to everybody. C makes the bytes of links
-- and of the copies for users.

local federation = require "federation";
local bed = require "bed";

local mirror_room = federation.mirror_room;

-- counts, from now on, what Prosody's serialiser does with messages in that server
local function count(node)
	node:eval [[
		local mt = require "util.stanza".stanza_mt;
		local serialise = mt.__tostring;
		prosody.serialisations = 0;
		function mt.__tostring(stanza)
			if stanza.name == "message" then prosody.serialisations = prosody.serialisations + 1; end
			return serialise(stanza);
		end
	]];
end

local function counted(node)
	return node:eval "return prosody.serialisations";
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc serialisations, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("are Prosody's own, one for each stanza that comes in (M2 M17 A9)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for _, node in ipairs { f.remote, f.talk } do count(node); end
		federation.say(f.kev, mirror_room, "there and back");
		for _, user in ipairs { f.kev, f.bob, f.curtis } do user:expect { "message", type = "groupchat"; body = "there and back" }; end
		-- the log's line about what has come, from the user and from the master
		assert.equal(2, counted(f.remote), "at the mirror");
		-- the same, from the mirror
		assert.equal(1, counted(f.talk), "at the master");
	end));

	it("are as few for what a user at the master says (M19 A9)", bed.scenario(function (s)
		local f = federation.meet(s, versions);
		for _, node in ipairs { f.remote, f.talk } do count(node); end
		federation.say(f.curtis, federation.master_room, "across");
		for _, user in ipairs { f.kev, f.bob, f.curtis } do user:expect { "message", type = "groupchat"; body = "across" }; end
		assert.equal(1, counted(f.remote), "at the mirror");
		assert.equal(1, counted(f.talk), "at the master");
	end));
end);
end
