-- SPDX-License-Identifier: MIT
-- A managing entity: its address, and whether it is available. "requests" has the requests that it has not answered, and "introduction" what
-- it is told and asked.

local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local jid_join = require "util.jid".join;
local jid_host = require "util.jid".host;

local is_undeliverable = require "prosody_relay.origin".is_undeliverable;

local address_of = module:require "display".address;
local ids = module:require "ids";
local introduction = module:require "introduction";
local meter_of = module:require "metrics".of;
local requests = module:require "requests";
local shares = module:require "client/shares";

local entity_methods = {};
local entity_mt = { __index = entity_methods };

for name, method in pairs(requests.methods) do entity_methods[name] = method; end

-- new(jid, max_pending, on_change, [saved], [is_guest]) -> managing entity, not connected yet
--   jid: as configured, normalised; max_pending: limit of requests in flight; above it users get resource-constraint
--   on_change(): the delegations in force, or what the entity announces, have changed
--   saved: result of :save() before a module reload; is_guest: users chose the entity, not the administrator
local function new(jid, max_pending, on_change, saved, is_guest)
	local self = setmetatable({ jid = jid; on_change = on_change; delegations = {}; complaints = {} }, entity_mt);
	self.is_guest = is_guest;
	-- for administrators; the address of a guest is a stranger's text
	self.name = is_guest and address_of(jid) or jid;
	-- what the entity was told before a module reload, until it is known whether it is available now
	self.saved = saved;
	-- what it was told about users
	self.saved_told = saved and saved.told;
	self.node, self.host, self.resource = jid_split(jid);
	-- the owner of the entity: an account with all resources, or a whole domain
	self.owner = jid_join(self.node, self.host);
	-- the resource of an account that managed before the reload continues to manage
	self.preferred_address = saved and saved.address;
	self.contact = saved and saved.contact;
	self.absence = "it has not connected yet";
	self.meters = {};
	self:prepare(max_pending, saved and saved.requests);
	self.introduction = introduction.new(on_change, function (trouble) self:complain(trouble); end, saved and saved.introduction);
	return self;
end

