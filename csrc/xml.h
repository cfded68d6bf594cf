/* SPDX-License-Identifier: MIT
 *
 * The escaping of Prosody's serialiser, which treats text and attributes alike: & < > ' " become entities, everything else is copied.
 * Linear in the length.
 */
#ifndef PROSODY_RELAY_XML_H
#define PROSODY_RELAY_XML_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Octets that _escape writes: at most six times `length`. */
size_t pr_xml_escaped_length(const char *value, size_t length);

/* Writes value[0..length) escaped to out, which has room for _escaped_length octets. Returns the end of what was written. */
char *pr_xml_escape(char *out, const char *value, size_t length);

#pragma GCC visibility pop

#endif
