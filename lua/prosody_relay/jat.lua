-- SPDX-License-Identifier: MIT
-- JID address translation: tokens that stand for a user's JID in the resource of another JID. Requirements A6, A7.
--
-- A token is "@" followed by base64url (no padding) of a SipHash-2-4 tag of 128 bits and the JID. It is 23 to 1023 bytes of ASCII, which
-- resourceprep does not change. It never equals a JID, because no JID begins with "@". It proves that the holder of the key made it.
-- It does not hide the JID: anybody who sees the token can read the JID.

local native = require "prosody_relay".native "jat_c";

local jat = {};

-- new(key) -> codec
-- key: string of 16 random bytes, kept by the caller (same key, same tokens)
--
-- codec:encode(jid) -> token, the same each time; or nil, "too-long" for a JID of more than 750 bytes (A7)
-- codec:decode(resource) -> jid; or nil, reason: "no-token" (does not begin with "@": perhaps a plain JID), "bad-token" (not made
-- with this key, or changed). The time does not depend on where the difference is.
jat.new = native.new;

return jat;
