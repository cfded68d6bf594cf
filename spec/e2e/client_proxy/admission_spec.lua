-- SPDX-License-Identifier: MIT
-- mod_client_proxy: which resources get requests, and what puts one out for a while.

local bed = require "bed";
local proxy = require "client_proxy";
local calculate_hash = require "util.caps".calculate_hash;
local st = require "util.stanza";

local xmlns_info = "http://jabber.org/protocol/disco#info";

local function info(features)
	local query = st.stanza("query", { xmlns = xmlns_info }):tag("identity", { category = "client"; type = "bot" }):up();
	for _, feature in ipairs(features) do query:tag("feature", { var = feature }):up(); end
	return query;
end

-- answers disco#info, and everything else as proxy.serve does
local function serve_with_disco(impl, query)
	proxy.serve(impl);
	local serve = impl.on_stanza;
	impl.on_stanza = function (stanza)
		if not stanza:get_child("query", xmlns_info) then return serve(stanza); end
		impl.disco_count = (impl.disco_count or 0) + 1;
		impl:send(st.reply(stanza):add_child(st.clone(query)));
	end;
end

local function presence_with(query)
	return ("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='%s'/></presence>"):format(calculate_hash(query));
end

for version in bed.versions() do
describe("admission of client_proxy on Prosody " .. version, function ()
	-- the resources that answer 40 requests, in order
	local function who_serves(user)
		local names, seen = {}, {};
		for i = 1, 40 do user:send(proxy.request("w" .. i)); end
		for i = 1, 40 do
			local name = proxy.expect_answer(user, "w" .. i):match("/(.*)");
			if not seen[name] then names[#names + 1] = name; end
			seen[name] = true;
		end
		table.sort(names);
		return table.concat(names, " ");
	end

	local function start(s, resources, text)
		local found = { proxy.start(s, version, resources, text) };
		for i = 2, #found do proxy.serve(found[i]); end
		return found[1], found[1]:client("juliet@capulet.lit/balcony"), table.unpack(found, 2);
	end

	it("leaves out negative priorities and who does not want to be disturbed (P5c)", bed.scenario(function (s)
		local _, juliet, a, b, c = start(s, { "a", "b", "c" });
		assert.equal("a b c", who_serves(juliet));
		proxy.available(a, "<presence><priority>-1</priority></presence>");
		proxy.available(c, "<presence><show>dnd</show></presence>");
		assert.equal("b", who_serves(juliet));
		proxy.available(a, "<presence><show>xa</show></presence>");
		proxy.available(b, "<presence><priority>-5</priority></presence>");
		assert.equal("a", who_serves(juliet));
		proxy.available(a, "<presence type='unavailable'/>");
		juliet:send(proxy.request("nobody"));
		proxy.expect_error(juliet, "nobody", "service-unavailable", "proxy.capulet.lit");
		proxy.available(c);
		assert.equal("c", who_serves(juliet));
	end));

	it("makes sense of any priority and show (P5c)", bed.scenario(function (s)
		local capulet, juliet, a, b = start(s, { "a", "b" }, "client_proxy_strategy = 'priority'");
		for _, priority in ipairs { "1.5", "1e999", "0x1p-1", "nan", "", " 7 ", "high" } do
			proxy.available(a, ("<presence><priority>%s</priority></presence>"):format(priority));
			juliet:send(proxy.request("1"));
			proxy.expect_answer(juliet, "1");
		end
		for _, priority in ipairs { "-0.5", "-1e999" } do
			proxy.available(a, ("<presence><priority>%s</priority></presence>"):format(priority));
			assert.equal("b", who_serves(juliet));
		end
		-- what is no state is none, above all not more lines of the overview
		proxy.available(b, "<presence><show>dnd, is asked\nimpl@capulet.lit/c  priority 0</show><priority>2.5</priority></presence>");
		assert.equal("b", who_serves(juliet));
		assert.equal("impl@capulet.lit/b  priority 2, available, 0 in flight, is asked", capulet:eval [[
			local commands = prosody.hosts["proxy.capulet.lit"].modules.client_proxy.module:shared("/*/client_proxy/commands");
			return commands["proxy.capulet.lit"].resources.overview()[2];
		]]);
	end));

	it("follows the options, and their change at a reload (P5c, P21)", bed.scenario(function (s)
		local capulet, juliet, _, b, c, d = start(s, { "a", "bot-b", "bot-c", "bot-d" }, [[
			client_proxy_min_priority = -5
			client_proxy_skip_show = { "away", "xa" }
			client_proxy_resource_pattern = "^bot%-"
		]]);
		proxy.available(b, "<presence><priority>-5</priority><show>dnd</show></presence>");
		proxy.available(c, "<presence><priority>-6</priority></presence>");
		proxy.available(d, "<presence><show>away</show></presence>");
		assert.equal("bot-b", who_serves(juliet));
		proxy.reload(capulet, "client_proxy_skip_show = {}");
		assert.equal("a bot-d", who_serves(juliet));
	end));

	it("does not admit a resource that is too long for the pattern (P5c)", bed.scenario(function (s)
		-- what raises depends on pattern and resource, so no check of the option can know
		local _, juliet = start(s, { "aa", ("a"):rep(300) }, ("client_proxy_resource_pattern = '^%s$'"):format(("a?"):rep(250)));
		assert.equal("aa", who_serves(juliet));
	end));

	it("refuses options that make no sense (P5c)", bed.scenario(function (s)
		proxy.expect_refused(s, version, {
			client_proxy_min_priority = "200"; client_proxy_skip_show = "{ 'busy' }"; client_proxy_resource_pattern = "'bot['";
			client_proxy_required_feature = "{}"; client_proxy_eject_after = "-1"; client_proxy_eject_time = "0";
		});
	end));

	it("asks for the required feature once for each software (P5c)", bed.scenario(function (s)
		local able, unable = info { xmlns_info, "urn:test" }, info { xmlns_info };
		local capulet = s:node { version = version; config = proxy.config("client_proxy_required_feature = 'urn:test'") };
		local function verdicts(jid)
			local count = 0;
			for line in capulet.log:tail(100000):gmatch("client_proxy[^\n]*") do
				local event = line:match(jid .. " ([^,]*)");
				if event and not event:find("not known yet", 1, true) then count = count + 1; end
			end
			return count;
		end
		local function announce(impl, query, presence)
			local before = verdicts(impl.jid);
			serve_with_disco(impl, query);
			proxy.available(impl, presence);
			s:wait_until(function () return verdicts(impl.jid) > before; end);
		end
		local function join(resource, query, presence)
			local impl = capulet:client("impl@capulet.lit/" .. resource);
			announce(impl, query, presence);
			return impl;
		end
		capulet:add_user(proxy.account);
		proxy.reload(capulet);
		local a = capulet:client("impl@capulet.lit/a");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		announce(a, able, "<presence/>");
		assert.equal("a", who_serves(juliet));
		local b, c = join("b", able, presence_with(able)), join("c", unable, presence_with(unable));
		assert.equal("a b", who_serves(juliet));
		local d, e = join("d", able, presence_with(able)), join("e", unable, presence_with(unable));
		-- a hash that is not that of the answer says nothing about others
		local f = join("f", able, presence_with(info { "urn:other" }));
		local g = join("g", unable, presence_with(info { "urn:other" }));
		assert.equal("a b d f", who_serves(juliet));
		local asked = {};
		for i, impl in ipairs { a, b, c, d, e, f, g } do asked[i] = impl.disco_count or 0; end
		assert.same({ 1, 1, 1, 0, 0, 1, 1 }, asked);
		-- the software changes
		announce(g, able, presence_with(able));
		announce(b, unable, presence_with(unable));
		announce(f, unable, presence_with(info { "urn:third" }));
		assert.equal("a d g", who_serves(juliet));
		-- over a reload all this is known
		local clients, before, after = { a, b, c, d, e, f, g }, {}, {};
		for i, impl in ipairs(clients) do before[i] = impl.disco_count or 0; end
		proxy.reload(capulet);
		clients[8], before[8] = join("h", able, presence_with(able)), 0;
		assert.equal("a d g h", who_serves(juliet));
		for i, impl in ipairs(clients) do after[i] = impl.disco_count or 0; end
		assert.same(before, after);
		clients[8]:close();
		-- nobody is put out while one with another feature asks again
		local asked_again = 0;
		for _, impl in ipairs { a, d, g } do
			local serve = impl.on_stanza;
			impl.on_stanza = function (stanza)
				if not stanza:get_child("query", xmlns_info) then return serve(stanza); end
				asked_again = asked_again + 1;
			end;
		end
		proxy.reload(capulet, "client_proxy_required_feature = 'urn:another'");
		assert.equal("a d g", who_serves(juliet));
		s:wait_until(function () return asked_again >= 3; end, 5, "questions for the other feature");
		assert.equal("a d g", who_serves(juliet));
	end));

	it("asks for the required feature again after a reload if there was no answer (P5c, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, { "a" }, "client_proxy_required_feature = 'urn:test'");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function expect_question()
			return impl:expect { "iq", type = "get", from = "proxy.capulet.lit", has = ("{%s}query"):format(xmlns_info) };
		end
		expect_question();
		proxy.reload(capulet);
		-- or one that says nothing for good
		impl:send(st.error_reply(expect_question(), "wait", "resource-constraint"));
		impl:sync();
		proxy.reload(capulet);
		impl:send(st.reply(expect_question()):add_child(info { "urn:test" }));
		impl:sync();
		proxy.serve(impl);
		assert.equal("a", who_serves(juliet));
	end));

	it("knows over a reload who has failed (P5c, P21)", bed.scenario(function (s)
		local capulet, juliet, _, b = start(s, { "a", "b" }, [[
			client_proxy_eject_after = 2
			client_proxy_strategy = "round-robin"
		]]);
		assert.equal("a b", who_serves(juliet));
		capulet:allow_log("is left out for 30 seconds: 2 failures in a row, the last: feature%-not%-implemented");
		b.on_stanza = function (stanza)
			if stanza.attr.type == "get" then b:send(st.error_reply(stanza, "cancel", "feature-not-implemented")); end
		end;
		local function ask_both()
			for i = 1, 2 do
				juliet:send(proxy.request("r" .. i));
				proxy.expect_answer(juliet, "r" .. i);
			end
		end
		ask_both();
		assert.is_nil(capulet.log:find("is left out"));
		proxy.reload(capulet);
		ask_both();
		capulet:expect_log("b is left out for 30 seconds");
	end));

	it("leaves out who only says feature-not-implemented, and asks again later (P5c)", bed.scenario(function (s)
		local capulet, juliet, _, b = start(s, { "a", "b" }, [[
			client_proxy_eject_after = 3
			client_proxy_eject_time = 5
		]]);
		assert.equal("a b", who_serves(juliet));
		capulet:allow_log("is left out for 5 seconds: 3 failures in a row, the last: feature%-not%-implemented");
		local serve, refused = b.on_stanza, 0;
		local function fail(stanza)
			if stanza.attr.type ~= "get" then return; end
			refused = refused + 1;
			b:send(st.error_reply(stanza, "cancel", "feature-not-implemented"));
		end
		local function fail_one()
			juliet:send(proxy.request("e"));
			juliet:expect { "iq", id = "e" };
			return refused;
		end
		b.on_stanza = fail;
		s:wait_until(function () return fail_one() and capulet.log:find("is left out"); end, 10, "ejection");
		assert.equal(3, refused);
		refused = 0;
		assert.equal("a", who_serves(juliet));
		b.on_stanza = serve;
		capulet:expect_log("b is asked again", 3);
		assert.equal("a b", who_serves(juliet));
		-- who comes anew starts anew
		b.on_stanza = fail;
		s:wait_until(function () return fail_one() >= 3; end, 10, "ejection");
		b:close();
		b = capulet:client("impl@capulet.lit/b");
		b.on_stanza, refused = fail, 0;
		proxy.available(b);
		s:wait_until(function () return fail_one() >= 1; end);
		proxy.serve(b);
		assert.equal("a b", who_serves(juliet));
	end));

	it("asks whom it has left out rather than nobody (P5c)", bed.scenario(function (s)
		local capulet, juliet, a, b = start(s, { "a", "b" }, "client_proxy_eject_after = 1; client_proxy_presence = true");
		juliet:send "<presence/>";
		juliet:send "<presence type='subscribe' to='proxy.capulet.lit'/>";
		juliet:expect { "presence", from = "proxy.capulet.lit", type = false };
		assert.equal("a b", who_serves(juliet));
		capulet:allow_log("b is left out for 30 seconds");
		local serve = b.on_stanza;
		b.on_stanza = function (stanza)
			if stanza.attr.type == "get" then b:send(st.error_reply(stanza, "cancel", "feature-not-implemented")); end
		end;
		s:wait_until(function ()
			juliet:send(proxy.request("e"));
			-- a answers what b refuses
			return proxy.expect_answer(juliet, "e") and capulet.log:find("is left out");
		end, 10, "ejection");
		b.on_stanza = serve;
		a:close();
		capulet:expect_log("b is asked again");
		assert.equal("b", who_serves(juliet));
		-- the service was there all the time
		juliet:expect_none({ "presence", from = "proxy.capulet.lit", type = "unavailable" }, 0);
	end));
end);
end
