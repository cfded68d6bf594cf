-- SPDX-License-Identifier: MIT
-- disco#info of the host and of accounts while namespaces are delegated (XEP-0355 section 7.2: D20 to D24, B9, B10): for a delegated
-- namespace, the managing entity's announcements replace those of the server's own modules.
--
-- Other modules stay as they are. Their answer is changed on its way out while the entity is available. The stream features contain a hash of
-- the host's answer (XEP-0115), which is changed too.

local st = require "util.stanza";
local calculate_hash = require "util.caps".calculate_hash;
local jid_node = require "util.jid".node;

local capture = module:require "disco/capture";
local pep = module:require "pep";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_caps = "http://jabber.org/protocol/caps";

-- Namespace -> category of its identities, as identities have no namespace. Other identities are replaced if the entity announces the same.
local identity_categories = {
	["http://jabber.org/protocol/pubsub"] = "pubsub";
};

local function form_type(form)
	for _, field in ipairs(form.tags) do
		if field.name == "field" and field.attr.var == "FORM_TYPE" then
			-- a form made here has no xmlns on its fields, a received form has
			return field.tags[1] and field.tags[1]:get_text();
		end
	end
end

local function belongs_to(tag, namespace)
	local name;
	if tag.name == "feature" then
		name = tag.attr.var;
	elseif tag.name == "x" then
		name = form_type(tag);
	elseif tag.name == "identity" then
		return tag.attr.category ~= nil and tag.attr.category == identity_categories[namespace];
	end
	-- a part of the namespace follows a '#': urn:xmpp:mam:10 is no part of urn:xmpp:mam:1 (B9)
	return name ~= nil and (name == namespace or name:sub(1, #namespace + 1) == namespace.."#");
end

-- Key of an element that must not be twice in an answer (XEP-0115 section 5.4)
local function key_of(tag)
	if tag.name == "identity" then
		return ("identity\0%s\0%s\0%s"):format(tag.attr.category, tag.attr.type, tag.attr["xml:lang"]);
	elseif tag.name == "feature" then
		return "feature\0"..tostring(tag.attr.var);
	elseif tag.name == "x" and form_type(tag) then
		return "x\0"..form_type(tag);
	end
	return tag;
end

-- merge(tags, delegations, scope, [withdrawn]) -> list of the children that disco#info shows instead of tags; scope: "host" or "bare"
--   withdrawn: set of features that are left out
local function merge(tags, delegations, scope, withdrawn)
	local shown, merged = {}, {};
	local function announce(tag)
		local key = key_of(tag);
		if not shown[key] then
			shown[key] = true;
			merged[#merged + 1] = tag;
		end
	end
	local function is_replaced(tag)
		if withdrawn and tag.name == "feature" and withdrawn[tag.attr.var] then return true; end
		for _, delegation in ipairs(delegations) do
			if delegation.entity.address and belongs_to(tag, delegation.namespace) then return true; end
		end
	end
	for _, delegation in ipairs(delegations) do
		for _, tag in ipairs(delegation.nested and delegation.nested[scope] or {}) do
			announce(tag);
		end
	end
	for _, tag in ipairs(tags) do
		if not is_replaced(tag) then announce(tag); end
	end
	return merged;
end

local function is_pep_among(delegations)
	for _, delegation in ipairs(delegations) do
		if delegation.namespace == pep.xmlns then return true; end
	end
	return false;
end

-- The host's answer, made from the answer of mod_disco
local function host_query(self, query)
	if query ~= self.base then
		local merged = st.stanza("query", { xmlns = xmlns_disco_info });
		for _, tag in ipairs(merge(query.tags, self.delegations, "host")) do
			merged:add_direct_child(tag);
		end
		self.base, self.merged, self.hash = query, merged, calculate_hash(merged.tags);
	end
	return self.merged;
end

local host_event = "iq-get/host/"..xmlns_disco_info..":query";

local function current_hash(self)
	-- mod_disco answers a request without node from its cache
	module:fire_event(host_event, {
		origin = { type = "local"; host = module.host; send = function () return true; end };
		stanza = st.iq({ type = "get"; from = module.host; to = module.host; id = "caps" }):tag("query", { xmlns = xmlns_disco_info }):reset();
	});
	return self.hash;
end

local function answer_for_host(self, handlers, name, event)
	local origin, stanza = event.origin, event.stanza;
	local node = stanza.tags[1].attr.node;
	if node and node ~= "" then
		local asked_hash = node:match("#([^#]*)$");
		if not asked_hash or asked_hash ~= current_hash(self) then return handlers(name, event); end
		stanza = st.clone(stanza);
		stanza.tags[1].attr.node = nil;
	end
	local handled, answer = capture(handlers, name, { origin = origin; stanza = stanza; to_self = event.to_self });
	local query = answer and answer:get_child("query", xmlns_disco_info);
	if query then
		local shown = st.clone(host_query(self, query));
		shown.attr.node = node;
		answer = st.reply(stanza):add_child(shown);
	end
	if answer then origin.send(answer); end
	return handled;
end

local function replace_hash(self, features)
	features:maptags(function (feature)
		if feature.name ~= "c" or feature.attr.xmlns ~= xmlns_caps then return feature; end
		-- mod_disco sends the same stanza to everybody
		local caps = st.clone(feature);
		caps.attr.ver = current_hash(self);
		return caps;
	end);
end

-- Changes the answer in place, and in one pass
local function replace_children(query, tags)
	for _, list in ipairs { query, query.tags } do
		for i = #list, 1, -1 do list[i] = nil; end
	end
	for _, tag in ipairs(tags) do
		query:add_direct_child(tag);
	end
end

local function change_answer_for_account(self, event)
	local query = event.reply:get_child("query", xmlns_disco_info);
	if not query then return; end
	local in_force = self.delegations_of(jid_node(event.reply.attr.from));
	table.move(self.delegations, 1, #self.delegations, #in_force + 1, in_force);
	replace_children(query, merge(query.tags, in_force, "bare", is_pep_among(in_force) and pep.announced(event)));
end

local function add_hooks(self)
	module:wrap_event(host_event, function (...) return answer_for_host(self, ...); end);
	-- after mod_disco (0), which adds the hash
	for _, name in ipairs { "stream-features", "s2s-stream-features" } do
		module:hook(name, function (event) replace_hash(self, event.features); end, -10);
	end
	module:wrap_event("account-disco-info", function (handlers, name, event)
		local handled = handlers(name, event);
		change_answer_for_account(self, event);
		return handled;
	end);
end

-- new(delegations, delegations_of): for the whole host; delegations_of(user) -> list of what this user delegates, for her account only (C24)
local function new(delegations, delegations_of)
	-- Fields that come later: base (mod_disco's answer for the host), merged and hash (made from base). They are made again when mod_disco gives
	-- another answer, or when the delegations change.
	local self = { delegations = delegations; delegations_of = delegations_of };
	add_hooks(self);
	return {
		-- changed(): an entity came, went or announced something
		changed = function () self.base = nil; end;
	};
end

return { new = new };
