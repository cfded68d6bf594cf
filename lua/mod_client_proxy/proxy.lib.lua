-- SPDX-License-Identifier: MIT
-- Every stanza to the component passes here. mod_client_proxy.lua lists the parts, which do one job each.

local base64 = require "util.encodings".base64;
local modulemanager = require "core.modulemanager";
local on_stopping = require "prosody_relay.compat".on_stopping;
local jid_bare = require "util.jid".bare;
local random_bytes = require "util.random".bytes;
local stores = require "prosody_relay.stores";

local key_size = 16; -- bytes
local known_users = 1000; -- the module remembers the translated addresses of so many
local recent_users = 24 * 1024 * 1024; -- bytes for users that the implementing client may write to

local settings = module:require "settings";
local errors = module:require "errors";

-- The key of the address translation is stored: a user has the same address after a restart.
local function address_key()
	local saved = stores.read(module, "client_proxy", nil, function (data)
		return type(data.key) == "string" and #base64.decode(data.key) == key_size;
	end);
	if saved then return base64.decode(saved.key); end
	local key = random_bytes(key_size);
	local store, err = module:open_store("client_proxy");
	local ok;
	if store then ok, err = store:set(nil, { key = base64.encode(key) }); end
	if not ok then
		module:log("warn", "The key of the address translation could not be saved, users will have other addresses after a restart: %s", err);
	end
	return key;
end

local saved = module.saved_state or {};
local strategy = module:require "strategies".new(settings.strategy, saved.strategies and saved.strategies[settings.strategy]);
local pool = module:require "pool".new(strategy, saved.pool);
local addresses = module:require "addresses".new(module.host, address_key(), known_users, settings.jat == "token", saved.addresses);
local health = module:require "health".new(pool, settings.eject_after, settings.eject_time, saved.health);
local requests, relay;
local metrics = module:require "metrics".new(function () return pool:count(); end, function () return requests:count(); end);
local dialogues = module:require "dialogues".new(saved.dialogues);
relay = module:require "relay".new(settings, pool, health, dialogues, metrics);
requests = module:require "requests".new(pool, addresses.encode, function (record) relay:expire(record); end, settings, saved.requests);
local subscriptions = module:require "subscriptions".new(settings.targets, saved.subscriptions);
local disco = module:require "disco".new(settings.disco, pool, saved.disco);
local targets = module:require "targets".new(settings.admission, pool, health, subscriptions, function (...)
	relay:lose(...);
	disco:review();
end, function (jid) relay:fall_asleep(jid); end, saved.targets);
relay:attach(requests, targets);
local commands = module:require "commands".new(pool, requests, health);
local users = module:require "users".new(recent_users, settings.user_ttl, addresses.encode, saved.users);
local messages = module:require "messages".new(users, pool, metrics);
local outbound = module:require "outbound".new(users, dialogues, settings, metrics, saved.outbound);
local refusals = module:require "refusals".new(pool, requests, addresses, settings.outbound and users, metrics);
local presence = settings.presence and module:require "presence".new(pool, saved.presence);

-- Tells the subscribers that the service ends; also when the option was removed
local function close_presence()
	local open = presence or saved.presence and module:require "presence".new(pool, saved.presence);
	saved.presence = nil;
	if open then open:close(); end
end

local endings = { function () relay:shut_down(); end; function () outbound:shut_down(); end; function () disco:shut_down(); end; close_presence };

-- Defined this early because Prosody also calls it when the module fails to load
function module.unload()
	for _, ending in ipairs(module.reloading and {} or endings) do
		local ok, err = pcall(ending);
		if not ok then module:log("error", "While the module is unloaded: %s", err); end
	end
	commands.stop();
end

local prefix = module.host .. "/";

-- Does a resource of a target account write to a user's translated address?
local function is_to_user(stanza)
	return stanza.attr.to:sub(1, #prefix) == prefix and subscriptions:is_target(jid_bare(stanza.attr.from));
end

-- IQs --

local function is_reply(stanza)
	return stanza.attr.type == "result" or stanza.attr.type == "error";
end

local function is_request(stanza)
	local type = stanza.attr.type;
	return (type == "get" or type == "set") and stanza.attr.id and #stanza.tags == 1;
end

-- Replies, requests to users, and malformed IQs. Prosody checks only IQs of its own clients, and mod_iq relies on that.
local function handle_early(event)
	local stanza = event.stanza;
	if is_reply(stanza) then
		return not stanza.attr.id or relay:answer(event) or outbound:answer(stanza) or disco:answer(stanza) or nil;
	elseif not is_request(stanza) then
		return errors.answer(event, "malformed-request");
	elseif settings.outbound and is_to_user(stanza) then
		return outbound:ask(event);
	end
end

local function handle_request(event)
	local stanza = event.stanza;
	local from, to = stanza.attr.from, stanza.attr.to;
	if is_reply(stanza) then
		refusals:count(stanza);
		return true;
	end
	if pool:has(from) and to:sub(1, #prefix) == prefix then
		return errors.answer(event, "no-requests-to-users");
	end
	if settings.messages or settings.outbound then users:wrote(from, to); end
	return relay:request(event);
end

-- Messages --

local function handle_message(event)
	if is_to_user(event.stanza) then return messages:from_client(event); end
	return messages:from_user(event);
end

-- Presence --

local function handle_target_presence(event)
	local type = event.stanza.attr.type;
	-- a target subscribes as any user does
	if presence and (type == "subscribe" or type == "unsubscribe" or type == "probe") then return; end
	return targets:handle_presence(event.stanza);
end

local function handle_user_presence(event)
	return presence:from_user(event);
end

-- Each stanza that is not supported gets one error. Errors, and notifications that expect no answer, get none (P16, P17).

local function refuse_presence(event)
	local type = event.stanza.attr.type;
	if type == nil or type == "subscribe" or type == "probe" then
		return errors.answer(event, "no-presence");
	end
	return true;
end

local function refuse_message(event)
	if event.stanza.attr.type == "error" then return true; end
	return errors.answer(event, "no-messages");
end

for _, recipient in ipairs({ "host", "bare", "full" }) do
	-- before mod_iq, which looks for a module that waits for this id, or that answers for the user
	module:hook("iq/" .. recipient, handle_early, 1);
	-- after all other modules: the implementing client does not get what a module of the component handles
	module:hook("iq/" .. recipient, handle_request, -1);
	module:hook("presence/" .. recipient, handle_target_presence, 1);
	module:hook("presence/" .. recipient, presence and handle_user_presence or refuse_presence, -1);
	module:hook("message/" .. recipient, settings.messages and handle_message or refuse_message, -1);
end

-- Life --

-- before mod_c2s closes the users' streams; each on its own: after an error in one, the others still run
for _, ending in ipairs(endings) do on_stopping(module, ending, 1); end

-- A changed configuration is applied at once: module.save keeps the state. A mistake in the configuration changes nothing.
module:hook_global("config-reloaded", function ()
	module:add_timer(0, function () modulemanager.reload(module.host, module.name); end);
end);

function module.save()
	return {
		pool = pool:save(); health = health:save(); targets = targets:save(); requests = requests:save(); subscriptions = subscriptions:save();
		users = users:save(); outbound = outbound:save(); presence = presence and presence:save();
		disco = disco:save(); addresses = addresses.save(); strategies = { [settings.strategy] = strategy:save() };
		dialogues = dialogues:save();
	};
end

metrics:start();
targets:start(settings.targets);
targets:review();
disco:start(handle_request);
commands:start();
subscriptions:start();
if presence then presence:start(); else close_presence(); end
