-- SPDX-License-Identifier: MIT
-- The requests that an entity has not answered: methods of the managing entity ("entity").
--
-- Each entity has one pending table, keyed by the id of the request to the entity. An entry is removed when the answer arrives, its deadline
-- passes, the entity disconnects or the module unloads. In each case the user gets exactly one answer.

local st = require "util.stanza";
local now = require "util.time".monotonic;
local jid_node = require "util.jid".node;

local new_shares = require "prosody_relay.shares".new;
local pending = require "prosody_relay.pending";

local errors = module:require "errors";
local ids = module:require "ids";
local wrapper = module:require "wrapper";

local requests = {};

-- After this number of bad answers in a row the stream of an entity is closed (D12)
local max_faults = 10;

-- An account may hold one in so many places of an entity (E7), or this number if that is more. An entity that users chose may hold one in ten
-- of those that all such entities share.
local account_part, guest_part, account_places = 100, 10, 10;
-- A request takes one more place for each so many bytes of its id. So a request's memory is limited, too.
local bytes_per_place = 1000;

-- Places of all entities that users chose, shared by their domains: users may choose any number of entities (G29)
local of_guests;

local function places_of(id)
	return 1 + #id // bytes_per_place;
end

-- Counts the places of a request; a negative number of places frees them
local function hold(self, record, places)
	self.places:hold(record.from, places);
	if self.is_guest then of_guests:hold(self.jid, places); end
end

