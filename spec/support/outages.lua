-- SPDX-License-Identifier: MIT
-- What the specs about outages of mod_fmuc share. f is a federation (federation.lua) whose users kev and bob are in the mirrored room.

local federation = require "federation";

local outages = {};

-- new(s, versions, { master = …, mirror = … }) -> federation.meet() with more lines of configuration for the services
function outages.new(s, versions, more)
	more = more or {};
	return federation.meet(s, versions, {
		master = federation.master_config .. "\t" .. (more.master or "") .. "\n";
		mirror = federation.mirror_config .. "\t" .. (more.mirror or "") .. "\n";
	});
end

-- phase(f) -> the state of the mirror's link, or "gone"
function outages.phase(f)
	return federation.with_link(f.remote, federation.mirror_room, [[return link and link.state or "gone"]]);
end

function outages.wait_until_live(s, f)
	s:wait_until(function () return outages.phase(f) == "live"; end, 25, "end of the outage");
end

-- settle(f): everything that was said before has arrived everywhere
function outages.settle(f)
	federation.say(f.kev, federation.mirror_room, "settled");
	for _, client in ipairs { f.kev, f.bob, f.curtis } do client:expect({ "message", body = "settled" }, 15); end
	f.curtis:sync();
end

-- said(client) -> list of what it was told; raises when there was anything but messages
function outages.said(client)
	local list = {};
	for _, stanza in ipairs(client:drain()) do
		if stanza.name ~= "message" or stanza.attr.type == "error" then error(client.jid .. " got what it should not: " .. tostring(stanza), 2); end
		if stanza:get_child("body") then list[#list + 1] = stanza:get_child_text("body"); end
	end
	return list;
end

-- unacknowledged(f) -> number of unacknowledged stanzas from the mirror to the master, and from the master to the mirror
function outages.unacknowledged(f)
	local mirror, master = "mirror.remote.example.com", "talk.example.com";
	return f.remote:unacknowledged(mirror, master), f.talk:unacknowledged(master, mirror);
end

-- is_away(presence) -> boolean, for patterns
function outages.is_away(presence)
	return presence:get_child_text("show") == "away";
end

return outages;
