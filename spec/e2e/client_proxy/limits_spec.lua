-- SPDX-License-Identifier: MIT
-- mod_client_proxy: what its README says it does not do gets one correct error, and never an error to an error.

local bed = require "bed";
local proxy = require "client_proxy";

for version in bed.versions() do
describe("limits of client_proxy on Prosody " .. version, function ()
	local refused = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}feature-not-implemented";
	it("refuses presence of users once (P16)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		proxy.available(juliet);
		juliet:drain();
		for _, address in ipairs(proxy.addresses) do
			juliet:send(("<presence to='%s' id='p'/>"):format(address));
			juliet:expect { "presence", type = "error", from = address, id = "p", has = refused };
		end
		juliet:send "<presence to='proxy.capulet.lit' type='probe'/>";
		juliet:expect { "presence", type = "error", from = "proxy.capulet.lit", has = refused };
		juliet:send "<presence to='proxy.capulet.lit' type='subscribe'/>";
		juliet:expect { "presence", type = "error", from = "proxy.capulet.lit", has = refused };
		for _, kind in ipairs { "unavailable", "unsubscribe", "subscribed", "unsubscribed" } do
			juliet:send(("<presence to='proxy.capulet.lit' type='%s'/>"):format(kind));
		end
		juliet:send("<presence to='proxy.capulet.lit' type='error'><error type='cancel'>"
			.. "<bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>");
		juliet:sync();
		juliet:expect_none({ "presence" }, 0.2);
		impl:sync();
		impl:expect_none({ "presence", from = "~juliet" }, 0);
	end));

	it("refuses messages once (P17)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, client in ipairs { juliet, impl } do
			for _, address in ipairs(proxy.addresses) do
				client:send(("<message to='%s' id='m' type='chat'><body>hail</body></message>"):format(address));
				client:expect { "message", type = "error", from = address, id = "m", has = refused };
			end
			client:send("<message to='proxy.capulet.lit' type='error'><error type='cancel'>"
				.. "<bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>");
			client:sync();
			client:expect_none({ "message" }, 0.2);
		end
	end));

	it("refuses requests of the implementing client to users (P18)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		local address = impl:expect({ "iq", id = "1" }).attr.from;
		impl:send(proxy.request("reverse", address));
		impl:expect { "iq", type = "error", id = "reverse", from = address, has = refused };
		impl:send(("<iq type='error' id='nothing' to='%s'/>"):format(address));
		impl:sync();
		impl:expect_none({ "iq" }, 0.2);
		juliet:expect_none({ "iq" }, 0);
		-- to the service itself it is a user like others
		impl:send(proxy.request("own"));
		proxy.answer(impl, impl:expect { "iq", type = "get", id = "own" });
		proxy.expect_answer(impl, "own", { from = "proxy.capulet.lit" });
	end));

	it("drops results and errors of users (P19)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, address in ipairs(proxy.addresses) do
			juliet:send(("<iq type='result' id='1' to='%s'/>"):format(address));
			juliet:send(("<iq type='error' id='1' to='%s'><error type='cancel'/></iq>"):format(address));
		end
		juliet:sync();
		juliet:expect_none({ "iq" }, 0.2);
		impl:expect_none({ "iq" }, 0);
	end));

	it("leaves to modules of the component what they handle, and forwards the rest (P20)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, [[modules_enabled = { "ping" }]]);
		proxy.serve(impl);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send "<iq type='get' id='ping' to='proxy.capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
		assert.is_nil(proxy.expect_answer(juliet, "ping"));
		juliet:send "<iq type='get' id='disco' to='proxy.capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
		assert.equal(impl.jid, proxy.expect_answer(juliet, "disco"));
	end));

	it("accepts the subscription of its target (P15)", bed.scenario(function (s)
		local _, impl = proxy.start(s, version);
		impl:send "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
		impl:send "<presence type='subscribe' to='proxy.capulet.lit'/>";
		impl:expect { "presence", type = "subscribed", from = "proxy.capulet.lit" };
	end));
end);
end
