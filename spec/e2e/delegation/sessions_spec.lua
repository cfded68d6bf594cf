-- SPDX-License-Identifier: MIT
-- mod_delegation: which session of an account manages, and who is told when somebody comes online.

local bed = require "bed";
local delegation = require "delegation_bed";

local ns = "urn:x:delegated";
local delegated = [[ ["urn:x:delegated"] = { jid = "bot@capulet.lit" } ]];
local unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";
local advert = { "message", has = "{urn:xmpp:delegation:2}delegation" };

-- A client of that account whose session survives its connection, and the id with which it is resumed
local function durable(node, jid)
	local client = node:client(jid);
	client:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
	return client, client:expect({ "enabled" }).attr.id;
end

-- breaks(client): its connection is gone without a word, and its server knows
local function breaks(s, node, client)
	client:kill();
	s:wait_until(function () return node:eval(([[return prosody.full_sessions[%q].hibernating ~= nil]]):format(client.jid)); end);
end

-- Until that resource manages; a resumed stream gets its earlier stanzas again, so these do not tell
local function manages(s, node, jid)
	s:wait_until(function () return node:eval [[
		return hosts["capulet.lit"].modules.delegation.module.save().entities["bot@capulet.lit"].address;
	]] == jid; end);
end

-- One request and its answer through this client
local function exchange(user, client)
	local id = delegation.request(user, ns);
	local outer, inner = delegation.forwarded(client);
	assert.equal(client.jid or outer.attr.to, outer.attr.to);
	delegation.answer(client, outer, inner);
	user:expect { "iq", type = "result", id = id };
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	local function start(s)
		local capulet = delegation.server(s, version, delegated, { modules = { "smacks" } });
		capulet:add_user("bot@capulet.lit");
		capulet:allow_log("there is no account bot@capulet.lit");
		return capulet, capulet:client("juliet@capulet.lit/balcony");
	end

	it("does not ask a session that hibernates while another is there, and asks it again when it is back (case C6, R5)", bed.scenario(function (s)
		local capulet, juliet = start(s);
		local first, token = durable(capulet, "bot@capulet.lit/first");
		first:expect(advert);
		local second, second_token = durable(capulet, "bot@capulet.lit/second");
		exchange(juliet, first);
		-- what it was asked before may still be answered
		local id = delegation.request(juliet, ns, { id = "1" });
		local outer, inner = delegation.forwarded(first);
		breaks(s, capulet, first);
		second:expect(advert);
		exchange(juliet, second);
		juliet:expect_none({ "iq", id = id }, 0);
		local resumed = capulet:resume("bot@capulet.lit/first", token, 0);
		delegation.answer(resumed, outer, inner);
		juliet:expect { "iq", type = "result", id = id };
		-- it was the first, and is so again
		manages(s, capulet, "bot@capulet.lit/first");
		resumed:expect(advert);
		resumed:drain();
		exchange(juliet, resumed);
		-- where all hibernate, the one that manages goes on
		breaks(s, capulet, second);
		breaks(s, capulet, resumed);
		id = delegation.request(juliet, ns);
		juliet:sync();
		juliet:expect_none({ "iq", id = id }, 0);
		-- and whoever comes back takes over
		second = capulet:resume("bot@capulet.lit/second", second_token, 0);
		manages(s, capulet, "bot@capulet.lit/second");
		second:drain();
		exchange(juliet, second);
		-- the request to the other goes unanswered when its session ends
		capulet:eval [[ require "core.sessionmanager".destroy_session(prosody.full_sessions["bot@capulet.lit/first"], "gone") ]];
		juliet:expect { "iq", type = "error", id = id, has = unavailable };
	end));

	it("prefers whoever connects to the one session that hibernates (case C6, R5)", bed.scenario(function (s)
		local capulet, juliet = start(s);
		local first = durable(capulet, "bot@capulet.lit/first");
		first:expect(advert);
		breaks(s, capulet, first);
		local second = capulet:client("bot@capulet.lit/second");
		second:expect(advert);
		exchange(juliet, second);
		capulet:reload("delegation", "capulet.lit");
		exchange(juliet, second);
	end));
end);

-- The part of the server with the pool, and a client in it
local pool_config = [[
	Component "pool.capulet.lit" "client_proxy"
		target_address = { "worker@capulet.lit" }
		client_proxy_messages = true
]];

describe("delegation to whoever comes online on Prosody "..version, function ()
	it("tells a pool of clients what it manages when the first one comes (E10)", bed.scenario(function (s)
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "pool.capulet.lit" } ]], { hosts = pool_config });
		capulet:allow_log("pool.capulet.lit: no features announced");
		local worker = capulet:client("worker@capulet.lit/a");
		worker:send "<presence/>";
		local subscribe = worker:expect { "presence", type = "subscribe", from = "pool.capulet.lit" };
		worker:expect_none(advert, 0);
		worker:send(("<presence type='subscribed' to='%s'/>"):format(subscribe.attr.from));
		worker:expect(advert, 20);
	end));

	it("tells an account on another server that shows itself, or answers (E10)", bed.scenario(function (s)
		local montague = s:node { version = version, config = [[VirtualHost "montague.lit" modules_disabled = { "offline" }]] };
		montague:add_user("bot@montague.lit");
		local capulet = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "bot@montague.lit" } ]]);
		capulet:allow_log("bot@montague.lit: ");
		local juliet = capulet:client("juliet@capulet.lit/balcony");
		-- when this has been refused, the advert has been
		local id = delegation.request(juliet, ns);
		juliet:expect { "iq", type = "error", id = id };
		local bot = montague:client("bot@montague.lit/a");
		bot:send "<presence/>";
		bot:sync();
		bot:expect_none(advert, 0);
		bot:send "<presence to='capulet.lit'/>";
		bot:expect(advert);
		-- it is not told what it knows
		bot:send "<presence to='capulet.lit'/>";
		bot:send "<iq type='get' id='after' to='capulet.lit'><query xmlns='urn:x:none'/></iq>";
		bot:expect { "iq", id = "after" };
		bot:expect_none(advert, 0);
	end));
end);
end
