-- SPDX-License-Identifier: MIT
-- What it costs to clean a stanza that people send, against Prosody's functions over a clone. Then what each child of a hostile stanza costs.
-- The second shows what one pass saves: other code shifts all later children for each child that it removes (F7).

local measure = require "measure";
local stanza_lib = require "prosody_relay.stanza";
local st = require "util.stanza";

local xmlns_fmuc, xmlns_muc_user = "http://isode.com/protocol/fmuc", "http://jabber.org/protocol/muc#user";
local xmlns_occupant_id, xmlns_sid = "urn:xmpp:occupant-id:0", "urn:xmpp:sid:0";

local lib = dofile "spec/support/fmuc_lib.lua".new {};
local hygiene, equivalent = lib "link/hygiene", lib "link/equivalent";

local function message(marks)
	local stanza = st.message({ from = "a@b/c"; to = "r@m"; type = "groupchat"; id = "1" }):text_tag("body", "Hello, everybody")
		:tag("active", { xmlns = "http://jabber.org/protocol/chatstates" }):up()
		:tag("stanza-id", { xmlns = xmlns_sid; by = "a@b"; id = "7" }):up();
	for _ = 1, marks do stanza:tag("fmuc", { xmlns = xmlns_fmuc }):up(); end
	return stanza:reset();
end

local context = { by = { ["r@m"] = true } };

local function ours(stanza)
	return function (n)
		for _ = 1, n do hygiene.copy("to the master", stanza, context); end
	end
end

local function prosodys(stanza)
	return function (n)
		for _ = 1, n do
			st.clone(stanza):remove_children("fmuc", xmlns_fmuc):remove_children("nomirror", xmlns_fmuc):remove_children("x", xmlns_muc_user)
				:remove_children("occupant-id", xmlns_occupant_id):maptags(function (child)
					if child.name == "stanza-id" and child.attr.xmlns == xmlns_sid and child.attr.by == "r@m" then return nil; end
					return child;
				end);
		end
	end
end

local nanoseconds, peer = measure.compare(ours(message(0)), prosodys(message(0)));
measure.report("hygiene: a message of a client on its way to the master", "ns", nanoseconds, peer, "util.stanza");

for _, marks in ipairs { 1000, 8000 } do
	nanoseconds, peer = measure.compare(ours(message(marks)), prosodys(message(marks)), 5);
	measure.report(("hygiene: each of %d children that go"):format(marks), "ns", nanoseconds / marks, peer / marks, "util.stanza");
end

-- each child, against a pass that serialises both
for _, children in ipairs { 10, 10000 } do
	local presence = st.presence();
	for i = 1, children do presence:tag("c", { id = tostring(i) }):up(); end
	local other = st.clone(presence:reset());
	nanoseconds, peer = measure.compare(function (n)
		for _ = 1, n do equivalent(presence, other); end
	end, function (n)
		for _ = 1, n do stanza_lib.serialise(presence); stanza_lib.serialise(other); end
	end, 5);
	measure.report(("hygiene: comparing two presences, each of %d children"):format(children), "ns", nanoseconds / children, peer / children,
		"serialising both");
end
