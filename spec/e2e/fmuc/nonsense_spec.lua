-- SPDX-License-Identifier: MIT
-- mod_fmuc against peers and clients that send anything: made of the elements it looks for, with values that are none. With a fixed seed
-- (FMUC_SEED for another; FMUC_ROUNDS for more of it). What counts is that no line in the log tells of an error, and that both ends work.

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local seed, rounds = tonumber(os.getenv("FMUC_SEED")) or 20, tonumber(os.getenv("FMUC_ROUNDS")) or 40;

local xmlns_fmuc, xmlns_muc_user = "http://isode.com/protocol/fmuc", "http://jabber.org/protocol/muc#user";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";

local mirror_config = [[
	fmuc_grace_period = 5
	fmuc_join_timeout = 3
	modules_enabled = { "muc_mam" }
Component "liar.remote.example.com"
	component_secret = "hush"
]];

local nicks = { "Imp", "Kev", "Bob", "Ghost", "Curtis", "a/b", "@", ("n"):rep(1000), "\u{5d0}", "" };
local values = { "", "0", "-1", "1e400", "nan", "x", "@@", "kev@remote.example.com/Swift", "imp@liar.remote.example.com/x",
	"imp2@liar.remote.example.com/x", fake_master.room, fake_master.mirror, "2001-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "now",
	"none", "owner", "moderator", "visitor", "100", "110", "301", "333", ("v"):rep(900) };
local namespaces = { xmlns_fmuc, "http://jabber.org/protocol/muc", "jabber:x:data", xmlns_stanzas, "urn:xmpp:reactions:0", "urn:xmpp:hints" };
local names = { "fmuc", "x", "item", "status", "destroy", "error", "subject", "body", "show", "history", "password", "invite", "decline",
	"actor", "reason", "item-not-found", "conflict", "gone", "remote-server-timeout", "not-acceptable", "feature", "identity", "hats", "thread" };
local attributes = { "from", "id", "by", "stamp", "jid", "nick", "role", "affiliation", "code", "to", "sent", "received", "seconds", "since",
	"maxstanzas", "bandwidth", "type", "var" };
local payloads = { { "fmuc", xmlns_fmuc }, { "nomirror", xmlns_fmuc }, { "x", xmlns_muc_user }, { "x", xmlns_muc_user }, { "x", xmlns_muc_user },
	{ "x", "http://jabber.org/protocol/muc" }, { "stanza-id", "urn:xmpp:sid:0" }, { "occupant-id", "urn:xmpp:occupant-id:0" },
	{ "delay", "urn:xmpp:delay" }, { "x", "vcard-temp:x:update" }, { "ping", "urn:xmpp:ping" }, { "vCard", "vcard-temp" },
	{ "query", "http://jabber.org/protocol/disco#info" } };
local types = { presence = { "error", "unavailable", "subscribe", "probe", "rubbish" };
	message = { "groupchat", "groupchat", "error", "chat", "normal" };
	iq = { "result", "error" } };
local kinds = { "presence", "presence", "message", "message", "iq" };

local function pick(list)
	return list[math.random(#list)];
end

local function fill(element, depth)
	for _ = 1, math.random(0, 3) do
		local payload = depth == 1 and math.random(2) == 1 and pick(payloads) or { pick(names), math.random(3) == 1 and pick(namespaces) or nil };
		local attr = { xmlns = payload[2] };
		for _ = 1, math.random(0, 3) do attr[pick(attributes)] = pick(values); end
		element:tag(payload[1], attr);
		if math.random(3) == 1 then element:text(pick(values)); end
		if depth < 3 then fill(element, depth + 1); end
		element:up();
	end
	return element;
end

local function nonsense(from, to)
	local kind = pick(kinds);
	local type = (kind == "iq" or math.random(2) == 1) and pick(types[kind]) or nil;
	return fill(st.stanza(kind, { from = from; to = to; type = type; id = pick { "1", "2", "x" } }), 1);
end

local function address(room)
	local nick = pick(nicks);
	return nick == "" and room or room .. "/" .. nick;
end

local function bring_imp(liar)
	liar:send(st.presence({ from = lair; to = federation.master_room .. "/Imp" })
		:tag("fmuc", { xmlns = xmlns_fmuc; from = "imp@liar.remote.example.com/x" }):up());
end

-- Now and then the master answers what it is asked
local function answer(fake)
	for _, asked in ipairs(fake:drain()) do
		local is_heard = math.random(3) > 1;
		if is_heard and asked.name == "presence" and asked.attr.type == nil then
			fake:send(fake_master.presence(asked.attr.to:match("/(.*)"), asked.attr.id));
			fake:send(fake_master.subject());
		elseif is_heard and asked.name == "iq" and asked.attr.type == "get" then
			fake:send(fill(st.reply(asked), 1));
		end
	end
end

for version in bed.versions() do
describe("fmuc and nonsense, Prosody " .. version, function ()
	it("survives it, seed " .. seed .. " (G19 M19)", bed.scenario(function (s)
		local f = fake_master.new(s, { master = version; mirror = version }, federation.believing_config .. mirror_config);
		fake_master.admit(f, f.kev, "Kev");
		local bob, liar = f.remote:client("bob@remote.example.com/x"), f.remote:component("liar.remote.example.com", "hush");
		math.randomseed(seed);
		for _ = 1, rounds do
			for _ = 1, 40 do
				f.fake:send(nonsense(address(fake_master.room), address(fake_master.mirror)));
				liar:send(nonsense(pick { address(lair), lair }, address(federation.master_room)));
				f.kev:send(nonsense(nil, address(fake_master.mirror)));
			end
			answer(f.fake);
			f.kev:send(federation.join(fake_master.mirror, "Kev"));
			bob:send(federation.join(fake_master.mirror, pick { "Bob", "Kev" }));
			bring_imp(liar);
			for _, client in ipairs { f.kev, bob, f.curtis } do
				client:sync();
				client:drain();
			end
			liar:drain();
		end
		f.remote:allow_log("presences that are too long");
		f.curtis:sync();
		federation.enter(f.remote:client("ann@remote.example.com/x"), "Ann");
		f.curtis:expect { "presence", from = federation.master_room .. "/Ann" };
	end));

	it("survives an error that answers the master's own private message (G12)", bed.scenario(function (s)
		local f = fake_master.new(s, { master = version; mirror = version });
		fake_master.admit(f, f.kev, "Kev");
		local message = st.message({ from = fake_master.room .. "/Kev"; to = fake_master.mirror .. "/Kev"; type = "chat"; id = "1" }):text_tag("body", "x");
		f.fake:send(message);
		f.kev:expect { "message", body = "x" };
		f.fake:send(st.message({ from = message.attr.from; to = message.attr.to; type = "error"; id = "1" })
			:tag("error", { type = "cancel" }):tag("gone", { xmlns = xmlns_stanzas }));
		f.fake:send(fake_master.message("Alice", "still here"));
		f.kev:expect { "message", body = "still here" };
	end));
end);
end
