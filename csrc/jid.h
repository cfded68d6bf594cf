/* SPDX-License-Identifier: MIT
 *
 * XEP-0106 JID escaping of localparts: byte strings in, byte strings out, no allocation, one pass.
 * Bytes of 128 and above pass unchanged, so UTF-8 does. Requirements A1, A2.
 */
#ifndef PROSODY_RELAY_JID_H
#define PROSODY_RELAY_JID_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* RFC 7622 section 3.1: no part of a JID is longer. */
#define PR_JID_PART_MAX 1023

/* An escaped octet takes three. */
#define PR_JID_ESCAPED_MAX(length) (3 * (length))

/* Number of leading octets of in[0..length) that escaping does not change; `length` when there is nothing to escape. */
size_t pr_jid_escape_span(const char *in, size_t length);

/* As above for unescaping. */
size_t pr_jid_unescape_span(const char *in, size_t length);

/* Escapes in[0..length) to out, which has room for PR_JID_ESCAPED_MAX(length) octets and does not overlap it.
 * Returns the octets written. Never fails. */
size_t pr_jid_escape(const char *in, size_t length, char *out);

/* Unescapes in[0..length) to out, which has room for `length` octets and does not overlap it.
 * Returns the octets written. Never fails: everything but the ten sequences is copied. */
size_t pr_jid_unescape(const char *in, size_t length, char *out);

#pragma GCC visibility pop

#endif
