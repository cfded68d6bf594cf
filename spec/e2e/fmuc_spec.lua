-- SPDX-License-Identifier: MIT
-- mod_fmuc, generation 1, stanza by stanza as in ProtoXEP 0.0.1: on the link and at each client. The names are the document's.

local bed = require "bed";
local st = require "util.stanza";

local master_room = "jabberchat@talk.example.com";
local mirror_room = "jabberchat\\40talk.example.com@mirror.remote.example.com";
local muc_user = "{http://jabber.org/protocol/muc#user}x";
local fmuc = "{http://isode.com/protocol/fmuc}fmuc";
local nomirror = "{http://isode.com/protocol/fmuc}nomirror";

local master_config = [[
VirtualHost "example.com"
Component "talk.example.com" "muc"
	modules_enabled = { "fmuc" }
]];

local mirror_config = [[
VirtualHost "remote.example.com"
Component "mirror.remote.example.com" "fmuc"
]];

local function join(room_jid, nick)
	return st.presence({ to = room_jid .. "/" .. nick; id = "join-" .. nick }):tag("x", { xmlns = "http://jabber.org/protocol/muc" }):up();
end

-- stanzas a client got since the last look, as short words: "presence R/Kev 110", "message R/Kev hello"
local function words(client, room_jid)
	local list = {};
	for _, stanza in ipairs(client:drain()) do
		local parts = { stanza.name };
		if stanza.attr.type and stanza.attr.type ~= "groupchat" then parts[#parts + 1] = stanza.attr.type; end
		parts[#parts + 1] = (stanza.attr.from:gsub(room_jid:gsub("%p", "%%%0"), "R"));
		local codes = {};
		local x = stanza:get_child("x", "http://jabber.org/protocol/muc#user");
		for status in (x or st.stanza("x")):childtags("status") do codes[#codes + 1] = status.attr.code; end
		table.sort(codes);
		table.move(codes, 1, #codes, #parts + 1, parts);
		local text = stanza:get_child_text("body") or stanza:get_child_text("subject");
		if text then parts[#parts + 1] = text; end
		list[#list + 1] = table.concat(parts, " ");
	end
	return list;
end

-- Two servers, the link between them, and the room with its owner Curtis in it
local function federation(s, versions, configs)
	configs = configs or {};
	local f = {};
	f.talk = s:node { version = versions.master; config = configs.master or master_config };
	f.remote = s:node { version = versions.mirror; config = configs.mirror or mirror_config };
	f.link = s:link(f.talk, f.remote);
	f.curtis = f.talk:client("curtis@example.com/Swift");
	f.curtis:send(join(master_room, "Curtis"));
	f.curtis:expect { "presence", has = muc_user .. "/status@code" };
	f.curtis:send(("<iq type='set' id='config' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
		.. "<x xmlns='jabber:x:data' type='submit'/></query></iq>"):format(master_room));
	f.curtis:expect { "iq", type = "result", id = "config" };
	f.curtis:sync();
	f.curtis:drain();
	f.kev = f.remote:client("kev@remote.example.com/Swift");
	function f.enter(client, nick)
		client:send(join(mirror_room, nick));
		return client:expect { "presence", from = mirror_room .. "/" .. nick; where = function (presence)
			return presence.attr.type == nil and presence:find(muc_user .. "/status@code") ~= nil;
		end };
	end
	return f;
end

local function topic(f, text)
	f.curtis:send(("<message type='groupchat' to='%s'><subject>%s</subject></message>"):format(master_room, text));
	f.curtis:expect { "message", has = "subject" };
end

local function say(client, room_jid, text, id)
	client:send(st.message({ type = "groupchat"; to = room_jid; id = id or "id-" .. text }):text_tag("body", text));
end

local pairings = {};
for version in bed.versions() do
	for other in bed.versions() do pairings[#pairings + 1] = { master = version; mirror = other }; end
end

for _, versions in ipairs(pairings) do
describe(("fmuc generation 1, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("joins: one copy on the link, XEP-0045 order at the client (M1 M3 M4 M5 M6 M7)", bed.scenario(function (s)
		local f = federation(s, versions);
		topic(f, "Jabber");
		say(f.curtis, master_room, "before");
		f.curtis:expect { "message", body = "before" };
		f.curtis:sync();
		f.curtis:drain();
		f.link:forget();

		f.kev:send(join(mirror_room, "Kev"));
		f.kev:expect { "presence", from = mirror_room .. "/Curtis" };
		local own = f.kev:expect { "presence", from = mirror_room .. "/Kev" };
		assert.equal("participant", own:find(muc_user .. "/item@role"));
		assert.equal("110", own:find(muc_user .. "/status@code"));
		local history = f.kev:expect { "message", body = "before", from = mirror_room .. "/Curtis" };
		assert.equal(mirror_room, history:find("{urn:xmpp:delay}delay@from"));
		f.kev:expect { "message", from = mirror_room .. "/Curtis", has = "subject" };

		local sent = f.link:sent(f.remote);
		assert.equal(1, #sent);
		assert.equal(mirror_room, sent[1].attr.from);
		assert.equal(master_room .. "/Kev", sent[1].attr.to);
		assert.equal(1, #sent[1].tags);
		assert.equal("kev@remote.example.com/Swift", sent[1]:find(fmuc .. "@from"));

		local seen = f.curtis:expect { "presence", from = master_room .. "/Kev" };
		assert.equal("kev@remote.example.com/Swift", seen:find(muc_user .. "/item@jid"));
		for _, stanza in ipairs(f.link:sent(f.talk)) do
			assert.equal(mirror_room, stanza.attr.to);
			assert.is_nil(stanza:find(fmuc));
		end
		local accepted = f.link:expect(f.talk, { "presence", from = master_room .. "/Kev" });
		assert.equal("none", accepted:find(muc_user .. "/item@affiliation"));
	end));
end);
end
