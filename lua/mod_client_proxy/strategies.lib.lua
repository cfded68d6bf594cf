-- SPDX-License-Identifier: MIT
-- How one of several resources is chosen for a request: client_proxy_strategy. A strategy is a table with
--   choose(self, members, key, owner, is_there) -> one of `members`, a non-empty array of what pool:get() gives
--     key: text or nil; owner: JID of the user who asks; is_there(full JID): can it be asked, though it may not be a member now?
--   save(self) -> plain table for module.save(), or nil

local hash = require "util.hashes".sha1;
local new_cache = require "prosody_relay.fair_cache".new;
local random = math.random;

local sticky_keys, sticky_keys_of_user = 10000, 1000; -- so many are remembered, of all users and of one
local longest_key = 128; -- bytes of a key that is remembered as it is

local strategies = {};

local function save_nothing() return nil; end

local function stateless(choose)
	return function ()
		return { choose = choose; save = save_nothing };
	end;
end

-- all resources with the same probability
strategies.random = stateless(function (_, members)
	return members[random(#members)];
end);

-- one resource after the other
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

-- the resource with the fewest requests in flight; a random one of several
strategies["least-pending"] = stateless(function (_, members)
	local count, best = #members, nil;
	local start = random(count);
	for i = start, start + count - 1 do
		local member = members[(i - 1) % count + 1];
		if not best or member.load < best.load then best = member; end
	end
	return best;
end);

-- a random resource; a higher presence priority is chosen more often: priority 0 counts once, 9 ten times
strategies.priority = stateless(function (_, members)
	local total = 0;
	for _, member in ipairs(members) do total = total + math.max(member.priority, 0) + 1; end
	local ticket = random(total);
	for _, member in ipairs(members) do
		ticket = ticket - math.max(member.priority, 0) - 1;
		if ticket <= 0 then return member; end
	end
end);

-- A hash over key and resource decides for a new key. So most keys keep their resource when the memory is lost.
local function by_hash(members, key)
	local best, highest;
	for _, member in ipairs(members) do
		local score = hash(key .. "\0" .. member.jid);
		if not best or score > highest then best, highest = member, score; end
	end
	return best;
end

-- requests with the same key go to the same resource as long as it is there
function strategies.sticky(saved)
	local chosen = new_cache(sticky_keys, sticky_keys_of_user):restore(saved);
	return {
		choose = function (_, members, key, owner, is_there)
			if not key then return members[random(#members)]; end
			-- users may choose the key, and make it as long as a stanza
			if #key > longest_key then key = hash(key); end
			local jid = chosen:get(key);
			if jid then
				for _, member in ipairs(members) do
					if member.jid == jid then return member; end
				end
			end
			local member = by_hash(members, key);
			-- a resource that is only busy or asleep, or has failed this once, keeps the key
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
