-- SPDX-License-Identifier: MIT
-- Random input with a seed that is printed, so that a failure can be repeated: RELAY_SEED=<number> make test-native

local seed = math.tointeger(os.getenv("RELAY_SEED")) or os.time();
print("# RELAY_SEED=" .. seed);
math.randomseed(seed);

local random = { integer = math.random };

-- A string of `length` characters, each one of those in `alphabet`.
function random.string(length, alphabet)
	local characters = {};
	for i = 1, length do
		local at = math.random(#alphabet);
		characters[i] = alphabet:sub(at, at);
	end
	return table.concat(characters);
end

function random.bytes(length)
	local octets = {};
	for i = 1, length do octets[i] = string.char(math.random(0, 255)); end
	return table.concat(octets);
end

function random.pick(list)
	return list[math.random(#list)];
end

return random;
