-- SPDX-License-Identifier: MIT
-- The table of requests in flight: each waits for one answer, of one resource (P6, P9, P10, P13).
--
-- A request in flight is known by (resource asked, address the resource sees, id): exactly what a reply to it carries as from, to
-- and id. Whatever else comes back was forged, is late, or comes a second time. Its key in the table is the id alone as long as
-- nobody else has that id in flight, which saves two long strings for each request, else all three.
--
-- The record of a request has these fields and is the only thing kept for it:
--   user, asked, id   from whom, to which address of the proxy, with which id it came
--   type, payload     "get" or "set", and the payload's XML: what is needed to ask another resource
--   lang              the language of the request, nil when it is that of the streams
--   resource, address who is asked now, and the user's address for them
--   sent              when it came; the deadline counts from there, however often it is sent
--   tried             set of the resources asked before this one, nil at first

local new_pending = require "prosody_relay.pending".new;
local new_id = require "util.id".short;
local now = require "util.time".monotonic;
local serialise = require "prosody_relay.stanza".serialise;

-- What Prosody writes at the head of its streams, so that it need not stand in a stanza; and what it gives to those of clients that say
-- nothing, thus to most. A ninth field would double the room of a record.
local stream_lang = "en";

-- How many answers are remembered, to tell a second one from one to nothing: a ring of from, to, id
local ring_size = 64 * 3;

local requests = {};
local requests_mt = { __index = requests };

-- NUL occurs in no XML, hence in none of the three
local function key_of(resource, address, id)
	return resource .. "\0" .. address .. "\0" .. id;
end

local function bare(user)
	return user:match("^[^/]*");
end

local function count_user(self, user, number)
	local by_user = self.by_user;
	user = bare(user);
	local count = (by_user[user] or 0) + number;
	by_user[user] = count > 0 and count or nil;
end

-- -> key, record of what is in flight, or nil
local function find(self, resource, address, id)
	local record = self.pending:get(id);
	if record and record.resource == resource and record.address == address then return id, record; end
	if self.composed == 0 then return nil; end
	local key = key_of(resource, address, id);
	record = self.pending:get(key);
	if record then return key, record; end
end

local function left(self, key, record)
	if key:find("\0", 1, true) then self.composed = self.composed - 1; end
	count_user(self, record.user, -1);
	self.pool:add_load(record.resource, -1);
	return record;
end

-- new(pool, encode, on_expire, [saved]) -> requests
--   pool: of pool.lib, told how many requests a resource has; encode: of addresses.lib;
--   on_expire(record): called when nobody has answered until the deadline; saved: result of :save() of an earlier instance
local function new(pool, encode, on_expire, saved)
	local self = setmetatable({ pool = pool; encode = encode; by_user = {}; composed = 0; turn = 0 }, requests_mt);
	self.answers = saved and saved.answers or {};
	self.pending = new_pending(module, function (key, record)
		on_expire(left(self, key, record));
	end, saved);
	for key, record in self.pending:each() do
		count_user(self, record.user, 1);
		if key:find("\0", 1, true) then self.composed = self.composed + 1; end
	end
	return self;
end

-- add(record, resource, timeout) -> address and id with which the full JID `resource` is to be asked; timeout: seconds from now
function requests:add(record, resource, timeout)
	local address, id = self.encode(record.user), record.id;
	while find(self, resource, address, id) do
		-- the user has the same id in flight; a fresh one tells the replies apart
		id = new_id();
	end
	local key = id;
	if self.pending:get(id) then
		key = key_of(resource, address, id);
		self.composed = self.composed + 1;
	end
	record.resource, record.address = resource, address;
	self.pending:add(key, record, timeout);
	count_user(self, record.user, 1);
	self.pool:add_load(resource, 1);
	return address, id;
end

-- new_record(stanza) -> the record of a request that has just come
function requests.new_record(stanza)
	local attr = stanza.attr;
	local lang = attr["xml:lang"];
	return {
		lang = lang ~= stream_lang and lang or nil;
		user = attr.from; asked = attr.to; id = attr.id; type = attr.type; payload = serialise(stanza.tags[1]); sent = now();
	};
end

-- take(stanza) -> record of the request that a result or error with an id answers, no longer in flight; or nil
function requests:take(stanza)
	local attr = stanza.attr;
	local from, to, id = attr.from, attr.to, attr.id;
	local key = find(self, from, to, id);
	if not key then return nil; end
	local answers, turn = self.answers, self.turn;
	answers[turn + 1], answers[turn + 2], answers[turn + 3] = from, to, id;
	self.turn = (turn + 3) % ring_size;
	return left(self, key, self.pending:remove(key));
end

-- is_repeated(stanza) -> was it the answer to one of the last requests, from the same resource, once before?
function requests:is_repeated(stanza)
	local attr, answers = stanza.attr, self.answers;
	for i = 1, #answers, 3 do
		if answers[i] == attr.from and answers[i + 1] == attr.to and answers[i + 2] == attr.id then return true; end
	end
	return false;
end

-- is_asked(resource, stanza) -> would the reply be in order if it came from that resource?
function requests:is_asked(resource, stanza)
	return find(self, resource, stanza.attr.to, stanza.attr.id) ~= nil;
end

-- take_all([is_wanted]) -> array of records, no longer in flight: all of them, or those for whose resource is_wanted(full JID) is true.
-- Linear in the number of requests in flight.
function requests:take_all(is_wanted)
	local records = {};
	for key, record in self.pending:each() do
		if not is_wanted or is_wanted(record.resource) then
			records[#records + 1] = left(self, key, self.pending:remove(key));
		end
	end
	return records;
end

-- count() -> number of requests in flight; count_of(user) -> those of all resources of a user's full JID
function requests:count()
	return self.pending:count();
end

function requests:count_of(user)
	return self.by_user[bare(user)] or 0;
end

-- save() -> plain table for module.save()
function requests:save()
	local saved = self.pending:save();
	saved.answers = self.answers;
	return saved;
end

return { new = new };
