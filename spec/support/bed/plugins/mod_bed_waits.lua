-- SPDX-License-Identifier: MIT
-- Another module whose handlers wait (util.async) while a stanza is on its way, like handlers that ask a web service.
-- Only the test bed loads it, on a component of rooms.
--
-- In the shared table "/HOST/bed_waits/api":
--   .hold(event, pattern): the next stanza of that event waits if its `from` or `to` matches the pattern.
--   .waiting(event) -> number of stanzas that wait there.
--   .release(event): these stanzas go on, in the order in which they came.
--   .inject(stanza): takes the stanza in (XML text), as if it came on a stream of its own.

local async = require "util.async";
local st = require "util.stanza";
local xml = require "util.xml";

local holding, waiting = {}, {};

local function is_meant(event, pattern)
	local stanza = event.stanza or st.presence();
	local occupant = event.occupant or event.dest_occupant;
	return (stanza.attr.from or ""):find(pattern) or (event.to or ""):find(pattern) or occupant and (occupant.bare_jid or ""):find(pattern);
end

local function wait_on(name)
	return function (event)
		local pattern = holding[name];
		if not pattern or not is_meant(event, pattern) then return; end
		holding[name] = nil;
		local wait, done = async.waiter();
		table.insert(waiting[name], done);
		wait();
	end;
end

for _, name in ipairs { "muc-occupant-pre-join", "muc-occupant-pre-change", "muc-broadcast-presence", "muc-build-occupant-presence",
	"muc-get-history", "muc-broadcast-message", "muc-occupant-groupchat", "muc-occupant-joined", "muc-occupant-left", "muc-add-history" } do
	waiting[name] = {};
	module:hook(name, wait_on(name), 5);
end

local api = module:shared "api";

function api.hold(name, pattern) holding[name] = pattern; end

function api.waiting(name) return #waiting[name]; end

function api.release(name)
	local list = waiting[name];
	waiting[name] = {};
	for _, done in ipairs(list) do done(); end
end

function api.inject(text)
	local stanza = assert(xml.parse(text));
	stanza.attr.xmlns = nil;
	local function log(...) return module:log(...); end
	local origin = { type = "s2sin"; send = function (reply) return module:send(reply); end; log = log };
	async.runner(function (s) prosody.core_post_stanza(origin, s); end):run(stanza);
end
