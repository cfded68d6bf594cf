-- SPDX-License-Identifier: MIT
-- mod_delegation: service discovery is right at every start of the server (D20 to D22, R6). Prosody loads modules in an order that changes
-- from start to start, so one start proves little; `make soak` makes 20 of each kind (DELEGATION_STARTS).

local bed = require "bed";
local delegation = require "delegation_bed";
local calculate_hash = require "util.caps".calculate_hash;

local starts = math.tointeger(tonumber(os.getenv("DELEGATION_STARTS") or 5));
local xmlns_info, pubsub = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/pubsub";

local function nodes(namespace, content)
	return { ["urn:xmpp:delegation:2::"..namespace] = content; ["urn:xmpp:delegation:2:bare:"..namespace] = content };
end

local announced = {
	["ent.capulet.lit"] = nodes(pubsub, "<identity category='pubsub' type='pep'/><feature var='http://jabber.org/protocol/pubsub#publish'/>"
		.."<feature var='http://jabber.org/protocol/rsm'/>");
	["other.capulet.lit"] = nodes("jabber:iq:version", "<feature var='jabber:iq:version'/><feature var='http://jabber.org/protocol/rsm'/>");
};

-- disco#info -> text of its children, sorted
local function info(user, to)
	local id = delegation.request(user, xmlns_info, { to = to });
	local query = user:expect({ "iq", id = id, type = "result" }):get_child("query", xmlns_info);
	local children = {};
	for i, tag in ipairs(query.tags) do
		children[i] = tag.name == "feature" and tag.attr.var or tag.name == "identity" and tag.attr.category.."/"..tag.attr.type or tostring(tag);
	end
	table.sort(children);
	return children, query;
end

local function contains(list, name)
	local count = 0;
	for _, item in ipairs(list) do
		if item == name then count = count + 1; end
	end
	return count;
end

local function check(node, juliet)
	local host, query = info(juliet, "capulet.lit");
	local account = info(juliet, "juliet@capulet.lit");
	for i = 2, #host do assert.not_equal(host[i - 1], host[i]); end
	for i = 2, #account do assert.not_equal(account[i - 1], account[i]); end
	for _, shown in ipairs { "urn:xmpp:delegation:2", pubsub.."#publish", "pubsub/pep", "http://jabber.org/protocol/rsm", "jabber:iq:version",
		"server/im", "urn:x:ping:10", "urn:xmpp:time" } do
		assert.equal(1, contains(host, shown), shown);
	end
	for _, shown in ipairs { "pubsub/pep", pubsub.."#publish", "account/registered" } do assert.equal(1, contains(account, shown), shown); end
	for _, hidden in ipairs { "urn:xmpp:ping", "urn:x:ping:1" } do assert.equal(0, contains(host, hidden), hidden); end
	assert.equal(0, contains(account, pubsub.."#persistent-items"));
	-- as in the stream features of somebody who connects now (XEP-0115)
	local hash = node:eval [[
		local features = require "util.stanza".stanza("stream:features");
		module:context("capulet.lit"):fire_event("stream-features", { origin = { type = "c2s"; log = module._log }; features = features });
		return features:get_child("c", "http://jabber.org/protocol/caps").attr.ver;
	]];
	assert.equal((calculate_hash(query.tags)), hash);
	return table.concat(host, "\n").."\n\n"..table.concat(account, "\n");
end

for version in bed.versions() do
describe("delegation on Prosody "..version, function ()
	for _, pep in ipairs { "with", "without" } do
		it(("shows the same after each of %d starts, %s mod_pep (D20, D21, D22, B9, R6, R7)"):format(starts, pep), bed.scenario(function (s)
			local modules = { "version", "time", "private", "blocklist", "carbons" };
			if pep == "with" then modules[#modules + 1] = "pep"; end
			local node = delegation.server(s, version, [[
				["http://jabber.org/protocol/pubsub"] = { jid = "ent.capulet.lit" },
				["jabber:iq:version"] = { jid = "other.capulet.lit" },
				["urn:xmpp:ping"] = { jid = "ent.capulet.lit" },
				["urn:x:ping:1"] = { jid = "other.capulet.lit" },
			]], { modules = modules; hosts = [[Component "other.capulet.lit" component_secret = "hush"]] });
			local first;
			for i = 1, starts do
				if i > 1 then node:restart(); end
				node:eval [[
					for _, name in ipairs { "urn:x:ping:1", "urn:x:ping:10" } do hosts["capulet.lit"].modules.disco.module:add_feature(name); end
				]];
				-- entities in either order, and a user before, between or after them
				local juliet = i % 3 == 0 and node:client("juliet@capulet.lit/balcony");
				local order = i % 2 == 0 and { "ent.capulet.lit", "other.capulet.lit" } or { "other.capulet.lit", "ent.capulet.lit" };
				for j, name in ipairs(order) do
					local entity = node:component(name, "hush");
					delegation.announce(entity, announced[name]);
					entity:sync();
					entity:sync(); -- behind the answers about features
					juliet = juliet or (i + j) % 3 == 0 and node:client("juliet@capulet.lit/balcony");
				end
				juliet = juliet or node:client("juliet@capulet.lit/balcony");
				local shown = check(node, juliet);
				first = first or shown;
				assert.equal(first, shown);
			end
		end));
	end
end);
end
