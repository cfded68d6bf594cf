-- SPDX-License-Identifier: MIT
-- What a managing entity is told (D3, D29, R9) and asked for service discovery (D20). That happens when it connects, and when its delegations
-- change while it is connected.

local st = require "util.stanza";

local new_shares = require "prosody_relay.shares".new;
local questions = require "prosody_relay.questions";

local ids = module:require "ids";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_form = "jabber:x:data";

-- Seconds. No user waits for these answers, so an entity that has just started may answer slowly.
local disco_timeout = 600;

-- Limits for the memory, in bytes, that the features of an entity take for each namespace and scope (G29). Any user may choose entities and
-- request their features again and again. So the limit is lower for such entities, and another limit counts all of them together. Of that
-- limit, a domain may use as much as it leaves to others.
local max_bytes, max_bytes_for_users = 2000000, 200000;
local bytes_for_users = new_shares(20000000);
-- Bytes of an element, without its texts
local bytes_per_element = 400;

-- scope of nested service discovery -> separator in its node name (XEP-0355 section 7.2)
local separators = { host = "::", bare = ":bare:" };

local introduction = {};
local introduction_mt = { __index = introduction };

-- new(on_change, complain, [saved]) -> introduction of one entity
--   on_change(): what the entity announces has changed; complain(trouble): logs it
--   saved: result of :save() before a module reload
local function new(on_change, complain, saved)
	local self = setmetatable({
		on_change = on_change; complain = complain; delegations = {}; saved = saved;
		-- version of the protocol -> text of the last advert
		told = {};
	}, introduction_mt);
	self.queries = questions.new(module, function (query)
		complain(("no answer about the features of %s"):format(query.delegation.namespace));
	end);
	return self;
end

