-- SPDX-License-Identifier: MIT
-- How often a mirror is sent the whole room (D: "A resync has no pace"), and what a mirror does that is told to wait.

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local enter = federation.enter;
local master_room = federation.master_room;

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc pace, master %s, mirror %s"):format(versions.master, versions.mirror), function ()

	it("puts off a mirror that asks for the room again and again, and no other (G3 G29, small: pace)", bed.scenario(function (s)
		local f = federation.new(s, versions, { mirror = federation.mirror_config .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]] });
		federation.topic(f, ("x"):rep(240000));
		local liar = f.remote:component("liar.remote.example.com", "hush");
		local function resync(i)
			liar:send(st.presence({ from = lair; to = master_room .. "/Imp"; id = "j" .. i })
				:tag("fmuc", { xmlns = xmlns_fmuc; from = "imp@liar.remote.example.com/x" }):tag("history", { seconds = "9" }));
		end
		local refusal, dumps = nil, 0;
		while not refusal and dumps < 200 do
			dumps = dumps + 1;
			resync(dumps);
			liar:expect({ "presence", id = "j" .. dumps, where = function (presence)
				refusal = presence.attr.type == "error" and presence;
				return true;
			end }, 30);
			if not refusal then liar:expect({ "message", has = "subject" }, 30); end
			liar:drain();
		end
		-- 16 MB of them, and not less than a mirror on a bad link needs
		assert.is_true(dumps > 50 and dumps < 100, dumps);
		assert.equal("resource-constraint", federation.error_condition(refusal));
		-- who does not want everything goes on
		liar:send(st.message({ from = lair .. "/Imp"; to = master_room; type = "groupchat" }):text_tag("body", "hello"));
		f.curtis:expect { "message", body = "hello" };
		enter(f.kev, "Kev");
	end));

	it("goes on with its users when the master puts a resync off (G3 G5)", bed.scenario(function (s)
		local f = fake_master.new(s, versions);
		fake_master.admit(f, f.kev, "Kev");
		f.fake:send(st.presence({ type = "error"; from = fake_master.room; to = fake_master.mirror .. "/Kev" })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
		local function refuse(join)
			local reply = st.error_reply(join, "wait", "resource-constraint", "Too often");
			reply.attr.from, reply.attr.to = fake_master.room, fake_master.mirror .. "/Kev";
			f.fake:send(reply);
		end
		for _ = 1, 2 do refuse(f.fake:expect({ "presence", type = false; to = fake_master.room .. "/Kev" }, 30)); end
		local again = f.fake:expect({ "presence", type = false; to = fake_master.room .. "/Kev" }, 30);
		f.fake:send(fake_master.presence("Kev", again.attr.id));
		f.fake:send(fake_master.subject());
		f.fake:send(fake_master.message("Alice", "back", "back"));
		f.kev:expect({ "message", body = "back" }, 30);
		f.kev:expect_none({ "presence", type = "unavailable" }, 0);
	end));
end);
end
