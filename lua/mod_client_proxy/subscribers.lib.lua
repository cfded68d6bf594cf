-- SPDX-License-Identifier: MIT
-- Users who have subscribed to the presence of the proxy: user -> set of addresses of the proxy. The table is stored, because the users'
-- servers store their side. Each user has a key in the store: a subscription costs the same however many there are (case C10). The key is
-- a hash, because a JID may be longer than the name of a file. Anybody may subscribe: the memory is bounded, with a share for each domain.

local hash = require "util.hashes".sha256;
local new_shares = require "prosody_relay.shares".new;
local stores = require "prosody_relay.stores";

local store_name = "client_proxy_subscribers";
local most_bytes = 8 * 1024 * 1024; -- in memory
local overhead = 300; -- bytes of a subscription besides the addresses
local most_of_user = 20;

local subscribers = {};
local subscribers_mt = { __index = subscribers };

local function key_of(user)
	return hash(user, true);
end

local function size_of(user, address)
	return overhead + #user + #address;
end

local function is_set(addresses)
	for address, value in pairs(addresses) do
		if type(address) ~= "string" or value ~= true then return false; end
	end
	return next(addresses) ~= nil;
end

local function keep(self, user, addresses)
	self.addresses[user] = addresses;
	for address in pairs(addresses) do self.shares:hold(user, size_of(user, address)); end
end

-- -> true; or nil, error
local function write(user, addresses)
	local store, err = module:open_store(store_name);
	if not store then return nil, err; end
	return store:set(key_of(user), addresses and { user = user; addresses = addresses });
end

-- An earlier version kept all users under one key.
local function take_over(self)
	local all = stores.read(module, store_name, nil, function (data)
		for user, addresses in pairs(data) do
			if type(user) ~= "string" or not is_set(addresses) then return false; end
		end
		return true;
	end);
	local complete = all ~= nil;
	for user, addresses in pairs(all or {}) do
		keep(self, user, addresses);
		complete = write(user, addresses) and complete;
	end
	if complete then module:open_store(store_name):set(nil, nil); end
end

local function read_all(self)
	local opened, store = pcall(module.open_store, module, store_name);
	local keys = {};
	if opened and store and store.users then
		for key in store:users() do
			-- COMPAT the storage in memory also lists the key of the host itself, as a function
			if type(key) == "string" then keys[#keys + 1] = key; end
		end
	else
		module:log("error", "The subscriptions of users cannot be read: the storage does not tell what it has");
	end
	for _, key in ipairs(keys) do
		local data = stores.read(module, store_name, key, function (data)
			return key_of(data.user) == key and is_set(data.addresses);
		end);
		if data then keep(self, data.user, data.addresses); end
	end
	take_over(self);
end

-- new([saved]) -> subscribers; saved: result of :save() of an earlier instance, nil: reads the store
local function new(saved)
	local self = setmetatable({ addresses = {}; shares = new_shares(most_bytes) }, subscribers_mt);
	if not saved then read_all(self); end
	for user, addresses in pairs(saved or {}) do keep(self, user, addresses); end
	return self;
end

-- has(user, [address]) -> whether that bare JID has subscribed to that address, or to any
function subscribers:has(user, address)
	local addresses = self.addresses[user];
	return addresses ~= nil and (address == nil or addresses[address] == true);
end

-- add(user, address) -> true; or nil, name of an error (errors.lib)
function subscribers:add(user, address)
	local addresses, size = { [address] = true }, 1;
	for other in pairs(self.addresses[user] or {}) do
		addresses[other], size = true, size + 1;
	end
	local bytes = size_of(user, address);
	if size > most_of_user or self.shares:refusal(user, bytes) then
		return nil, "too-many-subscriptions";
	end
	local ok, err = write(user, addresses);
	if not ok then
		module:log("error", "The subscription of %s could not be saved: %s", user, err);
		return nil, "subscription-not-saved";
	end
	self.addresses[user] = addresses;
	self.shares:hold(user, bytes);
	return true;
end

-- remove(user, address): ends a subscription, which must exist
function subscribers:remove(user, address)
	local addresses = self.addresses[user];
	addresses[address] = nil;
	self.shares:give(user, size_of(user, address));
	if next(addresses) == nil then addresses, self.addresses[user] = nil, nil; end
	local ok, err = write(user, addresses);
	if not ok then module:log("error", "The end of a subscription of %s could not be saved: %s", user, err); end
end

-- list() -> array of { address, user }
function subscribers:list()
	local list = {};
	for user, addresses in pairs(self.addresses) do
		for address in pairs(addresses) do list[#list + 1] = { address, user }; end
	end
	return list;
end

-- save() -> plain table for module.save()
function subscribers:save()
	return self.addresses;
end

return { new = new };