-- prepare(max_pending, [saved]): for a new entity; saved: what was in flight before a module reload
function requests:prepare(max_pending, saved)
	self.max_pending, self.faults = max_pending, 0;
	self.places = new_shares(max_pending, math.max(max_pending // account_part, account_places));
	of_guests = of_guests or new_shares(max_pending, math.max(max_pending // guest_part, account_places));
	self.requests = pending.new(module, function (_, record) self:expired(record); end, saved);
	for _, record in self.requests:each() do
		hold(self, record, places_of(record.id));
		local meter = self:meter(record.namespace);
		meter.pending = meter.pending + 1;
	end
end

-- Lets the user's stream continue if it waits for this request (D31)
local function release_stream(record)
	if record.done then record.done(); end
end

-- Sends the user the server's answer instead of the entity's (XEP-0355 section 4.3, NB1 and NB2)
local function refuse(record)
	errors.refuse(st.iq { type = "get"; from = record.from; to = record.to; id = record.id }, "entity-without-good-answer");
	release_stream(record);
end

-- Sends the user the stanza in an answer -> true; or nil and what is wrong with the answer
local function pass_on(answer, record)
	local reply, reason = wrapper.unwrap(answer, record);
	if not reply then return nil, reason; end
	module:send(reply);
	return true;
end

local what_is_full = {
	total = "%d requests without an answer"; account = "one account has as many requests without an answer as may be";
	domain = "one domain has as many requests without an answer as may be";
	family = "domains under one name have as many requests without an answer as may be";
};
local what_is_full_for_guests = {
	total = "entities that users chose have as many requests without an answer as may be";
	account = "it has as many requests without an answer as an entity that users chose may have";
	domain = "entities of its domain have as many requests without an answer as may be";
	family = "entities of domains under one name have as many requests without an answer as may be";
};

-- Why a request cannot be sent to the entity: the meter's reason, and the name of the error; nil when it can
local function obstacle(self, stanza)
	if not self.address then return "unavailable", "entity-not-available"; end
	local from, places = stanza.attr.from, places_of(stanza.attr.id);
	-- users must not be able to keep out the server's own requests
	if from == module.host and not jid_node(from) then return nil; end
	local full = self.places:refusal(from, places);
	local full_for_guests = not full and self.is_guest and of_guests:refusal(self.jid, places);
	if not full and not full_for_guests then return nil; end
	self:complain(full and what_is_full[full]:format(self.max_pending) or what_is_full_for_guests[full_for_guests]);
	return "max-pending", "too-many-unanswered";
end

-- forward(origin, stanza, delegation, to, [done]) -> whether the request was sent to the entity; if not, the user has got an error
--   to: address that the user wrote, nil if none (D8: Prosody removes her own bare JID)
--   done(): called when the user has been answered; that may be before forward returns
function requests:forward(origin, stanza, delegation, to, done)
	local namespace = delegation.namespace;
	local meter = self:meter(namespace);
	local reason, name = obstacle(self, stanza);
	if reason then
		meter:refused(reason);
		origin.send(errors.reply(stanza, name));
		return false;
	end
	local attr = stanza.attr;
	-- a Lua table has room for eight fields; a ninth would double its size
	local record = {
		from = attr.from; to = to; id = attr.id; inner_id = ids.take(self.address, attr.id); version = delegation.version; address = self.address;
		namespace = namespace; since = now();
	};
	if done then record.done = done; end
	local id = ids.new();
	if delegation.user then self.shares:forwarding(id, record, delegation); end
	hold(self, record, places_of(record.id));
	self.requests:add(id, record, delegation.timeout);
	meter:forwarded();
	-- a stream does not need the stanza any more, but a module may still compare the answer with it
	module:send(wrapper.wrap(origin.thread and stanza or st.clone(stanza), record, module.host, id));
	return true;
end

local function release(self, record)
	ids.release(record.address, record.inner_id);
	hold(self, record, -places_of(record.id));
	if self.shares then self.shares:released(record); end
	local meter = self:meter(record.namespace);
	meter.pending = meter.pending - 1;
end

-- Takes a request out of the table; nil if it is not (or no longer) there
local function take(self, id)
	local record = self.requests:remove(id);
	if record then release(self, record); end
	return record;
end

-- cancel(id, reason): answers a request in flight without the entity, whose own answer comes too late then (C25)
--   reason: for the meter
function requests:cancel(id, reason)
	local record = take(self, id);
	if not record then return; end
	ids.overdue(record.address);
	self:meter(record.namespace):refused(reason);
	refuse(record);
end

-- cancel_all(reason, [address]): as cancel, for all requests that went to this address, or to any
function requests:cancel_all(reason, address)
	local waiting = {};
	for id, record in self.requests:each() do
		if not address or record.address == address then waiting[#waiting + 1] = id; end
	end
	for _, id in ipairs(waiting) do self:cancel(id, reason); end
end

function requests:expired(record)
	release(self, record);
	-- the answer may still come, and look like the answer to a new request of the same id (B11)
	ids.overdue(record.address);
	self:meter(record.namespace):timed_out();
	self:complain("no answer in time");
	self:suspect_restart();
	refuse(record);
end

-- forgive_faults(): for a new connection of the entity
function requests:forgive_faults()
	self.faults = 0;
end

-- Counts bad answers (D12). An error of the entity is no mistake of its protocol (D14). A user may be the cause of an answer that cannot be
-- sent. One good answer clears the count.
local function count_fault(self, reason)
	if reason == "error" or reason == "unsendable" then return; end
	self.faults = self.faults + 1;
	if self.faults == max_faults and self.session then
		module:log("warn", "Managing entity %s: closing its stream after %d bad answers in a row", self.name, max_faults);
		self.session:close { condition = "policy-violation"; text = "Answers to delegated requests are not as XEP-0355 demands" };
	end
end

-- This server could not deliver a request, or does not know whether it did
local function fail(self, record, stanza)
	ids.overdue(record.address);
	self:meter(record.namespace):refused("unreachable");
	self:unreachable(stanza);
	refuse(record);
end

local function check(self, record, stanza)
	-- pcall, because after an error the user would get no answer, and her stream would never continue
	local done, passed, reason = pcall(pass_on, stanza, record);
	if done and passed then
		self.faults = 0;
		self:meter(record.namespace):answered(now() - record.since);
		self:heard();
		return release_stream(record);
	end
	if not done then
		module:log("debug", "An answer cannot be passed on: %s", passed);
		reason = "unsendable";
	end
	self:meter(record.namespace):refused(reason);
	self:complain("answers a request with "..wrapper.faults[reason]);
	self:suspect_restart();
	refuse(record);
	count_fault(self, reason);
	if self.shares then self.shares:failed(stanza); end
end

-- answer(event) -> true if the stanza was the answer to one of our requests. Only the JID that got the request can answer (B2).
function requests:answer(event)
	local stanza = event.stanza;
	local id, from = stanza.attr.id, stanza.attr.from;
	local waiting = self.requests:get(id);
	if not waiting then return self:answer_about_features(event); end
	if waiting.address ~= from then return; end
	local record = take(self, id);
	if self:is_own_error(event) then fail(self, record, stanza); else check(self, record, stanza); end
	return true;
end

return { methods = requests; refuse = refuse };
