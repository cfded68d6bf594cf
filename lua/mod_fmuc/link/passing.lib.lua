-- SPDX-License-Identifier: MIT
-- What is said for the moment only (XEP-0085): that somebody is typing, or has stopped to. After an outage it is not true any more.

local passing = {
	["http://jabber.org/protocol/chatstates"] = true;
	-- what goes along with anything
	[lib "dialect/generation1".xmlns] = true;
	["urn:xmpp:hints"] = true;
	["urn:xmpp:sid:0"] = true;
	["urn:xmpp:occupant-id:0"] = true;
};

-- is_passing(stanza) -> whether a message says no more than that
return function (stanza)
	for _, child in ipairs(stanza.tags) do
		if not passing[child.attr.xmlns] and child.name ~= "thread" then return false; end
	end
	return true;
end;
