-- SPDX-License-Identifier: MIT
-- mod_client_proxy with client_proxy_presence: users who subscribe to the proxy.

local bed = require "bed";
local proxy = require "client_proxy";

local on = "client_proxy_presence = true\n";

local function send(client, type, to)
	client:send(("<presence type='%s' to='%s'/>"):format(type, to or proxy.host));
end

local function expect(client, type, from, timeout)
	return client:expect({ "presence", type = type or false, from = from or proxy.host }, timeout);
end

-- The user subscribes and is approved -> the presence that comes with the approval
local function subscribe(client, address)
	send(client, "subscribe", address);
	expect(client, "subscribed", address);
	return client:expect({ "presence", from = address or proxy.host, where = function (stanza)
		return stanza.attr.type == nil or stanza.attr.type == "unavailable";
	end });
end

local function error_presence(condition, to)
	return ("<presence type='error' to='%s'><error type='cancel'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
		:format(to or proxy.host, condition);
end

for version in bed.versions() do
describe("presence of client_proxy on Prosody " .. version, function ()
	local function online(node, jid)
		local client = node:client(jid);
		client:send "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
		client:expect { "iq", id = "roster" };
		proxy.available(client);
		return client;
	end

	local unavailable = "<presence type='unavailable'/>";

	it("shows subscribers whether anybody is in the pool (X2)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		local nurse = online(capulet, "nurse@capulet.lit/chamber");
		assert.is_nil(subscribe(juliet).attr.type);
		juliet:expect { "iq", type = "set", has = "{jabber:iq:roster}query/item", where = function (stanza)
			return stanza:find("{jabber:iq:roster}query/item@subscription") == "to";
		end };
		proxy.available(a, unavailable);
		juliet:expect_none({ "presence", from = "proxy.capulet.lit" }, 0.1);
		proxy.available(b, unavailable);
		expect(juliet, "unavailable");
		assert.equal("unavailable", subscribe(nurse).attr.type);
		for _, impl in ipairs { a, b } do proxy.available(impl); end
		for _, user in ipairs { juliet, nurse } do
			expect(user, nil);
			user:sync();
			user:expect_none({ "presence", from = "~^proxy" }, 0.1);
		end
		b:close();
		-- online, but not to be asked
		proxy.available(a, "<presence><show>dnd</show></presence>");
		for _, user in ipairs { juliet, nurse } do expect(user, "unavailable"); end
		proxy.available(a);
		for _, user in ipairs { juliet, nurse } do expect(user, nil); end
		a:kill();
		for _, user in ipairs { juliet, nurse } do expect(user, "unavailable"); end
	end));

	it("belongs to each address of the proxy that users ask for (X2)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		local bots = { "one@proxy.capulet.lit", "two@proxy.capulet.lit", "proxy.capulet.lit" };
		for _, bot in ipairs(bots) do assert.is_nil(subscribe(juliet, bot).attr.type); end
		proxy.available(impl, unavailable);
		for _, bot in ipairs(bots) do expect(juliet, "unavailable", bot); end
		send(juliet, "unsubscribe", bots[1]);
		expect(juliet, "unavailable", bots[1]);
		proxy.available(impl);
		for _, bot in ipairs { bots[2], bots[3] } do expect(juliet, nil, bot); end
		juliet:expect_none({ "presence", from = bots[1], type = false }, 0.1);
		-- of one user, so many
		for i = 3, 20 do subscribe(juliet, i .. "@proxy.capulet.lit"); end
		send(juliet, "subscribe", "21@proxy.capulet.lit");
		local err = expect(juliet, "error", "21@proxy.capulet.lit");
		assert.truthy(err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint"));
		send(juliet, "subscribe", bots[2]);
		expect(juliet, nil, bots[2]);
	end));

	it("is answered to a probe, and only to subscribers (X2)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		subscribe(juliet);
		-- the server probes for a client that comes online
		local upstairs = online(capulet, "juliet@capulet.lit/upstairs");
		expect(upstairs, nil);
		juliet:expect_none({ "presence", from = "proxy.capulet.lit" }, 0.1);
		proxy.available(impl, unavailable);
		expect(upstairs, "unavailable");
		expect(juliet, "unavailable");
		send(juliet, "probe");
		expect(juliet, "unavailable");
		juliet:close();
		juliet = online(capulet, "juliet@capulet.lit/balcony");
		expect(juliet, "unavailable");
		-- the user's server is told when it is mistaken
		send(juliet, "subscribe", "node@proxy.capulet.lit");
		expect(juliet, "unavailable", "node@proxy.capulet.lit");
		capulet:eval [[
			local st = require "util.stanza";
			local function post(attr) prosody.core_post_stanza(prosody.hosts["capulet.lit"], st.presence(attr)); end
			post { type = "unsubscribe", from = "juliet@capulet.lit", to = "node@proxy.capulet.lit" };
			post { type = "probe", from = "juliet@capulet.lit/balcony", to = "node@proxy.capulet.lit" };
		]];
		expect(juliet, "unsubscribed", "node@proxy.capulet.lit");
	end));

	it("ends with the subscription (X2)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		local gone = online(capulet, "gone@capulet.lit/x");
		subscribe(juliet);
		subscribe(gone);
		send(juliet, "unsubscribe");
		expect(juliet, "unavailable");
		capulet:delete_user("gone@capulet.lit");
		proxy.available(impl, unavailable);
		proxy.available(impl);
		juliet:sync();
		juliet:expect_none({ "presence", from = "proxy.capulet.lit" }, 0.1);
		assert.is_true(capulet:eval [[return require "core.storagemanager".open("proxy.capulet.lit", "client_proxy_subscribers"):get() == nil]]);
		-- once more changes nothing
		send(juliet, "unsubscribe");
		assert.is_nil(subscribe(juliet).attr.type);
	end));

	it("is of no interest the other way (X2, P16)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		for _, address in ipairs { "proxy.capulet.lit", "proxy.capulet.lit/res", "node@proxy.capulet.lit", "node@proxy.capulet.lit/res" } do
			juliet:send(("<presence to='%s'/>"):format(address));
			for _, kind in ipairs { "unavailable", "unsubscribe", "subscribed", "unsubscribed" } do send(juliet, kind, address); end
			juliet:send(error_presence("gone", address));
		end
		juliet:sync();
		juliet:expect_none({ "presence", from = "~proxy" }, 0.2);
		impl:sync();
		impl:expect_none({ "presence", from = "~juliet" }, 0);
	end));

	it("is kept over restarts and reloads (X2, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, on);
		local juliet = online(capulet, "juliet@capulet.lit/balcony");
		subscribe(juliet);
		subscribe(juliet, "node@proxy.capulet.lit");
		proxy.reload(capulet);
		juliet:sync();
		juliet:expect_none({ "presence", from = "~proxy" }, 0.1);
		proxy.available(impl, unavailable);
		expect(juliet, "unavailable");
		expect(juliet, "unavailable", "node@proxy.capulet.lit");
		capulet:restart();
		juliet = online(capulet, "juliet@capulet.lit/balcony");
		expect(juliet, "unavailable");
		expect(juliet, "unavailable", "node@proxy.capulet.lit");
		impl = capulet:client(impl.jid);
		proxy.available(impl);
		expect(juliet, nil);
		expect(juliet, nil, "node@proxy.capulet.lit");
		-- without it: nobody who could answer
		capulet:eval [[assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"))]];
		expect(juliet, "unavailable");
		expect(juliet, "unavailable", "node@proxy.capulet.lit");
		capulet:eval [[assert(require "core.modulemanager".load("proxy.capulet.lit", "client_proxy"))]];
		expect(juliet, nil);
		expect(juliet, nil, "node@proxy.capulet.lit");
		juliet:sync();
		juliet:expect_none({ "presence", from = "~proxy" }, 0.1);
		-- with the option gone
		proxy.reload(capulet, "");
		expect(juliet, "unavailable");
		expect(juliet, "unavailable", "node@proxy.capulet.lit");
		proxy.reload(capulet);
		juliet:sync();
		juliet:expect_none({ "presence", from = "~proxy" }, 0.1);
	end));

	it("is also for the target account (X2, P15)", bed.scenario(function (s)
		local _, impl = proxy.start(s, version, nil, on);
		impl:send "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
		assert.is_nil(subscribe(impl).attr.type);
		proxy.available(impl, unavailable);
		send(impl, "unsubscribe");
		proxy.available(impl);
		impl:expect_none({ "presence", from = "proxy.capulet.lit", type = false }, 0.2);
	end));

	for other_version in bed.versions() do
		it("crosses servers, " .. other_version .. " (X2)", bed.scenario(function (s)
			local capulet, impl, montague, link = proxy.start_linked(s, version, other_version, on);
			local romeo = online(montague, "romeo@montague.lit/orchard");
			assert.is_nil(subscribe(romeo).attr.type);
			proxy.available(impl, unavailable);
			expect(romeo, "unavailable");
			proxy.available(impl);
			expect(romeo, nil);
			-- the server dies: nobody could tell romeo
			capulet:kill();
			link:forget();
			capulet:start();
			expect(romeo, "unavailable", nil, 10);
			impl = capulet:client("impl@capulet.lit/a");
			proxy.available(impl);
			expect(romeo, nil, nil, 10);

			-- after an error there is no presence until romeo shows up again
			romeo:send(error_presence("service-unavailable"));
			capulet:expect_log("presence of the service cannot be sent to romeo@montague.lit: service%-unavailable", 5);
			proxy.reload(capulet);
			link:forget();
			proxy.available(impl, unavailable);
			s:wait(0.2);
			assert.same({}, link:sent(capulet));
			send(romeo, "probe");
			expect(romeo, "unavailable");
			proxy.available(impl);
			expect(romeo, nil);
			-- gone for good
			romeo:send(error_presence("gone"));
			send(romeo, "probe");
			expect(romeo, "unsubscribed");
			s:wait(0.2);
			link:forget();
			proxy.available(impl, unavailable);
			s:wait(0.2);
			assert.same({}, link:sent(capulet));

			-- and to a server that is gone
			subscribe(romeo);
			romeo:close();
			montague:stop();
			local away = true;
			s:wait_until(function ()
				-- what is sent before the end of the connection is seen is lost without a word
				away = not away;
				proxy.available(impl, away and unavailable or nil);
				s:wait(0.2);
				return capulet.log:find("presence of the service cannot be sent to romeo@montague.lit: remote%-server");
			end, 30, "bounce of a presence");
		end));
	end
end);
end
