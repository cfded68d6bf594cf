-- SPDX-License-Identifier: MIT
-- Jabber Address Translation: the address under which the implementing client sees a user, `proxy/encoded` (design decision 3; P6 to P8).
--
-- `encoded` has three forms. The module takes the first one that is possible:
-- 1. the user's JID as it is, when stringprep does not change `proxy/JID` and it is short enough. Clients such as Jicofo parse it.
-- 2. a token of prosody_relay.jat: resources in Hebrew or Arabic are legal alone but not after a Latin `user@host/`
-- 3. a handle, the token of a keyed hash: a JID can have 3071 bytes, but a resource only 1023. A handle also hides from the implementing
--    client who the users are.
-- A user keeps the same form and address as long as the key stays the same. No form is trusted: the pending table says who gets a reply.

local new_codec = require "prosody_relay.jat".new;
local new_cache = require "util.cache".new;
local hmac_sha256 = require "util.hashes".hmac_sha256;
local native = require "prosody_relay.stanza".native;
local prepped_split = require "util.jid".prepped_split;
local st = require "util.stanza";

local hash_size = 16; -- bytes, so that a handle has 45
local max_resource = 1023; -- bytes, RFC 7622 section 3.4

-- new(host, key, cache_size, [hidden], [saved]) -> addresses, a table of functions
--   host: the proxy's; key: 16 bytes; cache_size: how many users' addresses to remember; hidden: handles for everybody;
--   saved: result of save() of an earlier instance
--
-- encode(jid) -> "host/encoded"
-- is_given(address) -> can a user have that address? The tag of a token or handle shows whether it was made here. Anybody can make up
--   the plain form, so it must belong to one of the last cache_size users.
-- save() -> plain table for module.save()
local function new(host, key, cache_size, hidden, saved)
	local codec = new_codec(key);
	local prefix = host .. "/";
	local known = new_cache(cache_size);

	local function is_safe(jid)
		if #jid > max_resource then return false; end
		-- strict: the target's server may treat code points that were unassigned in Unicode 3.2 in another way
		local node, prepped_host, resource = prepped_split(prefix .. jid, true);
		return node == nil and prepped_host == host and resource == jid;
	end

	-- a handle begins with "@", as tokens do and JIDs do not; the "." after it is in no token
	local function handle(jid)
		return "@." .. codec:encode(hmac_sha256(key, "handle\0" .. jid):sub(1, hash_size)):sub(2);
	end

	local function encode(jid)
		local address = known:get(jid);
		if not address then
			address = prefix .. (not hidden and (is_safe(jid) and jid or codec:encode(jid)) or handle(jid));
			known:set(jid, address);
		end
		return address;
	end

	local function is_given(address)
		if address:sub(1, #prefix) ~= prefix then return false; end
		local resource = address:sub(#prefix + 1);
		if resource:sub(1, 1) ~= "@" then return known:get(resource) == address; end
		return codec:decode((resource:gsub("^@%.", "@"))) ~= nil;
	end

	-- the most recent user first
	local function save()
		local jids = {};
		for jid in known:items() do jids[#jids + 1] = jid; end
		return jids;
	end

	for i = #(saved or {}), 1, -1 do encode(saved[i]); end
	return { encode = encode; is_given = is_given; save = save };
end

-- An error may name its author (RFC 6120 section 8.3.1). Users must not learn the account or its server, and a hidden user stays hidden.
local function without_author(stanza)
	local err = stanza:get_child("error");
	if not (err and err.attr.by) then return stanza; end
	local copy = st.clone(stanza);
	copy:get_child("error").attr.by = nil;
	return copy;
end

-- readdress(stanza, from, to, id, [origin]) -> the stanza with another envelope
--   origin: the session it came from; a stanza from a stream has no other user and need not be copied
-- The payload is shared. A module that sent the stanza may use its own envelope again, as module:send_iq does. It must not change
-- the payload.
local function readdress(stanza, from, to, id, origin)
	if stanza.attr.type == "error" then stanza = without_author(stanza); end
	if origin and origin.conn then
		local attr = stanza.attr;
		attr.from, attr.to, attr.id = from, to, id;
		return native(stanza);
	end
	local copy = st.clone(stanza, true);
	table.move(stanza, 1, #stanza, 1, copy);
	table.move(stanza.tags, 1, #stanza.tags, 1, copy.tags);
	local attr = copy.attr;
	attr.from, attr.to, attr.id = from, to, id;
	return native(copy);
end

return { new = new; readdress = readdress };