local function bytes_of(tag)
	local bytes = bytes_per_element;
	for _, value in pairs(tag.attr) do bytes = bytes + #value; end
	for _, child in ipairs(tag) do bytes = bytes + (type(child) == "string" and #child or bytes_of(child)); end
	return bytes;
end

local function size_of(tags)
	local bytes = 0;
	for _, tag in ipairs(tags) do bytes = bytes + bytes_of(tag); end
	return bytes;
end

-- Forgets what the entity announces for a delegation in a scope
local function drop_nested(self, delegation, scope)
	local tags = delegation.nested and delegation.nested[scope];
	if not tags then return; end
	if delegation.client then bytes_for_users:give(self.address, size_of(tags)); end
	delegation.nested[scope] = nil;
	if next(delegation.nested) == nil then delegation.nested = nil; end
end

local function drop_all_nested(self, delegation)
	for scope in pairs(separators) do drop_nested(self, delegation, scope); end
end

-- Stores the features in place of the old ones, if there is room -> whether there was
local function keep_nested(self, delegation, scope, tags)
	local bytes = size_of(tags);
	drop_nested(self, delegation, scope);
	if bytes > (delegation.client and max_bytes_for_users or max_bytes) then return false; end
	if delegation.client and not bytes_for_users:take(self.address, bytes) then return false; end
	delegation.nested = delegation.nested or {};
	delegation.nested[scope] = tags;
	return true;
end

local function saved_name(delegation)
	return delegation.version.." "..delegation.namespace;
end

-- Asks the entity what to show for a namespace (D20); :answer() takes the answers. What users grant is shown only on their accounts (C24).
local function ask_features(self, delegation)
	if delegation.pseudo then return; end
	for scope, separator in pairs(separators) do
		if scope == "bare" or not delegation.client then
			local node = delegation.version..separator..delegation.namespace;
			self.queries:ask(questions.get(module.host, self.address):tag("query", { xmlns = xmlns_disco_info; node = node }):reset(),
				{ delegation = delegation; scope = scope }, disco_timeout);
		end
	end
end

-- add(delegation): one more delegation of the entity, before it is available; a delegation of users (delegation.client) at any time
function introduction:add(delegation)
	self.delegations[#self.delegations + 1] = delegation;
	if self.address and delegation.client then ask_features(self, delegation); end
end

-- remove(delegation): no user grants it any more
function introduction:remove(delegation)
	for i, added in ipairs(self.delegations) do
		if added == delegation then table.remove(self.delegations, i); end
	end
	for _, query in self.queries:each() do
		if query.delegation == delegation then self.queries:withdraw(query); end
	end
	drop_all_nested(self, delegation);
end

local function add_to_advert(advert, delegation)
	advert:tag("delegated", { namespace = delegation.advertised });
	for _, name in ipairs(delegation.filtering) do
		advert:tag("attribute", { name = name }):up();
	end
	advert:up();
end

-- version of the protocol -> <delegation/> with all that the administrator delegates. "client/shares" tells what users grant, for each
-- user.
local function compose(delegations)
	local adverts = {};
	for _, delegation in ipairs(delegations) do
		local version = delegation.version;
		if not delegation.client then
			adverts[version] = adverts[version] or st.stanza("delegation", { xmlns = version });
			add_to_advert(adverts[version], delegation);
		end
	end
	return adverts;
end

-- Sends the adverts that have changed -> whether there was one. An advert is complete. It is empty when nothing of the last advert is left.
local function advertise(self, delegations)
	local adverts, changed = compose(delegations), false;
	for version in pairs(self.told) do
		adverts[version] = adverts[version] or st.stanza("delegation", { xmlns = version });
	end
	for version, advert in pairs(adverts) do
		local text = tostring(advert);
		if self.told[version] ~= text then
			module:send(st.message({ from = module.host; to = self.address; id = ids.new() }):add_child(advert:reset()));
			changed = true;
		end
		self.told[version] = advert.tags[1] and text or nil;
	end
	return changed;
end

local function forget_queries(self)
	for _, query in self.queries:each() do self.queries:withdraw(query); end
end

-- begin(address): the entity is available. If it was available before a module reload, it is told only changes of its delegations: rule 3 of
-- the XEP demands no more, and an entity may read an advert as a new start.
function introduction:begin(address)
	local saved = self.saved;
	self.address, self.saved = address, nil;
	local known = saved and saved.address == address;
	if known then
		self.told = saved.told;
		for _, delegation in ipairs(self.delegations) do
			for scope, tags in pairs(saved.nested[saved_name(delegation)] or {}) do keep_nested(self, delegation, scope, tags); end
		end
	end
	-- nothing takes the answers to questions from before the reload
	local ask_all = advertise(self, self.delegations) or known and saved.asking;
	for _, delegation in ipairs(self.delegations) do
		if ask_all or delegation.client and not delegation.nested then ask_features(self, delegation); end
	end
end

-- again(): tells and asks everything again
function introduction:again()
	self.told = {};
	forget_queries(self);
	advertise(self, self.delegations);
	for _, delegation in ipairs(self.delegations) do ask_features(self, delegation); end
end

-- revoke(): nothing is delegated to the entity any more (D29)
function introduction:revoke()
	if self.address then advertise(self, {}); end
end

-- finish(): the entity is gone
function introduction:finish()
	forget_queries(self);
	for _, delegation in ipairs(self.delegations) do drop_all_nested(self, delegation); end
	self.address, self.told = nil, {};
end

-- Whether the element is nested no deeper than this
local function is_flat(tag, depth)
	if depth == 0 then return #tag.tags == 0; end
	for _, child in ipairs(tag.tags) do
		if not is_flat(child, depth - 1) then return false; end
	end
	return true;
end

-- The parts of an entity's answer that are shown: valid identities, features and forms of service discovery. They get into the stream features
-- of the host. If they raised an error there, nobody could log in.
local function showable(info)
	local tags = {};
	for _, tag in ipairs(info.tags) do
		local name, attr = tag.name, tag.attr;
		if name == "x" and attr.xmlns == xmlns_form and is_flat(tag, 3) then
			tags[#tags + 1] = tag;
		elseif name == "feature" and attr.xmlns == xmlns_disco_info and attr.var then
			tags[#tags + 1] = st.stanza("feature", { var = attr.var });
		elseif name == "identity" and attr.xmlns == xmlns_disco_info and attr.category and attr.type then
			tags[#tags + 1] = st.stanza("identity", { category = attr.category; type = attr.type; name = attr.name; ["xml:lang"] = attr["xml:lang"] });
		end
	end
	return tags;
end

-- answer(stanza, is_undeliverable) -> true if it was the answer to one of our queries
function introduction:answer(stanza, is_undeliverable)
	local query = self.queries:take(stanza);
	if not query then return; end
	local delegation = query.delegation;
	local info = stanza.attr.type == "result" and stanza:get_child("query", xmlns_disco_info);
	local tags = info and showable(info);
	if is_undeliverable then
		return true; -- this says nothing about the entity's features
	elseif not tags then
		self.complain(("no features announced for %s"):format(delegation.namespace));
	elseif keep_nested(self, delegation, query.scope, tags) then
		self.on_change();
	else
		self.complain(("too many features announced for %s"):format(delegation.namespace));
	end
	return true;
end

-- save() -> what must survive a module reload
function introduction:save()
	local nested = {};
	for _, delegation in ipairs(self.delegations) do
		nested[saved_name(delegation)] = delegation.nested;
	end
	return { address = self.address; told = self.told; nested = nested; asking = self.queries:count() > 0 };
end

-- revoke_saved(saved): tells an entity that does not come back after the reload
local function revoke_saved(saved)
	if saved.address then advertise(saved, {}); end
end

return { new = new; revoke_saved = revoke_saved };
