-- SPDX-License-Identifier: MIT
-- Other modules that call mod_pep to store and read data, and announce features for it (E2). While PEP is delegated, users do not see this data.
-- Such modules depend on mod_pep, and are found by that: mod_vcard_legacy, mod_vcard4, mod_bookmarks and others.

local st = require "util.stanza";

local compat = require "prosody_relay.compat";

local pep = {};

pep.xmlns = "http://jabber.org/protocol/pubsub";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- Names of the modules of this host that use mod_pep, sorted
local function dependents()
	local names = {};
	for name, loaded in pairs(prosody.hosts[module.host].modules) do
		local dependencies = loaded.module.dependencies;
		if dependencies and dependencies.pep then names[#names + 1] = name; end
	end
	table.sort(names);
	return names;
end

-- The events of this host that a module handles: name -> set of handlers
local function handlers_of(name)
	local host = prosody.hosts[module.host];
	return host.modules[name].module.event_handlers:get(host.events) or {};
end

-- Namespaces of the requests that a module answers, without PEP itself: sorted list
local function namespaces_of(name)
	local list, seen = {}, { [pep.xmlns] = true };
	for event in pairs(handlers_of(name)) do
		local namespace = event:match("^iq[^/]*/%l+/(.*):[^:]*$");
		if namespace and not seen[namespace] then
			seen[namespace], list[#list + 1] = true, namespace;
		end
	end
	table.sort(list);
	return list;
end

-- announced(event) -> set of the features that such modules announce on an account; event: account-disco-info
function pep.announced(event)
	local found = {};
	for _, name in ipairs(dependents()) do
		local reply = st.stanza("iq", { type = "result"; from = event.reply.attr.from }):tag("query", { xmlns = xmlns_disco_info });
		for handler in pairs(handlers_of(name)["account-disco-info"] or {}) do
			handler({ origin = event.origin; stanza = event.stanza; reply = reply });
		end
		for feature in reply.tags[1]:childtags("feature") do found[feature.attr.var or ""] = true; end
	end
	return found;
end

-- watch(is_delegated, who): warns of such modules, now and when they are loaded
--   is_delegated(namespace) -> boolean; who: who delegates PEP, for the log
function pep.watch(is_delegated, who)
	local warned = {};
	local function warn_of(name)
		local namespaces, missing = namespaces_of(name), {};
		for _, namespace in ipairs(namespaces) do
			if not is_delegated(namespace) then missing[#missing + 1] = namespace; end
		end
		if warned[name] or namespaces[1] and not missing[1] then return; end
		warned[name] = true;
		module:log("warn", "mod_%s stores and looks for data in mod_pep, not where %s PEP to: %sdisable mod_%s (README, \"PEP and other modules\")", name,
			who, missing[1] and "delegate "..table.concat(missing, " and ").." as well, or " or "", name);
	end
	local function review()
		for _, name in ipairs(dependents()) do warn_of(name); end
	end
	compat.on_started(module, function ()
		review();
		module:hook("module-loaded", review);
	end);
end

return pep;
