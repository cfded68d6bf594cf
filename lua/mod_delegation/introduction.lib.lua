-- SPDX-License-Identifier: MIT
-- What a managing entity is told (D3, D29, R9) and what it is asked for service discovery (D20), when it connects and when its delegations
-- change while it is connected.

local st = require "util.stanza";
local new_id = require "util.id".medium;

local new_shares = require "prosody_relay.shares".new;
local pending = require "prosody_relay.pending";

local ids = module:require "ids";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_form = "jabber:x:data";

-- Nobody waits for these answers, so an entity may take its time after it started.
local disco_timeout = 600;

-- Bytes of memory that the features of an entity may take, for each namespace and scope (G29). Of one that users chose it is less, and there is a
-- bound for all of them, of which a domain has as much as it leaves to others: whoever likes may choose one, ask for its features, and be sent
-- them each time.
local max_bytes, max_bytes_for_users = 2000000, 200000;
local bytes_for_users = new_shares(20000000);
-- What an element takes, without its texts
local bytes_per_element = 400;

-- scope of nested service discovery -> separator in its node name (XEP-0355 section 7.2)
local separators = { host = "::", bare = ":bare:" };

local introduction = {};
local introduction_mt = { __index = introduction };

-- new(on_change, complain, [saved]) -> introduction of one entity
--   on_change(): what the entity announces has changed; complain(trouble): for the log
--   saved: result of :save() before a module reload
local function new(on_change, complain, saved)
	local self = setmetatable({
		on_change = on_change; complain = complain; delegations = {}; saved = saved;
		-- version of the protocol -> text of the last advert
		told = {};
	}, introduction_mt);
	self.queries = pending.new(module, function (_, query)
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

-- Keeps it in place of what was there, if there is room -> whether there was
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

-- Asks what to show for a namespace (D20); answers come in :answer(). What users grant shows on their accounts only (C24).
local function ask_features(self, delegation)
	if delegation.pseudo then return; end
	for scope, separator in pairs(separators) do
		if scope == "bare" or not delegation.client then
			local id = new_id();
			self.queries:add(id, { delegation = delegation; scope = scope }, disco_timeout);
			module:send(st.iq({ type = "get"; from = module.host; to = self.address; id = id })
				:tag("query", { xmlns = xmlns_disco_info; node = delegation.version..separator..delegation.namespace }):reset());
		end
	end
end

-- add(delegation): one more of the entity's, before it is there; one that users grant (delegation.client) any time
function introduction:add(delegation)
	self.delegations[#self.delegations + 1] = delegation;
	if self.address and delegation.client then ask_features(self, delegation); end
end

-- remove(delegation): users do not grant it any more
function introduction:remove(delegation)
	for i, added in ipairs(self.delegations) do
		if added == delegation then table.remove(self.delegations, i); end
	end
	for id, query in self.queries:each() do
		if query.delegation == delegation then self.queries:remove(id); end
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

-- version of the protocol -> <delegation/> with all that the administrator delegates in it. What users grant is told for each user
-- ("client/shares").
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

-- Sends the adverts that say anything new, and returns whether there was one. An advert is complete; when nothing is left of what the
-- last one said, it is empty.
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
	for id in self.queries:each() do
		self.queries:remove(id);
	end
end

-- begin(address): the entity is there. One that was there before a module reload is told again only if its delegations have changed:
-- rule 3 of the XEP asks for no more, and an entity may take an advert for a new beginning.
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
	-- answers to what was asked before the reload are nobody's
	local ask_all = advertise(self, self.delegations) or known and saved.asking;
	for _, delegation in ipairs(self.delegations) do
		if ask_all or delegation.client and not delegation.nested then ask_features(self, delegation); end
	end
end

-- again(): tells and asks everything once more
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

-- Whether elements lie in each other no deeper than this
local function is_flat(tag, depth)
	if depth == 0 then return #tag.tags == 0; end
	for _, child in ipairs(tag.tags) do
		if not is_flat(child, depth - 1) then return false; end
	end
	return true;
end

-- What is worth showing of an entity's answer: identities, features and forms, as service discovery knows them. It gets into the stream features
-- of the host: nobody could log in if that raised an error.
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
	if stanza.attr.from ~= self.address then return; end
	local query = self.queries:remove(stanza.attr.id);
	if not query then return; end
	local delegation = query.delegation;
	local info = stanza.attr.type == "result" and stanza:get_child("query", xmlns_disco_info);
	local tags = info and showable(info);
	if is_undeliverable then
		return true; -- which says nothing about its features
	elseif not tags then
		self.complain(("no features announced for %s"):format(delegation.namespace));
	elseif keep_nested(self, delegation, query.scope, tags) then
		self.on_change();
	else
		self.complain(("too many features announced for %s"):format(delegation.namespace));
	end
	return true;
end

-- save() -> what a module reload must not lose
function introduction:save()
	local nested = {};
	for _, delegation in ipairs(self.delegations) do
		nested[saved_name(delegation)] = delegation.nested;
	end
	return { address = self.address; told = self.told; nested = nested; asking = self.queries:count() > 0 };
end

-- revoke_saved(saved): tells an entity that does not come back from the reload
local function revoke_saved(saved)
	if saved.address then advertise(saved, {}); end
end

return { new = new; revoke_saved = revoke_saved };
