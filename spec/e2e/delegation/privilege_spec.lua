-- SPDX-License-Identifier: MIT
-- mod_delegation beside the community's mod_privilege (XEP-0356), which is not part of this project (D17, R6).

local bed = require "bed";
local delegation = require "delegation_bed";

-- Debian's package is made for 0.12; this one module of it works with 13.0 as well
local plugins = { "/usr/lib/prosody/modules/mod_privilege" };

local function start(s, version, delegations)
	local node = delegation.server(s, version, delegations, {
		modules = { "privilege", "private" }; plugins = plugins; component = [[modules_enabled = { "privilege" }]];
		host = [[privileged_entities = {
			["ent.capulet.lit"] = { iq = { ["jabber:iq:private"] = "both", ["urn:x:delegated"] = "both", ["urn:x:other"] = "both",
				["http://jabber.org/protocol/disco#items"] = "both" } },
			["other.capulet.lit"] = { iq = { ["jabber:iq:private"] = "both" } },
		}]];
		hosts = [[Component "other.capulet.lit" component_secret = "hush" modules_enabled = { "privilege" }]];
	});
	node:allow_log("This mod_privilege tells an entity one of its IQ permissions only"); -- E12
	return node;
end

-- sends a request in the name of juliet; payload: text
local function privileged(entity, id, type, payload, to)
	entity:send(([[<iq from='%s' to='juliet@capulet.lit' id='%s' type='%s'><privileged_iq xmlns='urn:xmpp:privilege:2'>
		<iq xmlns='jabber:client' type='%s' id='inner%s'%s>%s</iq></privileged_iq></iq>]]):format(entity.host, id, type, type, id,
		to and " to='"..to.."'" or "", payload));
end

-- the answer to a privileged request, as the user would have got it
local function expect_privileged(entity, id)
	return entity:expect { "iq", id = id, type = "result", has = "{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq" }
		:find "{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq";
end

-- A module like mod_privilege that takes its time: it keeps what ent.capulet.lit wraps until release() routes it as juliet's own
local slow_privilege = [[
	module:context("capulet.lit"):hook("iq/bare/urn:xmpp:privilege:2:privileged_iq", function (event)
		if event.stanza.attr.from ~= "ent.capulet.lit" then return; end
		prosody.bed_wrapped = event.stanza.tags[1].tags[1];
		return true;
	end, 5);
]];
local function release(node)
	node:eval [[
		local wrapped = prosody.bed_wrapped;
		wrapped.attr.from, wrapped.attr.xmlns = "juliet@capulet.lit", nil;
		prosody.core_post_stanza({ username = "juliet"; host = "capulet.lit"; full_jid = "juliet@capulet.lit"; type = "c2s"; send = function () end;
			log = function () end }, wrapped);
	]];
end

-- Bytes of the server's heap that are in use
local function heap(node)
	return node:eval [[ collectgarbage() collectgarbage() return collectgarbage("count") * 1024 ]];
end

local notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:x:n'>%s</notes></query>";

