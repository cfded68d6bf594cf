-- SPDX-License-Identifier: MIT
-- What others can make a server of mod_fmuc keep (README, "What a peer can make your server keep"): each row of the table fills one bound for
-- real, by stanzas. What stays in memory is within the bound, and somebody else is still served.

local bed = require "bed";
local fake_master = require "e2e.fake_master";
local federation = require "e2e.federation";
local st = require "util.stanza";

local join, enter, error_condition = federation.join, federation.enter, federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local MB = 1024 * 1024;

-- n empty elements, which take 75 times as much memory as they have bytes on the wire
local function stuffing(n)
	return ("<a/>"):rep(n);
end

local function stuffed(stanza, n)
	return (tostring(stanza):gsub("</" .. stanza.name .. ">$", function (tag) return stuffing(n) .. tag; end));
end

-- bytes of the server's heap that are in use
local function heap(node)
	return node:eval [[ collectgarbage() collectgarbage() return collectgarbage("count") * 1024 ]];
end

local function expect_growth(node, before, limit)
	local growth = heap(node) - before;
	assert.is_true(growth < limit, ("%.1f MB, more than %.1f MB"):format(growth / MB, limit / MB));
end

-- another client of the mirror comes in and speaks
local function expect_service(f)
	local dora = f.remote:client("dora@remote.example.com/x");
	enter(dora, "Dora");
	federation.say(dora, mirror_room, "served");
	dora:expect { "message", body = "served" };
end

local function fill_messages(client, room, count, n, more)
	for i = 1, count do
		client:send(stuffed(st.message({ type = "groupchat"; to = room; id = "m" .. i }):text_tag("x", "y"):tag("no-store", { xmlns = "urn:xmpp:hints" }):up()
			:text_tag("body", more and "text " .. i or nil), n));
		client:expect({ "message", id = "m" .. i }, 30);
		client:drain();
	end
end

local rows = {
	["what was said in a room that has a mirror (F8)"] = function (s, versions)
		local f = federation.meet(s, versions);
		local before = heap(f.talk);
		fill_messages(f.curtis, master_room, 30, 50000);
		expect_growth(f.talk, before, 8 * MB);
		expect_service(f);
	end;
};

for name, fill in pairs(rows) do
	for _, versions in ipairs(federation.crossings()) do
		it(("fmuc bounds %s, master %s, mirror %s"):format(name, versions.master, versions.mirror), bed.scenario(function (s) fill(s, versions); end));
	end
end
