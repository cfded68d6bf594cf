-- SPDX-License-Identifier: MIT
-- Jabber Address Translation: the address under which the implementing client sees a user, `proxy/encoded` (design decision 3; P6 to P8).
--
-- Three forms of `encoded`, the first that can be used:
-- 1. the user's JID as it is, when stringprep leaves `proxy/JID` alone and it fits: what clients such as Jicofo parse
-- 2. a token of prosody_relay.jat: resources in Hebrew or Arabic are legal alone but not after a Latin `user@host/`
-- 3. a handle, the token of a keyed hash: a JID can have 3071 bytes, a resource 1023; or the implementing client is not to know who
--    users are
-- All are the same for the same user as long as the key lives. None is trusted: who gets a reply is in the pending table.

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
-- is_given(address) -> can a user have that address? Of tokens and handles we know by their tag whether they were made here. Anybody
--   can make up the plain form, so that it has to be of one of the last cache_size users.
-- save() -> plain table for module.save()
local function new(host, key, cache_size, hidden, saved)
	local codec = new_codec(key);
	local prefix = host .. "/";
	local known = new_cache(cache_size);

	local function is_safe(jid)
		if #jid > max_resource then return false; end
		-- strict: code points that were unassigned in Unicode 3.2 may fare differently on the target's server
		local node, prepped_host, resource = prepped_split(prefix .. jid, true);
		return node == nil and prepped_host == host and resource == jid;
	end

	-- like a token it begins with "@", as no JID does, and then with what no token has
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

	-- the last user first
	local function save()
		local jids = {};
		for jid in known:items() do jids[#jids + 1] = jid; end
		return jids;
	end

	for i = #(saved or {}), 1, -1 do encode(saved[i]); end
	return { encode = encode; is_given = is_given; save = save };
end

-- An error may say who made it (RFC 6120 section 8.3.1): the account or its server, of which users are not to know, or a user who is hidden
local function without_author(stanza)
	local err = stanza:get_child("error");
	if not (err and err.attr.by) then return stanza; end
	local copy = st.clone(stanza);
	copy:get_child("error").attr.by = nil;
	return copy;
end

-- readdress(stanza, from, to, id, [origin]) -> the stanza with another envelope
--   origin: the session it came from; what came over a stream is nobody's any more and need not be copied
-- The payload is shared: a module that sent the stanza itself may go on using its own envelope, as module:send_iq does, but not
-- change what is inside.
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