-- manage(delegation): adds a delegation. A delegation of users (delegation.client) may be added at any time. One of the
-- configuration may be added only before the entity connects.
function entity_methods:manage(delegation)
	delegation.entity = self;
	self.delegations[#self.delegations + 1] = delegation;
	self.introduction:add(delegation);
end

-- unmanage(delegation): removes a delegation that users had granted
function entity_methods:unmanage(delegation)
	for i, managed in ipairs(self.delegations) do
		if managed == delegation then table.remove(self.delegations, i); end
	end
	self.introduction:remove(delegation);
end

-- set_shares(given): what users have granted to the entity ("client/shares"), nil if nothing
function entity_methods:set_shares(given)
	self.shares = given;
end

-- set_place(place): where the entity is. "inside": a service of this server, without a stream. "remote": on another server. nil: a component
-- or an account, or the host of the entity is not active.
function entity_methods:set_place(place)
	self.is_inside, self.remote = place == "inside", place == "remote";
end

-- set_doubt(doubt): what looks like a mistake in the address of the entity, as text for administrators; nil if nothing does
function entity_methods:set_doubt(doubt)
	self.doubt = doubt;
end

-- meter(namespace) -> the meter of this entity for the namespace
function entity_methods:meter(namespace)
	local meter = self.meters[namespace];
	if not meter then
		-- users may choose any number of entities
		meter = meter_of(namespace, self.is_guest and "chosen by users" or self.jid);
		self.meters[namespace] = meter;
	end
	return meter;
end

-- is_sender(jid) -> boolean: whether a stanza with this `from` is the entity's own (D16). For a domain, all addresses in the domain are
-- the entity's; for an account, all resources.
function entity_methods:is_sender(jid)
	return (self.node and jid_bare or jid_host)(jid) == self.owner;
end

-- Logs one warning for each kind of trouble and connection, so that an entity cannot fill the log; repeats go to the debug log. Details may be
-- any text of the entity's server, so they are logged but not stored.
function entity_methods:complain(trouble, details)
	-- the administrator can do nothing about an entity that only users chose
	local level = self.complaints[trouble] and "debug" or self.is_guest and "info" or "warn";
	self.complaints[trouble] = true;
	module:log(level, "Managing entity %s: %s%s", self.name, trouble, details or "");
end

-- state() -> text, boolean: whether the entity is available, as text for administrators; true if it certainly is
function entity_methods:state()
	if self.contact == "made" or self.address and not self.contact and not self.remote then
		return "available as "..(self.is_guest and self.name or self.address), true;
	end
	local text = not self.address and "not available: "..self.absence or self.contact == "lost" and "cannot be reached"
		or "on another server, whether it is there is not known yet";
	return self.doubt and ("%s (%s)"):format(text, self.doubt) or text, false;
end

-- up(address, [session]): the entity is available as far as this server knows, and requests go to this JID
--   session: the entity's stream, if it has one on this server
-- The entity may still answer requests that went to another of its addresses.
function entity_methods:up(address, session)
	local has_moved = self.address ~= nil;
	if has_moved then self.introduction:finish(); end
	self.address, self.session, self.preferred_address, self.complaints = address, session, nil, {};
	self.forgotten, self.missed, self.retried = false, false, false;
	self:forgive_faults();
	module:log("info", "Managing entity %s is %s", self.name, (self:state()));
	self.introduction:begin(address);
	if self.shares and has_moved then
		self.shares:again();
	elseif self.shares then
		self.shares:introduced();
	else
		shares.bid_farewell(self.address, self.saved_told);
	end
	self.saved, self.saved_told = nil, nil;
	self.on_change();
end

-- introduce(): tells the entity everything again
function entity_methods:introduce()
	self.forgotten, self.missed = false, false;
	self.introduction:again();
	if self.shares then self.shares:again(); end
end

-- down(why, [is_there]): the entity is gone; users who wait for an answer get an error at once (D13)
--   why: text for administrators; is_there: the entity may still be available and at work, but does not manage any more
function entity_methods:down(why, is_there)
	local address, has_stream = self.address, self.session ~= nil;
	self.absence, self.saved = why, nil;
	if not address then return; end
	module:log("info", "Managing entity %s is gone", self.name);
	self.address, self.session, self.contact = nil, nil, nil;
	self.introduction:finish();
	self.on_change();
	self:cancel_all("disconnected");
	if not is_there then
		ids.ended(address);
	elseif self.is_guest or not has_stream then
		-- this server would not notice the end of the entity
		ids.forget(address);
	end
	if self.shares then self.shares:gone(); end
end

-- left(address): the entity is not available at this address any more, to which requests went
function entity_methods:left(address)
	self:cancel_all("disconnected", address);
	ids.ended(address);
end

-- is_own_error(event) -> boolean: whether this server answers in place of the entity. Answers of a service inside the server have no stream
-- either, but are answers of the entity.
function entity_methods:is_own_error(event)
	return not self.is_inside and is_undeliverable(event);
end

-- unreachable(stanza): this server could not deliver a stanza to the entity, and returned this error (E3)
function entity_methods:unreachable(stanza)
	self.missed = true;
	self:suspect_restart();
	-- "watch" notices the end of a stream on this server
	if self.session then return; end
	local _, condition, text = stanza:get_error();
	self.contact = "lost";
	self:complain(("cannot be reached: %s"):format(condition), text and " ("..text..")");
end

-- suspect_restart(): the entity has given no good answer. An entity on another server may have restarted, and may have forgotten everything.
function entity_methods:suspect_restart()
	self.forgotten = self.remote;
end

-- heard(): the entity has given a good answer. If it may have missed or forgotten what it manages, it is told once more. An entity that answers
-- requests but accepts no messages must not be told again and again.
function entity_methods:heard()
	if not self.session and self.contact ~= "made" then
		if self.contact == "lost" then self.complaints = {}; end
		self.contact, self.doubt = "made", nil;
		module:log("info", "Managing entity %s is %s", self.name, (self:state()));
	end
	if self.forgotten or self.missed and not self.retried then
		self.retried = true;
		self:introduce();
	end
end

-- seen(): an address comes online that may be the entity's (E10)
function entity_methods:seen()
	if not self.address or not self.missed then return; end
	self.retried = false;
	self:introduce();
end

-- bounced(event): a message that told the entity something comes back, so the entity has not read it
function entity_methods:bounced(event)
	self.missed = true;
	if self:is_own_error(event) then self:unreachable(event.stanza); end
end

-- answer_about_features(event) -> true if it was the answer to one of our disco requests
function entity_methods:answer_about_features(event)
	local undeliverable = self:is_own_error(event);
	if not self.introduction:answer(event.stanza, undeliverable) then return; end
	if undeliverable then self:unreachable(event.stanza); end
	return true;
end

-- Tells an entity that was told before a reload that it manages nothing any more
local function bid_farewell(saved)
	introduction.revoke_saved(saved.introduction);
	shares.bid_farewell(saved.address, saved.told);
end

-- dismiss(): nothing is delegated to the entity any more
function entity_methods:dismiss()
	if self.saved then bid_farewell(self.saved); end
	self.introduction:revoke();
	if self.shares then self.shares:revoke_all(); end
	self:cancel_all("disconnected");
	self:down("the module is not loaded", true);
end

-- save() -> what must survive a module reload
function entity_methods:save()
	return {
		address = self.address; contact = self.contact; requests = self.requests:save(); introduction = self.introduction:save();
		told = self.shares and self.shares.told or self.saved_told;
	};
end

-- dismiss_saved(saved): as dismiss(), for a saved entity that does not come back after the reload
local function dismiss_saved(saved)
	bid_farewell(saved);
	for _, record in pairs(saved.requests.records) do
		ids.release(record.address, record.inner_id);
		ids.overdue(record.address);
		requests.refuse(record);
	end
end

return { new = new; dismiss_saved = dismiss_saved };
