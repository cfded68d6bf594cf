/* SPDX-License-Identifier: MIT
 *
 * JID address translation: a user's JID as a resource that only the holder of the key can make. Requirements A6, A7.
 *
 *   token = "@" base64url(tag jid)     tag = SipHash-2-4-128(key, jid)
 *
 * base64url is that of RFC 4648 section 5 without padding. Resourceprep does not change printable ASCII. No JID begins with "@"
 * (RFC 7622 section 3.3: a localpart before the separator is not empty). So a token is never taken for a plain JID.
 * The token authenticates the JID but does not hide it: anybody who sees the token can read the JID.
 */
#ifndef PROSODY_RELAY_JAT_H
#define PROSODY_RELAY_JAT_H

#include "siphash.h"

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

#define PR_JAT_KEY_SIZE PR_SIPHASH_KEY_SIZE

/* RFC 7622 section 3.4: the longest resource. */
#define PR_JAT_TOKEN_MAX 1023

/* Longest JID that fits a token: 1022 digits carry 766 octets, 16 of them the tag. */
#define PR_JAT_JID_MAX 750

typedef enum {
	PR_JAT_OK,
	PR_JAT_TOO_LONG, /* the JID exceeds PR_JAT_JID_MAX */
	PR_JAT_NO_TOKEN, /* does not begin like a token */
	PR_JAT_BAD_TOKEN /* not encoded by this key: malformed, changed, or of another key; the result does not say which */
} pr_jat_result;

/* Encodes any octets jid[0..length) to token, with room for PR_JAT_TOKEN_MAX octets, and sets *token_length.
 * Returns OK or TOO_LONG (then nothing is written). The same key and JID always give the same token. */
pr_jat_result pr_jat_encode(const unsigned char key[PR_JAT_KEY_SIZE], const char *jid, size_t length,
	char *token, size_t *token_length);

/* Decodes token[0..length) to jid, with room for PR_JAT_JID_MAX octets, and sets *jid_length.
 * Returns OK, NO_TOKEN or BAD_TOKEN (then jid must not be used). The time depends on the length, not on where a wrong token
 * differs from the right one. */
pr_jat_result pr_jat_decode(const unsigned char key[PR_JAT_KEY_SIZE], const char *token, size_t length,
	char *jid, size_t *jid_length);

#pragma GCC visibility pop

#endif
