-- SPDX-License-Identifier: MIT
-- A managing entity: whether it is there, what it was told, what it announces for service discovery, and the requests it owes an answer.
--
-- Requests lie in one pending table per entity, keyed by the id of the request to the entity; an entry leaves it when the answer comes, its
-- deadline passes, the entity disconnects or the module unloads, and each time the user gets exactly one answer.

local st = require "util.stanza";
local new_id = require "util.id".medium;
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;

local pending = require "prosody_relay.pending";

local wrapper = module:require "wrapper";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- Nobody waits for these answers, so an entity may take its time after it started.
local disco_timeout = 600;

-- scope of nested service discovery -> separator in its node name (XEP-0355 section 7.2)
local separators = { host = "::", bare = ":bare:" };

local entity_methods = {};
local entity_mt = { __index = entity_methods };

local function refuse(record)
	module:send(wrapper.refusal(record));
end

-- new(jid, max_pending, on_change, [saved]) -> managing entity, not connected yet
--   jid: as configured, normalised; max_pending: requests in flight beyond which users get resource-constraint
--   on_change(): what is delegated now, or what the entity announces, has changed
--   saved: result of :save() before a module reload
local function new(jid, max_pending, on_change, saved)
	local self = setmetatable({ jid = jid; max_pending = max_pending; on_change = on_change; delegations = {}; complaints = {} }, entity_mt);
	self.node, self.host, self.resource = jid_split(jid);
	-- the resource of an account that managed before the reload goes on managing
	self.preferred_address = saved and saved.address;
	-- whether it may still work on a request whose time was over
	self.overdue = saved and saved.overdue;
	-- inner ids in flight, to tell when two users chose the same (B11)
	self.inner_ids = {};
	self.requests = pending.new(module, function (_, record) self:expired(record); end, saved and saved.requests);
	for _, record in self.requests:each() do
		self.inner_ids[record.inner_id] = true;
	end
	self.queries = pending.new(module, function (_, query)
		self:complain(("no answer about the features of %s"):format(query.delegation.namespace));
	end);
	return self;
end

