-- SPDX-License-Identifier: MIT
-- Questions that users have not answered yet, one for each user and entity (C8). Each has a secret that only the user knows (C10), and is good
-- for one answer within a day.

local new_secret = require "util.id".medium; -- 144 random bits
local new_id = require "util.id".medium;
local equals = require "util.hashes".equals;
local cache = require "util.cache";
local jid_host = require "util.jid".host;

local pending = require "prosody_relay.pending";
local new_shares = require "prosody_relay.shares".new;

local lifetime = 24 * 3600;
-- Open questions of a user, and of all together. A domain with its subdomains (a family) may have as many as it leaves to others. When
-- it asks more, its oldest question is dropped, as if the user had answered No.
local max_per_user = 10;
local max_total = 10000;
-- A question takes one more place for each so many bytes of the entity's address
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
	-- the oldest question is the tail
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

-- remove(key) -> the request, which has been answered, or could not be delivered; key may be nil
function challenges:remove(key)
	local request = key and self.pending:remove(key);
	if request then unlink(self, key, request); end
	return request;
end

-- Makes room among all questions: drops the oldest question of this domain. If the domain has none, it drops the oldest of the domain with the
-- most questions: in the family if the family is at its limit, else among all.
local function limit_total(self, entity)
	local host = jid_host(entity);
	local refusal = self.shares:refusal(host, places_of(entity));
	while refusal and self.pending:count() > 0 do
		local of_host = self.by_host[host] or self.by_host[self.shares:largest(refusal ~= "total" and host)];
		self:remove((of_host:tail()));
		refusal = self.shares:refusal(host, places_of(entity));
	end
end

-- is_asked(user, entity, namespaces) -> boolean: the user has exactly this question already
function challenges:is_asked(user, entity, namespaces)
	local key = self.by_user[user] and self.by_user[user][entity];
	return key ~= nil and table.concat(self.pending:get(key).namespaces, "\0") == table.concat(namespaces, "\0");
end

-- The question that a new question of this entity replaces: the entity's own, if there is one. If its family has as many as it leaves to others:
-- the oldest of its domain, or of the largest domain in the family. If there are too many in all: the oldest of its domain, or of all.
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

-- add(user, entity, namespaces) -> request; it replaces an earlier request of this entity
function challenges:add(user, entity, namespaces)
	self:remove(displaced(self, user, entity));
	limit_total(self, entity);
	self.serial = self.serial + 1;
	local request = { user = user; entity = entity; namespaces = namespaces; secret = new_secret(); message_id = new_id() };
	self.pending:add(self.serial, request, lifetime);
	link(self, self.serial, request);
	return request;
end

-- find(user, secret) -> key, request; nil if no question to this user has this secret. The time it takes says nothing about the secret.
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

-- save() -> what must survive a module reload
function challenges:save()
	return { pending = self.pending:save(); serial = self.serial };
end

return { new = new };
