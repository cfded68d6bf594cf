-- SPDX-License-Identifier: MIT
-- Requests that a privileged entity sends in the name of a user (XEP-0356 section 7, D17). mod_privilege, which allows this, takes
-- the request out of its wrapper. It routes the request, now or later, as the user's own. If the namespace is delegated to the same entity,
-- the entity wants the server's own answer. So the server must not forward the request to the entity.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local sha1 = require "util.hashes".sha1;

local new_cache = require "prosody_relay.fair_cache".new;

local privilege = {};

local privileged_iq = "urn:xmpp:privilege:2:privileged_iq";

-- How many requests of an entity are remembered. A request that mod_privilege refuses stays until a newer one of the entity takes its place.
-- No user can send a request that looks the same: the `from` of her own requests is a full JID.
local max_announced = 100;
-- The same for all entities that users chose, shared by their domains. mod_privilege routes a request within so many seconds, or never.
local of_guests = new_cache(1000, max_announced, 60);

-- Owner of managing entities (an account, or a domain) -> { entities = their number, requests = cache of wrapped requests that have not been
-- routed yet, nil if users chose them }. Only requests of these owners are remembered, and no owner's requests displace another's (E4).
local owners = {};
-- Routed requests -> the owner of the entity
local senders = setmetatable({}, { __mode = "k" });

-- add(owner, is_guest), remove(owner): an entity of that owner manages from now on, or not any more; is_guest: users chose it. Add the
-- entities of the configuration first.
function privilege.add(owner, is_guest)
	owners[owner] = owners[owner] or { entities = 0; requests = not is_guest and cache.new(max_announced) or nil };
	owners[owner].entities = owners[owner].entities + 1;
end

function privilege.remove(owner)
	owners[owner].entities = owners[owner].entities - 1;
	if owners[owner].entities == 0 then owners[owner] = nil; end
end

local function set(owner, key, value)
	local requests = owners[owner].requests;
	if requests then requests:set(key, value); else of_guests:set(key, owner, value); end
end

-- the key has the same length for ids of any length
local function key_of(owner, user, id)
	return sha1(owner.."\0"..user.."\0"..id);
end

-- start(entity_for): remembers requests from now on. entity_for(from, to, namespace) -> the entity to which such a request of a user is delegated,
-- or nil. Only a request that would come back to its sender is remembered.
function privilege.start(entity_for)
	module:hook("iq/bare/"..privileged_iq, function (event)
		local attr, wrapped = event.stanza.attr, event.stanza.tags[1].tags[1];
		local payload = wrapped and wrapped.tags[1];
		if not attr.to or not payload or not wrapped.attr.id then return; end
		local what = (payload.attr.xmlns or ""):match("^http://jabber%.org/protocol/(disco#%a+)$");
		local pseudo_namespace = what and "urn:xmpp:delegation:2:bare:"..what..":*" or nil; -- "disco/bare" asks with this, too
		for _, namespace in pairs { payload.attr.xmlns, pseudo_namespace } do
			local managing = entity_for(attr.to, wrapped.attr.to, namespace);
			local owner = managing and managing.owner;
			if owner == jid_bare(attr.from) or owner == jid_host(attr.from) then set(owner, key_of(owner, attr.to, wrapped.attr.id), true); end
		end
	end, 10); -- before mod_privilege (0)
end

-- is_from(owner, stanza) -> boolean: whether an entity of that owner sends the request in the name of a user
function privilege.is_from(owner, stanza)
	local requests = owners[owner].requests or of_guests;
	-- this function can be called several times for a request
	if requests:count() == 0 or senders[stanza] == owner then return senders[stanza] == owner; end
	local key = key_of(owner, stanza.attr.from, stanza.attr.id or "");
	if not requests:get(key) then return false; end
	set(owner, key, nil);
	senders[stanza] = owner;
	return true;
end

-- How mod_privilege would tell an entity of two IQ permissions, nil if it tells nothing. The question is about an entity made for this check only.
local function sample_advert(entities)
	local host = prosody.hosts[module.host];
	local handlers = host.modules.privilege.module.event_handlers:get(host.events, "authentication-success");
	local name, advert = "sample.invalid", nil;
	entities[name] = { iq = { ["urn:x:one"] = "get"; ["urn:x:two"] = "get" } };
	for handler in pairs(handlers or {}) do
		pcall(handler, { session = { type = "component"; host = name; send = function (stanza) advert = stanza; end } });
	end
	entities[name] = nil;
	return advert;
end

local function count_permissions(entity)
	local count = 0;
	for _ in pairs(type(entity) == "table" and type(entity.iq) == "table" and entity.iq or {}) do count = count + 1; end
	return count;
end

-- check(): warns of a mod_privilege that loses permissions (E12)
function privilege.check()
	local entities = module:get_option("privileged_entities");
	if not prosody.hosts[module.host].modules.privilege or type(entities) ~= "table" then return; end
	local advert = sample_advert(entities);
	local permission = advert and advert:find("{urn:xmpp:privilege:2}privilege/perm");
	if not permission or #permission.tags == 2 then return; end
	local concerned = {};
	for jid, entity in pairs(entities) do
		if count_permissions(entity) > 1 then concerned[#concerned + 1] = jid; end
	end
	table.sort(concerned);
	module:log(concerned[1] and "warn" or "info",
		"This mod_privilege tells an entity one of its IQ permissions only, another one at each start (it nests the elements); install a newer one%s",
		concerned[1] and ". Concerned: "..table.concat(concerned, ", ") or "");
end

return privilege;
