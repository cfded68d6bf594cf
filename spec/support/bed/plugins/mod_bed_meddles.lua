-- SPDX-License-Identifier: MIT
-- Another module that changes what rooms send. Only the test bed loads it, on components of rooms and on the hosts of users.
-- In the shared table "/*/bed_meddles/api", .active is the name of the event or filter at which it adds <meddled/> to each stanza, or nil. The
-- element says to whom the stanza goes.

local filters = require "util.filters";
local st = require "util.stanza";

local api = module:shared "/*/bed_meddles/api";

local function meddled(stanza)
	return stanza:tag("meddled", { xmlns = "urn:test:meddled"; to = stanza.attr.to }):up();
end

local function is_of_room(stanza)
	return (stanza.attr.from or ""):find("@rooms%.") ~= nil;
end

-- a copy for each recipient, as the object is not this module's own
for _, name in ipairs { "message/full", "presence/full" } do
	module:hook(name, function (event)
		if api.active == name and is_of_room(event.stanza) then event.stanza = meddled(st.clone(event.stanza)); end
	end, 10);
end

-- the room's own stanza, before it goes to all
for _, name in ipairs { "muc-broadcast-message", "muc-broadcast-presence", "muc-build-occupant-presence", "muc-occupant-groupchat" } do
	module:hook(name, function (event)
		if api.active == name then meddled(event.stanza); end
	end, 10);
end

if prosody.hosts[module.host].type == "local" then
	filters.add_filter_hook(function (session)
		filters.add_filter(session, "stanzas/out", function (stanza)
			if api.active ~= "stanzas/out" or stanza.attr == nil or not is_of_room(stanza) then return stanza; end
			return meddled(st.clone(stanza));
		end);
	end);
end
