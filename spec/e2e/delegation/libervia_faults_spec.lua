-- SPDX-License-Identifier: MIT
-- mod_delegation: what must not disturb Libervia Pubsub, and what users see while it is not there.

local bed = require "bed";
local libervia = require "libervia";
local pep = require "pep";
local st = require "util.stanza";

local xmlns_info = "http://jabber.org/protocol/disco#info";

local ask, query, in_pubsub, publish, items = pep.ask, pep.query, pep.in_pubsub, pep.publish, pep.items;
local succeeds, fails, mood_in, counts = pep.succeeds, pep.fails, pep.mood_in, pep.counts;
local patience = pep.patience;

local montague_config = [[
	Component "montague.lit"
		component_secret = "hush"
]];

for version in bed.versions() do
describe("delegation to Libervia Pubsub on Prosody " .. version, function ()
	for _, with in ipairs { { pep = "without mod_pep"; modules = { "mam" } }, { pep = "with mod_pep"; modules = { "mam", "pep" } } } do
		it("ends and comes back, " .. with.pep .. " (D13, D20, D29, B10, R6)", bed.scenario(function (s)
			local node, juliet, service = libervia.start(s, version, { modules = with.modules });
			succeeds(publish(juliet, "urn:x:mood", "first", "happy"));
			service:pause();
			for i = 1, 100 do
				juliet:send(st.iq({ type = "get"; id = "waits" .. i }):add_child(in_pubsub("items", { node = "urn:x:mood" })));
			end
			juliet:sync();
			juliet:expect_none({ "iq", id = "~^waits" }, 0);
			service:kill();
			-- far less than the 30 seconds of delegation_timeout
			for i = 1, 100 do fails("service-unavailable", juliet:expect({ "iq", id = "waits" .. i }, 5)); end
			fails("service-unavailable", items(juliet, "urn:x:mood"));
			local found = counts(ask(juliet, query(xmlns_info)));
			for _, name in ipairs(libervia.features) do assert.is_nil(found[name]); end
			assert.equal(#with.modules == 2 and 1 or nil, found["pubsub/pep"]);

			service:start();
			libervia.settle(s, juliet);
			assert.equal("happy", mood_in(succeeds(items(juliet, "urn:x:mood"))));
			assert.equal(1, counts(ask(juliet, query(xmlns_info)))["pubsub/pep"]);

			-- the service notices nothing of a reload, and connects again by itself after a restart
			node:reload("delegation", "capulet.lit");
			libervia.settle(s, juliet);
			assert.equal("happy", mood_in(succeeds(items(juliet, "urn:x:mood"))));
			node:restart();
			juliet = node:client("juliet@capulet.lit/balcony");
			libervia.settle(s, juliet);
			assert.equal("happy", mood_in(succeeds(items(juliet, "urn:x:mood"))));
		end));
	end

	it("keeps 1000 pairs of users with equal ids apart (B11)", bed.scenario(function (s)
		local node, juliet, service = libervia.start(s, version, { global = "delegation_timeout = 300", more = montague_config });
		succeeds(publish(juliet, "urn:x:a", "of a", "a"));
		succeeds(publish(juliet, "urn:x:b", "of b", "b"));
		-- many users on few streams
		local montague = node:component("montague.lit", "hush");
		local answers, count = {}, 0;
		function montague.on_stanza(stanza)
			local user = stanza.attr.to;
			if not user:find("@") then return; end
			assert.is_nil(answers[user]);
			answers[user], count = stanza.attr.id .. " " .. (mood_in(stanza) or stanza.attr.type), count + 1;
		end
		-- so that all are in flight together
		service:pause();
		for i = 1, 1000 do
			for _, name in ipairs { "a", "b" } do
				montague:send(st.iq({ type = "get"; id = "same" .. i; from = name .. i .. "@montague.lit/x"; to = "juliet@capulet.lit" })
					:add_child(in_pubsub("items", { node = "urn:x:" .. name })));
			end
		end
		montague:sync();
		assert.equal(0, count);
		service:resume();
		s:wait_until(function () return count == 2000; end, 200, function () return count .. " answers instead of 2000"; end);
		for i = 1, 1000 do
			for _, name in ipairs { "a", "b" } do
				assert.equal("same" .. i .. " " .. name, answers[name .. i .. "@montague.lit/x"]);
			end
		end
		-- the service was not disconnected meanwhile
		assert.is_nil(node.log:find("is gone"));
	end));

	it("survives answers that come too late (B11, D13)", bed.scenario(function (s)
		local node, juliet, service = libervia.start(s, version, { global = "delegation_timeout = 20" });
		node:allow_log("no answer in time");
		local romeo = node:client("romeo@capulet.lit/orchard");
		succeeds(publish(juliet, "urn:x:a", "of a", "a"));
		succeeds(publish(juliet, "urn:x:b", "of b", "b"));
		local function send(user, name)
			user:send(st.iq({ type = "get"; id = "same"; to = "juliet@capulet.lit" })
				:add_child(in_pubsub("items", { node = "urn:x:" .. name })));
		end
		service:pause();
		send(juliet, "a");
		fails("service-unavailable", juliet:expect({ "iq", id = "same" }, patience));
		send(romeo, "b");
		romeo:sync();
		service:resume();
		assert.equal("b", mood_in(succeeds(romeo:expect({ "iq", id = "same" }, patience))));
		assert.equal("a", mood_in(succeeds(items(juliet, "urn:x:a"))));
		juliet:expect_none({ "iq", id = "same" }, 0);
		assert.is_nil(node.log:find("is gone"));
	end));
end);
end
