-- SPDX-License-Identifier: MIT
-- A room that no mirror is in, on a service with mod_fmuc: the same sessions of the same users get the same stanzas, byte for byte, as on a
-- service without it. Stamps, generated identifiers and what Prosody puts into any order apart; equal identifiers are to be equal in both.

local bed = require "bed";
local federation = require "federation";
local st = require "util.stanza";

local config = [[
	VirtualHost "example.com"
	Component "plain.example.com" "muc"
		modules_enabled = { "muc_mam" }
	Component "mirrored.example.com" "muc"
		modules_enabled = { ORDER }
]];

local function escape(text)
	return (text:gsub("[&<>']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ["'"] = "&apos;" }));
end

local function canonical(element)
	local attributes = {};
	for name, value in pairs(element.attr) do attributes[#attributes + 1] = (" %s='%s'"):format(name, escape(value)); end
	table.sort(attributes);
	local children = {};
	for i, child in ipairs(element) do children[i] = type(child) == "table" and canonical(child) or escape(child); end
	if element.attr.xmlns == "jabber:x:data" and element.name == "x" then table.sort(children); end -- which differs without any module, too
	return ("<%s%s>%s</%s>"):format(element.name, table.concat(attributes), table.concat(children), element.name);
end

-- Any room may federate with others, so its configuration form has more fields.
local function take_out_federation(stanza)
	local form = stanza:find("{http://jabber.org/protocol/muc#owner}query/{jabber:x:data}x");
	if not form then return; end
	form:maptags(function (field)
		local is_ours = (field.attr.var or ""):find("^fmuc#") or field:get_child_text("value") == "Federation";
		return not is_ours and field or nil;
	end);
end

-- A log of what each user got, in which generated identifiers have numbers
local function new_log(host)
	local numbers, count = {}, 0;
	local function number(element)
		local id = element.attr.id;
		if id and not id:find("^c%-") and not numbers[id] then
			count = count + 1;
			numbers[id] = "#" .. count;
		end
		for _, child in ipairs(element.tags) do number(child); end
	end
	local function normalise(stanza)
		take_out_federation(stanza);
		number(stanza);
		local text = canonical(stanza):gsub(host:gsub("%p", "%%%0"), "HOST"):gsub("%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z", "STAMP")
			:gsub("stamp='%d+T[%d:]+'", "stamp='STAMP'");
		for id, name in pairs(numbers) do text = text:gsub(id:gsub("%p", "%%%0"), name); end
		return text;
	end
	-- who is in the room already comes in any order
	return function (lines, who, step, stanzas)
		local others = {};
		local function flush()
			table.sort(others);
			table.move(others, 1, #others, #lines + 1, lines);
			others = {};
		end
		table.sort(stanzas, function (a, b) return a.order < b.order; end);
		for _, stanza in ipairs(stanzas) do
			local line = ("%s, %s: %s"):format(step, who, normalise(stanza.stanza));
			if stanza.stanza.name == "presence" and not line:find("code='110'", 1, true) then
				others[#others + 1] = line;
			else
				flush();
				lines[#lines + 1] = line;
			end
		end
		flush();
	end
end

local function presence(to, type)
	return st.presence({ to = to; type = type; id = "c-presence" });
end

local function groupchat(to, text, id)
	return st.message({ to = to; type = "groupchat"; id = id or "c-" .. text }):text_tag("body", text);
end

local function query(to, type, kind)
	return st.iq({ to = to; type = type; id = "c-" .. kind }):tag("query", { xmlns = "http://jabber.org/protocol/muc#" .. kind });
end

local function admin(to, item)
	return query(to, "set", "admin"):tag("item", item):up();
end

local function configure(to, fields)
	local form = query(to, "set", "owner"):tag("x", { xmlns = "jabber:x:data"; type = "submit" })
		:tag("field", { var = "FORM_TYPE" }):text_tag("value", "http://jabber.org/protocol/muc#roomconfig"):up();
	for var, value in pairs(fields) do form:tag("field", { var = "muc#roomconfig_" .. var }):text_tag("value", value):up(); end
	return form;
end

-- { name, user, stanza (room) } in the order in which they happen
local steps = {
	{ "enters a new room", "alice"; function (room) return federation.join(room, "Alice"); end };
	{ "looks at the configuration", "alice"; function (room) return query(room, "get", "owner"); end };
	{ "unlocks it", "alice"; function (room) return configure(room, { roomname = "Den"; whois = "moderators" }); end };
	{ "speaks", "alice"; function (room) return groupchat(room, "one"); end };
	{ "speaks from outside", "bob"; function (room) return groupchat(room, "let me in"); end };
	{ "enters with history", "bob"; function (room) return federation.join(room, "Bob"); end };
	{ "takes a taken nick", "carol"; function (room) return federation.join(room, "Bob"); end };
	{ "enters without a nick", "carol"; function (room)
		return st.presence({ to = room; id = "c-nonick" }):tag("x", { xmlns = "http://jabber.org/protocol/muc" }); end };
	{ "enters", "carol"; function (room) return federation.join(room, "Carol"); end };
	{ "enters again", "carol"; function (room) return federation.join(room, "Carol"); end };
	{ "reacts", "bob"; function (room)
		return st.message({ to = room; type = "groupchat"; id = "c-r" }):tag("reactions", { xmlns = "urn:xmpp:reactions:0"; id = "c-one" })
			:text_tag("reaction", "+"):up(); end };
	{ "speaks with forged marks", "bob"; function (room)
		return groupchat(room, "forged"):tag("stanza-id", { xmlns = "urn:xmpp:sid:0"; by = room; id = "c-sid" }):up()
			:tag("occupant-id", { xmlns = "urn:xmpp:occupant-id:0"; id = "c-oid" }):up()
			:tag("delay", { xmlns = "urn:xmpp:delay"; from = room; stamp = "2001-01-01T00:00:00Z" }):up(); end };
	{ "sets the subject", "alice"; function (room)
		return st.message({ to = room; type = "groupchat"; id = "c-subject" }):text_tag("subject", "Cats"); end };
	{ "may not set the subject", "bob"; function (room)
		return st.message({ to = room; type = "groupchat"; id = "c-no" }):text_tag("subject", "Dogs"); end };
	{ "whispers", "bob"; function (room) return st.message({ to = room .. "/Alice"; type = "chat"; id = "c-pm" }):text_tag("body", "psst"); end };
	{ "whispers to nobody", "bob"; function (room) return st.message({ to = room .. "/X"; type = "chat"; id = "c-x" }):text_tag("body", "?"); end };
	{ "speaks to an occupant's address", "bob"; function (room) return groupchat(room .. "/Alice", "wrong"); end };
	{ "pings itself", "bob"; function (room)
		return st.iq({ to = room .. "/Bob"; type = "get"; id = "c-ping" }):tag("ping", { xmlns = "urn:xmpp:ping" }); end };
	{ "goes away", "bob"; function (room) return presence(room .. "/Bob"):text_tag("show", "away"); end };
	{ "tells the room", "bob"; function (room) return presence(room):text_tag("show", "xa"); end };
	{ "changes nick", "bob"; function (room) return presence(room .. "/Robert"); end };
	{ "changes to a taken nick", "bob"; function (room) return presence(room .. "/Alice"); end };
	{ "asks for the lists", "alice"; function (room) return query(room, "get", "admin"):tag("item", { affiliation = "owner" }); end };
	{ "makes it moderated", "alice"; function (room) return configure(room, { moderatedroom = "1" }); end };
	{ "takes the voice", "alice"; function (room) return admin(room, { nick = "Carol"; role = "visitor" }); end };
	{ "has no voice", "carol"; function (room) return groupchat(room, "mute"); end };
	{ "asks for voice", "carol"; function (room)
		return st.message({ to = room; id = "c-voice" }):tag("x", { xmlns = "jabber:x:data"; type = "submit" })
			:tag("field", { var = "FORM_TYPE" }):text_tag("value", "http://jabber.org/protocol/muc#request"):up()
			:tag("field", { var = "muc#role" }):text_tag("value", "participant"):up(); end };
	{ "may not kick", "carol"; function (room) return admin(room, { nick = "Alice"; role = "none" }); end };
	{ "kicks", "alice"; function (room) return admin(room, { nick = "Robert"; role = "none" }); end };
	{ "comes back", "bob"; function (room) return federation.join(room, "Bob"); end };
	{ "bans", "alice"; function (room) return admin(room, { jid = "carol@example.com"; affiliation = "outcast" }); end };
	{ "is banned", "carol"; function (room) return federation.join(room, "Carol"); end };
	{ "forgives", "alice"; function (room) return admin(room, { jid = "carol@example.com"; affiliation = "none" }); end };
	{ "makes it members-only with a password", "alice"; function (room)
		return configure(room, { membersonly = "1"; passwordprotectedroom = "1"; roomsecret = "x" }); end };
	{ "is no member", "carol"; function (room) return federation.join(room, "Carol"); end };
	{ "asks to register", "carol"; function (room)
		return st.iq({ to = room; type = "get"; id = "c-register" }):tag("query", { xmlns = "jabber:iq:register" }); end };
	{ "invites", "alice"; function (room)
		return st.message({ to = room; id = "c-invite" }):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" })
			:tag("invite", { to = "carol@example.com" }):text_tag("reason", "come"); end };
	{ "registers", "carol"; function (room)
		return st.iq({ to = room; type = "set"; id = "c-register2" }):tag("query", { xmlns = "jabber:iq:register" })
			:tag("x", { xmlns = "jabber:x:data"; type = "submit" })
				:tag("field", { var = "FORM_TYPE" }):text_tag("value", "http://jabber.org/protocol/muc#register"):up()
				:tag("field", { var = "muc#register_roomnick" }):text_tag("value", "Caro"):up(); end };
	{ "opens it again", "alice"; function (room)
		return configure(room, { membersonly = "0"; passwordprotectedroom = "0"; moderatedroom = "0"; roomsecret = ""; whois = "anyone" }); end };
	{ "enters under the registered nick", "carol"; function (room) return federation.join(room, "Caro"); end };
	{ "cannot deliver", "carol"; function (room)
		return st.message({ to = room .. "/Alice"; type = "error"; id = "c-error" }):tag("error", { type = "cancel" })
			:tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }); end };
	{ "looks into the archive", "bob"; function (room)
		return st.iq({ to = room; type = "set"; id = "c-mam" }):tag("query", { xmlns = "urn:xmpp:mam:2" }); end };
	{ "lists the occupants", "bob"; function (room)
		return st.iq({ to = room; type = "get"; id = "c-items" }):tag("query", { xmlns = "http://jabber.org/protocol/disco#items" }); end };
	{ "makes an owner", "alice"; function (room) return admin(room, { jid = "bob@example.com"; affiliation = "owner" }); end };
	{ "leaves", "alice"; function (room) return presence(room .. "/Alice", "unavailable"):text_tag("status", "bye"); end };
	{ "destroys it", "bob"; function (room)
		return query(room, "set", "owner"):tag("destroy", { jid = "elsewhere@example.com" }):text_tag("reason", "flood"); end };
	{ "finds it gone", "carol"; function (room) return groupchat(room, "anybody?"); end };
};

-- run(clients, host, [before]) -> what everybody got, a list of lines
local function run(clients, host, before)
	local room, lines, log = "den@" .. host, {}, new_log(host);
	for index, step in ipairs(steps) do
		local name, actor, stanza = step[1], clients[step[2]], step[3];
		actor:send(stanza(room));
		actor:sync();
		if before and index == 3 then before(room); end
		for _, who in ipairs { "alice", "bob", "carol" } do
			clients[who]:sync();
			local got = clients[who]:drain();
			for i, received in ipairs(got) do got[i] = { order = i; stanza = received }; end
			log(lines, who, step[2] .. " " .. name, got);
		end
	end
	return lines;
end

local function enter_all(node)
	local clients = {};
	for _, who in ipairs { "alice", "bob", "carol" } do clients[who] = node:client(who .. "@example.com/x"); end
	return clients;
end

for version in bed.versions() do
describe("fmuc without mirrors, Prosody " .. version, function ()
	for order, modules in pairs { ["before muc_mam"] = [["fmuc", "muc_mam"]]; ["after muc_mam"] = [["muc_mam", "fmuc"]] } do
		it("leaves rooms as they are, loaded " .. order .. " (M5)", bed.scenario(function (s)
			local node = s:node { version = version; config = (config:gsub("ORDER", modules)) };
			local clients = enter_all(node);
			local expected, got = run(clients, "plain.example.com"), run(clients, "mirrored.example.com");
			assert.is_true(#expected > 100, #expected);
			for i, line in ipairs(expected) do assert.equal(line, got[i]); end
			assert.equal(#expected, #got);
		end));
	end

	it("leaves a room as it was when the last mirror has left (M15)", bed.scenario(function (s)
		local node = s:node { version = version; config = (config:gsub("ORDER", [["muc_mam", "fmuc"]])) };
		local remote = s:node { version = version; config = federation.mirror_config };
		local clients, kev = enter_all(node), remote:client("kev@remote.example.com/x");
		local expected = run(clients, "plain.example.com");
		local got = run(clients, "mirrored.example.com", function (room)
			local mirror = room:gsub("@", "\\40") .. "@mirror.remote.example.com";
			federation.enter(kev, "Kev", mirror);
			kev:send(st.presence({ type = "unavailable"; to = mirror .. "/Kev" }));
			clients.alice:expect { "presence", from = room .. "/Kev" };
			clients.alice:expect { "presence", type = "unavailable", from = room .. "/Kev" };
		end);
		for i, line in ipairs(expected) do assert.equal(line, got[i]); end
		assert.equal(#expected, #got);
	end));

	it("announces itself and what it adds, nothing else (M29)", bed.scenario(function (s)
		local node = s:node { version = version; config = (config:gsub("ORDER", [["fmuc", "muc_mam"]])) };
		local alice = node:client("alice@example.com/x");
		local features = {};
		for _, host in ipairs { "plain.example.com", "mirrored.example.com" } do
			alice:send(federation.join("den@" .. host, "Alice"));
			alice:expect { "presence", from = "den@" .. host .. "/Alice" };
			alice:send(configure("den@" .. host, {}));
			alice:expect { "iq", id = "c-owner" };
			alice:send(st.iq({ type = "get"; to = "den@" .. host; id = "c-disco" }):tag("query", { xmlns = "http://jabber.org/protocol/disco#info" }));
			features[host] = {};
			local answer = alice:expect { "iq", id = "c-disco" };
			for feature in answer:get_child("query", "http://jabber.org/protocol/disco#info"):childtags("feature") do
				features[host][feature.attr.var] = true;
			end
		end
		local more = {};
		for var in pairs(features["mirrored.example.com"]) do
			if not features["plain.example.com"][var] then more[#more + 1] = var; end
			features["plain.example.com"][var] = nil;
		end
		assert.is_nil(next(features["plain.example.com"]));
		table.sort(more);
		assert.same({ "http://isode.com/protocol/fmuc", "urn:x-prosody-relay:fmuc:private:0" }, more);
	end));
end);
end
