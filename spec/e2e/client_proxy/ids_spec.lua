-- SPDX-License-Identifier: MIT
-- mod_client_proxy: any id that is legal, answers that are late, and requests that stay the same when they are asked again.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

for version in bed.versions() do
describe("ids of client_proxy on Prosody " .. version, function ()
	it("are any that are legal, and come back as they were (C2)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_timeout = 5");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- a parser makes spaces of line breaks and tabs in attributes, and some clients take an empty id for none
		local ids = { "a\nb", "a\tb", "\r", "", " ", " a  b ", "\u{e9}", ("x"):rep(2000), "plain", "\"'<>&" };
		for _, id in ipairs(ids) do
			local escaped = id:gsub("[%c\"'<>&]", function (char) return ("&#%d;"):format(char:byte()); end);
			juliet:send(("<iq type='get' id='%s' to='%s'><question xmlns='urn:test'/></iq>"):format(escaped, proxy.host));
			local request = impl:expect { "iq", type = "get", has = "{urn:test}question" };
			assert.truthy(request.attr.id:find("^%g+$"), id);
			assert.equal(#id < 100 and id:find("^%g+$") ~= nil, request.attr.id == id);
			proxy.answer(impl, request);
			-- the user's parser does so as well
			assert.equal((id:gsub("%c", " ")), juliet:expect({ "iq", type = "result" }).attr.id);
		end
	end));

	-- The client answers `first` when `second` is in flight; each user gets what is theirs.
	local function expect_apart(user, impl, first)
		user:send(proxy.request("again"));
		local second = impl:expect { "iq", type = "get", has = "{urn:test}question" };
		impl:send(st.iq({ type = "result"; id = first.attr.id; to = first.attr.from }):tag("late", { xmlns = "urn:test" }));
		impl:sync();
		proxy.answer(impl, second);
		assert.equal(impl.jid, (proxy.expect_answer(user, "again")));
		user:sync();
		user:expect_none({ "iq" }, 0);
	end

	it("are not taken from a late answer for the next request (C3, P10)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, "client_proxy_timeouts = { ['urn:slow'] = 1 }");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function give_up()
			juliet:send(("<iq type='get' id='again' to='%s'><question xmlns='urn:slow'/></iq>"):format(proxy.host));
			local request = impl:expect { "iq", type = "get", has = "{urn:slow}question" };
			proxy.expect_error(juliet, "again", "remote-server-timeout");
			return request;
		end
		expect_apart(juliet, impl, give_up());
		-- over a reload
		local request = give_up();
		proxy.reload(capulet);
		expect_apart(juliet, impl, request);
		-- what has been answered is over: the id is the user's again
		juliet:send(proxy.request("again"));
		proxy.answer(impl, impl:expect { "iq", id = "again" });
		proxy.expect_answer(juliet, "again");
	end));

	it("are not taken from the answer of a client that was away (C3, P12)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("again"));
		local request = impl:expect { "iq", type = "get", id = "again" };
		proxy.available(impl, "<presence type='unavailable'/>");
		proxy.expect_error(juliet, "again", "service-unavailable");
		proxy.available(impl);
		expect_apart(juliet, impl, request);
	end));

	it("are not taken from the answer of one that was asked in vain before (C3)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" });
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(proxy.request("again"));
		local first, second, request = proxy.expect_one_of(s, a, b, { "iq", type = "get", id = "again" });
		proxy.available(first, "<presence type='unavailable'/>");
		proxy.answer(second, second:expect { "iq", type = "get", id = "again" });
		proxy.expect_answer(juliet, "again");
		second:close();
		proxy.available(first);
		expect_apart(juliet, first, request);
	end));

	it("belong to a request that is the same when it is asked again (C5)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, "client_proxy_eject_after = 0");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for i, payload in ipairs {
			"<q xmlns='urn:test'><i xmlns=''><j/></i><k/></q>",
			"<q/>", "<q xmlns=''/>", "<iq xmlns='urn:test'><iq/></iq>", "<q xmlns='jabber:client'><r xmlns='urn:r'><s xmlns='jabber:client'/></r></q>",
			"<q xmlns='urn:test' xmlns:a='urn:a' a:b='c' xml:lang='de' d='&lt;&apos;&quot;&amp;'>&lt;&amp;&#10; \u{5d0}<r xmlns='urn:a' a:b='e'/></q>",
			"<q xmlns='urn:test'>" .. ("<r>" .. ("<s/>"):rep(20) .. "</r>"):rep(20) .. "</q>",
		} do
			juliet:send(("<iq type='set' id='%d' to='%s' xml:lang='he' strange='1' xmlns:z='urn:z' z:y='2'>%s</iq>"):format(i, proxy.host, payload));
			local first, second, request = proxy.expect_one_of(s, a, b, { "iq", type = "set", id = tostring(i) });
			first:send(st.error_reply(request, "cancel", "service-unavailable"));
			local again = second:expect { "iq", type = "set", id = tostring(i) };
			again.attr.to = request.attr.to;
			assert.same(request.attr, again.attr);
			assert.equal("1", again.attr.strange);
			assert.same(st.preserialize(request), st.preserialize(again));
			proxy.answer(second, again);
			proxy.expect_answer(juliet, tostring(i));
		end
	end));
end);
end
