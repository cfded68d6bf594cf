/* SPDX-License-Identifier: MIT
 *
 * SipHash-2-4 with a 128-bit tag: a keyed MAC for short inputs by J.-P. Aumasson and D. J. Bernstein ("SipHash: a fast short-input
 * PRF", 2012; the 128-bit form and its vectors are in the authors' CC0 reference, github.com/veorq/SipHash).
 */
#ifndef PROSODY_RELAY_SIPHASH_H
#define PROSODY_RELAY_SIPHASH_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

#define PR_SIPHASH_KEY_SIZE 16
#define PR_SIPHASH_TAG_SIZE 16

/* Writes the tag of in[0..length) under `key`. The time depends on the length only. Never fails. */
void pr_siphash128(const unsigned char key[PR_SIPHASH_KEY_SIZE], const unsigned char *in, size_t length,
	unsigned char tag[PR_SIPHASH_TAG_SIZE]);

#pragma GCC visibility pop

#endif
