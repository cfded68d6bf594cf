-- SPDX-License-Identifier: MIT
-- A managing entity: whether it is there, and the requests it owes an answer. What it is told and asked is in introduction.lib.lua.
--
-- Requests lie in one pending table per entity, keyed by the id of the request to the entity; an entry leaves it when the answer comes, its
-- deadline passes, the entity disconnects or the module unloads, and each time the user gets exactly one answer.

local st = require "util.stanza";
local new_id = require "util.id".medium;
local now = require "util.time".monotonic;
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local jid_join = require "util.jid".join;
local jid_host = require "util.jid".host;

local pending = require "prosody_relay.pending";

local granted = module:require "granted";
local introduction = module:require "introduction";
local meter_of = module:require "metrics".of;
local wrapper = module:require "wrapper";

-- Answers in a row that fail the checks, after which the stream of an entity is closed (D12)
local max_faults = 10;

-- Ids of requests to entities cannot be guessed, and are not used again after a reload or restart
local id_prefix, last_id = new_id(), 0;
local function next_id()
	last_id = last_id + 1;
	return id_prefix..last_id;
end

local entity_methods = {};
local entity_mt = { __index = entity_methods };

-- Lets the user's stream go on if it waits for the end of a request (D31)
local function release_stream(record)
	if record.done then record.done(); end
end

local function refuse(record)
	module:send(wrapper.refusal(record));
	release_stream(record);
end

-- Sends the user the stanza in an answer -> true; or nil and what is wrong with the answer
local function pass_on(answer, record)
	local reply, reason = wrapper.unwrap(answer, record);
	if not reply then return nil, reason; end
	module:send(reply);
	return true;
end

-- new(jid, max_pending, on_change, [saved], [is_guest]) -> managing entity, not connected yet
--   jid: as configured, normalised; max_pending: requests in flight beyond which users get resource-constraint
--   on_change(): what is delegated now, or what the entity announces, has changed
--   saved: result of :save() before a module reload; is_guest: users chose it, not the administrator
local function new(jid, max_pending, on_change, saved, is_guest)
	local self = setmetatable({ jid = jid; max_pending = max_pending; on_change = on_change; delegations = {}; complaints = {} }, entity_mt);
	self.is_guest = is_guest;
	-- what it was told about users
	self.saved_told = saved and saved.told;
	self.node, self.host, self.resource = jid_split(jid);
	-- whose the entity is: an account with all resources, or a whole domain
	self.owner = jid_join(self.node, self.host);
	-- the resource of an account that managed before the reload goes on managing
	self.preferred_address = saved and saved.address;
	-- whether it may still work on a request whose time was over
	self.overdue = saved and saved.overdue;
	self.absence = "it has not connected yet";
	self.meters = {};
	-- inner ids in flight, to tell when two users chose the same (B11)
	self.inner_ids = {};
	self.requests = pending.new(module, function (_, record) self:expired(record); end, saved and saved.requests);
	for _, record in self.requests:each() do
		self.inner_ids[record.inner_id] = true;
		local meter = self:meter(record.namespace);
		meter.pending = meter.pending + 1;
	end
	self.introduction = introduction.new(on_change, function (trouble) self:complain(trouble); end, saved and saved.introduction);
	return self;
end

