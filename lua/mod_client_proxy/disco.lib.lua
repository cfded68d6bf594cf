-- SPDX-License-Identifier: MIT
-- Service discovery and pings to the proxy itself that the implementing client does not answer (X5).
--   static  Prosody's mod_disco answers with what is in the configuration, even when nobody is online
--   merge   the same, and what a resource says about itself; the module asks one resource, at most once a minute
-- The implementing client always gets requests to other addresses (`proxy/resource`, `node@proxy`).

local new_shares = require "prosody_relay.shares".new;
local now = require "util.time".monotonic;
local options = require "prosody_relay.options";
local questions = require "prosody_relay.questions";
local st = require "util.stanza";

local xmlns_form = "jabber:x:data";
local xmlns_info = "http://jabber.org/protocol/disco#info";
local xmlns_items = "http://jabber.org/protocol/disco#items";
local xmlns_ping = "urn:xmpp:ping";

local patience = 5; -- seconds to wait for a resource
local max_age, max_age_of_failure = 60, 10; -- seconds until the resource is asked again, after an answer and without one
local max_waiting = 1024 * 1024; -- bytes for the users who wait for that answer
local overhead = 200; -- bytes for each of these users, besides their JID and id

local disco = {};
local disco_mt = { __index = disco };

local function check_identity(text)
	if not text:find("^[^/]+/[^/]+$") then return nil, "a category and a type, such as \"component/generic\""; end
	return text;
end

local function check_feature(text)
	if text == "" then return nil, "the name of a feature"; end
	return text;
end

-- read_options() -> config; raises like those of prosody_relay.options
local function read_options()
	return {
		mode = options.enum(module, "client_proxy_disco", { "forward", "static", "merge" }, "forward");
		identities = options.list(module, "client_proxy_identity", { "component/generic" }, check_identity);
		features = options.list(module, "client_proxy_features", {}, check_feature);
		name = options.string(module, "name", nil);
	};
end

-- Two children of an answer with the same key are the same; nil for a child that does not belong there
local function key_of(tag)
	local attr = tag.attr;
	if tag.name == "feature" then return attr.var; end
	if tag.name == "identity" and attr.category and attr.type then
		return ("%s\0%s\0%s"):format(attr.category, attr.type, attr["xml:lang"]);
	end
	return attr.xmlns == xmlns_form and tag or nil;
end

local function add_info(query, seen, tags)
	for _, tag in ipairs(tags) do
		local key = key_of(tag);
		if key and not seen[key] then
			seen[key] = true;
			query:add_child(tag);
		end
	end
end

