-- SPDX-License-Identifier: MIT
-- mod_client_proxy: forged and late replies, resources that die or keep silent, reloads and shutdowns.

local bed = require "bed";
local proxy = require "client_proxy";

for version in bed.versions() do
describe("faults around client_proxy on Prosody " .. version, function ()
	local function reply_to(request, id, type)
		return ("<iq type='%s' id='%s' to='%s'><forged xmlns='urn:test'/></iq>"):format(type or "result", id or request.attr.id, request.attr.from);
	end

	it("delivers no reply that it did not ask for (P10)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, [[
			Component "gw.capulet.lit"
				component_secret = "hush"
		]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local romeo = capulet:client("romeo@capulet.lit/orchard");
		local tybalt = capulet:client("tybalt@capulet.lit/hall");
		local gateway = capulet:component("gw.capulet.lit", "hush");
		juliet:send(proxy.request("1"));
		local asked, other, request = proxy.expect_one_of(s, a, b, { "iq", id = "1" });
		for _, kind in ipairs { "result", "error" } do
			-- third parties and the other resource know address and id, the resource asked invents a user or an id
			other:send(reply_to(request, nil, kind));
			tybalt:send(reply_to(request, nil, kind));
			juliet:send(reply_to(request, nil, kind));
			gateway:send(("<iq type='%s' id='1' from='gw.capulet.lit' to='%s'/>"):format(kind, request.attr.from));
			for _, to in ipairs { "proxy.capulet.lit/romeo@capulet.lit/orchard", "proxy.capulet.lit", "juliet@proxy.capulet.lit" } do
				asked:send(("<iq type='%s' id='1' to='%s'><forged xmlns='urn:test'/></iq>"):format(kind, to));
			end
			asked:send(reply_to(request, "2", kind));
		end
		for _, client in ipairs { other, tybalt, juliet, gateway, asked } do client:sync(); end
		juliet:expect_none({ "iq" }, 0.2);
		romeo:expect_none({ "iq" }, 0);
		-- the true one gets through, once
		for _ = 1, 3 do proxy.answer(asked, request); end
		asked:sync();
		assert.equal(asked.jid, proxy.expect_answer(juliet, "1"));
		juliet:expect_none({ "iq" }, 0.2);
		-- 16 forged, 2 repeated
		assert.equal(18, proxy.count_refused(capulet));
	end));

	it("says so when the resource asked leaves (P12)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function ask(id, address)
			juliet:send(proxy.request(id, address));
			return a:expect { "iq", id = id };
		end
		ask("presence", "proxy.capulet.lit/res");
		proxy.available(a, "<presence type='unavailable'/>");
		proxy.expect_error(juliet, "presence", "service-unavailable", "proxy.capulet.lit/res");

		proxy.available(a);
		ask("close");
		a:close();
		proxy.expect_error(juliet, "close", "service-unavailable", "proxy.capulet.lit");

		a = capulet:client("impl@capulet.lit/a");
		proxy.available(a);
		local late = ask("kill");
		a:kill();
		proxy.expect_error(juliet, "kill", "service-unavailable", "proxy.capulet.lit");

		-- only those of the resource that left; and what it says afterwards is too late
		a = capulet:client("impl@capulet.lit/a");
		local b = capulet:client("impl@capulet.lit/b");
		proxy.available(a);
		juliet:send(proxy.request("both"));
		a:expect { "iq", id = "both" };
		proxy.available(b);
		proxy.answer(a, late);
		b:close();
		juliet:expect_none({ "iq" }, 0.2);
		a:send "<presence type='unavailable'/>";
		proxy.expect_error(juliet, "both", "service-unavailable", "proxy.capulet.lit");
		a:send(("<iq type='result' id='both' to='proxy.capulet.lit/%s'/>"):format(juliet.jid));
		a:sync();
		juliet:expect_none({ "iq" }, 0.2);
	end));

	it("answers each request once while resources come and go (P5a, P12)", bed.scenario(function (s)
		local capulet, first = proxy.start(s, version, { "a" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		math.randomseed(12);
		local online = { first };
		local function serve_half(impl)
			-- the other half is in flight when the resource leaves
			impl.on_stanza = function (stanza)
				if stanza.attr.type == "get" and math.random(2) == 1 then proxy.answer(impl, stanza); end
			end;
		end
		serve_half(first);
		local leave = {
			function (impl) impl:close(); end;
			function (impl) impl:kill(); end;
			function (impl) proxy.available(impl, "<presence type='unavailable'/>"); impl:close(); end;
		};
		local sent = 0;
		for step = 1, 100 do
			if #online > 0 and (#online == 4 or math.random(2) == 1) then
				leave[math.random(#leave)](table.remove(online, math.random(#online)));
			else
				local impl = capulet:client("impl@capulet.lit/r" .. step);
				serve_half(impl);
				proxy.available(impl);
				online[#online + 1] = impl;
			end
			for _ = 1, 5 do
				sent = sent + 1;
				juliet:send(proxy.request("r" .. sent));
			end
			juliet:sync();
			-- the half that is answered is so before the next one leaves
			for _, impl in ipairs(online) do impl:sync(); end
		end
		for _, impl in ipairs(online) do impl:close(); end
		local answered, failed = {}, 0;
		for _ = 1, sent do
			local reply = juliet:expect { "iq", from = "proxy.capulet.lit" };
			assert.is_nil(answered[reply.attr.id]);
			answered[reply.attr.id] = true;
			if reply.attr.type == "error" then
				failed = failed + 1;
				assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"));
				-- the server's bounce of a request to a resource that has already left has no text
				assert.truthy(reply:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"), tostring(reply));
			end
		end
		juliet:expect_none({ "iq" }, 0.2);
		assert.is_true(failed > 50 and failed < sent, failed .. " of " .. sent .. " failed");
	end));

	it("drops only the resource that a presence error comes from (P14)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		a:send("<presence type='error' to='proxy.capulet.lit'><error type='cancel'>"
			.. "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>");
		a:sync();
		proxy.serve(b);
		for i = 1, 20 do juliet:send(proxy.request("r" .. i)); end
		for i = 1, 20 do assert.equal(b.jid, proxy.expect_answer(juliet, "r" .. i)); end
	end));

	it("does not wait for ever (P13)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version, nil, "client_proxy_timeout = 4");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1", "node@proxy.capulet.lit"));
		local request = a:expect { "iq", id = "1" };
		local err = proxy.expect_error(juliet, "1", "remote-server-timeout", "node@proxy.capulet.lit");
		assert.equal("wait", err:get_child("error").attr.type);
		proxy.answer(a, request);
		a:sync();
		juliet:expect_none({ "iq" }, 0.2);
		-- the address and the id are free again
		juliet:send(proxy.request("1"));
		proxy.answer(a, a:expect { "iq", id = "1" });
		proxy.expect_answer(juliet, "1");
	end));

	it("keeps pool and requests over a reload (P21)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_timeout = 8");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- no presence after the reload can fill the pool
		capulet:eval [[prosody.hosts["capulet.lit"].events.add_handler("presence/bare", function (event)
			return event.stanza.attr.from == "proxy.capulet.lit" or nil;
		end, 1000)]];
		local asked = {};
		for i = 1, 8 do juliet:send(proxy.request("r" .. i)); end
		juliet:sync();
		for _, impl in ipairs { a, b } do
			impl:sync();
			for _, request in ipairs(impl:drain()) do
				if request.name == "iq" then asked[#asked + 1] = { impl, request }; end
			end
		end
		assert.equal(8, #asked);
		proxy.reload(capulet);
		for i = 1, 7 do proxy.answer(asked[i][1], asked[i][2]); end
		for i = 1, 7 do assert.equal(asked[i][1].jid, proxy.expect_answer(juliet, asked[i][2].attr.id)); end
		proxy.expect_error(juliet, asked[8][2].attr.id, "remote-server-timeout", nil, 8);
		proxy.serve(a);
		proxy.serve(b);
		juliet:send(proxy.request("after"));
		proxy.expect_answer(juliet, "after");
		-- requests of the time before are failed by the new instance too
		a.on_stanza, b.on_stanza = nil, nil;
		juliet:send(proxy.request("dies"));
		juliet:sync();
		proxy.reload(capulet);
		a:close();
		b:close();
		proxy.expect_error(juliet, "dies", "service-unavailable");
	end));

	it("is not taken down by a reload with a wrong option (P2, P21)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		local request = a:expect { "iq", id = "1" };
		capulet:allow_log("client_proxy_timeout");
		capulet:allow_log("Aborting reload");
		capulet:reload_config(proxy.config("client_proxy_timeout = 'long'"));
		assert.has_error(function () proxy.reload(capulet); end);
		proxy.answer(a, request);
		proxy.expect_answer(juliet, "1");
	end));

	it("forgets the resources of accounts that are no targets any more (P21)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		a:expect { "iq", id = "1" };
		capulet:add_user("other@capulet.lit");
		capulet:reload_config((proxy.config():gsub("impl@", "other@")));
		proxy.reload(capulet);
		proxy.expect_error(juliet, "1", "service-unavailable");
		juliet:send(proxy.request("2"));
		proxy.expect_error(juliet, "2", "service-unavailable");
		local other = capulet:client("other@capulet.lit/o");
		proxy.available(other);
		proxy.serve(other);
		juliet:send(proxy.request("3"));
		assert.equal(other.jid, proxy.expect_answer(juliet, "3"));
	end));

	it("answers everything in flight when it is unloaded or the server stops (P21)", bed.scenario(function (s)
		local capulet, a = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		a:expect { "iq", id = "1" };
		capulet:eval [[assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"))]];
		local function expect_shutdown(id)
			local err = proxy.expect_error(juliet, id, "service-unavailable", "proxy.capulet.lit");
			-- not what the end of the implementing client's session would bring anyway
			assert.equal("The service is shutting down", err:find("error/{urn:ietf:params:xml:ns:xmpp-stanzas}text#"));
		end
		expect_shutdown("1");
		capulet:eval [[assert(require "core.modulemanager".load("proxy.capulet.lit", "client_proxy"))]];
		juliet:send(proxy.request("2"));
		a:expect { "iq", id = "2" };
		capulet:stop();
		expect_shutdown("2");
	end));
end);
end
