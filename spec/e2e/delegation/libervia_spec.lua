-- SPDX-License-Identifier: MIT
-- mod_delegation: Libervia Pubsub of Debian as the PEP service behind it, with PostgreSQL and the community's mod_privilege. The spec sets it up
-- with the texts of the README.

local bed = require "bed";
local libervia = require "libervia";
local pep = require "pep";
local st = require "util.stanza";

local pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_info = "http://jabber.org/protocol/disco#info";
local xmlns_items = "http://jabber.org/protocol/disco#items";
local mam = "urn:xmpp:mam:2";

local ask, query, in_pubsub, publish, items = pep.ask, pep.query, pep.in_pubsub, pep.publish, pep.items;
local succeeds, fails, mood_in, counts = pep.succeeds, pep.fails, pep.mood_in, pep.counts;
local patience = pep.patience;

local montague_config = [[
	Component "montague.lit"
		component_secret = "hush"
]];

-- node names of the account's items
local function nodes_of(user, account)
	local found = {};
	for item in succeeds(ask(user, query(xmlns_items), { to = account })):get_child("query", xmlns_items):childtags("item") do
		assert.equal(account or "juliet@capulet.lit", item.attr.jid);
		found[#found + 1] = item.attr.node;
	end
	return found;
end

local function expect_pep(node, juliet)
	local romeo = node:client("romeo@capulet.lit/orchard");
	succeeds(publish(juliet, "urn:x:mood", "first", "happy"));
	for _, answer in ipairs { items(juliet, "urn:x:mood"), items(juliet, "urn:x:mood", "juliet@capulet.lit"),
			items(romeo, "urn:x:mood", "juliet@capulet.lit") } do
		assert.equal("happy", mood_in(succeeds(answer)));
		assert.equal("juliet@capulet.lit", answer.attr.from);
	end
	assert.same({ "urn:x:mood" }, nodes_of(juliet));
	assert.same({ "urn:x:mood" }, nodes_of(romeo, "juliet@capulet.lit"));
	assert.same({}, nodes_of(romeo, "romeo@capulet.lit"));

	-- errors are the service's own, with its text and the request (R8)
	local unknown = fails("item-not-found", items(romeo, "urn:x:nothing", "juliet@capulet.lit"));
	assert.truthy(unknown:find("{" .. pubsub .. "}pubsub/items"));
	assert.equal("404", unknown:find("error@code"));
	fails("forbidden", publish(romeo, "urn:x:mood", "second", "sad", "juliet@capulet.lit"));

	succeeds(ask(juliet, in_pubsub("configure", { node = "urn:x:mood" }, pubsub .. "#owner")));
	fails("forbidden", ask(romeo, in_pubsub("delete", { node = "urn:x:mood" }, pubsub .. "#owner"),
		{ type = "set"; to = "juliet@capulet.lit" }));
	succeeds(ask(juliet, in_pubsub("retract", { node = "urn:x:mood" }):tag("item", { id = "first" }), { type = "set" }));
	assert.is_nil(mood_in(succeeds(items(romeo, "urn:x:mood", "juliet@capulet.lit"))));
	succeeds(publish(juliet, "urn:x:mood", "second", "calm"));
end

-- Service discovery with and without a node, about the server and accounts
local function expect_disco(juliet, romeo)
	for _, user in ipairs { juliet, romeo } do
		for _, to in ipairs { "capulet.lit", user.jid:match("[^/]+") } do
			local found = counts(ask(user, query(xmlns_info), { to = to }));
			for name, count in pairs(found) do assert.equal(1, count, name .. " of " .. to); end
			assert.equal(1, found["pubsub/pep"]);
			assert.equal(1, found[mam]);
			for _, name in ipairs(libervia.features) do assert.equal(1, found[name], name); end
		end
		local of_node = counts(ask(user, query(xmlns_info, "urn:x:mood"), { to = "juliet@capulet.lit" }));
		assert.equal(1, of_node["pubsub/leaf"]);
		local item = succeeds(ask(user, query(xmlns_items, "urn:x:mood"), { to = "juliet@capulet.lit" })):find("{" .. xmlns_items .. "}query/item");
		assert.equal("second", item.attr.name);
	end
end

-- MAM about a node is the service's, MAM about messages the server's (D15, R6)
local function expect_mam(juliet)
	local rsm = st.stanza("set", { xmlns = "http://jabber.org/protocol/rsm" }):text_tag("max", "10");
	local fin = succeeds(ask(juliet, query(mam, "urn:x:mood"):add_child(rsm), { type = "set" }));
	assert.equal("second", fin:find("{" .. mam .. "}fin/{http://jabber.org/protocol/rsm}set/first#"));
	local archived = juliet:expect({ "message", has = "{" .. mam .. "}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message" }, patience);
	assert.equal("second", archived:find("{" .. mam .. "}result@id"));
	-- what the service makes of a query without <set/>, which is its error
	fails("internal-server-error", ask(juliet, query(mam, "urn:x:mood"), { type = "set" }));
	local own = succeeds(ask(juliet, query(mam):add_child(rsm), { type = "set" }));
	assert.truthy(own:get_child("fin", mam));
	assert.is_nil(own:find("{" .. mam .. "}fin/{http://jabber.org/protocol/rsm}set/first"));
end

for version in bed.versions() do
describe("delegation to Libervia Pubsub on Prosody " .. version, function ()
	for _, with in ipairs { { pep = "without mod_pep"; modules = { "mam" } }, { pep = "with mod_pep"; modules = { "mam", "pep" } } } do
		it("is PEP for all users, " .. with.pep .. " (D8, D9, D15, D20 to D26, R6, R7, R8)", bed.scenario(function (s)
			local node, juliet = libervia.start(s, version, { modules = with.modules });
			expect_pep(node, juliet);
			expect_disco(juliet, node:client("benvolio@capulet.lit/square"));
			expect_mam(juliet);
		end));
	end

	it("lets the service notify subscribers in the users' name (R6)", bed.scenario(function (s)
		local node, juliet = libervia.start(s, version);
		local romeo, benvolio = node:client("romeo@capulet.lit/orchard"), node:client("benvolio@capulet.lit/square");
		local function expect_mood(user, id)
			local message = user:expect({ "message", where = function (message)
				return (message:find("{" .. pubsub .. "#event}event/items/item@id")) == id;
			end }, patience);
			assert.equal("juliet@capulet.lit", message.attr.from);
		end
		succeeds(publish(juliet, "urn:x:mood", "first", "happy"));
		-- one has subscribed to the node
		benvolio:send "<presence/>";
		succeeds(ask(benvolio, in_pubsub("subscribe", { node = "urn:x:mood"; jid = "benvolio@capulet.lit" }),
			{ type = "set"; to = "juliet@capulet.lit" }));
		-- the other is a contact whose client wants to know: the service reads its presence, its features and the roster
		juliet:send "<presence/>";
		succeeds(ask(romeo, query "jabber:iq:roster"));
		romeo:send "<presence to='juliet@capulet.lit' type='subscribe'/>";
		juliet:expect { "presence", type = "subscribe" };
		juliet:send "<presence to='romeo@capulet.lit' type='subscribed'/>";
		romeo:expect { "presence", type = "subscribed" };
		romeo:send "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='x' ver='mood'/></presence>";
		local question = romeo:expect({ "iq", type = "get", from = "pubsub.capulet.lit", has = "{" .. xmlns_info .. "}query" }, patience);
		romeo:send(st.reply(question):tag("query", { xmlns = xmlns_info }):tag("feature", { var = "urn:x:mood+notify" }));
		romeo:sync();
		succeeds(publish(juliet, "urn:x:mood", "second", "calm"));
		expect_mood(romeo, "second");
		expect_mood(benvolio, "second");
	end));

	it("lets the service subscribe elsewhere in a user's name (R6)", bed.scenario(function (s)
		local node, juliet = libervia.start(s, version, { more = montague_config });
		local montague = node:component("montague.lit", "hush");
		juliet:send(st.iq({ type = "set"; id = "pam" }):tag("pam", { xmlns = "urn:xmpp:pam:0"; jid = "montague.lit" })
			:tag("subscribe", { xmlns = pubsub; node = "urn:x:news"; jid = "juliet@capulet.lit" }));
		local request = montague:expect({ "iq", type = "set", from = "juliet@capulet.lit", has = "{" .. pubsub .. "}pubsub/subscribe" }, patience);
		montague:send(st.reply(request):tag("pubsub", { xmlns = pubsub })
			:tag("subscription", { node = "urn:x:news"; jid = "juliet@capulet.lit"; subscription = "subscribed" }));
		succeeds(juliet:expect({ "iq", id = "pam" }, patience));
	end));
end);
end
