-- SPDX-License-Identifier: MIT
-- A real client program, profanity, in a mirrored room: it joins, sees occupants, history and subject, says something and corrects it, has
-- a private conversation, and is kicked. What it makes of the stanzas is on its screen.

local bed = require "bed";
local federation = require "federation";
local terminal = require "terminal";
local st = require "util.stanza";

local master_room, mirror_room = federation.master_room, federation.mirror_room;

local function write(path, text)
	local file = assert(io.open(path, "w"));
	file:write(text);
	file:close();
end

local function start_profanity(s, f)
	f.remote:add_user("kev@remote.example.com");
	local dir = s.dir .. "/profanity";
	assert(os.execute(("mkdir -p '%s/data/profanity' '%s/config/profanity'"):format(dir, dir)));
	write(dir .. "/data/profanity/accounts", ("[kev@remote.example.com]\nenabled=true\nresource=profanity\nserver=%s\nport=5222\n"
		.. "tls.policy=disable\npassword=secret\nmuc.nick=Kev\n"):format(f.remote.address));
	write(dir .. "/config/profanity/profrc", "[ui]\nsplash=false\noccupants=false\n[connection]\nautoping=0\n");
	return terminal.start(s, dir, "profanity -a kev@remote.example.com", {
		HOME = dir; XDG_CONFIG_HOME = dir .. "/config"; XDG_DATA_HOME = dir .. "/data";
	});
end

for _, versions in ipairs(federation.crossings()) do
	it(("fmuc: profanity lives in a mirrored room, %s mirror and %s master (M3 M20 G12 G14)"):format(versions.mirror, versions.master),
		bed.scenario(function (s)
		local f = federation.new(s, versions);
		federation.add(f, "bob");
		federation.topic(f, "Jabber talk");
		federation.say(f.curtis, master_room, "before you came");
		f.bob:expect { "message", body = "before you came" };
		local profanity = start_profanity(s, f);
		profanity:expect("kev@remote.example.com/profanity logged in");
		profanity:type("/join " .. mirror_room .. " nick Kev");
		f.curtis:expect({ "presence", from = master_room .. "/Kev" }, 20);
		for _, text in ipairs { "You have joined the room as Kev, role: participant, affiliation: none", "Curtis: before you came",
			"Curtis has set the room subject: Jabber talk", "3 occupants: Bob , Curtis , Kev" } do
			profanity:expect(text);
		end
		federation.say(f.curtis, master_room, "good morning");
		profanity:expect("Curtis: good morning");
		profanity:type("and to yuo");
		local said = f.curtis:expect({ "message", body = "and to yuo", from = master_room .. "/Kev" }, 20);
		f.bob:expect { "message", body = "and to yuo", id = said.attr.id, from = mirror_room .. "/Kev" };
		profanity:expect("Kev: and to yuo");
		profanity:type("/correct and to you");
		local correction = f.curtis:expect({ "message", body = "and to you" }, 20);
		assert.equal(said.attr.id, correction:find("{urn:xmpp:message-correct:0}replace@id"));
		profanity:type("/msg Curtis between us"); -- which shows the conversation
		f.curtis:expect({ "message", type = "chat", body = "between us", from = master_room .. "/Kev" }, 20);
		f.curtis:send(st.message({ type = "chat"; to = master_room .. "/Kev"; id = "pm" }):text_tag("body", "of course"));
		profanity:expect("Curtis: of course");
		f.bob:expect_none({ "message", type = "chat" }, 0);
		federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", nil, "enough for today")]]);
		profanity:expect("Kicked from " .. mirror_room .. ", reason: enough for today");
	end));
end
