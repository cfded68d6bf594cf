-- SPDX-License-Identifier: MIT
-- Stanzas that are nested very deep: neither role stumbles, and the room goes on (F7).

local bed = require "bed";
local federation = require "federation";

local say = federation.say;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local function deep(stanza, levels)
	return (stanza:gsub("DEEP", ("<a>"):rep(levels) .. ("</a>"):rep(levels)));
end

for _, versions in ipairs(federation.crossings()) do
	it(("fmuc passes on what is nested deep, and goes on (F7), master %s, mirror %s"):format(versions.master, versions.mirror),
		bed.scenario(function (s)
			local f = federation.meet(s, versions);
			for _, levels in ipairs { 100, 10000 } do
				for client, room_jid in pairs { [f.curtis] = master_room, [f.kev] = mirror_room } do
					client:send(deep(("<message type='groupchat' id='deep' to='%s'><body>deep</body>DEEP</message>"):format(room_jid), levels));
					if levels > 1000 and client == f.kev then -- what waits for its copy is kept, too
						assert.equal("policy-violation", federation.error_condition(f.kev:expect { "message", type = "error", id = "deep" }));
					else
						f.curtis:expect { "message", body = "deep" };
						f.bob:expect { "message", body = "deep" };
					end
					-- a presence is kept, so it comes without what cannot be kept
					local nick = client == f.curtis and "/Curtis" or "/Kev";
					client:send(deep(("<presence to='%s%s'>DEEP</presence>"):format(room_jid, nick), levels));
					client:send(("<presence to='%s%s'><status>%d</status></presence>"):format(room_jid, nick, levels));
					f.bob:expect { "presence", from = mirror_room .. nick, where = function (presence)
						return presence:get_child_text("status") == tostring(levels);
					end };
				end
				for _, client in ipairs { f.curtis, f.kev, f.bob } do client:drain(); end
			end
			say(f.kev, mirror_room, "hello");
			f.curtis:expect { "message", body = "hello" };
			say(f.curtis, master_room, "hi");
			f.kev:expect { "message", body = "hi" };
		end));
end
