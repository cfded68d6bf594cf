-- SPDX-License-Identifier: MIT
-- What a delegated IQ costs the server, against an IQ that Prosody relays to a component by its address. A real Prosody, 64 requests at a
-- time; PROSODY_LIB says which version.

-- the clients are the test bed's, which runs on the libraries of 0.12 whatever the server is
package.path = "spec/support/?.lua;spec/support/?/init.lua;/usr/lib/prosody/?.lua;" .. package.path;
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;

local bed = require "bed";
local delegation = require "delegation_bed";
local measure = require "measure";

local WINDOW, ROUNDS, IQS = 64, 9, 4000;
local version = (os.getenv("PROSODY_LIB") or ""):find("prosody13", 1, true) and "13.0" or "0.12";

-- What is asked: the example of the XEP (section 4.3), and the least there can be
local payloads = {
	["a published mood"] = [[<pubsub xmlns='urn:x:delegated'><publish node='http://jabber.org/protocol/mood'><item><mood
		xmlns='http://jabber.org/protocol/mood'><annoyed/><text>curse my nurse!</text></mood></item></publish></pubsub>]];
	["an empty payload"] = [[<pubsub xmlns='urn:x:delegated'/>]];
};

-- Microseconds of the server per request and answer.
local function round(s, node, user, attributes, payload)
	local before = measure.cpu_of(node.pid);
	measure.exchange(s, user, IQS, WINDOW, function (i) return ("<iq type='set' id='r%d'%s>%s</iq>"):format(i, attributes, payload); end);
	return (measure.cpu_of(node.pid) - before) / IQS * 1e6;
end

bed.scenario(function (s)
	local node = delegation.server(s, version, [[ ["urn:x:delegated"] = { jid = "ent.capulet.lit" } ]], { log_level = "error" });
	local entity, user = delegation.entity(node), node:client("juliet@capulet.lit/balcony");
	entity:sync();
	delegation.serve(entity, "<pubsub xmlns='urn:x:delegated'/>");
	for name, payload in pairs(payloads) do
		local delegated, relayed = {}, {};
		for i = 0, ROUNDS do
			-- the first round only warms up
			delegated[i], relayed[i] = round(s, node, user, "", payload), round(s, node, user, " to='ent.capulet.lit'", payload);
		end
		measure.report(("delegation: CPU per IQ with %s and its answer, 64 at a time, %s"):format(name, version), "us", measure.median(delegated),
			measure.median(relayed), "Prosody's relay to the component");
	end
end)();
