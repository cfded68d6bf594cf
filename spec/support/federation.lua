-- SPDX-License-Identifier: MIT
-- What the specs of mod_fmuc share: the servers, the room and the users of ProtoXEP 0.0.1, and short ways to say what they do.

local bed = require "bed";
local st = require "util.stanza";

local federation = {
	master_room = "jabberchat@talk.example.com";
	mirror_room = "jabberchat\\40talk.example.com@mirror.remote.example.com";
	-- paths for stanza:find
	muc_user = "{http://jabber.org/protocol/muc#user}x";
	fmuc = "{http://isode.com/protocol/fmuc}fmuc";
	nomirror = "{http://isode.com/protocol/fmuc}nomirror";
	master_config = [[
VirtualHost "example.com"
Component "talk.example.com" "muc"
	modules_enabled = { "fmuc" }
]];
	mirror_config = [[
VirtualHost "remote.example.com"
Component "mirror.remote.example.com" "fmuc"
]];
};

-- for a mirrored room whose server does not announce that it can be mirrored
federation.believing_config = federation.mirror_config .. "\tfmuc_allow_masters = { \"talk.example.com\", \"fake.example.com\" }\n";

local xmlns_muc = "http://jabber.org/protocol/muc";

-- pairings() -> list of { master = version, mirror = version }, every combination of the versions under test
function federation.pairings()
	local pairings = {};
	for version in bed.versions() do
		for other in bed.versions() do pairings[#pairings + 1] = { master = version; mirror = other }; end
	end
	return pairings;
end

-- crossings() -> as pairings(), each version once in each role, with the other where there are two
function federation.crossings()
	local list = {};
	for _, versions in ipairs(federation.pairings()) do
		if versions.master ~= versions.mirror then list[#list + 1] = versions; end
	end
	return #list > 0 and list or federation.pairings();
end

-- join(room_jid, nick) -> join presence with id join-NICK
function federation.join(room_jid, nick)
	return st.presence({ to = room_jid .. "/" .. nick; id = "join-" .. nick }):tag("x", { xmlns = xmlns_muc }):up();
end

function federation.say(client, room_jid, text, id)
	client:send(st.message({ type = "groupchat"; to = room_jid; id = id or "id-" .. text }):text_tag("body", text));
end

-- new(s, versions, [configs]) -> f: the servers talk and remote, their link, the client curtis (in his room), the client kev
-- configs: { master = …, mirror = … } instead of the usual ones; { global = …, modules = … } of both servers, as s:node takes them
function federation.new(s, versions, configs)
	configs = configs or {};
	local f = {};
	local function server(version, config)
		return s:node { version = version; config = config; global = configs.global; modules = configs.modules };
	end
	f.talk = server(versions.master, configs.master or federation.master_config);
	f.remote = server(versions.mirror, configs.mirror or federation.mirror_config);
	f.link = s:link(f.talk, f.remote);
	f.curtis = f.talk:client("curtis@example.com/Swift");
	federation.open_room(f, federation.master_room);
	f.kev = f.remote:client("kev@remote.example.com/Swift");
	return f;
end

-- open_room(f, room_jid): Curtis makes a room
function federation.open_room(f, room_jid)
	f.curtis:send(federation.join(room_jid, "Curtis"));
	f.curtis:expect { "presence", from = room_jid .. "/Curtis" };
	f.curtis:send(("<iq type='set' id='config' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
		.. "<x xmlns='jabber:x:data' type='submit'/></query></iq>"):format(room_jid));
	f.curtis:expect { "iq", type = "result", id = "config" };
	f.curtis:sync();
	f.curtis:drain();
end

-- enter(client, nick, [room_jid]) -> self-presence of the client, which joined the mirrored room
function federation.enter(client, nick, room_jid)
	room_jid = room_jid or federation.mirror_room;
	client:send(federation.join(room_jid, nick));
	return client:expect { "presence", type = false; from = room_jid .. "/" .. nick; has = federation.muc_user .. "/status@code" };
end

-- add(f, name, [resource]) -> client NAME@remote.example.com, which is also f.NAME, in the mirrored room as Name
function federation.add(f, name, resource)
	local client = f.remote:client(name .. "@remote.example.com/" .. (resource or "Gajim"));
	federation.enter(client, name:sub(1, 1):upper() .. name:sub(2));
	client:expect { "message", has = "subject" };
	f[name] = f[name] or client;
	return client;
end

-- meet(s, versions, [configs]) -> as new(), with the clients kev and bob in the mirrored room, and everything until then forgotten
function federation.meet(s, versions, configs)
	local f = federation.new(s, versions, configs);
	federation.enter(f.kev, "Kev");
	f.kev:expect { "message", has = "subject" };
	federation.add(f, "bob");
	f.curtis:expect { "presence", from = federation.master_room .. "/Bob" };
	federation.forget(f);
	return f;
end

-- forget(f): what everybody got and what crossed the link until now
function federation.forget(f)
	for _, client in ipairs { f.curtis, f.kev, f.bob } do
		client:sync();
		client:drain();
	end
	f.link:forget();
end

-- with_link(node, room_jid, code) -> what the Lua code returns. The code runs in the node and sees the link of that room as `link` (or nil).
function federation.with_link(node, room_jid, code)
	return node:eval(([[
		local link;
		for one in prosody.hosts[%q].modules.fmuc.lib "link/link".each() do
			if one.room_jid == %q then link = one; end
		end
		%s
	]]):format(room_jid:match("@(.*)$"), room_jid, code));
end

-- expire(node, host, name): the deadlines of that pending table of mod_fmuc pass (name: key of its module.save())
function federation.expire(node, host, name)
	node:eval(([[
		local due = prosody.hosts[%q].modules.fmuc.module.save()[%q].due;
		for key in pairs(due) do due[key] = 0; end -- counts when the next instance takes the table over
	]]):format(host, name));
	node:reload("fmuc", host);
end

-- codes(presence) -> its status codes in order, joined by spaces
function federation.codes(presence)
	local list = {};
	local x = presence:get_child("x", "http://jabber.org/protocol/muc#user");
	for status in (x or st.stanza("x")):childtags("status") do list[#list + 1] = status.attr.code; end
	table.sort(list);
	return table.concat(list, " ");
end

-- topic(f, text): Curtis sets the subject
function federation.topic(f, text)
	f.curtis:send(("<message type='groupchat' to='%s'><subject>%s</subject></message>"):format(federation.master_room, text));
	f.curtis:expect { "message", has = "subject" };
end

-- configure(f, code): runs code on the master, where `room` is the room
function federation.configure(f, code)
	return f.talk:eval(([[
		local room = prosody.hosts["talk.example.com"].modules.muc.get_room_from_jid(%q);
		%s
		return true;
	]]):format(federation.master_room, code));
end

-- words(client, room_jid) -> what the client got since the last look, as short words: "presence R/Kev 110", "message R/Kev hello"
function federation.words(client, room_jid)
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

-- stanza_ids(stanza) -> { [by] = id }, each by once
function federation.stanza_ids(stanza)
	local ids = {};
	for child in stanza:childtags("stanza-id", "urn:xmpp:sid:0") do
		assert(ids[child.attr.by] == nil, "two stanza-ids of " .. child.attr.by);
		ids[child.attr.by] = child.attr.id;
	end
	return ids;
end

-- archive(client, room_jid) -> list of "id text" of the room's archive, at most 50, the oldest first
function federation.archive(client, room_jid)
	client:send(("<iq type='set' id='mam' to='%s'><query xmlns='urn:xmpp:mam:2'>"
		.. "<set xmlns='http://jabber.org/protocol/rsm'><max>50</max></set></query></iq>"):format(room_jid));
	client:expect { "iq", id = "mam", type = "result" };
	local list = {};
	for _, stanza in ipairs(client:drain()) do
		local result = stanza:get_child("result", "urn:xmpp:mam:2");
		local message = result and result:find("{urn:xmpp:forward:0}forwarded/{jabber:client}message");
		if message then list[#list + 1] = result.attr.id .. " " .. (message:get_child_text("body") or message.tags[1].name); end
	end
	return list;
end

-- error_condition(stanza) -> its defined condition
function federation.error_condition(stanza)
	return (select(2, stanza:get_error()));
end

-- is_empty(node, host) -> whether that MUC service has no room in memory
function federation.is_empty(node, host)
	return node:eval(([[return prosody.hosts[%q].modules.muc.live_rooms()() == nil]]):format(host));
end

return federation;
