-- SPDX-License-Identifier: MIT
-- The limits of requirement A13, on the cases of `make bench`. Both sides of a ratio run in turns, and the best of a few attempts
-- counts: a busy machine makes a ratio worse, never better. Without meaning, and left out, for objects that are instrumented or run by
-- valgrind.

local lu = require "luaunit";
local measure = require "bench.measure";
local cases = require "bench.native";

local TestSpeed = {};

local instrumented = os.getenv("INSTRUMENTED"); -- make asan, make valgrind

-- Best figure of up to five attempts, by `better`; stops at the first one that is `good`.
local function attempt(name, value, good)
	lu.skipIf(instrumented, "this run is instrumented");
	local best;
	for _ = 1, 5 do
		best = value(measure.compare(cases[name].make()));
		if good(best) then return; end
	end
	lu.fail(("%s: %.1f"):format(cases[name].name, best));
end

local function at_least(limit, name)
	attempt(name, function (ours, peer) return peer / ours; end, function (ratio) return ratio >= limit; end);
end

TestSpeed["test (A13) escape"] = function ()
	at_least(10, "escape");
end;

TestSpeed["test (A13) unescape"] = function ()
	at_least(4, "unescape");
end;

TestSpeed["test (A13) nothing to escape"] = function ()
	at_least(8, "escape_nothing");
end;

TestSpeed["test (A13) jat encode and decode"] = function ()
	attempt("jat", function (ours) return ours; end, function (nanoseconds) return nanoseconds <= 400; end);
end;

TestSpeed["test (A13) fan out bytes"] = function ()
	at_least(15, "message");
	at_least(15, "presence");
end;

TestSpeed["test (A13) bytes of one stanza"] = function ()
	at_least(3, "serialise");
	at_least(3, "top_tag");
end;

-- Views are checked before each copy; still several times cheaper than serialising.
TestSpeed["test (A13) fan out views"] = function ()
	at_least(5, "message_view");
	at_least(4, "presence_view");
end;

return TestSpeed;
