-- SPDX-License-Identifier: MIT
-- Ids of the stanzas in flight to an entity. It may know them by nothing else (libervia), so no two of them have the same (B11), whichever of
-- the server's hosts they come from (E8). All hosts share this table.

local new_id = require "util.id".medium;
local jid_split = require "util.jid".split;

local ids = {};

-- Name of an entity -> { taken (set of ids), count, overdue (set of hosts whose request may still be worked on, though its user has been
-- answered) }
local entities = module:shared("/*/delegation/ids");

-- Ids that this host makes cannot be guessed, and are not used again after a reload or restart
local made = module:shared("ids");
made.prefix, made.last = made.prefix or new_id(), made.last or 0;

-- new() -> id that nobody else uses
function ids.new()
	made.last = made.last + 1;
	return made.prefix..made.last;
end

-- is_new(id) -> boolean: new() has given it
function ids.is_new(id)
	return id:sub(1, #made.prefix) == made.prefix;
end

-- A component is one program, whatever resource its address has; the resources of an account are clients of their own.
local last_address, last_name;
local function name_of(address)
	-- mostly it is the same again
	if address ~= last_address then
		local node, host = jid_split(address);
		last_address, last_name = address, node and address or host;
	end
	return last_name;
end

local function get(address)
	local name = name_of(address);
	entities[name] = entities[name] or { taken = {}; count = 0; overdue = {} };
	return entities[name];
end

local function drop_if_idle(address)
	local entity = get(address);
	if entity.count == 0 then
		-- a Lua table keeps the room of its largest time
		entity.taken = {};
		if next(entity.overdue) == nil then entities[name_of(address)] = nil; end
	end
end

-- take(address, id) -> the id with which a stanza of that id goes to the entity: its own if possible
function ids.take(address, id)
	local entity = get(address);
	-- a line break comes out of the entity's parser as a space: its answer would have a wrong id, and ten of them end its stream (D12)
	if next(entity.overdue) or entity.taken[id] or not id:find("^%g+$") then id = ids.new(); end
	entity.taken[id], entity.count = true, entity.count + 1;
	return id;
end

-- release(address, id): it is not in flight any more
function ids.release(address, id)
	local entity = get(address);
	entity.taken[id], entity.count = nil, entity.count - 1;
	drop_if_idle(address);
end

-- overdue(address): the entity may still work on a request that is not in flight any more, and mix up its answer
function ids.overdue(address)
	get(address).overdue[module.host] = true;
end

-- ended(address): the connection of the entity has ended, and its work with it
function ids.ended(address)
	get(address).overdue = {};
	drop_if_idle(address);
end

-- forget(address): this host has nothing to do with the entity any more
function ids.forget(address)
	get(address).overdue[module.host] = nil;
	drop_if_idle(address);
end

return ids;
