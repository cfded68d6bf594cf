-- SPDX-License-Identifier: MIT
-- Questions that users have not answered yet: one for each user and entity (C8), each with a secret that only she was told (C10), good
-- for one answer within a day.

local new_secret = require "util.id".medium; -- 144 random bits
local new_id = require "util.id".medium;
local equals = require "util.hashes".equals;
local cache = require "util.cache";
local jid_host = require "util.jid".host;

local pending = require "prosody_relay.pending";
local new_shares = require "prosody_relay.shares".new;

local lifetime = 24 * 3600;
-- Open questions of a user, and of all together. A domain with its subdomains (a family) may have as many of either as it leaves to others;
-- when it asks more, the oldest of its own is answered with no.
local max_per_user = 10;
local max_total = 10000;
-- Bytes of an address that cost one place more
local bytes_per_place = 1000;

local challenges = {};
local challenges_mt = { __index = challenges };

local function places_of(entity)
	return 1 + #entity // bytes_per_place;
end

local function unlink(self, key, request)
	local of_user, host = self.by_user[request.user], jid_host(request.entity);
	of_user[request.entity] = nil;
	if next(of_user) == nil then self.by_user[request.user] = nil; end
	self.shares:give(host, places_of(request.entity));
	self.by_host[host]:set(key, nil);
	if self.by_host[host]:count() == 0 then self.by_host[host] = nil; end
end

local function link(self, key, request)
	local host = jid_host(request.entity);
	self.by_user[request.user] = self.by_user[request.user] or {};
	self.by_user[request.user][request.entity] = key;
	self.shares:hold(host, places_of(request.entity));
	-- with the oldest as its tail
	self.by_host[host] = self.by_host[host] or cache.new(max_total);
	self.by_host[host]:set(key, true);
end

-- new(module, [saved]) -> challenges; saved: result of :save() before a module reload
local function new(module, saved)
	-- keys are numbers in the order of the questions
	local self = setmetatable({ by_user = {}; by_host = {}; shares = new_shares(max_total); serial = saved and saved.serial or 0 }, challenges_mt);
	self.pending = pending.new(module, function (key, request) unlink(self, key, request); end, saved and saved.pending);
	local keys = {};
	for key in self.pending:each() do keys[#keys + 1] = key; end
	table.sort(keys);
	for _, key in ipairs(keys) do link(self, key, self.pending:get(key)); end
	return self;
end

-- each(user) -> iterator of key, request
function challenges:each(user)
	local of_user, entity, key = self.by_user[user] or {}, nil, nil;
	return function ()
		entity, key = next(of_user, entity);
		if key then return key, self.pending:get(key); end
	end;
end

-- remove(key) -> the request, which is answered, or was never delivered; nothing for nil
function challenges:remove(key)
	local request = key and self.pending:remove(key);
	if request then unlink(self, key, request); end
	return request;
end

-- Makes room among the questions of all: the oldest of this domain gives way, or of the largest (in its family, if that has enough) if the
-- domain has none
local function limit_total(self, entity)
	local host = jid_host(entity);
	local refusal = self.shares:refusal(host, places_of(entity));
	while refusal and self.pending:count() > 0 do
		local of_host = self.by_host[host] or self.by_host[self.shares:largest(refusal == "domain" and host)];
		self:remove((of_host:tail()));
		refusal = self.shares:refusal(host, places_of(entity));
	end
end

-- is_asked(user, entity, namespaces) -> boolean: she is asked exactly this already
function challenges:is_asked(user, entity, namespaces)
	local key = self.by_user[user] and self.by_user[user][entity];
	return key ~= nil and table.concat(self.pending:get(key).namespaces, "\0") == table.concat(namespaces, "\0");
end

-- The question that gives way to a new one of this entity: its own, or the oldest of its domain (of the largest in its family, if it has none)
-- when that has as many as it leaves to others, or of all when there are too many
local function displaced(self, user, entity)
	local host, open, oldest, oldest_of = jid_host(entity), new_shares(max_per_user), nil, {};
	for key, request in self:each(user) do
		if request.entity == entity then return key; end
		local asker = jid_host(request.entity);
		open:hold(asker);
		oldest, oldest_of[asker] = math.min(oldest or key, key), math.min(oldest_of[asker] or key, key);
	end
	local refusal = open:refusal(host);
	return refusal and (oldest_of[host] or refusal == "total" and oldest or oldest_of[open:largest(host)]);
end

-- add(user, entity, namespaces) -> request; it takes the place of an earlier one of this entity
function challenges:add(user, entity, namespaces)
	self:remove(displaced(self, user, entity));
	limit_total(self, entity);
	self.serial = self.serial + 1;
	local request = { user = user; entity = entity; namespaces = namespaces; secret = new_secret(); message_id = new_id() };
	self.pending:add(self.serial, request, lifetime);
	link(self, self.serial, request);
	return request;
end

-- find(user, secret) -> key, request; nil if this user was not asked with this secret. The time does not tell how much of it is right.
function challenges:find(user, secret)
	local found, asked;
	for key, request in self:each(user) do
		if equals(request.secret, secret) then found, asked = key, request; end
	end
	return found, asked;
end

-- only(user) -> key of the request if there is exactly one
function challenges:only(user)
	local of_user = self.by_user[user];
	local entity, key = next(of_user or {});
	if entity and next(of_user, entity) == nil then return key; end
end

-- forget(user): the account is deleted
function challenges:forget(user)
	local keys = {};
	for key in self:each(user) do keys[#keys + 1] = key; end
	for _, key in ipairs(keys) do self:remove(key); end
end

-- save() -> what a module reload must not lose
function challenges:save()
	return { pending = self.pending:save(); serial = self.serial };
end

return { new = new };
