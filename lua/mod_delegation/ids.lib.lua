-- SPDX-License-Identifier: MIT
-- Ids of the stanzas in flight to an entity. An entity may tell stanzas apart by id alone (libervia). So no two stanzas have the same id (B11),
-- not even from different hosts of the server (E8). All hosts share this table.

local new_id = require "util.id".medium;
local jid_split = require "util.jid".split;

local ids = {};

-- Name of an entity -> { taken (set of ids), count, overdue (set of hosts) }. The entity may still work on a request of an overdue host,
-- although the user has been answered.
local entities = module:shared("/*/delegation/ids");

-- Nobody can guess the ids that this host makes, and no id is used again after a reload or restart
local made = module:shared("ids");
made.prefix, made.last = made.prefix or new_id(), made.last or 0;

-- new() -> id that is not in use
function ids.new()
	made.last = made.last + 1;
	return made.prefix..made.last;
end

-- is_new(id) -> boolean: whether new() has made this id
function ids.is_new(id)
	return id:sub(1, #made.prefix) == made.prefix;
end

-- All resources of a component are one program. Each resource of an account is a separate client.
local last_address, last_name;
local function name_of(address)
	-- in most cases the address is the same as last time
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
		-- a Lua table does not shrink when it becomes empty
		entity.taken = {};
		if next(entity.overdue) == nil then entities[name_of(address)] = nil; end
	end
end

-- take(address, id) -> the id under which the stanza goes to the entity: its own id if possible
function ids.take(address, id)
	local entity = get(address);
	-- the entity's XML parser turns a line break into a space: the answer would have a wrong id, and ten of those end the stream (D12)
	if next(entity.overdue) or entity.taken[id] or not id:find("^%g+$") then id = ids.new(); end
	entity.taken[id], entity.count = true, entity.count + 1;
	return id;
end

-- release(address, id): the stanza with this id is not in flight any more
function ids.release(address, id)
	local entity = get(address);
	entity.taken[id], entity.count = nil, entity.count - 1;
	drop_if_idle(address);
end

-- overdue(address): the entity may still work on a request that is not in flight any more. Its answer could be taken for another one.
function ids.overdue(address)
	get(address).overdue[module.host] = true;
end

-- ended(address): the connection of the entity has ended, so it does not work on requests any more
function ids.ended(address)
	get(address).overdue = {};
	drop_if_idle(address);
end

-- forget(address): this host does not use the entity any more
function ids.forget(address)
	get(address).overdue[module.host] = nil;
	drop_if_idle(address);
end

return ids;
