-- SPDX-License-Identifier: MIT
-- Ids of the join presences that a mirror sends. A master that returns them is known by that.

local new_id = require "util.id".short;

local prefix = "fj-"; -- short: it crosses the link twice for each user

local join_ids = {};

-- new() -> id for a join presence
function join_ids.new()
	return prefix .. new_id();
end

-- is_one(id) -> whether new() has made it; id may be nil
function join_ids.is_one(id)
	return id ~= nil and id:sub(1, #prefix) == prefix;
end

return join_ids;
