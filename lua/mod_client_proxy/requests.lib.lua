-- SPDX-License-Identifier: MIT
-- The table of requests in flight: each waits for one answer, of one resource (P6, P9, P10, P13).
--
-- Three things identify a request in flight: the resource asked, the address that the resource sees, the id. A reply has the same three as
-- from, to and id. Any other reply is forged, late, or comes a second time. The key in the table is the id alone, as long as no other
-- request in flight has that id: this saves two long strings for each request. Else the key is all three.
--
-- The module keeps only this record for a request:
--   user, asked, id   user who sent it, address of the proxy it was sent to, its id
--   type, copy        "get" or "set", and what is needed to ask another resource (copies.lib); no copy when there is no room for it
--   resource, address resource that is asked now, and the address of the user that it sees
--   sent              when the request came; the deadline counts from there, however often it is sent
--   tried             resources asked before this one -> why they are not asked again (relay.lib), nil at first

local copies = module:require "copies";
local new_id = require "util.id".short;
local new_overdue = module:require "overdue".new;
local new_pending = require "prosody_relay.pending".new;
local new_shares = require "prosody_relay.shares".new;
local now = require "util.time".monotonic;

-- Bytes for what users write: for all users, and for one. Short requests are not counted.
local most_bytes, most_bytes_of_user = 32 * 1024 * 1024, 2 * 1024 * 1024;
local short = 1024; -- bytes
local longest_id = 128; -- bytes, for the implementing client

-- A ring with from, to and id of the last answers: shows whether an answer comes a second time
local ring_size = 64 * 3;

local requests = {};
local requests_mt = { __index = requests };

-- NUL occurs in no XML, hence in none of the three
local function key_of(resource, address, id)
	return resource .. "\0" .. address .. "\0" .. id;
end

-- -> key, record of the request in flight, or nil
local function find(self, resource, address, id)
	local record = self.pending:get(id);
	if record and record.resource == resource and record.address == address then return id, record; end
	if self.composed == 0 then return nil; end
	local key = key_of(resource, address, id);
	record = self.pending:get(key);
	if record then return key, record; end
end

-- -> bytes, nil when it is short
local function size_of(record)
	local size = (record.copy and #record.copy or 0) + #record.id;
	return size > short and size or nil;
end

local function count(self, record, key)
	self.shares:hold(record.user);
	local size = size_of(record);
	if size then self.bytes:hold(record.user, size); end
	if key:find("\0", 1, true) then self.composed = self.composed + 1; end
end

local function left(self, key, record)
	if key:find("\0", 1, true) then self.composed = self.composed - 1; end
	self.shares:give(record.user);
	local size = size_of(record);
	if size then self.bytes:give(record.user, size); end
	self.pool:add_load(record.resource, -1);
	return record;
end

-- As left, for a request that may still be answered
local function given_up(self, key, record)
	self.overdue:add(record.resource, record.address, key:match("[^%z]*$"));
	return left(self, key, record);
end

-- new(pool, encode, on_expire, limits, [saved]) -> requests
--   pool: of pool.lib, learns how many requests a resource has; encode: of addresses.lib;
--   on_expire(record): called when the deadline has passed without an answer; limits: of settings.lib, how many can be in flight;
--   saved: result of :save() of an earlier instance
local function new(pool, encode, on_expire, limits, saved)
	local self = setmetatable({
		pool = pool; encode = encode; composed = 0; turn = 0; answers = saved and saved.answers or {};
		shares = new_shares(limits.max_pending, limits.max_pending_per_user);
		bytes = new_shares(most_bytes, most_bytes_of_user);
		overdue = new_overdue(saved and saved.overdue);
	}, requests_mt);
	self.pending = new_pending(module, function (key, record)
		on_expire(given_up(self, key, record));
	end, saved);
	for key, record in self.pending:each() do count(self, record, key); end
	return self;
end

-- refusal(stanza) -> nil when a request that has just come can be kept; else what is used up: "account", "domain", "family", "total"
-- (requests in flight), or "bytes"
function requests:refusal(stanza)
	local from, id = stanza.attr.from, stanza.attr.id;
	local refusal = self.shares:refusal(from);
	if refusal then return refusal; end
	return #id > short and self.bytes:refusal(from, #id) and "bytes" or nil;
end

-- new_record(stanza) -> the record of a request that has just come
function requests:new_record(stanza)
	local attr = stanza.attr;
	local record = { user = attr.from; asked = attr.to; id = attr.id; type = attr.type; copy = copies.copy(stanza); sent = now() };
	local size = size_of(record);
	if size and self.bytes:refusal(record.user, size) then record.copy = nil; end
	return record;
end

-- add(record, resource, timeout) -> address and id with which the full JID `resource` is to be asked; timeout: seconds from now
function requests:add(record, resource, timeout)
	local address, id = self.encode(record.user), record.id;
	-- XML parsers turn a line break into a space, and some clients take an empty id for none (case C2)
	if not id:find("^%g+$") or #id > longest_id or self.overdue:has(resource, address, id) then id = new_id(); end
	while find(self, resource, address, id) do
		-- the user has the same id in flight; a fresh one tells the replies apart
		id = new_id();
	end
	local key = id;
	if self.pending:get(id) then key = key_of(resource, address, id); end
	record.resource, record.address = resource, address;
	self.pending:add(key, record, timeout);
	count(self, record, key);
	self.pool:add_load(resource, 1);
	return address, id;
end

-- take(stanza) -> record of the request that a result or error with an id answers, no longer in flight; or nil
function requests:take(stanza)
	local attr = stanza.attr;
	local from, to, id = attr.from, attr.to, attr.id;
	local key = find(self, from, to, id);
	if not key then
		self.overdue:settle(from, to, id);
		return nil;
	end
	local answers, turn = self.answers, self.turn;
	answers[turn + 1], answers[turn + 2], answers[turn + 3] = from, to, id;
	self.turn = (turn + 3) % ring_size;
	return left(self, key, self.pending:remove(key));
end

-- expect_late(stanza): the answer that take() took came from this server; the resource may still answer, too
function requests:expect_late(stanza)
	self.overdue:add(stanza.attr.from, stanza.attr.to, stanza.attr.id);
end

-- is_repeated(stanza) -> has the same resource answered one of the last requests with that id before?
function requests:is_repeated(stanza)
	local attr, answers = stanza.attr, self.answers;
	for i = 1, #answers, 3 do
		if answers[i] == attr.from and answers[i + 1] == attr.to and answers[i + 2] == attr.id then return true; end
	end
	return false;
end

-- is_asked(resource, stanza) -> would the reply answer a request if it came from that resource?
function requests:is_asked(resource, stanza)
	return find(self, resource, stanza.attr.to, stanza.attr.id) ~= nil;
end

-- give_up([is_wanted]) -> array of records, no longer in flight: all, or those for which is_wanted(record) is true. Their answers are late
-- from now on. Linear in the number of requests in flight.
function requests:give_up(is_wanted)
	local records = {};
	for key, record in self.pending:each() do
		if not is_wanted or is_wanted(record) then
			records[#records + 1] = given_up(self, key, self.pending:remove(key));
		end
	end
	return records;
end

-- count() -> number of requests in flight
function requests:count()
	return self.pending:count();
end

-- save() -> plain table for module.save()
function requests:save()
	local saved = self.pending:save();
	saved.answers, saved.overdue = self.answers, self.overdue:save();
	return saved;
end

return { new = new };