-- The answer of mod_disco. Other modules of the component may add to it.
local function own_info()
	local tags = {};
	for _, identity in ipairs(module:get_host_items("identity")) do tags[#tags + 1] = st.stanza("identity", identity); end
	for _, feature in ipairs(module:get_host_items("feature")) do tags[#tags + 1] = st.stanza("feature", { var = feature }); end
	for _, extension in ipairs(module:get_host_items("extension")) do tags[#tags + 1] = extension; end
	return tags;
end

-- waiting: array of { jid, id }; tags: what a resource said, or nil
local function send_info(waiting, tags)
	local query, seen = st.stanza("query", { xmlns = xmlns_info }), {};
	add_info(query, seen, own_info());
	if tags then add_info(query, seen, tags); end
	for _, user in ipairs(waiting) do
		module:send(st.iq({ type = "result"; from = module.host; to = user.jid; id = user.id }):add_child(query));
	end
end

local function size_of(user)
	return overhead + #user.jid + #user.id;
end

-- new(config, pool, [saved]) -> disco; saved: result of :save() of an earlier instance
local function new(config, pool, saved)
	local self = setmetatable({ config = config; pool = pool; known_until = 0; earlier_mode = saved and saved.mode }, disco_mt);
	-- one question at a time; its record is the array of users who wait for the answer
	self.questions = questions.new(module, function (waiting)
		self:conclude(waiting, nil);
	end, saved);
	self.shares = new_shares(max_waiting);
	for _, waiting in self.questions:each() do
		self.waiting = waiting;
		for _, user in ipairs(waiting) do self.shares:hold(user.jid, size_of(user)); end
	end
	return self;
end

-- Nobody waits any more
local function release(self, waiting, tags)
	self.shares = new_shares(max_waiting);
	send_info(waiting, tags);
end

-- conclude(waiting, tags): answers the waiting users; tags: what a resource said, nil when it gave no useful answer
function disco:conclude(waiting, tags)
	self.waiting, self.tags = nil, tags;
	self.known_until = now() + (tags and max_age or max_age_of_failure);
	release(self, waiting, tags);
end

-- ask(waiting): asks a resource for the waiting users
function disco:ask(waiting)
	local resource = self.pool:pick();
	if not resource then return release(self, waiting); end
	self.waiting = waiting;
	self.questions:ask(questions.get(module.host, resource):tag("query", { xmlns = xmlns_info }), waiting, patience);
end

-- answer(stanza) -> true when the result or error with an id was the answer to the question
function disco:answer(stanza)
	local waiting = self.questions:take(stanza);
	if not waiting then return false; end
	local query = stanza.attr.type == "result" and stanza:get_child("query", xmlns_info);
	self:conclude(waiting, query and query.tags or nil);
	return true;
end

-- review(): resources have gone; if the one that was asked is among them, another one is asked
function disco:review()
	local waiting = self.waiting;
	if not waiting or self.pool:has(waiting.peer) then return; end
	self.questions:withdraw(waiting);
	self.waiting = nil;
	self:ask(waiting);
end

-- shut_down(): the waiting users get what is known here
function disco:shut_down()
	local waiting = self.waiting;
	if not waiting then return; end
	self.questions:withdraw(waiting);
	self.waiting = nil;
	release(self, waiting);
end

local function merged(self, stanza)
	local user = { jid = stanza.attr.from; id = stanza.attr.id };
	local waiting = self.waiting;
	local bytes = size_of(user);
	if self.pool:count() == 0 or waiting and self.shares:refusal(user.jid, bytes) then
		send_info({ user });
	elseif waiting then
		waiting[#waiting + 1] = user;
		self.shares:hold(user.jid, bytes);
	elseif now() < self.known_until then
		send_info({ user }, self.tags);
	else
		self.shares:hold(user.jid, bytes);
		self:ask({ user });
	end
	return true;
end

-- Answers a request that names a node when a module of the component has something there for this user. The module for ad-hoc commands
-- has such nodes.
local function answer_node(event, kind, node)
	local reply = st.reply(event.stanza):tag("query", { xmlns = event.stanza.tags[1].attr.xmlns; node = node });
	local found = { origin = event.origin; stanza = event.stanza; reply = reply; node = node; exists = false };
	local result = module:fire_event("host-disco-" .. kind .. "-node", found);
	if result == nil and found.exists and #reply.tags[1].tags > 0 then
		event.origin.send(reply);
		return true;
	end
	return result;
end

-- Handles requests that the implementing client may have to answer. With `merge`, it has nodes of its own. kind: "info" or "items"
local function relay(self, event, kind, forward)
	local stanza = event.stanza;
	if stanza.attr.to ~= module.host then return forward(event); end
	local node = stanza.tags[1].attr.node;
	if self.config.mode == "merge" and node and node ~= "" then
		return answer_node(event, kind, node) or forward(event);
	end
end

-- Prosody keeps mod_disco, which this module has loaded, and it would answer in place of the implementing client. Unloads it, unless the
-- configuration or another module needs it.
local function unload_disco()
	-- not at the top: specs load this file without a server, where this module does not load
	local modulemanager = require "core.modulemanager";
	if modulemanager.get_modules_for_host(module.host):contains("disco") then return; end
	for _, other in pairs(modulemanager.get_modules(module.host)) do
		if (other.module.dependencies or {}).disco then return; end
	end
	modulemanager.unload(module.host, "disco");
end

-- start(forward): answers from now on, unless the mode is "forward"; forward(event) relays a request to a resource
function disco:start(forward)
	local config = self.config;
	if config.mode == "forward" then
		-- not when an admin has loaded it
		if self.earlier_mode and self.earlier_mode ~= "forward" then unload_disco(); end
		return;
	end
	module:depends("disco");
	for _, identity in ipairs(config.identities) do
		local category, type = identity:match("^(.*)/(.*)$");
		module:add_identity(category, type, config.name);
	end
	module:add_feature(xmlns_ping);
	for _, feature in ipairs(config.features) do module:add_feature(feature); end

	-- before mod_disco, which does not look at the resource of the address
	module:hook("iq-get/host/" .. xmlns_info .. ":query", function (event)
		return relay(self, event, "info", forward) or config.mode == "merge" and merged(self, event.stanza) or nil;
	end, 1);
	module:hook("iq-get/host/" .. xmlns_items .. ":query", function (event)
		return relay(self, event, "items", forward);
	end, 1);
	module:hook("iq-get/host/" .. xmlns_ping .. ":ping", function (event)
		if event.stanza.attr.to ~= module.host then return; end
		event.origin.send(st.reply(event.stanza));
		return true;
	end);
end

-- save() -> plain table for module.save()
function disco:save()
	local saved = self.questions:save();
	saved.mode = self.config.mode;
	return saved;
end

return { new = new; read_options = read_options };
