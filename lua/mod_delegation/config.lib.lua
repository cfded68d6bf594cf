-- SPDX-License-Identifier: MIT
-- The option `delegations` (R1 to R3, R9, B7). Pure: it needs no server and no module, so specs can test it alone.

local jid = require "util.jid";

local bare_disco = "urn:xmpp:delegation:2:bare:disco#%s:*";

-- Names for a delegation of the remaining disco requests on bare JIDs (D25, D26), with their older names (R3)
local pseudo_namespaces = {};
for _, what in ipairs { "info", "items" } do
	local pseudo = { what = what; name = bare_disco:format(what); old_name = "http://jabber.org/protocol/disco#"..what..":*" };
	pseudo_namespaces[pseudo.name] = pseudo;
	pseudo_namespaces[pseudo.old_name] = pseudo;
end

-- is_protected(namespace) -> boolean: true for the namespace of delegation itself, in any version; it is never delegated (D18)
local function is_protected(namespace)
	return namespace ~= nil and namespace:match("^urn:xmpp:delegation:") ~= nil and not pseudo_namespaces[namespace];
end

local function is_attribute_list(value)
	if type(value) ~= "table" then return false; end
	for key, name in pairs(value) do
		if math.type(key) ~= "integer" or key < 1 or key > #value or type(name) ~= "string" or name == "" then return false; end
	end
	return true;
end

-- key of an entry -> { what is expected, check(value, host) }
local entry_keys = {
	jid = { "the JID of a managing entity other than this host", function (value, host)
		if type(value) ~= "string" then return false; end
		local node, domain = jid.prepped_split(value);
		-- a domain with a resource still means all stanzas from this domain (D16)
		return domain and (node or domain ~= host);
	end };
	filtering = { "a list of attribute names", is_attribute_list };
	protocol = { "1 or 2", function (value) return value == 1 or value == 2; end };
	timeout = { "a number of seconds, at least 1", function (value)
		return type(value) == "number" and value >= 1 and value < math.huge;
	end };
	blocking = { "true or false", function (value) return type(value) == "boolean"; end };
};

local function shown(value)
	return type(value) == "string" and ("%q"):format(value) or type(value) == "table" and "a table" or tostring(value);
end

-- What is wrong with an entry; nil if it is good
local function problem_of(key, entry, host)
	if type(key) ~= "string" or key == "" then
		return "expected a namespace as key";
	elseif is_protected(key) then
		return "this namespace must not be delegated (XEP-0355 rule 5)";
	elseif type(entry) ~= "table" then
		return "expected a table such as { jid = \"pubsub.example.com\" }, got "..shown(entry);
	elseif entry.jid == nil then
		return "expected jid to be "..entry_keys.jid[1]..", got nothing";
	end
	for name, value in pairs(entry) do
		local expected = entry_keys[name];
		if not expected then
			return "unknown key "..shown(name)..", expected jid, filtering, protocol, timeout or blocking";
		elseif not expected[2](value, host) then
			return ("expected %s to be %s, got %s"):format(name, expected[1], shown(value));
		end
	end
end

-- delegation(key, entry, timeout) -> the delegation of a good entry, see parse
local function delegation_of(key, entry, timeout)
	local pseudo, protocol = pseudo_namespaces[key], entry.protocol or 2;
	return {
		namespace = pseudo and pseudo.name or key;
		-- entities of protocol 1 know only the older name (R3)
		advertised = pseudo and (protocol == 1 and pseudo.old_name or pseudo.name) or key;
		pseudo = pseudo and pseudo.what;
		jid = jid.prep(entry.jid);
		filtering = table.move(entry.filtering or {}, 1, #(entry.filtering or {}), 1, {});
		version = "urn:xmpp:delegation:"..protocol;
		timeout = entry.timeout or timeout;
		blocking = entry.blocking or false;
	};
end

-- parse(option, host, timeout) -> list of delegations, list of problems (one line of text for each entry that is skipped)
--   option: the table of the configuration, which parse does not change; host: the virtual host; timeout: for entries that set none
-- A delegation is { namespace, advertised (name in the advert), pseudo (nil, "info" or "items"), jid, filtering (list), version
-- (namespace of the protocol), timeout, blocking }. The lists are sorted by namespace and by key.
local function parse(option, host, timeout)
	local keys, delegations, problems, taken = {}, {}, {}, {};
	for key in pairs(option) do keys[#keys + 1] = key; end
	table.sort(keys, function (a, b) return tostring(a) < tostring(b); end);
	for _, key in ipairs(keys) do
		local problem = problem_of(key, option[key], host);
		local delegation = not problem and delegation_of(key, option[key], timeout);
		if delegation and taken[delegation.namespace] then
			problem = "means the same as "..shown(taken[delegation.namespace]);
		end
		if problem then
			problems[#problems + 1] = ("Option 'delegations', entry %s: %s; this entry is skipped"):format(shown(key), problem);
		else
			taken[delegation.namespace] = key;
			delegations[#delegations + 1] = delegation;
		end
	end
	table.sort(delegations, function (a, b) return a.namespace < b.namespace; end);
	return delegations, problems;
end

-- canonical(namespace) -> its present name; only the older names of remaining disco differ from it (R3)
local function canonical(namespace)
	local pseudo = pseudo_namespaces[namespace];
	return pseudo and pseudo.name or namespace;
end

-- versions(delegations) -> list of the protocol namespaces to announce: the current one, and older ones that an entry uses
local function versions(delegations)
	local list, seen = { "urn:xmpp:delegation:2" }, { ["urn:xmpp:delegation:2"] = true };
	for _, delegation in ipairs(delegations) do
		if not seen[delegation.version] then
			seen[delegation.version] = true;
			list[#list + 1] = delegation.version;
		end
	end
	return list;
end

return { parse = parse; delegation = delegation_of; canonical = canonical; is_protected = is_protected; versions = versions };
