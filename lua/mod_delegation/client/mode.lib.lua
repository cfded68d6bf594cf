-- SPDX-License-Identifier: MIT
-- Client mode of XEP-0355 (sections 5 and 6): an entity asks for namespaces of one user, and the server asks the user. Requests for her
-- account in the namespaces that she grants go to the entity. "client/consent" words the question, and "client/grants" has the grants.

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_split = require "util.jid".split;
local jid_prepped_split = require "util.jid".prepped_split;
local new_id = require "util.id".medium;
local user_exists = require "core.usermanager".user_exists;

local pending = require "prosody_relay.pending";

local config = module:require "config";
local consent = module:require "client/consent";
local address = module:require "display".address;
local errors = module:require "errors";
local grants = module:require "client/grants";
local label = module:require "client/namespaces".label;
local new_challenges = module:require "client/challenges".new;
local new_rates = module:require "client/rates".new;

local xmlns_delegation = "urn:xmpp:delegation:2";
local xmlns_commands = "http://jabber.org/protocol/commands";
local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- Seconds for a client to say what it supports
local disco_timeout = 60;

local client_mode = {};
local client_mode_mt = { __index = client_mode };

local requests = module:metric("counter", "client_requests", "", "Requests for delegation by users", { "outcome" });

local function count(outcome)
	requests:with_labels(outcome):add(1);
end

local function refuse(event, name)
	local err = errors.error(name);
	count(err.condition);
	event.origin.send(st.error_reply(event.stanza, err));
	return true;
end

-- Whether the user has blocked the entity, its account or its domain (XEP-0191). mod_blocklist has no function for this, so its store is read.
local function is_blocked(user, entity)
	if not prosody.hosts[module.host].modules.blocklist then return false; end
	local blocked = module:open_store("blocklist"):get(user);
	if type(blocked) ~= "table" then return false; end
	return (blocked[entity] or blocked[jid_bare(entity)] or blocked[jid_host(entity)]) and true or false;
end

-- is_allowed(namespace) -> boolean: the administrator lets users delegate it, and has not delegated it himself (C5, C6)
function client_mode:is_allowed(namespace)
	return self.allowed[namespace] ~= nil and not self.taken[namespace];
end

-- What is wrong with a request, as name of the error (C3, C4); nil, and the localpart of the user, if nothing
local function fault_of(stanza)
	local query = stanza.tags[1];
	local to, named = query.attr.to, false;
	if stanza.attr.type ~= "get" then return "request-not-get"; end
	if not to then return "no-account-named"; end
	for delegate in query:childtags("delegate") do
		local namespace = delegate.attr.namespace;
		if not namespace or namespace == "" then return "no-namespace-named"; end
		if config.is_protected(namespace) then return "namespace-protected"; end
		named = true;
	end
	if not named then return "no-namespace-named"; end
	local user, host, resource = jid_prepped_split(to);
	if not host or resource then return "address-of-no-account"; end
	if host ~= module.host or not user then return "account-not-here"; end
	return nil, user;
end

