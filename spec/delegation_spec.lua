-- SPDX-License-Identifier: MIT
-- mod_delegation without a server: reading the configuration, wrapping and unwrapping.

local st = require "util.stanza";
local config = dofile "lua/mod_delegation/config.lib.lua";
local wrapper = dofile "lua/mod_delegation/wrapper.lib.lua";

local function parse(option)
	return config.parse(option, "capulet.lit", 30);
end

describe("delegation configuration", function ()
	it("reads entries and leaves the option alone (R1, R2, B7)", function ()
		local filtering = { "node" };
		local option = {
			["urn:xmpp:mam:2"] = { jid = "Pubsub.Capulet.LIT", filtering = filtering, timeout = 5, blocking = true };
			["urn:x:y"] = { jid = "bot@capulet.lit/r", protocol = 1 };
		};
		local delegations, problems = parse(option);
		assert.same({}, problems);
		assert.same({
			{ namespace = "urn:x:y", advertised = "urn:x:y", jid = "bot@capulet.lit/r", filtering = {}, timeout = 30,
				version = "urn:xmpp:delegation:1", blocking = false },
			{ namespace = "urn:xmpp:mam:2", advertised = "urn:xmpp:mam:2", jid = "pubsub.capulet.lit", filtering = { "node" }, timeout = 5,
				version = "urn:xmpp:delegation:2", blocking = true },
		}, delegations);
		assert.not_equal(filtering, delegations[2].filtering);
		assert.same({ jid = "Pubsub.Capulet.LIT", filtering = { "node" }, timeout = 5, blocking = true }, option["urn:xmpp:mam:2"]);
		assert.same({ "urn:xmpp:delegation:2", "urn:xmpp:delegation:1" }, config.versions(delegations)); -- R9
		assert.same({ "urn:xmpp:delegation:2" }, config.versions {});
	end);

	it("names the entry, the key and what was expected, for each bad entry (R1, B7)", function ()
		for _, case in ipairs {
			{ "n", { jid = "a.b", blocking = 1 }, "expected blocking to be true or false, got 1" },
			{ 1, { jid = "a.b" }, "entry 1: expected a namespace as key" },
			{ "", { jid = "a.b" }, "entry \"\": expected a namespace as key" },
			{ "n", "a.b", "entry \"n\": expected a table such as .*, got \"a.b\"" },
			{ "n", {}, "entry \"n\": expected jid to be the JID of a managing entity other than this host, got nothing" },
			{ "n", { jid = 5 }, "expected jid to be .*, got 5" },
			{ "n", { jid = "" }, "expected jid to be .*, got \"\"" },
			{ "n", { jid = "a@b@c" }, "expected jid to be .*, got \"a@b@c\"" },
			{ "n", { jid = "CAPULET.lit" }, "expected jid to be .* other than this host, got \"CAPULET.lit\"" },
			{ "n", { jid = "a.b", filtering = "node" }, "expected filtering to be a list of attribute names, got \"node\"" },
			{ "n", { jid = "a.b", filtering = { node = true } }, "expected filtering to be .*, got a table" },
			{ "n", { jid = "a.b", filtering = { 1 } }, "expected filtering" },
			{ "n", { jid = "a.b", filtering = { "" } }, "expected filtering" },
			{ "n", { jid = "a.b", protocol = 3 }, "expected protocol to be 1 or 2, got 3" },
			{ "n", { jid = "a.b", protocol = "2" }, "expected protocol to be 1 or 2, got \"2\"" },
			{ "n", { jid = "a.b", timeout = 0 }, "expected timeout to be a number of seconds, at least 1, got 0" },
			{ "n", { jid = "a.b", timeout = "5" }, "expected timeout" },
			{ "n", { jid = "a.b", timeout = 0 / 0 }, "expected timeout" },
			{ "n", { jid = "a.b", timeout = math.huge }, "expected timeout" },
			{ "n", { jid = "a.b", filter = {} }, "unknown key \"filter\", expected jid, filtering, protocol, timeout or blocking" },
			{ "n", { jid = "a.b", [1] = "x" }, "unknown key 1" },
		} do
			local delegations, problems = parse { [case[1]] = case[2], ["urn:x:good"] = { jid = "a.b" } };
			assert.equal(1, #problems);
			assert.matches("^Option 'delegations', entry .*; this entry is skipped$", problems[1]);
			assert.matches(case[3], problems[1]);
			assert.equal(1, #delegations);
			assert.equal("urn:x:good", delegations[1].namespace);
		end
	end);

	it("protects the namespace of delegation, but not the remaining disco (D18, D25, D26)", function ()
		for _, namespace in ipairs { "urn:xmpp:delegation:0", "urn:xmpp:delegation:1", "urn:xmpp:delegation:2", "urn:xmpp:delegation:3",
				"urn:xmpp:delegation:2:bare:disco#info", "urn:xmpp:delegation:2#configure" } do
			assert.is_true(config.is_protected(namespace));
			local delegations, problems = parse { [namespace] = { jid = "a.b" } };
			assert.same({ 0, 1 }, { #delegations, #problems });
		end
		for _, namespace in ipairs { "urn:xmpp:delegation:2:bare:disco#info:*", "urn:xmpp:delegation:2:bare:disco#items:*", "urn:x:y" } do
			assert.is_false(config.is_protected(namespace));
			assert.equal(1, #parse { [namespace] = { jid = "a.b" } });
		end
	end);

	it("knows the older names of remaining disco (R3, B8)", function ()
		for _, what in ipairs { "info", "items" } do
			local old, name = "http://jabber.org/protocol/disco#"..what..":*", "urn:xmpp:delegation:2:bare:disco#"..what..":*";
			local delegation = parse({ [old] = { jid = "a.b" } })[1];
			assert.same({ name, name, what }, { delegation.namespace, delegation.advertised, delegation.pseudo });
			assert.equal(old, parse({ [name] = { jid = "a.b", protocol = 1 } })[1].advertised);
			local delegations, problems = parse { [old] = { jid = "a.b" }, [name] = { jid = "c.d" } };
			assert.equal("a.b", delegations[1].jid);
			assert.equal(1, #delegations);
			assert.matches("means the same as \""..old:gsub("%p", "%%%0"), problems[1]);
		end
		assert.is_nil(parse({ ["http://jabber.org/protocol/disco#items"] = { jid = "a.b" } })[1].pseudo);
	end);
end);

describe("delegation wrapper", function ()
	local record = { from = "juliet@capulet.lit/b"; to = "romeo@capulet.lit"; id = "1"; inner_id = "x"; version = "urn:xmpp:delegation:2";
		address = "ent.capulet.lit" };

	it("gives the forwarded stanza its own namespace and addresses (D6, D8)", function ()
		local stanza = st.iq({ type = "set"; id = "1"; from = record.from }):tag("query", { xmlns = "urn:x:y" }):reset();
		local outer = wrapper.wrap(stanza, record, "capulet.lit", "outer");
		assert.same({ type = "set"; id = "outer"; from = "capulet.lit"; to = "ent.capulet.lit" }, outer.attr);
		local inner = outer:find "{urn:xmpp:delegation:2}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq";
		assert.same({ type = "set"; id = "x"; from = record.from; to = record.to; xmlns = "jabber:client" }, inner.attr);
	end);

	it("gives the answer the namespace of any stream (R8)", function ()
		local answer = st.iq({ type = "result"; id = "outer" }):tag("delegation", { xmlns = record.version })
			:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
				:tag("iq", { xmlns = "jabber:client"; type = "error"; id = "x"; to = record.from })
					:tag("query", { xmlns = "urn:x:y" }):up()
					:tag("error", { xmlns = "jabber:client"; type = "cancel" })
						:tag("conflict", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):reset();
		local reply = wrapper.unwrap(answer, record);
		assert.same({ type = "error"; id = "1"; to = record.from; from = record.to }, reply.attr);
		assert.is_nil(reply:get_child("error").attr.xmlns);
		assert.equal("urn:x:y", reply.tags[1].attr.xmlns);
		assert.equal("conflict", (select(2, reply:get_error())));
	end);
end);

describe("delegation's passes over a stanza", function ()
	-- About how many instructions f() takes
	local function cost(f)
		local steps = 0;
		debug.sethook(function () steps = steps + 1; end, "", 100);
		f();
		debug.sethook();
		return steps;
	end

	-- run(n) prepares a stanza of that size and returns what is done with it; the cost of the fourfold is no more than a good fourfold
	local function is_linear(run)
		local small, large = cost(run(2000)), cost(run(8000));
		assert.is_true(large < small * 5, ("%d and %d"):format(small, large));
	end

	it("take a time that grows with its length (G29, D11)", function ()
		local record = { from = "juliet@capulet.lit/b"; id = "1"; inner_id = "1"; version = "urn:xmpp:delegation:2"; address = "ent.capulet.lit" };
		-- an answer with many elements beside the stanza, and in it
		is_linear(function (n)
			local answer = st.iq({ type = "result"; id = "o" }):tag("delegation", { xmlns = record.version })
				:tag("forwarded", { xmlns = "urn:xmpp:forward:0" });
			for _ = 1, n do answer:tag("delay", { xmlns = "urn:xmpp:delay" }):up(); end
			answer:tag("iq", { xmlns = "jabber:client"; type = "error"; id = "1"; to = record.from });
			for _ = 1, n do answer:tag("a", { xmlns = "jabber:client" }):tag("b", { xmlns = "urn:x:b" }):up():up(); end
			answer:tag("error", { xmlns = "jabber:client"; type = "cancel" }):reset();
			return function () assert.truthy(wrapper.unwrap(answer, record)); end;
		end);
		-- a form with many fields, of which many have many values
		local consent = dofile "lua/mod_delegation/client/consent.lib.lua";
		is_linear(function (n)
			local message = st.message():tag("x", { xmlns = "jabber:x:data"; type = "submit" });
			for i = 1, n do message:tag("field", { var = "v"..i // 2 }):text_tag("value", "1"):up(); end
			message:tag("field", { var = "many" });
			for _ = 1, n do message:text_tag("value", "1"); end
			message:reset();
			return function () assert.equal("1", consent.read(message).values["v0"]); end;
		end);
	end);
end);

describe("delegation's memory of what entities announce", function ()
	-- The file with a module of its own, which collects what it sends
	local sent, introduction;
	before_each(function ()
		sent = {};
		local module = { host = "capulet.lit" };
		function module:send(stanza) sent[#sent + 1] = stanza; end -- luacheck: ignore 212/self
		function module:add_timer() end -- luacheck: ignore 212/self
		function module:require() return { new = function () return "id"; end }; end -- luacheck: ignore 212/self
		introduction = assert(loadfile("lua/mod_delegation/introduction.lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
	end);

	local function delegation_of(namespace, client)
		return { namespace = namespace, advertised = namespace, filtering = {}, version = "urn:xmpp:delegation:2", client = client };
	end

	-- An entity of that address with this delegation, whose answers have so many features; and what it has complained of
	local function announce(address, delegation, features)
		local complaints = {};
		local entity = introduction.new(function () end, function (trouble) complaints[#complaints + 1] = trouble; end);
		entity:add(delegation);
		entity:begin(address);
		for _, stanza in ipairs(sent) do
			if stanza.name == "iq" then
				local answer = st.reply(stanza):tag("query", { xmlns = stanza.tags[1].attr.xmlns });
				for i = 1, features do
					answer:tag("feature", { xmlns = "http://jabber.org/protocol/disco#info", var = delegation.namespace.."#"..i }):up();
				end
				entity:answer(answer:reset(), false);
			end
		end
		sent = {};
		return entity, complaints;
	end

	it("is bounded for each entity, less for one that users chose (C24, G29)", function ()
		for _, case in ipairs { { 400, true }, { 4000, false } } do
			local few, many = delegation_of("urn:x:few", case[2]), delegation_of("urn:x:many", case[2]);
			local _, none = announce("a.lit", few, case[1]);
			assert.same({}, none);
			assert.equal(case[1], #few.nested.bare);
			local _, complaints = announce("b.lit", many, case[1] * 2);
			assert.matches("^too many features announced for urn:x:many", complaints[1]);
			assert.is_nil(many.nested);
		end
	end);

	it("is bounded for all that users chose, has room for other domains, and is given back (G29)", function ()
		collectgarbage(); collectgarbage();
		local before, entities, refused = collectgarbage("count"), {}, 0;
		for i = 1, 100 do
			local entity, complaints = announce("bot"..i.."@evil.lit", delegation_of("urn:x:one", true), 400);
			entities[i], refused = entity, refused + #complaints;
		end
		assert.is_true(refused > 20, refused);
		local kind = delegation_of("urn:x:one", true);
		local _, none = announce("kind.lit", kind, 400);
		assert.same({}, none);
		for i = 1, 300 do entities[#entities + 1] = (announce("bot@d"..i..".lit", delegation_of("urn:x:one", true), 400)); end
		collectgarbage(); collectgarbage();
		local used = collectgarbage("count") - before;
		assert.is_true(used < 40 * 1024, used);
		for i, entity in ipairs(entities) do
			if i % 2 == 0 then entity:finish(); else entity:remove(entity.delegations[1]); end
		end
		local _, complaints = announce("bot@evil.lit", delegation_of("urn:x:one", true), 400);
		assert.same({}, complaints);
	end);

	it("does not count an answer that comes when nothing is delegated any more (G29)", function ()
		local one = delegation_of("urn:x:one", true);
		local entity = introduction.new(function () end, error);
		entity:add(one);
		entity:begin("a.lit");
		local query = sent[1];
		entity:remove(one);
		assert.is_nil(entity:answer(st.stanza("iq", { type = "result", id = query.attr.id, from = "a.lit", to = "capulet.lit" }), false));
		assert.is_nil(one.nested);
	end);
end);
