/* SPDX-License-Identifier: MIT
 *
 * The escaping of Prosody's serialiser, the same for text and attributes: & < > ' " become entities, everything else is copied.
 * Linear in the length.
 */
#ifndef PROSODY_RELAY_XML_H
#define PROSODY_RELAY_XML_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Octets that _escape writes: at most six times `length`. */
size_t pr_xml_escaped_length(const char *value, size_t length);

/* Writes value[0..length) escaped to out, which has room for _escaped_length octets. Returns the end of the written octets. */
char *pr_xml_escape(char *out, const char *value, size_t length);

#pragma GCC visibility pop

#endif
