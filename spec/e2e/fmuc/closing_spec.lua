-- SPDX-License-Identifier: MIT
-- mod_fmuc: nobody waits for a module that is unloaded or a server that stops. Users who asked for something get the answer that there is.

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local error_condition = federation.error_condition;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local ping = "<ping xmlns='urn:xmpp:ping'/>";

local function ask(client, to, id, payload)
	client:send(("<iq type='get' id='%s' to='%s'>%s</iq>"):format(id, to, payload));
	client:sync();
end

local function unload(host)
	return function (node) node:eval(("assert(require 'core.modulemanager'.unload(%q, 'fmuc'))"):format(host)); end
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc closing, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	for what, close in pairs { ["module is unloaded"] = unload "mirror.remote.example.com"; ["server stops"] = function (node) node:stop(); end } do
		it("tells who waits whether the room can be mirrored, when the " .. what .. " (section 2b)", bed.scenario(function (s)
			local f = fake.new(s, versions, federation.mirror_config);
			f.kev:send(federation.join(fake.mirror, "Kev"));
			f.fake:expect { "iq", type = "get" };
			close(f.remote);
			local refusal = f.kev:expect { "presence", type = "error", id = "join-Kev", from = fake.mirror .. "/Kev" };
			assert.equal("service-unavailable", error_condition(refusal));
			assert.truthy(refusal:get_child("x", "http://jabber.org/protocol/muc"));
			f.kev:expect_none({ "presence", type = "error" }, 0.3); -- once
		end));

		it("tells who has asked the master for something, when the mirror's " .. what .. " (G13)", bed.scenario(function (s)
			local f = fake.new(s, versions);
			fake.admit(f, f.kev, "Kev", nil,
				{ "http://isode.com/protocol/fmuc", "vcard-temp", "urn:x-prosody-relay:fmuc:private:0" });
			f.fake:send(fake.presence("Alice"));
			f.kev:expect { "presence", from = fake.mirror .. "/Alice" };
			local asked = {
				private = { fake.mirror .. "/Alice", ping };
				picture = { fake.mirror, "<vCard xmlns='vcard-temp'/>" };
				look = { "other\\40fake.example.com@mirror.remote.example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>" };
			};
			for id, question in pairs(asked) do
				ask(f.kev, question[1], id, question[2]);
				f.fake:expect { "iq", type = "get" };
			end
			close(f.remote);
			for id, question in pairs(asked) do
				local answer = f.kev:expect { "iq", type = "error", id = id, from = question[1] };
				assert.equal("remote-server-timeout", error_condition(answer));
			end
		end));
	end

	it("tells who has asked a user of a mirror for something, when the master's module is unloaded (G12 G13)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { mirror = federation.mirror_config .. [[
Component "plain.remote.example.com"
	component_secret = "hush"
]] });
		ask(f.curtis, master_room .. "/Kev", "private", ping);
		f.kev:expect { "iq", type = "get", from = mirror_room .. "/Curtis" };
		-- what another mirror can do is not known yet
		local plain = "jabberchat\\40talk.example.com@plain.remote.example.com";
		f.link:stall();
		f.talk:eval(([[
			local st = require "util.stanza";
			local room = prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q);
			module = prosody.hosts["talk.example.com"].modules.fmuc.module;
			module:fire_event("presence/full", { origin = { send = module.send }; stanza = st.presence({ from = %q; to = room.jid .. "/Tim" })
				:tag("fmuc", { xmlns = "http://isode.com/protocol/fmuc"; from = "tim@remote.example.com/x" }):up() });
			assert(room:get_occupant_by_nick(room.jid .. "/Tim"));
		]]):format(master_room, plain));
		f.curtis:send(st.message({ type = "chat"; to = master_room .. "/Tim"; id = "whisper" }):text_tag("body", "psst"));
		f.curtis:sync();
		unload "talk.example.com" (f.talk);
		local answer = f.curtis:expect { "iq", type = "error", id = "private", from = master_room .. "/Kev" };
		assert.equal("remote-server-timeout", error_condition(answer));
		answer = f.curtis:expect { "message", type = "error", id = "whisper", from = master_room .. "/Tim" };
		assert.equal("service-unavailable", error_condition(answer));
	end));
end);
end
