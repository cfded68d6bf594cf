-- SPDX-License-Identifier: MIT
-- Federated rooms in operation (mod_fmuc, generation 2): the configuration form, commands, and what they show (section 5 of the requirements).

local bed = require "bed";
local nodes = require "nodes";
local operation = require "operation";
local shell = require "shell";

local xmlns_owner, xmlns_form = "http://jabber.org/protocol/muc#owner", "jabber:x:data";

local options = {
	global = "admins = { \"hamlet@e.example\", \"alice@w.example\" }\nstatistics = \"internal\"\nstatistics_interval = \"manual\"\n";
	modules = { "admin_shell" };
};

local function with_options()
	local copy = {};
	for key, value in pairs(options) do copy[key] = value; end
	return copy;
end

-- submit(client, room_jid, fields) -> the answer to the configuration form. fields: name -> list of values
local function submit(client, room_jid, fields)
	local text = {};
	for name, values in pairs(fields) do
		text[#text + 1] = ("<field var='%s'>"):format(name);
		for _, value in ipairs(values) do text[#text + 1] = ("<value>%s</value>"):format(value); end
		text[#text + 1] = "</field>";
	end
	client:send(("<iq type='set' id='form' to='%s'><query xmlns='%s'><x xmlns='%s' type='submit'><field var='FORM_TYPE'>"
		.. "<value>http://jabber.org/protocol/muc#roomconfig</value></field>%s</x></query></iq>")
		:format(room_jid, xmlns_owner, xmlns_form, table.concat(text)));
	return client:expect { "iq", id = "form" };
end

-- form(client, room_jid) -> name -> values of the configuration form
local function form(client, room_jid)
	client:send(("<iq type='get' id='form' to='%s'><query xmlns='%s'/></iq>"):format(room_jid, xmlns_owner));
	local values = {};
	local x = client:expect({ "iq", type = "result", id = "form" }):find("{" .. xmlns_owner .. "}query/{" .. xmlns_form .. "}x");
	for field in x:childtags("field") do
		local list = {};
		for value in field:childtags("value") do list[#list + 1] = value:get_text(); end
		values[field.attr.var or ""] = table.concat(list, " ");
	end
	return values;
end

local function problem(answer)
	local _, condition, text = answer:get_error();
	return (condition or "none") .. ": " .. (text or "");
end

for _, versions in ipairs(nodes.crossings()) do
describe(("operation of federated rooms, %s joins %s"):format(versions.e, versions.w), function ()
	it("is set in the configuration form, at once and to stay, and wrong values are refused (section 5 N1)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
		f.e = nodes.server(s, "e", versions.e, "\tfmuc_deny_peers = { \"else.example\" }\n", with_options());
		f.w = nodes.server(s, "w", versions.w, nil, with_options());
		f.link = s:link(f.e, f.w);
		local owner = "room:set_affiliation(true, %q, \"owner\");";
		nodes.make_room(f.w, f.rabbithole, nil, owner:format("alice@w.example"));
		nodes.make_room(f.e, f.elsinore, nil, owner:format("hamlet@e.example"));
		f.alice, f.hamlet = nodes.enter(f.w, f.rabbithole, "alice"), nodes.enter(f.e, f.elsinore, "hamlet");
		assert.equal("modify", submit(f.hamlet, f.elsinore, { ["fmuc#outbound_peer"] = { "nonsense" } }):get_child("error").attr.type);
		for value, text in pairs {
			["nonsense"] = "jid-malformed: nonsense is not the address of a room, like room@rooms.example.org";
			["rooms.w.example"] = "jid-malformed: rooms.w.example is not the address of a room, like room@rooms.example.org";
			["a@rooms.w.example/x"] = "jid-malformed: a@rooms.w.example/x is not the address of a room, like room@rooms.example.org";
			["other@rooms.e.example"] = "not-acceptable: other@rooms.e.example is a room of this service. A room federates with rooms of other services";
			["other@rooms.else.example"] = "not-allowed: This server does not federate with rooms of rooms.else.example (fmuc_allow_peers, fmuc_deny_peers)";
		} do
			assert.equal(text, problem(submit(f.hamlet, f.elsinore, { ["fmuc#outbound_peer"] = { value } })));
		end
		assert.equal("not-acceptable: fmuc#mode is primary-primary or primary-replica, not sideways",
			problem(submit(f.hamlet, f.elsinore, { ["fmuc#mode"] = { "sideways" } })));
		assert.equal("jid-malformed: @ is not the address of a room, like room@rooms.example.org",
			problem(submit(f.hamlet, f.elsinore, { ["fmuc#inbound_peers"] = { f.rabbithole, "@" } })));
		assert.equal("not-allowed: This server does not federate with rooms of rooms.else.example (fmuc_allow_peers, fmuc_deny_peers)",
			problem(submit(f.hamlet, f.elsinore, { ["fmuc#inbound_peers"] = { f.rabbithole, "rooms.else.example" } })));

		assert.equal("result", submit(f.alice, f.rabbithole, { ["fmuc#inbound_peers"] = { f.elsinore, "rooms.else.example" } }).attr.type);
		assert.equal("result", submit(f.hamlet, f.elsinore, { ["fmuc#outbound_peer"] = { f.rabbithole } }).attr.type);
		f.alice:expect { "presence", from = f.rabbithole .. "/Hamlet" };
		f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
		f.e:restart();
		f.hamlet = f.e:client("hamlet@e.example/pc");
		local values = form(f.hamlet, f.elsinore);
		assert.same({ f.rabbithole, "primary-primary", "" }, { values["fmuc#outbound_peer"], values["fmuc#mode"], values["fmuc#inbound_peers"] });
		values = form(f.alice, f.rabbithole);
		assert.same({ "", f.elsinore .. " rooms.else.example" }, { values["fmuc#outbound_peer"], values["fmuc#inbound_peers"] });
		f.hamlet = nodes.enter(f.e, f.elsinore, "hamlet");
		f.hamlet:expect { "presence", from = f.elsinore .. "/Alice" };
		assert.equal("result", submit(f.alice, f.rabbithole, { ["fmuc#inbound_peers"] = {} }).attr.type);
		f.hamlet:expect { "presence", type = "unavailable"; from = f.elsinore .. "/Alice" };
		nodes.expect_occupants(f.w, f.rabbithole, "Alice");
	end));

	it("shows each link and why it is not up, brings it up to date, and sets it, by commands (section 5)", bed.scenario(function (s)
		local f = { elsinore = "elsinore@rooms.e.example"; rabbithole = "rabbithole@rooms.w.example" };
		f.e, f.w = nodes.server(s, "e", versions.e, nil, with_options()), nodes.server(s, "w", versions.w, nil, with_options());
		f.link = s:link(f.e, f.w);
		nodes.make_room(f.w, f.rabbithole);
		nodes.make_room(f.e, f.elsinore);
		f.alice, f.hamlet = nodes.enter(f.w, f.rabbithole, "alice"), nodes.enter(f.e, f.elsinore, "hamlet");
		local config, list = operation.command("rooms.e.example", "https://prosody-relay/fmuc#nodes"),
			operation.command("rooms.e.example", "https://prosody-relay/fmuc#links");
		assert.same({ "0 federated rooms" }, config:overview(f.hamlet));
		assert.equal(f.elsinore .. "  joins " .. f.rabbithole .. " (primary-primary), accepts no room",
			config:act(f.hamlet, { action = "join"; room = f.elsinore; peer = f.rabbithole }));
		f.e:expect_log("it refuses");
		assert.truthy(list:overview(f.hamlet)[1]:find("elsinore@rooms.e.example  node rabbithole@rooms.w.example, generation 2, lost "
			.. "(it refuses: This room", 1, true));
		local answer = config:act(f.hamlet, { action = "join"; room = f.elsinore; peer = "nonsense" });
		assert.equal("nonsense is not the address of a room, like room@rooms.example.org", answer);
		operation.command("rooms.w.example", "https://prosody-relay/fmuc#nodes")
			:act(f.alice, { action = "accept"; room = f.rabbithole; peer = "x@else.example, " .. f.elsinore });
		list:act(f.hamlet, { action = "drop"; link = f.rabbithole });
		f.hamlet:send("<presence to='" .. f.elsinore .. "/Hamlet'><show>away</show></presence>");
		f.hamlet:expect({ "presence", from = f.elsinore .. "/Alice" }, 10);
		assert.truthy(list:overview(f.hamlet)[1]:find("generation 2, live, 1 local and 1 remote occupants, sent %d+ stanzas of %d+ bytes"));
		local numbers = operation.metrics(f.e, "fmuc", "rooms.e.example");
		assert.equal(1, numbers["links live"]);
		assert.is_true(numbers["link_bytes_total rooms.w.example sent"] > 0);
		list:act(f.hamlet, { action = "resync"; link = f.rabbithole });
		s:wait_until(function () return operation.metrics(f.e, "fmuc", "rooms.e.example").resyncs_total == 1; end, 10);
		nodes.expect_occupants(f.e, f.elsinore, "Alice", "Hamlet");
		if versions.e == "13.0" then
			local ctl, file = bed.installations["13.0"].prosodyctl, f.e.dir .. "/prosody.cfg.lua";
			local _, text = shell.try("%s --config %s shell fmuc nodes rooms.e.example", ctl, file);
			assert.truthy(text:find("elsinore@rooms.e.example  joins rabbithole@rooms.w.example (primary-primary)", 1, true), text);
		end
	end));
end);
end
