-- SPDX-License-Identifier: MIT
-- A room of a service that says what it likes, for the specs of mod_fmuc: an XEP-0114 component beside the master.

local federation = require "federation";
local st = require "util.stanza";

local fake_master = {
	config = federation.master_config .. "Component \"fake.example.com\"\n\tcomponent_secret = \"hush\"\n";
	room = "room@fake.example.com";
	mirror = "room\\40fake.example.com@mirror.remote.example.com";
};

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local room, mirror = fake_master.room, fake_master.mirror;

-- new(s, versions, [mirror_config]) -> as federation.new, with f.fake, the component
function fake_master.new(s, versions, mirror_config)
	local f = federation.new(s, versions, { master = fake_master.config; mirror = mirror_config or federation.believing_config });
	f.fake = f.talk:component("fake.example.com", "hush");
	return f;
end

-- presence(nick, [id], [type], [codes], [item]) -> presence of an occupant; nick may be nil; codes: list; item: attributes
function fake_master.presence(nick, id, type, codes, item)
	local presence = st.presence({ from = nick and room .. "/" .. nick or room; to = mirror; id = id; type = type })
		:tag("x", { xmlns = xmlns_muc_user })
			:tag("item", item or { affiliation = "none"; role = type and "none" or "participant" }):up();
	for _, code in ipairs(codes or {}) do presence:tag("status", { code = code }):up(); end
	return presence:up();
end

-- message([nick], text, [id]) -> groupchat message
function fake_master.message(nick, text, id)
	return st.message({ from = nick and room .. "/" .. nick or room; to = mirror; type = "groupchat"; id = id }):text_tag("body", text);
end

-- describe(f, features): answers the mirror's question for the room
function fake_master.describe(f, features)
	local reply = st.reply(f.fake:expect { "iq", type = "get", has = "{http://jabber.org/protocol/disco#info}query" })
		:tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }):tag("identity", { category = "conference"; type = "text" }):up();
	for _, feature in ipairs(features) do reply:tag("feature", { var = feature }):up(); end
	f.fake:send(reply);
end

-- answer_ping(f): the room answers a ping of the mirror; a room of another implementation has only errors for it
function fake_master.answer_ping(f)
	local ping = f.fake:expect { "iq", type = "get", has = "{urn:xmpp:ping}ping" };
	f.fake:send(st.error_reply(ping, "cancel", "service-unavailable"));
end

-- subject() -> the empty subject of the room, which ends what a mirror is sent first
function fake_master.subject()
	return st.message({ from = room; to = mirror; type = "groupchat" }):text_tag("subject", "");
end

-- ask(f, client, nick, [features]) -> the join of the client as the master gets it; features: what describe() gives for the first user
function fake_master.ask(f, client, nick, features)
	client:send(federation.join(mirror, nick));
	if features then fake_master.describe(f, features); end
	return f.fake:expect { "presence", type = false, to = room .. "/" .. nick };
end

-- admit(f, client, nick, [codes], [features]) -> the client's self-presence. Takes the client in; the room has no other history than its
-- empty subject. codes: of that presence; features: as for ask()
function fake_master.admit(f, client, nick, codes, features)
	f.fake:send(fake_master.presence(nick, fake_master.ask(f, client, nick, features).attr.id, nil, codes));
	f.fake:send(fake_master.subject());
	local own = client:expect { "presence", from = mirror .. "/" .. nick, has = federation.muc_user .. "/status" };
	client:expect { "message", has = "subject" };
	return own;
end

-- lose(f): the mirror is in an outage that does not end, while the fake master can be heard
function fake_master.lose(f)
	federation.with_link(f.remote, fake_master.mirror, [[
		link:fire("broken");
		local own = link:own("outage");
		own.held, own.lost_at = {}, link.heard;
		link.asked = { kind = "probe"; id = "none"; at = link.heard; sent = 0; patience = 1 };
	]]);
end

return fake_master;
