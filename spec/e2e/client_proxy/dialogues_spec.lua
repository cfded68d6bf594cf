-- SPDX-License-Identifier: MIT
-- mod_client_proxy: what stays with its resource: users by the strategy "sticky", sessions that are named, chats.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local xmlns_commands = "http://jabber.org/protocol/commands";

for version in bed.versions() do
describe("what stays with a resource of client_proxy on Prosody " .. version, function ()
	local function start(s, count, text)
		local resources = {};
		for i = 1, count do resources[i] = "r" .. i; end
		local found = { proxy.start(s, version, resources, text) };
		return table.remove(found, 1), found;
	end

	local function who_serves(user, id)
		user:send(proxy.request(id));
		return proxy.expect_answer(user, id);
	end

	-- -> the client that serves the user, all others
	local function home_of(user, clients)
		local home, others = nil, {};
		local jid = who_serves(user, "home");
		for _, impl in ipairs(clients) do
			if impl.jid == jid then home = impl; else others[#others + 1] = impl; end
		end
		return home, others;
	end

	it("is a user, though one answer came from elsewhere (C4)", bed.scenario(function (s)
		local capulet, clients = start(s, 4, "client_proxy_strategy = 'sticky'");
		for _, impl in ipairs(clients) do proxy.serve(impl); end
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local home = home_of(juliet, clients);
		local serve = home.on_stanza;
		for _, condition in ipairs { "service-unavailable", "feature-not-implemented" } do
			home.on_stanza = function (stanza)
				if stanza.attr.type == "get" then home:send(st.error_reply(stanza, "cancel", condition)); end
			end;
			assert.are_not.equal(home.jid, who_serves(juliet, "elsewhere"));
			home.on_stanza = serve;
			assert.equal(home.jid, who_serves(juliet, "back"));
		end
	end));

	it("is a user, though one request was diverted (C4)", bed.scenario(function (s)
		local capulet, clients = start(s, 4, "client_proxy_strategy = 'sticky'; client_proxy_max_pending_per_resource = 1");
		for _, impl in ipairs(clients) do proxy.serve(impl); end
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local home = home_of(juliet, clients);
		local serve = home.on_stanza;
		home.on_stanza = nil;
		juliet:send(proxy.request("busy"));
		local request = home:expect { "iq", type = "get", id = "busy" };
		assert.are_not.equal(home.jid, who_serves(juliet, "elsewhere"));
		proxy.answer(home, request);
		proxy.expect_answer(juliet, "busy");
		home.on_stanza = serve;
		assert.equal(home.jid, who_serves(juliet, "back"));
	end));

	-- Executes commands of three steps; a client knows its own sessions only.
	local function serve_commands(clients)
		for _, impl in ipairs(clients) do
			impl.steps = {};
			impl.on_stanza = function (stanza)
				local command = stanza:get_child("command", xmlns_commands);
				if not (command and stanza.attr.type == "set") then return; end
				local id = command.attr.sessionid or impl.jid .. #impl.inbox .. math.random(2^40);
				local step = command.attr.sessionid and impl.steps[id] or not command.attr.sessionid and 0;
				if not step then return impl:send(st.error_reply(stanza, "modify", "bad-request")); end
				impl.steps[id] = step + 1;
				impl:send(st.reply(stanza):tag("command", { xmlns = xmlns_commands; node = "n"; sessionid = id;
					status = step + 1 == 3 and "completed" or "executing"; }));
			end;
		end
	end

	for _, strategy in ipairs { "random", "round-robin", "least-pending", "priority" } do
		it(("is a command of several steps, with strategy %s (C9)"):format(strategy), bed.scenario(function (s)
			local capulet, clients = start(s, 4, ("client_proxy_strategy = %q"):format(strategy));
			serve_commands(clients);
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			local sessions = {};
			for round = 1, 3 do
				for i = 1, 12 do
					juliet:send(st.iq({ type = "set"; id = "c" .. i; to = proxy.host })
						:tag("command", { xmlns = xmlns_commands; node = "n"; sessionid = sessions[i]; action = sessions[i] and "next" }));
				end
				for i = 1, 12 do
					local reply = juliet:expect { "iq", type = "result", id = "c" .. i };
					sessions[i] = reply:find(("{%s}command@sessionid"):format(xmlns_commands));
				end
				if round == 1 then proxy.reload(capulet); end
			end
		end));
	end

	it("is what a stream id names, whoever has opened it (C9)", bed.scenario(function (s)
		local capulet, clients = start(s, 4, "client_proxy_outbound_iq = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function send(name, sid)
			local id = name .. sid;
			juliet:send(st.iq({ type = "set"; id = id; to = proxy.host }):tag(name, { xmlns = "http://jabber.org/protocol/ibb"; sid = sid }));
			local got;
			s:wait_until(function ()
				for _, impl in ipairs(clients) do
					local ok, request = pcall(impl.expect, impl, { "iq", type = "set", id = id }, 0);
					if ok then
						got = impl;
						impl:send(st.reply(request));
						return true;
					end
				end
			end);
			juliet:expect { "iq", type = "result", id = id };
			return got;
		end
		for i = 1, 6 do
			local first = send("open", "s" .. i);
			for _ = 1, 4 do assert.equal(first.jid, send("data", "s" .. i).jid); end
		end
		-- opened by the implementing client
		for i, impl in ipairs(clients) do
			impl:send(st.iq({ type = "set"; id = "o"; to = "proxy.capulet.lit/" .. juliet.jid })
				:tag("open", { xmlns = "http://jabber.org/protocol/ibb"; sid = "o" .. i }));
			juliet:send(st.reply(juliet:expect { "iq", type = "set", has = "{http://jabber.org/protocol/ibb}open" }));
			impl:expect { "iq", type = "result", id = "o" };
			for _ = 1, 4 do assert.equal(impl.jid, send("data", "o" .. i).jid); end
		end
		-- when it has gone, another one may know what to say
		local first = send("open", "last");
		first:close();
		for i, impl in ipairs(clients) do
			if impl == first then table.remove(clients, i); break; end
		end
		assert.are_not.equal(first.jid, send("data", "last").jid);
	end));

	it("is a chat, as long as its resource may be asked (X1, P5c)", bed.scenario(function (s)
		local capulet, clients = start(s, 2, "client_proxy_messages = true");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local a, b = table.unpack(clients);
		local function say(text)
			juliet:send(st.message({ to = proxy.host; type = "chat" }, text));
			local got, other = proxy.expect_one_of(s, a, b, { "message", body = text });
			return got, other;
		end
		local first, second = say("1");
		proxy.available(first, "<presence><show>dnd</show></presence>");
		assert.equal(second.jid, say("2").jid);
		proxy.available(first);
		assert.equal(second.jid, say("3").jid);
		capulet:eval(([[
			local commands = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module:shared("/*/client_proxy/commands");
			for _, action in ipairs(commands["proxy.capulet.lit"].resources.actions) do
				if action.name == "eject" then assert(action.run(%q)); end
			end
		]]):format(second.jid));
		assert.equal(first.jid, say("4").jid);
	end));
end);
end
