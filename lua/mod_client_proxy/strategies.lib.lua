-- SPDX-License-Identifier: MIT
-- How one of several resources is chosen for a request: client_proxy_strategy. A strategy is a table with
--   choose(self, members, key, owner, is_there) -> one of `members`, a non-empty array of what pool:get() gives
--     key: text or nil; owner: JID of who asks; is_there(full JID): can it be asked, though it may not be among the members now?
--   save(self) -> plain table for module.save(), or nil

local hash = require "util.hashes".sha1;
local new_cache = require "prosody_relay.fair_cache".new;
local random = math.random;

local sticky_keys, sticky_keys_of_user = 10000, 1000; -- whose resource is remembered
local longest_key = 128; -- bytes of a key that is remembered as it is

local strategies = {};

local function save_nothing() return nil; end

local function stateless(choose)
	return function ()
		return { choose = choose; save = save_nothing };
	end;
end

-- each with the same probability
strategies.random = stateless(function (_, members)
	return members[random(#members)];
end);

-- one after the other
strategies["round-robin"] = function ()
	local turn = 0;
	return {
		choose = function (_, members)
			turn = turn % #members + 1;
			return members[turn];
		end;
		save = save_nothing;
	};
end;

-- who has the fewest requests in flight; among several, a random one
strategies["least-pending"] = stateless(function (_, members)
	local count, best = #members, nil;
	local start = random(count);
	for i = start, start + count - 1 do
		local member = members[(i - 1) % count + 1];
		if not best or member.load < best.load then best = member; end
	end
	return best;
end);

-- by chance, those with a higher presence priority more often: priority 0 counts once, 9 ten times
strategies.priority = stateless(function (_, members)
	local total = 0;
	for _, member in ipairs(members) do total = total + math.max(member.priority, 0) + 1; end
	local ticket = random(total);
	for _, member in ipairs(members) do
		ticket = ticket - math.max(member.priority, 0) - 1;
		if ticket <= 0 then return member; end
	end
end);

-- What was never seen goes by a hash over key and resource, so that most stays where it is when the memory is lost.
local function by_hash(members, key)
	local best, highest;
	for _, member in ipairs(members) do
		local score = hash(key .. "\0" .. member.jid);
		if not best or score > highest then best, highest = member, score; end
	end
	return best;
end

-- all with the same key to the same one as long as it is there
function strategies.sticky(saved)
	local chosen = new_cache(sticky_keys, sticky_keys_of_user):restore(saved);
	return {
		choose = function (_, members, key, owner, is_there)
			if not key then return members[random(#members)]; end
			-- users may choose it, and write as much as their stanzas can hold
			if #key > longest_key then key = hash(key); end
			local jid = chosen:get(key);
			if jid then
				for _, member in ipairs(members) do
					if member.jid == jid then return member; end
				end
			end
			local member = by_hash(members, key);
			-- one that is only busy, asleep, or was asked in vain this once keeps the key
			if not (jid and is_there(jid)) then chosen:set(key, owner, member.jid); end
			return member;
		end;
		save = function ()
			return chosen:save();
		end;
	};
end

local names = {};
for name in pairs(strategies) do names[#names + 1] = name; end
table.sort(names);

-- new(name, [saved]) -> strategy; name: one of `names`; saved: what :save() of an earlier instance of the same name gave
local function new(name, saved)
	return strategies[name](saved);
end

return { new = new; names = names };