-- manage(delegation): adds a delegation; one that users grant (delegation.client) any time, one of the configuration before the entity
-- connects
function entity_methods:manage(delegation)
	delegation.entity = self;
	self.delegations[#self.delegations + 1] = delegation;
	self.introduction:add(delegation);
end

-- unmanage(delegation): takes back a delegation that users had granted
function entity_methods:unmanage(delegation)
	for i, managed in ipairs(self.delegations) do
		if managed == delegation then table.remove(self.delegations, i); end
	end
	self.introduction:remove(delegation);
end

-- meter(namespace) -> the meter of what this entity manages in the namespace
function entity_methods:meter(namespace)
	local meter = self.meters[namespace];
	if not meter then
		-- users may choose any number of entities
		meter = meter_of(namespace, self.is_guest and "chosen by users" or self.jid);
		self.meters[namespace] = meter;
	end
	return meter;
end

-- is_sender(jid) -> boolean: whether a stanza with this `from` is the entity's own (D16): its whole domain if it is a domain, else its
-- account with all resources
function entity_methods:is_sender(jid)
	return (self.node and jid_bare or jid_host)(jid) == self.owner;
end

-- One warning for each kind of trouble and connection, so that an entity cannot fill the log; the rest goes to the debug log.
function entity_methods:complain(trouble)
	-- the administrator can do nothing about an entity that only users chose
	local level = self.complaints[trouble] and "debug" or self.is_guest and "info" or "warn";
	self.complaints[trouble] = true;
	module:log(level, "Managing entity %s: %s", self.jid, trouble);
end

-- up(address, [session]): the entity is there, and requests go to this JID; session: its stream, if that is one of this server
function entity_methods:up(address, session)
	self.address, self.session, self.preferred_address, self.complaints, self.faults = address, session, nil, {}, 0;
	self.forgotten = false;
	module:log("info", "Managing entity %s is available as %s", self.jid, address);
	self.introduction:begin(address);
	if self.granted then
		self.granted:introduced();
	else
		granted.bid_farewell(self.address, self.saved_told);
	end
	self.saved_told = nil;
	self.on_change();
end

-- introduce(): tells the entity everything anew
function entity_methods:introduce()
	self.forgotten = false;
	self.introduction:again();
	if self.granted then self.granted:again(); end
end

-- down(why): the entity is gone; whoever waits for it is answered at once (D13)
--   why: text for administrators
function entity_methods:down(why)
	self.absence = why;
	if not self.address then return; end
	module:log("info", "Managing entity %s is gone", self.jid);
	self.address, self.session, self.overdue = nil, nil, false;
	self.introduction:finish();
	self.on_change();
	local waiting = {};
	for id in self.requests:each() do waiting[#waiting + 1] = id; end
	for _, id in ipairs(waiting) do self:cancel(id, "disconnected"); end
	if self.granted then self.granted:gone(); end
end

-- cancel(id, reason): answers a request that is in flight without the entity, whose answer then comes too late (C25)
--   reason: the meter's
function entity_methods:cancel(id, reason)
	local record = self:take(id);
	if not record then return; end
	self.overdue = self.address ~= nil;
	self:meter(record.namespace):refused(reason);
	refuse(record);
end

-- Why a request cannot be sent to the entity: the meter's reason, and the type and condition of the error; nil when it can
local function obstacle(self)
	if not self.address then return "unavailable", "cancel", "service-unavailable"; end
	if self.requests:count() < self.max_pending then return nil; end
	self:complain(("%d requests without an answer"):format(self.max_pending));
	return "max-pending", "wait", "resource-constraint";
end

-- forward(origin, stanza, delegation, to, [done]) -> whether the request was sent to the entity; otherwise it has been refused
--   to: address that the user wrote, nil if none (D8: Prosody removes her own bare JID)
--   done(): called when the user has been answered, which may be before this returns
function entity_methods:forward(origin, stanza, delegation, to, done)
	local namespace = delegation.namespace;
	local meter = self:meter(namespace);
	local reason, error_type, condition = obstacle(self);
	if reason then
		meter:refused(reason);
		origin.send(st.error_reply(stanza, error_type, condition));
		return false;
	end
	local attr = stanza.attr;
	local inner_id = attr.id;
	-- a line break comes out of the entity's parser as a space: its answer would have a wrong id, and ten of them end its stream (D12)
	if self.overdue or self.inner_ids[inner_id] or not inner_id:find("^%g+$") then inner_id = next_id(); end
	-- eight fields fill a table of Lua; another one would double it
	local record = {
		from = attr.from; to = to; id = attr.id; inner_id = inner_id; version = delegation.version; address = self.address;
		namespace = namespace; since = now();
	};
	if done then record.done = done; end
	local id = next_id();
	if delegation.user then self.granted:forwarding(id, record, delegation); end
	self.inner_ids[inner_id] = true;
	self.requests:add(id, record, delegation.timeout);
	meter:forwarded();
	-- a stream has no use for a stanza that it has passed on; a module that sends one compares the answer with it
	module:send(wrapper.wrap(origin.thread and stanza or st.clone(stanza), record, module.host, id));
	return true;
end

-- Takes a request out of the table; nil if it is not (or no longer) there
function entity_methods:take(id)
	local record = self.requests:remove(id);
	if record then self:release(record); end
	return record;
end

function entity_methods:release(record)
	self.inner_ids[record.inner_id] = nil;
	if self.granted then self.granted:released(record); end
	-- a Lua table keeps the room of its largest time
	if self.requests:count() == 0 then self.inner_ids = {}; end
	local meter = self:meter(record.namespace);
	meter.pending = meter.pending - 1;
end

function entity_methods:expired(record)
	self:release(record);
	-- its answer may still come, and be mixed up with that to a new request of the same id (B11)
	self.overdue = true;
	self:meter(record.namespace):timed_out();
	self:complain("no answer in time");
	self.forgotten = self.remote;
	refuse(record);
end

-- D12. Errors of the entity are no fault of its protocol (D14), what it cannot get through may be a user's, and one good answer makes up for
-- the bad ones before it.
local function count_fault(self, reason)
	if reason == "error" or reason == "unsendable" then return; end
	self.faults = self.faults + 1;
	if self.faults == max_faults and self.session then
		module:log("warn", "Managing entity %s: closing its stream after %d bad answers in a row", self.jid, max_faults);
		self.session:close { condition = "policy-violation"; text = "Answers to delegated requests are not as XEP-0355 demands" };
	end
end

-- answer(stanza) -> true if it was the answer to one of our requests. Only the JID that was asked can answer (B2).
function entity_methods:answer(stanza)
	local id, from = stanza.attr.id, stanza.attr.from;
	local waiting = self.requests:get(id);
	if not waiting then return self.introduction:answer(stanza); end
	if waiting.address ~= from then return; end
	local record = self:take(id);
	-- an error would leave the user without an answer, and her stream waiting for ever
	local done, passed, reason = pcall(pass_on, stanza, record);
	if done and passed then
		self.faults = 0;
		self:meter(record.namespace):answered(now() - record.since);
		-- an entity on another server may have been restarted unseen
		if self.forgotten then self:introduce(); end
		release_stream(record);
	else
		if not done then
			module:log("debug", "An answer cannot be passed on: %s", passed);
			reason = "unsendable";
		end
		self:meter(record.namespace):refused(reason);
		self:complain("answers a request with "..wrapper.faults[reason]);
		self.forgotten = self.remote;
		refuse(record);
		count_fault(self, reason);
		if self.granted then self.granted:failed(stanza); end
	end
	return true;
end

-- dismiss(): nothing is delegated to the entity any more
function entity_methods:dismiss()
	self.introduction:revoke();
	if self.granted then self.granted:revoke_all(); end
	self:down("the module is not loaded");
end

-- save() -> what a module reload must not lose
function entity_methods:save()
	return {
		address = self.address; overdue = self.overdue; requests = self.requests:save(); introduction = self.introduction:save();
		told = self.granted and self.granted.told or self.saved_told;
	};
end

-- dismiss_saved(saved): the same as dismiss() for a saved entity that does not come back
local function dismiss_saved(saved)
	introduction.revoke_saved(saved.introduction);
	granted.bid_farewell(saved.address, saved.told);
	for _, record in pairs(saved.requests.records) do
		refuse(record);
	end
end

return { new = new; dismiss_saved = dismiss_saved };