-- The namespaces of a request that a user can grant: sorted, each once
function client_mode:grantable(query)
	local list, seen = {}, {};
	for delegate in query:childtags("delegate") do
		local namespace = delegate.attr.namespace;
		if self:is_allowed(namespace) and not seen[namespace] then
			seen[namespace] = true;
			list[#list + 1] = namespace;
		end
	end
	table.sort(list);
	return list;
end

-- The namespaces that the user does not grant this entity yet
function client_mode:missing(user, entity, namespaces)
	local list, of_user = {}, self.grants:of(user) or {};
	for _, namespace in ipairs(namespaces) do
		local grant = of_user[namespace];
		if not grant or grant.entity ~= entity then list[#list + 1] = namespace; end
	end
	return list;
end

function client_mode:ask(user, entity, namespaces)
	-- the entity has got its answer already, so that it does not depend on the account (C2)
	if not user_exists(user, module.host) then
		module:log("debug", "%s asks for delegation by %s, who does not exist", address(entity), user);
		return count("unknown");
	end
	if is_blocked(user, entity) then return count("blocked"); end
	namespaces = self:missing(user, entity, namespaces);
	if #namespaces == 0 then
		count("granted-already");
		return self.grants:announce(user, entity);
	elseif self.challenges:is_asked(user, entity, namespaces) then
		return count("asked-already");
	end
	count("asked");
	module:send(consent.ask(module.host, self.challenges:add(user, entity, namespaces), label, address, self.may_persist));
end

-- Every good request counts for the limits, and gets the same answer at once (C1, C2, C8, D32)
function client_mode:handle_request(event)
	local stanza = event.stanza;
	local fault, user = fault_of(stanza);
	if fault then return refuse(event, fault); end
	local namespaces, entity = self:grantable(stanza.tags[1]), stanza.attr.from;
	if #namespaces == 0 then return refuse(event, "no-namespace-allowed"); end
	if not self.rates:allow(jid_bare(entity), jid_host(entity), user) then
		return refuse(event, "too-many-requests");
	end
	event.origin.send(st.reply(stanza));
	self:ask(user, entity, namespaces);
	return true;
end

-- Whether the entity was a resource of this server that is offline now
local function is_gone(entity)
	local node, host, resource = jid_split(entity);
	local here = node and resource and prosody.hosts[host];
	return here and here.type == "local" and not prosody.full_sessions[entity];
end

function client_mode:accept(session, request, answer)
	local granted, wish = consent.granted(request, answer);
	local changes = {};
	for _, namespace in ipairs(granted) do
		-- the configuration may have changed since the question
		if self:is_allowed(namespace) and not is_gone(request.entity) then
			changes[namespace] = { entity = request.entity; resource = session.resource; time = os.time(); wish = wish or nil };
		end
	end
	count(next(changes) ~= nil and "granted" or "refused");
	if next(changes) == nil then return; end
	self.grants:change(request.user, changes);
	if wish and self.may_persist then self:keep_if_able(session); end
end

-- Keeps the grants that the user wants to keep, if this client can show and revoke them (C20)
function client_mode:keep_if_able(session)
	if self.revokers[session] then
		self.grants:keep(session.username, session.resource);
		return;
	end
	-- the answer counts for all grants that the session has made until then
	if self.queries:get(session) then return; end
	local id = new_id();
	self.queries:add(session, id, disco_timeout);
	module:send(st.iq({ type = "get"; from = module.host; to = session.full_jid; id = id }):query(xmlns_disco_info));
end

function client_mode:handle_disco_answer(event)
	local stanza = event.stanza;
	local id, type = stanza.attr.id, stanza.attr.type;
	if type ~= "result" and type ~= "error" or not id or self.queries:get(event.origin) ~= id then return; end
	self.queries:remove(event.origin);
	local query = type == "result" and stanza:get_child("query", xmlns_disco_info);
	for feature in (query or stanza):childtags("feature") do
		if feature.attr.var == xmlns_commands then
			self.grants:keep(event.origin.username, event.origin.resource);
			break;
		end
	end
	return true;
end

-- The question could not be delivered: the next request asks again
function client_mode:handle_bounce(user, message_id)
	for key, request in self.challenges:each(user) do
		if request.message_id == message_id then
			self.challenges:remove(key);
			return true;
		end
	end
end

-- Takes the user's answer to a question (C11 to C13)
function client_mode:handle_message(event)
	local stanza, session = event.stanza, event.origin;
	local user, host = jid_split(stanza.attr.from);
	local is_error = stanza.attr.type == "error";
	if is_error and user and host == module.host then return self:handle_bounce(user, stanza.attr.id); end
	local answer = not is_error and consent.read(stanza);
	if not answer then return; end
	local key, request;
	local is_ours = answer.challenge ~= nil and consent.is_ours(answer);
	if session.type ~= "c2s" or host ~= module.host then
		return is_ours or nil;
	elseif answer.challenge then
		key, request = self.challenges:find(user, answer.challenge);
	elseif answer.type == "cancel" and consent.is_ours(answer) then
		-- a form that is cancelled need not have fields
		key = self.challenges:only(user);
		return key and self.challenges:remove(key) and true;
	end
	if request and is_ours then
		self.challenges:remove(key);
		self:accept(session, request, answer);
	elseif request or is_ours or answer.form_type == xmlns_delegation then
		session.send(errors.reply(stanza, "form-answer-invalid"));
	else
		return;
	end
	return true;
end

-- delegation_for(stanza, namespace) -> the delegation for a request, or nil (C17)
function client_mode:delegation_for(stanza, namespace)
	if not self.allowed[namespace] then return nil; end
	local to, attr = stanza.attr.to, stanza.attr;
	local user, host = jid_split((to == nil or to == module.host) and attr.from or to);
	return user and host == module.host and self.grants:delegation(user, namespace) or nil;
end

-- delegations(user) -> list of what this user delegates
function client_mode:delegations(user)
	return self.grants:delegations(user);
end

-- confirm(session): the user has run the command that lists and revokes delegations (C20)
function client_mode:confirm(session)
	self.revokers[session] = true;
	self.grants:keep(session.username, session.resource);
end

-- save() -> what must survive a module reload
function client_mode:save()
	return { grants = self.grants.users; challenges = self.challenges:save(); revokers = self.revokers };
end

local function is_valid(self, user, namespace, grant)
	grant.kept = self.may_persist and grant.kept or nil;
	return self:is_allowed(namespace)
		and (grant.kept or prosody.full_sessions[("%s@%s/%s"):format(user, module.host, grant.resource)]) and true or false;
end

local function add_hooks(self)
	module:hook("iq/host/"..xmlns_delegation..":query", function (event) return self:handle_request(event); end);
	module:hook("iq/host", function (event) return self:handle_disco_answer(event); end, 90); -- before mod_iq (0)
	-- before modules that take all messages to the host
	module:hook("message/host", function (event) return self:handle_message(event); end, 10);
	module:hook("resource-unbind", function (event)
		self.grants:session_ended(event.session.username, event.session.resource);
	end);
	module:hook_global("user-deleted", function (event)
		if event.host ~= module.host then return; end
		self.challenges:forget(event.username);
		self.grants:revoke(event.username);
	end);
end

-- start(options) -> client_mode
--   options: allowed (set of namespaces), taken (namespace -> what the administrator delegates), may_persist, store (of grants), timeout (of
--   requests), entities (see "client/grants"), saved (result of :save() before a module reload)
local function start(options)
	local saved = options.saved or {};
	if not options.may_persist then grants.forget_stored(options.store); end
	local self = setmetatable({
		allowed = options.allowed; taken = options.taken; may_persist = options.may_persist;
		grants = grants.new(options.entities, options.timeout, options.may_persist and options.store or nil);
		challenges = new_challenges(module, saved.challenges);
		rates = new_rates(module);
		-- sessions that have run the command
		revokers = saved.revokers or setmetatable({}, { __mode = "k" });
		-- session -> id of the question about its features
		queries = pending.new(module, function () end);
	}, client_mode_mt);
	self.grants:restore(saved.grants or {}, function (...) return is_valid(self, ...); end);
	if options.may_persist then
		self.grants:load(function (namespace) return self:is_allowed(namespace); end);
	end
	add_hooks(self);
	module:require "client/configure".start(self, self.grants);
	return self;
end

return { start = start };
