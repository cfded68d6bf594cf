-- SPDX-License-Identifier: MIT
-- Questions that users have not answered yet: one for each user and entity (C8), each with a secret that only she was told (C10), good
-- for one answer within a day.

local new_secret = require "util.id".medium; -- 144 random bits
local new_id = require "util.id".medium;
local equals = require "util.hashes".equals;
local jid_host = require "util.jid".host;

local pending = require "prosody_relay.pending";

local lifetime = 24 * 3600;
-- A user who is asked more gets the oldest question answered with no
local max_per_user = 10;
local max_total = 10000;

local challenges = {};
local challenges_mt = { __index = challenges };

local function unlink(self, request)
	local of_user = self.by_user[request.user];
	of_user[request.entity] = nil;
	if next(of_user) == nil then self.by_user[request.user] = nil; end
end

local function link(self, key, request)
	self.by_user[request.user] = self.by_user[request.user] or {};
	self.by_user[request.user][request.entity] = key;
end

-- new(module, [saved]) -> challenges; saved: result of :save() before a module reload
local function new(module, saved)
	-- keys are numbers in the order of the questions; oldest: none is below that
	local self = setmetatable({ by_user = {}; serial = saved and saved.serial or 0; oldest = 1 }, challenges_mt);
	self.pending = pending.new(module, function (_, request) unlink(self, request); end, saved and saved.pending);
	for key, request in self.pending:each() do link(self, key, request); end
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
	if request then unlink(self, request); end
	return request;
end

-- Nobody can keep others from asking: where there are too many questions in all, the oldest gives way
local function limit_total(self)
	while self.pending:count() >= max_total do
		self:remove(self.oldest);
		self.oldest = self.oldest + 1;
	end
end

-- is_asked(user, entity, namespaces) -> boolean: she is asked exactly this already
function challenges:is_asked(user, entity, namespaces)
	local key = self.by_user[user] and self.by_user[user][entity];
	return key ~= nil and table.concat(self.pending:get(key).namespaces, "\0") == table.concat(namespaces, "\0");
end

-- The question that gives way to a new one of this entity: its own, or the oldest when there are too many, of the entity's domain if possible,
-- so that nobody can make away with the questions of others
local function displaced(self, user, entity)
	local host, open, oldest, oldest_of_host = jid_host(entity), 0, nil, nil;
	for key, request in self:each(user) do
		if request.entity == entity then return key; end
		open, oldest = open + 1, math.min(oldest or key, key);
		if jid_host(request.entity) == host then oldest_of_host = math.min(oldest_of_host or key, key); end
	end
	return open >= max_per_user and (oldest_of_host or oldest) or nil;
end

-- add(user, entity, namespaces) -> request; it takes the place of an earlier one of this entity
function challenges:add(user, entity, namespaces)
	self:remove(displaced(self, user, entity));
	limit_total(self);
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
