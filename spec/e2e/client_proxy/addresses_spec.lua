-- SPDX-License-Identifier: MIT
-- mod_client_proxy: every legal address of a user is translated and translated back.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

-- 341 three-byte letters: the longest localpart or resource there can be
local long = ("\u{4e2d}"):rep(341);

for version in bed.versions() do
describe("addresses of client_proxy on Prosody " .. version, function ()
	it("shows the implementing client the user's JID where it can (P6)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		for _, jid in ipairs {
			"juliet@capulet.lit/balcony", "o\\27hara@capulet.lit/a@b/c", "j@capulet.lit/R\u{f6}sslein", "j@capulet.lit/x \"'<>& y",
			"j@capulet.lit/" .. ("x"):rep(1023 - #"j@capulet.lit/"),
		} do
			local user = capulet:client(jid);
			assert.equal(jid, user.jid);
			user:send(proxy.request("1"));
			proxy.answer(impl, impl:expect { "iq", id = "1", from = "proxy.capulet.lit/" .. jid });
			proxy.expect_answer(user, "1", { from = "proxy.capulet.lit" });
		end
	end));

	it("serves users whose resource is in Hebrew or Arabic (P8)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local seen = {};
		for i, resource in ipairs { "\u{5de}\u{5e8}\u{5e4}\u{5e1}\u{5ea}", "\u{634}\u{631}\u{641}\u{629}", "\u{5d0}" } do
			local user = capulet:client("juliet@capulet.lit/" .. resource);
			assert.equal("juliet@capulet.lit/" .. resource, user.jid);
			for _ = 1, 2 do
				user:send(proxy.request("1"));
				local request = impl:expect { "iq", id = "1", from = "~^proxy%.capulet%.lit/[%w%p]+$" };
				seen[i] = seen[i] or request.attr.from;
				assert.equal(seen[i], request.attr.from);
				proxy.answer(impl, request);
				proxy.expect_answer(user, "1", { from = "proxy.capulet.lit" });
			end
		end
		assert.is_true(seen[1] ~= seen[2] and seen[2] ~= seen[3] and seen[1] ~= seen[3]);
	end));

	it("keeps a user's translated address over a restart (P6, P8)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local function address_of(jid)
			local user = capulet:client(jid);
			user:send(proxy.request("1"));
			local request = impl:expect { "iq", id = "1" };
			proxy.answer(impl, request);
			proxy.expect_answer(user, "1");
			user:close();
			return request.attr.from;
		end
		local hebrew, very_long = "j@capulet.lit/\u{5d0}\u{5d1}", "j@capulet.lit/" .. long;
		local before = { address_of(hebrew), address_of(very_long) };
		capulet:restart();
		impl = capulet:client(impl.jid);
		proxy.available(impl);
		assert.same(before, { address_of(hebrew), address_of(very_long) });
		-- a damaged key is replaced
		capulet:allow_log("The stored data 'client_proxy' cannot be used");
		capulet:eval [[assert(require "core.storagemanager".open("proxy.capulet.lit", "client_proxy"):set(nil, { key = "AAAA" }))]];
		proxy.reload(capulet);
		assert.not_equal(before[1], address_of(hebrew));
	end));

	it("serves users with addresses of any length (P7)", bed.scenario(function (s)
		-- the longest domain Prosody can keep data for; the account and the resource can be longer
		local host = (("x"):rep(49) .. "."):rep(4) .. "lit";
		local capulet, impl = proxy.start(s, version, nil, ([[
			Component "%s"
				component_secret = "hush"
		]]):format(host));
		local gateway = capulet:component(host, "hush");
		local seen = {};
		for _, jid in ipairs {
			host, "j@" .. host, "j@" .. host .. "/r", host .. "/" .. long, long .. "@" .. host, long .. "@" .. host .. "/" .. long,
			host .. "/" .. ("x"):rep(1023 - #host - 1), host .. "/" .. ("x"):rep(1023 - #host),
		} do
			local request = proxy.request("1");
			request.attr.from = jid;
			gateway:send(request);
			local translated = impl:expect { "iq", id = "1" };
			local resource = translated.attr.from:sub(#"proxy.capulet.lit/" + 1);
			assert.is_true(#resource <= 1023);
			assert.equal(#jid <= 1023, resource == jid);
			assert.is_nil(seen[resource]);
			seen[resource] = true;
			proxy.answer(impl, translated);
			proxy.expect_answer(gateway, "1", { to = jid, from = "proxy.capulet.lit" });
		end
	end));

	it("serves a user of 1 byte and one of 3071 (P7)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		-- no server can have these names, so they are the names of a sender inside this one
		local longest = ("n"):rep(1023) .. "@" .. (("h"):rep(49) .. "."):rep(20) .. ("h"):rep(23) .. "/" .. ("r"):rep(1023);
		assert.equal(3071, #longest);
		for _, jid in ipairs { "x", longest } do
			capulet:eval(([[
				local st = require "util.stanza";
				received = nil;
				local origin = { type = "component"; send = function () end };
				prosody.hosts["proxy.capulet.lit"].events.add_handler("route/remote", function (event)
					if event.stanza.attr.type == "result" then received = event.stanza.attr.to; return true; end
				end, 1000);
				prosody.core_post_stanza(origin, st.iq({ type = "get", id = "1", from = %q, to = "proxy.capulet.lit" }):tag("question", { xmlns = "urn:test" }));
			]]):format(jid):gsub("received", "prosody.bed_received"));
			proxy.answer(impl, impl:expect { "iq", id = "1" });
			impl:sync();
			assert.equal(jid, capulet:eval "return prosody.bed_received");
		end
	end));

	it("hides users from the implementing client (client_proxy_jat)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_jat = 'token'");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("1"));
		local request = impl:expect { "iq", id = "1", from = "~^proxy%.capulet%.lit/@%.[%w_-]+$" };
		proxy.answer(impl, request);
		proxy.expect_answer(juliet, "1", { from = "proxy.capulet.lit" });
	end));

	it("does not say who made an error (P6, client_proxy_jat)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, [[
			client_proxy_jat = "token"
			client_proxy_outbound_iq = true
			client_proxy_messages = true
		]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function refuse(client, stanza)
			client:send(st.error_reply(stanza, "cancel", "item-not-found", "No", (client.jid:gsub("/.*", ""))));
		end
		local function expect_anonymous(client, name, id)
			local err = client:expect({ name, type = "error", id = id }):get_child("error");
			assert.truthy(err:get_child("item-not-found", "urn:ietf:params:xml:ns:xmpp-stanzas"));
			assert.is_nil(err.attr.by);
		end
		juliet:send(proxy.request("1"));
		local request = impl:expect { "iq", id = "1" };
		refuse(impl, request);
		expect_anonymous(juliet, "iq", "1");
		impl:send(proxy.request("2", request.attr.from));
		refuse(juliet, juliet:expect { "iq", type = "get" });
		expect_anonymous(impl, "iq", "2");
		juliet:send "<message id='3' to='proxy.capulet.lit'><body>Hi</body></message>";
		refuse(impl, impl:expect { "message", id = "3" });
		expect_anonymous(juliet, "message", "3");
		impl:send(("<message id='4' to='%s'><body>Hi</body></message>"):format(request.attr.from));
		refuse(juliet, juliet:expect { "message", id = "4" });
		expect_anonymous(impl, "message", "4");
	end));

	it("leaves the stanza of a module on this server alone (P6)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		capulet:eval [[
			local st = require "util.stanza";
			local module = require "core.modulemanager".get_module("capulet.lit", "roster").module;
			local iq = st.iq({ type = "get", id = "1", from = "capulet.lit", to = "proxy.capulet.lit" }):tag("question", { xmlns = "urn:test", number = "1" });
			module:send_iq(iq):next(function (event) prosody.bed_answer = tostring(event.stanza.attr.from); end);
		]];
		proxy.answer(impl, impl:expect { "iq", id = "1", from = "proxy.capulet.lit/capulet.lit" });
		impl:sync();
		assert.equal("proxy.capulet.lit", capulet:eval "return prosody.bed_answer");
	end));
end);
end