for version in bed.versions() do
describe("delegation and privilege on Prosody "..version, function ()
	it("give requests that the entity sends for a user to the server, not back to the entity (D17, R6)", bed.scenario(function (s)
		local capulet = start(s, version, [[ ["jabber:iq:private"] = { jid = "ent.capulet.lit" } ]]);
		local entity, juliet = delegation.entity(capulet), capulet:client("juliet@capulet.lit/balcony");
		-- the filter of roster items in section 4.3.1 of the XEP: the user's request comes first, and waits
		local id = delegation.request(juliet, "jabber:iq:private");
		local outer, inner = delegation.forwarded(entity);
		privileged(entity, "set", "set", notes:format("swear not"));
		assert.equal("result", expect_privileged(entity, "set").attr.type);
		for _, to in ipairs { false, "juliet@capulet.lit" } do
			privileged(entity, "get", "get", notes:format(""), to or nil);
			assert.equal("swear not", expect_privileged(entity, "get"):find("{jabber:iq:private}query/{urn:x:n}notes#"));
		end
		entity:expect_none({ "iq", type = "set" }, 0.1);
		delegation.answer(entity, outer, inner);
		juliet:expect { "iq", id = id, has = "{urn:x:done}done" };
		-- the user's own requests are delegated as before, also with the same id
		delegation.request(juliet, "jabber:iq:private", { id = "innerget" });
		delegation.forwarded(entity);
	end));

	it("give service discovery that the entity sends for a user to the server, though the rest of it is delegated (D17, D26)", bed.scenario(function (s)
		local capulet = start(s, version, [[ ["urn:xmpp:delegation:2:bare:disco#items:*"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		capulet:client("juliet@capulet.lit/balcony"):sync();
		privileged(entity, "items", "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "juliet@capulet.lit");
		entity:expect { "iq", id = "items", where = function (stanza) return stanza.attr.type ~= "set"; end };
		entity:sync();
		entity:expect_none({ "iq", type = "set" }, 0);
	end));

	it("give such a request to the entity of another namespace, and the answer back (D17)", bed.scenario(function (s)
		local capulet = start(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" }, ["jabber:iq:private"] = { jid = "ent.capulet.lit" } ]]);
		local entity = delegation.entity(capulet);
		local other = capulet:component("other.capulet.lit", "hush");
		capulet:client("juliet@capulet.lit/balcony"):sync();
		privileged(other, "p", "get", notes:format(""));
		local outer, inner = delegation.forwarded(entity);
		assert.equal("juliet@capulet.lit", inner.attr.from);
		delegation.answer(entity, outer, inner);
		assert.truthy(expect_privileged(other, "p"):get_child("done", "urn:x:done"));
		-- nobody answers in the server: the entity gets the server's error, not its own request
		capulet:allow_log("Error while sending privileged");
		privileged(entity, "none", "get", "<query xmlns='urn:x:delegated'/>", "capulet.lit");
		entity:expect { "iq", id = "none" };
		entity:expect_none({ "iq", type = "set" }, 0.1);
	end));

	it("are no pair when mod_privilege loses permissions, which the log says (E12)", bed.scenario(function (s)
		local function privileges(iq)
			return ([[privileged_entities = {
				["ent.capulet.lit"] = { roster = "get"; presence = "managed_entity"; iq = { %s } },
				["other.capulet.lit"] = { iq = { ["urn:x:one"] = "get" } },
			}]]):format(iq);
		end
		local two = [[ ["urn:x:one"] = "get", ["urn:x:two"] = "both" ]];
		local function server(iq, own_plugins)
			return delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]], {
				modules = { "privilege" }; plugins = own_plugins or plugins; component = [[modules_enabled = { "privilege" }]]; host = privileges(iq);
			});
		end
		local broken = server(two);
		local line = "This mod_privilege tells an entity one of its IQ permissions only.*Concerned: ent.capulet.lit$";
		broken:allow_log(line);
		broken:expect_log("warn\t"..line);
		-- which is how it is
		local advert = broken:component("ent.capulet.lit", "hush"):expect { "message", has = "{urn:xmpp:privilege:2}privilege" };
		local permissions = 0;
		for perm in advert:get_child("privilege", "urn:xmpp:privilege:2"):childtags("perm") do
			if perm.attr.access == "iq" then permissions = permissions + #perm.tags; end
		end
		assert.equal(1, permissions);
		-- the question has left nothing behind
		assert.is_nil(broken:eval [[return require "core.configmanager".get("capulet.lit", "privileged_entities")["sample.invalid"] ]]);
		-- nobody is concerned
		server([[ ["urn:x:one"] = "get" ]]):expect_log("info\tThis mod_privilege tells .*install a newer one$");
		-- one that is mended
		os.execute("mkdir -p '"..s.dir.."/mended'");
		local source = assert(io.open(plugins[1].."/mod_privilege.lua"));
		local text, replaced = source:read("a"):gsub('(message:tag%("namespace", {ns=namespace, type=perm_type}%))', "%1:up()");
		source:close();
		assert.equal(1, replaced);
		local file = assert(io.open(s.dir.."/mended/mod_privilege.lua", "w"));
		file:write(text);
		file:close();
		local mended = server(two, { s.dir.."/mended" });
		mended:component("ent.capulet.lit", "hush"):expect { "message", has = "{urn:xmpp:privilege:2}privilege" };
		assert.is_nil(mended.log:find("This mod_privilege"));
	end));

	it("keep nothing of strangers who write what only a privileged entity may, and forget none of its requests (E4, D17)",
			bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["jabber:iq:private"] = { jid = "ent.capulet.lit" } ]], { log_level = "warn",
			modules = { "private" } });
		local montague = s:node { version = version, log_level = "warn", config = [[VirtualHost "montague.lit"]] };
		capulet:eval(slow_privilege);
		local entity = delegation.entity(capulet);
		local strangers = { capulet:client("romeo@capulet.lit/orchard"), montague:client("eve@montague.lit/street") };
		capulet:client("juliet@capulet.lit/balcony"):sync();
		-- one more that juliet sends waits at last, so that what follows is answered
		for _, stranger in ipairs(strangers) do
			stranger:send "<iq type='get' id='first' to='juliet@capulet.lit'><query xmlns='urn:x:none'/></iq>";
			stranger:expect { "iq", id = "first" };
		end
		privileged(entity, "kept", "get", notes:format(""));
		s:wait_until(function () return capulet:eval [[return prosody.bed_wrapped ~= nil]]; end);
		local before = heap(capulet);
		local iq = "<iq type='get' id='flood' to='juliet@capulet.lit'><privileged_iq xmlns='urn:xmpp:privilege:2'>"
			.."<iq xmlns='jabber:client' type='get' id='%d"..("x"):rep(3000).."'><query xmlns='jabber:iq:private'/></iq></privileged_iq></iq>";
		for i = 1, 1200 do
			local stranger = strangers[i % 2 + 1];
			stranger:send(iq:format(i));
			stranger:expect { "iq", id = "flood", type = "error" };
		end
		assert.is_true(heap(capulet) - before < 1000000);
		release(capulet);
		capulet:client("juliet@capulet.lit/chamber"):sync();
		entity:sync();
		entity:expect_none({ "iq", type = "set" }, 0);
		-- nor does an entity with long ids fill the memory
		before = heap(capulet);
		for i = 1, 1200 do privileged(entity, ("x"):rep(3000)..i, "get", notes:format("")); end
		s:wait_until(function () return capulet:eval [[return prosody.bed_wrapped.attr.id:sub(-4)]] == "1200"; end, 60);
		assert.is_true(heap(capulet) - before < 1000000);
	end));
end);
end
