-- SPDX-License-Identifier: MIT
-- Which namespaces users may delegate (XEP-0355 section 12, rules 2 and 3: D30, C5), and what they are called in forms. Pure.

local allowlist = {};

-- With these an entity could lock users out of their accounts, or take the accounts over (C5). A prefix stands for all versions.
local denied = {
	"http://jabber.org/protocol/commands", "jabber:iq:auth", "jabber:iq:privacy", "jabber:iq:register",
	"xmpp:prosody.im/protocol/manage-clients", -- mod_client_management
};
local denied_prefixes = {
	"urn:ietf:params:xml:ns:xmpp-", -- bind, session, sasl, tls
	"urn:xmpp:bind", "urn:xmpp:blocking", "urn:xmpp:cam:", "urn:xmpp:carbons:", "urn:xmpp:delegation:", "urn:xmpp:ibr-token:", "urn:xmpp:pars:",
	"urn:xmpp:privilege:", "urn:xmpp:push:", "urn:xmpp:sasl:",
};
for _, namespace in ipairs(denied) do denied[namespace] = true; end

-- Fields of the forms that are not namespaces
local reserved = { FORM_TYPE = true; challenge = true; entity = true; configured = true; persist = true };

local remaining_disco = { ["urn:xmpp:delegation:2:bare:disco#info:*"] = true; ["urn:xmpp:delegation:2:bare:disco#items:*"] = true };

local friendly_names = {
	["http://jabber.org/protocol/pubsub"] = "PubSub and PEP, such as avatars and bookmarks";
	["http://jabber.org/protocol/pubsub#owner"] = "settings of PubSub and PEP";
	["jabber:iq:private"] = "private storage";
	["jabber:iq:roster"] = "contact list";
	["jabber:iq:version"] = "software version";
	["urn:xmpp:delegation:2:bare:disco#info:*"] = "description of the account to others";
	["urn:xmpp:delegation:2:bare:disco#items:*"] = "list of what the account offers to others";
	["urn:xmpp:http:upload:0"] = "file upload";
	["urn:xmpp:mam:2"] = "message archive";
	["urn:xmpp:pam:0"] = "subscriptions to PubSub";
	["urn:xmpp:ping"] = "ping";
	["vcard-temp"] = "vCard";
};

local function problem_of(namespace)
	if reserved[namespace] then return "this is the name of another field in the forms"; end
	if denied[namespace] then return "users cannot delegate this namespace"; end
	if remaining_disco[namespace] then return nil; end
	for _, prefix in ipairs(denied_prefixes) do
		if namespace:sub(1, #prefix) == prefix then return "users cannot delegate this namespace"; end
	end
end

-- parse(list, canonical) -> set of namespaces that users may delegate, list of problems (one line of text for each entry that is skipped)
--   list: the option delegation_client_namespaces; canonical(namespace) -> its present name
function allowlist.parse(list, canonical)
	local set, problems = {}, {};
	for _, entry in ipairs(list) do
		local namespace = canonical(entry);
		local problem = namespace == "" and "expected a namespace" or problem_of(namespace);
		if problem then
			problems[#problems + 1] = ("Option 'delegation_client_namespaces', entry %q: %s; this entry is skipped"):format(entry, problem);
		else
			set[namespace] = true;
		end
	end
	return set, problems;
end

-- label(namespace) -> text for users, with the namespace in it (XEP-0355 section 5.1)
function allowlist.label(namespace)
	local name = friendly_names[namespace];
	return name and ("Manage %s (%s)"):format(name, namespace) or "Manage "..namespace;
end

return allowlist;
