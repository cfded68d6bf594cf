-- SPDX-License-Identifier: MIT
-- mod_client_proxy with client_proxy_disco: service discovery and pings to the service itself.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local info_ns = "http://jabber.org/protocol/disco#info";
local items_ns = "http://jabber.org/protocol/disco#items";
local commands_ns = "http://jabber.org/protocol/commands"; -- the module has some itself

local static = [[
	client_proxy_disco = "static"
	client_proxy_identity = { "component/bot", "gateway/sms" }
	client_proxy_features = { "urn:test:one", "urn:test:two" }
	name = "Echo service"
]];
local merge = static:gsub("static", "merge");

local function query(id, to, xmlns, node)
	return st.iq({ type = "get"; id = id; to = to or proxy.host }):tag("query", { xmlns = xmlns or info_ns; node = node });
end

-- -> sorted list of what a disco#info answer says
local function info_of(stanza)
	local list = {};
	for _, tag in ipairs(stanza:get_child("query", info_ns).tags) do
		local attr = tag.attr;
		list[#list + 1] = tag.name == "feature" and attr.var
			or tag.name == "identity" and ("%s/%s %s"):format(attr.category, attr.type, attr.name)
			or tag.name;
	end
	table.sort(list);
	return list;
end

local function get_info(client, id, timeout)
	client:send(query(id));
	return info_of(client:expect({ "iq", type = "result", id = id, from = proxy.host }, timeout));
end

local own = {
	"component/bot Echo service", "gateway/sms Echo service", commands_ns, info_ns, items_ns, "urn:test:one", "urn:test:two", "urn:xmpp:ping",
};
table.sort(own);

local function with(...)
	local list = { ... };
	table.move(own, 1, #own, #list + 1, list);
	table.sort(list);
	return list;
end

-- The question of the service to a resource
local function expect_question(impl)
	return impl:expect { "iq", type = "get", from = proxy.host, to = impl.jid, has = ("{%s}query"):format(info_ns) };
end

local function answer(impl, question, ...)
	local reply = st.reply(question):tag("query", { xmlns = info_ns });
	for _, tag in ipairs { ... } do reply:add_child(tag); end
	impl:send(reply);
end

local function feature(var) return st.stanza("feature", { var = var }); end

for version in bed.versions() do
describe("service discovery of client_proxy on Prosody " .. version, function ()
	local elsewhere = { "proxy.capulet.lit/res", "node@proxy.capulet.lit", "node@proxy.capulet.lit/res" };

	it("is answered from the configuration, whoever is online (X5)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, static);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _ = 1, 2 do
			assert.same(own, get_info(juliet, "info"));
			juliet:send(query("items", nil, items_ns));
			juliet:expect { "iq", type = "result", id = "items", from = "proxy.capulet.lit", has = ("{%s}query"):format(items_ns) };
			juliet:send "<iq type='get' id='ping' to='proxy.capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
			juliet:expect { "iq", type = "result", id = "ping", from = "proxy.capulet.lit" };
			juliet:send(query("node", nil, nil, "urn:test:node"));
			proxy.expect_error(juliet, "node", "item-not-found", "proxy.capulet.lit");
			impl:sync();
			impl:expect_none({ "iq" }, 0);
			proxy.available(impl, "<presence type='unavailable'/>");
		end
	end));

	it("has an identity by default (X5)", bed.scenario(function (s)
		local capulet = proxy.start(s, version, nil, [[client_proxy_disco = "static"]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		assert.same({ "component/generic nil", commands_ns, info_ns, items_ns, "urn:xmpp:ping" }, get_info(juliet, "info"));
	end));

	it("of other addresses is the implementing client's (X5)", bed.scenario(function (s)
		for _, mode in ipairs { static, merge } do
			local capulet, impl = proxy.start(s, version, nil, mode);
			local juliet = capulet:client("juliet@capulet.lit/balcony");
			for _, address in ipairs(elsewhere) do
				for _, xmlns in ipairs { info_ns, items_ns } do
					for _, node in ipairs { false, "n" } do
						juliet:send(query("1", address, xmlns, node or nil));
						impl:send(st.reply(impl:expect { "iq", id = "1", has = ("{%s}query"):format(xmlns) }));
						juliet:expect { "iq", type = "result", id = "1", from = address };
					end
				end
				juliet:send(("<iq type='get' id='p' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"):format(address));
				impl:send(st.reply(impl:expect { "iq", id = "p", has = "{urn:xmpp:ping}ping" }));
				juliet:expect { "iq", type = "result", id = "p", from = address };
			end
			-- and everything else
			juliet:send(proxy.request("2"));
			proxy.answer(impl, impl:expect { "iq", id = "2" });
			proxy.expect_answer(juliet, "2");
			capulet:stop();
		end
	end));

	it("goes to who the option says, from one reload of the configuration to the next (X5)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local function expect_forwarded()
			for _, xmlns in ipairs { info_ns, items_ns } do
				juliet:send(query("f", nil, xmlns));
				impl:send(st.reply(impl:expect { "iq", type = "get", id = "f", has = ("{%s}query"):format(xmlns) }));
				juliet:expect { "iq", type = "result", id = "f", from = "proxy.capulet.lit" };
			end
			juliet:send "<iq type='get' id='p' to='proxy.capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
			impl:send(st.reply(impl:expect { "iq", id = "p", has = "{urn:xmpp:ping}ping" }));
			juliet:expect { "iq", type = "result", id = "p", from = "proxy.capulet.lit" };
		end
		expect_forwarded();
		for _, mode in ipairs { static, merge } do
			proxy.reload(capulet, mode);
			juliet:send(query("own"));
			if mode == merge then answer(impl, expect_question(impl)); end
			assert.same(own, info_of(juliet:expect { "iq", type = "result", id = "own" }));
			proxy.reload(capulet, "");
			expect_forwarded();
		end
		-- what others want stays
		local depend = [[require "core.modulemanager".get_module("proxy.capulet.lit", "adhoc").module.%s]];
		proxy.reload(capulet, static);
		capulet:eval(depend:format [[:depends("disco")]]:gsub("%.:", ":"));
		proxy.reload(capulet, "");
		assert.same({ commands_ns, info_ns, items_ns }, get_info(juliet, "dependency"));
		capulet:eval(depend:format [[dependencies.disco = nil]]);
		proxy.reload(capulet, static);
		proxy.reload(capulet, [[modules_enabled = { "disco" }]]);
		assert.same({ commands_ns, info_ns, items_ns }, get_info(juliet, "enabled"));
		impl:expect_none({ "iq", type = "get" }, 0.1);
	end));

	it("can be merged with that of a resource (X5)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		juliet:send(query("j"));
		nurse:send(query("n"));
		local question = expect_question(impl);
		juliet:sync();
		nurse:sync();
		impl:expect_none({ "iq", type = "get" }, 0.1);
		-- with things that are there already, or make no sense
		answer(impl, question, st.stanza("identity", { category = "client"; type = "bot"; name = "echo" }),
			st.stanza("identity", { category = "gateway"; type = "sms"; name = "another" }), st.stanza("identity", { category = "client" }),
			feature("urn:test:three"), feature("urn:test:one"), feature("urn:test:three"), feature(nil),
			st.stanza("x", { xmlns = "jabber:x:data"; type = "result" }), st.stanza("nonsense"));
		local expected = with("client/bot echo", "urn:test:three", "x");
		assert.same(expected, info_of(juliet:expect { "iq", type = "result", id = "j" }));
		assert.same(expected, info_of(nurse:expect { "iq", type = "result", id = "n" }));
		-- from memory, and with what a module of the component adds
		assert.same(expected, get_info(juliet, "again"));
		capulet:eval [[
			local mm = require "core.modulemanager";
			local other = mm.get_module("proxy.capulet.lit", "disco").module;
			other:add_feature("urn:test:module");
			other:add_extension(require "util.stanza".stanza("x", { xmlns = "jabber:x:data", type = "result" }));
		]];
		assert.same(with("client/bot echo", "urn:test:three", "x", "x", "urn:test:module"), get_info(juliet, "module"));
		impl:sync();
		impl:expect_none({ "iq" }, 0);
		-- nodes are the resource's, pings and items not
		for _, xmlns in ipairs { info_ns, items_ns } do
			juliet:send(query("node", nil, xmlns, "n"));
			impl:send(st.reply(impl:expect { "iq", id = "node", from = "proxy.capulet.lit/" .. juliet.jid }));
			juliet:expect { "iq", type = "result", id = "node" };
		end
		juliet:send(query("items", nil, items_ns));
		juliet:expect { "iq", type = "result", id = "items" };
		juliet:send "<iq type='get' id='ping' to='proxy.capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>";
		juliet:expect { "iq", type = "result", id = "ping" };
		-- and nobody's any more
		proxy.available(impl, "<presence type='unavailable'/>");
		assert.same(with("urn:test:module", "x"), get_info(juliet, "empty"));
		impl:sync();
		impl:expect_none({ "iq" }, 0);
	end));

	it("of nodes is that of a module which has something there, when it is merged (X5)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge .. [[admins = { "nurse@capulet.lit" }]]);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local nurse = capulet:client("nurse@capulet.lit/chamber");
		local function expect_own(client, xmlns, path)
			client:send(query("own", nil, xmlns, commands_ns));
			client:expect { "iq", type = "result", id = "own", from = "proxy.capulet.lit", has = ("{%s}query/%s"):format(xmlns, path) };
		end
		expect_own(juliet, info_ns, "identity");
		expect_own(nurse, info_ns, "identity");
		expect_own(nurse, items_ns, "item");
		-- the command of this module is for admins
		juliet:send(query("theirs", nil, items_ns, commands_ns));
		impl:send(st.reply(impl:expect { "iq", type = "get", id = "theirs" }));
		juliet:expect { "iq", type = "result", id = "theirs", from = "proxy.capulet.lit" };
		impl:expect_none({ "iq" }, 0);
	end));

	it("does without a resource that has nothing to say (X5)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(query("1"));
		local question = expect_question(impl);
		-- an error may repeat the question
		local refusal = st.error_reply(question, "cancel", "feature-not-implemented"):reset();
		impl:send(refusal:tag("query", { xmlns = info_ns }):add_child(feature("urn:test:three")));
		assert.same(own, info_of(juliet:expect { "iq", type = "result", id = "1" }));
		assert.same(own, get_info(juliet, "2"));
		impl:sync();
		impl:expect_none({ "iq" }, 0);
		-- a new instance has no memory
		proxy.reload(capulet);
		juliet:send(query("3"));
		question = expect_question(impl);
		proxy.reload(capulet);
		assert.same(own, info_of(juliet:expect({ "iq", type = "result", id = "3" }, 10)));
		-- too late
		answer(impl, question, feature("urn:test:three"));
		impl:sync();
		assert.same(own, get_info(juliet, "4"));
	end));

	it("asks another resource when one has left (X5)", bed.scenario(function (s)
		local capulet, a, b = proxy.start(s, version, { "a", "b" }, merge);
		local third = capulet:client("impl@capulet.lit/c");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(query("1"));
		local asked, other = proxy.expect_one_of(s, a, b, { "iq", from = "proxy.capulet.lit" });
		-- not when it was a different one
		proxy.available(third);
		third:close();
		for _, impl in ipairs { asked, other } do
			impl:sync();
			impl:expect_none({ "iq", type = "get" }, 0.1);
		end
		asked:kill();
		answer(other, expect_question(other), feature("urn:test:three"));
		assert.same(with("urn:test:three"), info_of(juliet:expect { "iq", type = "result", id = "1" }));
		proxy.reload(capulet);
		juliet:send(query("2"));
		expect_question(other);
		other:close();
		assert.same(own, info_of(juliet:expect { "iq", type = "result", id = "2" }));
		for _ = 1, 2 do
			third = capulet:client("impl@capulet.lit/c");
			proxy.available(third);
			third:close();
		end
		assert.same(own, get_info(juliet, "3"));
	end));

	it("believes only the resource that was asked (X5, P10)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		local tybalt = capulet:client("tybalt@capulet.lit/hall");
		local hidden = capulet:client("impl@capulet.lit/hidden");
		juliet:send(query("1"));
		local question = expect_question(impl);
		for _, client in ipairs { tybalt, hidden, juliet } do
			answer(client, question, feature("urn:test:forged"));
			client:sync();
		end
		impl:send(("<iq type='result' id='%s' to='proxy.capulet.lit/x'><query xmlns='%s'/></iq>"):format(question.attr.id, info_ns));
		impl:sync();
		juliet:expect_none({ "iq" }, 0.1);
		for _ = 1, 2 do answer(impl, question, feature("urn:test:three")); end
		assert.same(with("urn:test:three"), info_of(juliet:expect { "iq", type = "result", id = "1" }));
		impl:sync();
		juliet:expect_none({ "iq" }, 0.1);
		assert.equal(5, proxy.count_refused(capulet));
	end));

	it("keeps a question over a reload (X5, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		juliet:send(query("1"));
		local question = expect_question(impl);
		proxy.reload(capulet);
		juliet:send(query("2"));
		juliet:sync();
		answer(impl, question, feature("urn:test:three"));
		for _, id in ipairs { "1", "2" } do
			assert.same(with("urn:test:three"), info_of(juliet:expect { "iq", type = "result", id = id }));
		end
		impl:expect_none({ "iq" }, 0.1);
	end));

	it("answers who waits when it is unloaded (X5, P21)", bed.scenario(function (s)
		local capulet, impl = proxy.start(s, version, nil, merge);
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		for _, id in ipairs { "1", "2" } do juliet:send(query(id)); end
		expect_question(impl);
		juliet:sync();
		capulet:eval [[assert(require "core.modulemanager".unload("proxy.capulet.lit", "client_proxy"))]];
		for _, id in ipairs { "1", "2" } do assert.same(own, info_of(juliet:expect { "iq", type = "result", id = id })); end
	end));

	it("refuses wrong options and names them, like those of the rest (X1, X2, X3, X5)", bed.scenario(function (s)
		proxy.expect_refused(s, version, {
			client_proxy_disco = [["dynamic"]]; client_proxy_identity = [["component"]]; client_proxy_features = [[{ "" }]]; name = "1";
			client_proxy_messages = [["yes"]]; client_proxy_presence = "1"; client_proxy_outbound_iq = [["on"]]; client_proxy_user_ttl = "0";
		});
	end));
end);
end
