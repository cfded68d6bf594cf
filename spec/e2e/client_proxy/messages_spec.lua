-- SPDX-License-Identifier: MIT
-- mod_client_proxy with client_proxy_messages: messages in both directions.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local stanzas_ns = "urn:ietf:params:xml:ns:xmpp-stanzas";
local on = "client_proxy_messages = true\n";

local function message(to, text, attr)
	local stanza = st.message({ to = to; type = "chat" });
	for name, value in pairs(attr or {}) do stanza.attr[name] = value or nil; end
	return stanza:text_tag("body", text);
end

local function error_message(to, id)
	return ("<message to='%s' type='error' id='%s'><error type='cancel'><gone xmlns='%s'/></error></message>"):format(to, id, stanzas_ns);
end

local function expect_refusal(client, id, from, condition)
	client:expect { "message", type = "error", id = id, from = from, has = ("error/{%s}%s"):format(stanzas_ns, condition) };
end

for version in bed.versions() do
describe("messages of client_proxy on Prosody " .. version, function ()
	it("pass in both directions, from the address the user wrote to (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		for i, address in ipairs(proxy.addresses) do
			for _, user in ipairs { juliet, nurse } do
				user:send(message(address, "hail", { id = "m" .. i }));
				local got = impl:expect { "message", type = "chat", id = "m" .. i, from = "proxy.capulet.lit/" .. user.jid, body = "hail" };
				impl:send(message(got.attr.from, "hail " .. user.jid, { id = "r" .. i }));
				user:expect { "message", type = "chat", id = "r" .. i, from = address, to = user.jid, body = "hail " .. user.jid };
			end
		end
		-- a request in between does not move the conversation
		juliet:send(message("node@proxy.capulet.lit", "wait"));
		juliet:send(proxy.request("1", "proxy.capulet.lit/other"));
		impl:expect { "iq", id = "1" };
		impl:send(message("proxy.capulet.lit/" .. juliet.jid, "yes"));
		juliet:expect { "message", from = "node@proxy.capulet.lit", body = "yes" };
		-- nobody else saw anything
		juliet:sync();
		nurse:sync();
		juliet:expect_none({ "message" }, 0.1);
		nurse:expect_none({ "message" }, 0);
	end));

	it("keep their types, chat states and receipts (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function pass(sender, receiver, to, kind)
			sender:send(st.message({ to = to; type = kind; id = "m1" }):text_tag("thread", "t")
				:tag("active", { xmlns = "http://jabber.org/protocol/chatstates" }):up()
				:tag("request", { xmlns = "urn:xmpp:receipts" }):up():text_tag("body", "hark"));
			return receiver:expect { "message", type = kind, id = "m1", body = "hark",
				has = { "{http://jabber.org/protocol/chatstates}active", "{urn:xmpp:receipts}request", "thread" } };
		end
		local function receipt(sender, receiver, to)
			sender:send(("<message to='%s' id='r1'><received xmlns='urn:xmpp:receipts' id='m1'/></message>"):format(to));
			assert.equal("m1", receiver:expect({ "message", type = false, id = "r1" }):find("{urn:xmpp:receipts}received@id"));
		end
		for _, kind in ipairs { "chat", "normal", "headline", false } do
			local got = pass(juliet, impl, "proxy.capulet.lit", kind or nil);
			receipt(impl, juliet, got.attr.from);
			pass(impl, juliet, got.attr.from, kind or nil);
			receipt(juliet, impl, "proxy.capulet.lit");
		end
		-- to a user who did nothing but send a request
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		nurse:send(proxy.request("1", "node@proxy.capulet.lit"));
		impl:send(message(impl:expect({ "iq", id = "1" }).attr.from, "news"));
		nurse:expect { "message", from = "node@proxy.capulet.lit", body = "news" };
	end));

	it("reach users whatever their address (X1, P7, P8)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		for _, resource in ipairs { "\u{5de}\u{5e8}\u{5e4}", "\u{634}\u{631}", ("\u{4e2d}"):rep(341), "x \"'<>& y" } do
			local user = capulet:client("juliet@capulet.lit/" .. resource);
			assert.equal("juliet@capulet.lit/" .. resource, user.jid);
			user:send(message("node@proxy.capulet.lit", "hail"));
			impl:send(message(impl:expect({ "message", body = "hail" }).attr.from, "and you"));
			user:expect { "message", from = "node@proxy.capulet.lit", to = user.jid, body = "and you" };
		end
	end));

	it("stay with one resource while it lives, or follow the one that writes (X1)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function say(text)
			juliet:send(message("proxy.capulet.lit", text));
			return proxy.expect_one_of(s, a, b, { "message", body = text });
		end
		local first, second = say("1");
		for i = 2, 20 do assert.equal(first.jid, say(tostring(i)).jid); end
		second:send(message("proxy.capulet.lit/" .. juliet.jid, "it is me now"));
		juliet:expect { "message", body = "it is me now" };
		for i = 21, 30 do assert.equal(second.jid, say(tostring(i)).jid); end
		-- also over a reload
		proxy.reload(capulet);
		for i = 31, 40 do assert.equal(second.jid, say(tostring(i)).jid); end
		-- still online, but in the pool no more
		proxy.available(second, "<presence type='unavailable'/>");
		for i = 41, 50 do
			juliet:send(message("proxy.capulet.lit", tostring(i)));
			first:expect { "message", body = tostring(i) };
		end
		first:send(message("proxy.capulet.lit/" .. juliet.jid, "still there"));
		juliet:expect { "message", from = "proxy.capulet.lit", body = "still there" };
	end));

	it("have their errors delivered to whom they are about, and none about errors (X1)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(error_message("proxy.capulet.lit", "stranger"));
		juliet:send(message("node@proxy.capulet.lit", "hail", { id = "1" }));
		local first, second, got = proxy.expect_one_of(s, a, b, { "message", body = "hail" });
		first:send(error_message(got.attr.from, "1"));
		expect_refusal(juliet, "1", "node@proxy.capulet.lit", "gone");
		-- an error of the other does not move the conversation
		second:send(error_message(got.attr.from, "1"));
		expect_refusal(juliet, "1", "node@proxy.capulet.lit", "gone");
		juliet:send(message("node@proxy.capulet.lit", "so what"));
		first:expect { "message", body = "so what" };
		-- from the resource that did not have the conversation; and from one that is not in the pool
		local hidden = capulet:client("impl@capulet.lit/hidden");
		for _, writer in ipairs { second, hidden } do
			writer:send(message(got.attr.from, "psst", { id = "2" }));
			juliet:expect { "message", body = "psst" };
			juliet:send(error_message("node@proxy.capulet.lit", "2"));
			writer:expect { "message", type = "error", id = "2", from = got.attr.from };
		end
		juliet:close();
		first:send(message(got.attr.from, "late", { id = "3" }));
		s:wait(0.2);
		for _, client in ipairs { first, second, hidden } do
			client:sync();
			client:expect_none({ "message", id = "stranger" }, 0);
			client:expect_none({ "message", id = "1" }, 0);
			client:expect_none({ "message", id = "2" }, 0);
		end
		first:send(error_message("proxy.capulet.lit/nobody@capulet.lit/x", "4"));
		first:sync();
		first:expect_none({ "message", id = "4" }, 0.1);
	end));

	it("bounce when they cannot be delivered, to the resource that wrote (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. [[
			Component "gw.capulet.lit"
				component_secret = "hush"
		]]);
		local gateway = capulet:component("gw.capulet.lit", "hush");
		local hail = message("node@proxy.capulet.lit", "hail");
		hail.attr.from = "user@gw.capulet.lit/x";
		gateway:send(hail);
		local got = impl:expect { "message", body = "hail" };
		gateway:close();
		capulet:allow_log("Component not connected");
		s:wait_until(function () return capulet.log:find("component disconnected: gw.capulet.lit"); end);
		impl:send(message(got.attr.from, "anybody?", { id = "b" }));
		impl:expect { "message", type = "error", id = "b", from = got.attr.from, has = "error" };
	end));

	it("are refused from and to rooms and strangers (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on .. "client_proxy_user_ttl = 4");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		local address = "proxy.capulet.lit/" .. juliet.jid;
		local function refused(to, condition, kind)
			impl:send(message(to, "hail", { id = "x"; type = kind }));
			expect_refusal(impl, "x", to, condition);
		end
		-- the plain form can be made up, before anything was written, for somebody else, and too late
		refused(address, "item-not-found");
		juliet:send(message("proxy.capulet.lit", "hail"));
		impl:expect { "message", body = "hail" };
		refused("proxy.capulet.lit/nurse@capulet.lit/chamber", "item-not-found");
		refused("proxy.capulet.lit/juliet@capulet.lit", "item-not-found");
		refused("proxy.capulet.lit/@nonsense", "item-not-found");
		refused(address, "service-unavailable", "groupchat");
		juliet:expect_none({ "message" }, 0);
		s:wait(4.2);
		refused(address, "item-not-found");
		for _, to in ipairs(proxy.addresses) do
			juliet:send(message(to, "hail all", { id = "g"; type = "groupchat" }));
			expect_refusal(juliet, "g", to, "service-unavailable");
		end
		juliet:send(message("proxy.capulet.lit", "one error", { type = "error" }));
		-- a user cannot write to another through the proxy: it is the implementing client that gets this
		nurse:send(message(address, "psst"));
		impl:expect { "message", from = "proxy.capulet.lit/" .. nurse.jid, body = "psst" };
		for _, client in ipairs { juliet, nurse, impl } do
			client:sync();
			client:expect_none({ "message" }, 0);
		end
	end));

	it("are answered by an error when nobody is online (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.available(impl, "<presence type='unavailable'/>");
		for _, address in ipairs(proxy.addresses) do
			juliet:send(message(address, "hail", { id = "m" }));
			expect_refusal(juliet, "m", address, "service-unavailable");
			juliet:send(message(address, "hail", { id = "m"; type = false }));
			expect_refusal(juliet, "m", address, "service-unavailable");
			juliet:send(message(address, "news", { type = "headline" }));
			juliet:send(error_message(address, "e"));
		end
		juliet:sync();
		juliet:expect_none({ "message" }, 0.1);
		impl:sync();
		impl:expect_none({ "message" }, 0);
	end));

	it("arrive once while resources come and go (X1)", bed.scenario(function (s)
		local capulet, a, b, c = proxy.start(s, version, { "a", "b", "c" }, on);
		local users = { capulet:client("juliet@capulet.lit/balcony"), capulet:client("nurse@capulet.lit/\u{5d0}") };
		math.randomseed(13);
		local clients, online, got = { a, b, c }, { true, true, true }, {};
		for _, impl in ipairs(clients) do
			impl.on_stanza = function (stanza)
				if stanza.name ~= "message" or stanza.attr.type == "error" then return; end
				local text = stanza:get_child_text("body");
				got[text] = (got[text] or 0) + 1;
				impl:send(message(stanza.attr.from, text, { id = stanza.attr.id }));
			end;
		end
		local sent = 0;
		for _ = 1, 60 do
			local i = math.random(3);
			online[i] = not online[i];
			proxy.available(clients[i], not online[i] and "<presence type='unavailable'/>" or nil);
			for _, user in ipairs(users) do
				for _ = 1, 3 do
					sent = sent + 1;
					user:send(message("bot@proxy.capulet.lit", tostring(sent), { id = tostring(sent) }));
				end
				user:sync();
			end
		end
		local refused = 0;
		for i = 1, sent do
			local user = users[(i - 1) // 3 % 2 + 1];
			local answer = user:expect { "message", id = tostring(i), from = "bot@proxy.capulet.lit" };
			if answer.attr.type == "error" then
				refused = refused + 1;
				assert.is_nil(got[tostring(i)]);
			else
				assert.equal(1, got[tostring(i)]);
			end
		end
		for _, user in ipairs(users) do user:expect_none({ "message" }, 0.1); end
		assert.is_true(refused > 0 and refused < sent / 2, ("%d of %d refused"):format(refused, sent));
	end));

	it("are kept apart from those to other modules of the component (X1)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		capulet:eval [[prosody.hosts["proxy.capulet.lit"].events.add_handler("message/host", function (event)
			return event.stanza:get_child("x", "urn:test") and true or nil;
		end)]];
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send "<message to='proxy.capulet.lit'><x xmlns='urn:test'/></message>";
		juliet:send(message("proxy.capulet.lit", "hail"));
		impl:expect { "message", body = "hail" };
		impl:expect_none({ "message" }, 0);
	end));

	it("are remembered over a reload, and the one with the option gone refuses them (X1, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = capulet:client("juliet@capulet.lit/\u{5d0}");
		juliet:send(message("node@proxy.capulet.lit", "hail"));
		local address = impl:expect({ "message", body = "hail" }).attr.from;
		proxy.reload(capulet);
		impl:send(message(address, "and you"));
		juliet:expect { "message", from = "node@proxy.capulet.lit", body = "and you" };
		proxy.reload(capulet, "");
		impl:send(message(address, "bye", { id = "b" }));
		expect_refusal(impl, "b", address, "feature-not-implemented");
		juliet:send(message("proxy.capulet.lit", "bye", { id = "b" }));
		expect_refusal(juliet, "b", "proxy.capulet.lit", "feature-not-implemented");
	end));

	it("and requests pass when the account is on another server (X1, X3)", bed.scenario(function (s)
		local montague = s:node { version = version; config = [[VirtualHost "montague.lit"]] };
		montague:add_user("impl@montague.lit");
		local capulet = s:node { version = version; config = proxy.config(on .. "client_proxy_outbound_iq = true"):gsub("impl@capulet", "impl@montague") };
		local impl = montague:client("impl@montague.lit/a");
		proxy.approve(impl);
		local juliet = capulet:client("juliet@capulet.lit/\u{5d0}");
		s:wait_until(function () return capulet.log:find("impl@montague.lit/a has come"); end);
		juliet:send(message("node@proxy.capulet.lit", "hail", { id = "1" }));
		local address = impl:expect({ "message", id = "1", body = "hail" }).attr.from;
		impl:send(message(address, "and you", { id = "2" }));
		juliet:expect { "message", id = "2", from = "node@proxy.capulet.lit", body = "and you" };
		impl:send(proxy.request("3", address));
		proxy.answer(juliet, juliet:expect { "iq", type = "get", from = "node@proxy.capulet.lit" });
		assert.equal(juliet.jid, proxy.expect_answer(impl, "3", { from = address }));
	end));

	for other_version in bed.versions() do
		it("cross servers, " .. other_version .. " (X1)", bed.scenario(function (s)
			local _, impl = proxy.start(s, version, nil, on);
			local montague = s:node { version = other_version; config = [[VirtualHost "montague.lit"]] };
			for _, resource in ipairs { "orchard", "\u{5d0}" } do
				local romeo = montague:client("romeo@montague.lit/" .. resource);
				romeo:send(message("node@proxy.capulet.lit", "hail", { id = "1" }));
				local got = impl:expect { "message", id = "1", body = "hail" };
				impl:send(message(got.attr.from, "and you", { id = "2" }));
				romeo:expect { "message", id = "2", from = "node@proxy.capulet.lit", body = "and you" };
				impl:send(error_message(got.attr.from, "1"));
				expect_refusal(romeo, "1", "node@proxy.capulet.lit", "gone");
			end
		end));
	end
end);
end