-- manage(delegation): adds a delegation of the configuration, before the entity connects
function entity_methods:manage(delegation)
	delegation.entity = self;
	self.delegations[#self.delegations + 1] = delegation;
end

-- is_sender(jid) -> boolean: whether a stanza with this `from` is the entity's own (D16): its whole domain if it is a domain, else its
-- account with all resources
function entity_methods:is_sender(jid)
	if self.node then return jid_bare(jid) == self.node.."@"..self.host; end
	return jid_host(jid) == self.host;
end

-- One warning for each kind of trouble and connection, so that an entity cannot fill the log; the rest goes to the debug log.
function entity_methods:complain(trouble)
	local level = self.complaints[trouble] and "debug" or "warn";
	self.complaints[trouble] = true;
	module:log(level, "Managing entity %s: %s", self.jid, trouble);
end

-- up(address): the entity is there, and requests go to this JID
function entity_methods:up(address)
	self.address, self.preferred_address, self.complaints = address, nil, {};
	module:log("info", "Managing entity %s is available as %s", self.jid, address);
	self:introduce();
	self.on_change();
end

-- Tells the entity what it manages and asks what to announce
function entity_methods:introduce()
	self.forgotten = false;
	self:advertise();
	self:ask_features();
end

-- down(): the entity is gone; whoever waits for it is answered at once (D13)
function entity_methods:down()
	if not self.address then return; end
	module:log("info", "Managing entity %s is gone", self.jid);
	self.address, self.overdue = nil, false;
	for id in self.queries:each() do
		self.queries:remove(id);
	end
	for _, delegation in ipairs(self.delegations) do
		delegation.nested = nil;
	end
	self.on_change();
	local waiting = {};
	for id in self.requests:each() do waiting[#waiting + 1] = id; end
	for _, id in ipairs(waiting) do
		local record = self:take(id);
		if record then refuse(record); end
	end
end

-- Tells the entity what is delegated to it (D3): one message, or one for each version of the protocol that its entries use (R9)
function entity_methods:advertise()
	local adverts = {};
	for _, delegation in ipairs(self.delegations) do
		local advert = adverts[delegation.version];
		if not advert then
			advert = st.message({ from = module.host; to = self.address; id = new_id() }):tag("delegation", { xmlns = delegation.version });
			adverts[delegation.version] = advert;
		end
		advert:tag("delegated", { namespace = delegation.advertised });
		for _, name in ipairs(delegation.filtering) do
			advert:tag("attribute", { name = name }):up();
		end
		advert:up();
	end
	for _, advert in pairs(adverts) do
		module:send(advert:reset());
	end
end

-- Asks what to show in service discovery for each delegated namespace (D20); answers come in :answer()
function entity_methods:ask_features()
	for _, delegation in ipairs(self.delegations) do
		for scope, separator in pairs(delegation.pseudo and {} or separators) do
			local id = new_id();
			self.queries:add(id, { delegation = delegation; scope = scope }, disco_timeout);
			module:send(st.iq({ type = "get"; from = module.host; to = self.address; id = id })
				:tag("query", { xmlns = xmlns_disco_info; node = delegation.version..separator..delegation.namespace }):reset());
		end
	end
end

function entity_methods:learn_features(query, stanza)
	local info = stanza.attr.type == "result" and stanza:get_child("query", xmlns_disco_info);
	if not info then
		self:complain(("no features announced for %s"):format(query.delegation.namespace));
		return;
	end
	query.delegation.nested = query.delegation.nested or {};
	query.delegation.nested[query.scope] = info.tags;
	self.on_change();
end

-- forward(origin, stanza, delegation, to) -> true: sends the request to the entity, or refuses it
--   to: address that the user wrote, nil if none (D8: Prosody removes her own bare JID)
function entity_methods:forward(origin, stanza, delegation, to)
	if not self.address then
		origin.send(st.error_reply(stanza, "cancel", "service-unavailable"));
		return true;
	elseif self.requests:count() >= self.max_pending then
		self:complain(("%d requests without an answer"):format(self.max_pending));
		origin.send(st.error_reply(stanza, "wait", "resource-constraint"));
		return true;
	end
	local from, inner_id = stanza.attr.from, stanza.attr.id;
	local own = jid_bare(from);
	if self.overdue or self.inner_ids[inner_id] then inner_id = new_id(); end
	local record = {
		from = from; to = to; own = (to == nil or to == own) and own or nil;
		id = stanza.attr.id; inner_id = inner_id; version = delegation.version; address = self.address;
	};
	local id = new_id();
	self.inner_ids[inner_id] = true;
	self.requests:add(id, record, delegation.timeout);
	module:send(wrapper.wrap(stanza, record, module.host, id));
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
	-- a Lua table keeps the room of its largest time
	if self.requests:count() == 0 then self.inner_ids = {}; end
end

function entity_methods:expired(record)
	self:release(record);
	-- its answer may still come, and be mixed up with that to a new request of the same id (B11)
	self.overdue = true;
	self:complain("no answer in time");
	self.forgotten = self.remote;
	refuse(record);
end

-- answer(stanza) -> true if it was the answer to one of our requests. Only the JID that was asked can answer (B2).
function entity_methods:answer(stanza)
	local id, from = stanza.attr.id, stanza.attr.from;
	if from == self.address and self.queries:get(id) then
		self:learn_features(self.queries:remove(id), stanza);
		return true;
	end
	local waiting = self.requests:get(id);
	if not waiting or waiting.address ~= from then return; end
	local record = self:take(id);
	local reply, fault = wrapper.unwrap(stanza, record);
	if reply then
		-- an entity on another server may have been restarted unseen
		if self.forgotten then self:introduce(); end
		module:send(reply);
	else
		self:complain("answers a request with "..fault);
		self.forgotten = self.remote;
		refuse(record);
	end
	return true;
end

-- save() -> what a module reload must not lose
function entity_methods:save()
	return { address = self.address; overdue = self.overdue; requests = self.requests:save() };
end

-- refuse_saved(saved): answers the requests of a saved entity that does not come back
local function refuse_saved(saved)
	for _, record in pairs(saved.requests.records) do
		refuse(record);
	end
end

return { new = new; refuse_saved = refuse_saved };
