/* SPDX-License-Identifier: MIT
 *
 * A stanza serialised once for many recipients. Finds the attributes `to` and `from` of the start tag in the serialised text. Then writes
 * that text again with other values for them. Requirement A9.
 *
 * Everything else is copied: the serialiser decides on escaping, namespaces, prefixes and the order of attributes. A copy is linear in its
 * length.
 */
#ifndef PROSODY_RELAY_TEMPLATE_H
#define PROSODY_RELAY_TEMPLATE_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Some octets of the text. For an attribute that is not there: empty, at the end of the element's name. */
typedef struct {
	size_t begin, end;
} pr_template_span;

typedef struct {
	size_t length; /* of the text */
	pr_template_span to, from; /* the whole attribute: " to='...'" */
} pr_template;

/* The new value of an attribute, not escaped; NULL: the attribute is not changed. */
typedef struct {
	const char *value;
	size_t length;
} pr_template_attribute;

/* Reads text[0..length), an element called name[0..name_length) as Prosody serialises it: attributes as " name='value'" without an
 * apostrophe in the value, then "/>" or ">". Returns 0 for any other text; *result is undefined then. Reads only the start tag, and is
 * linear in its length. */
int pr_template_parse(const char *text, size_t length, const char *name, size_t name_length, pr_template *result);

/* Octets that _render writes for these arguments. */
size_t pr_template_size(const pr_template *template, const pr_template_attribute *to,
	const pr_template_attribute *from);

/* Writes the text with these attributes to out, which has room for _size octets. Returns the octets written. Values are escaped for XML. */
size_t pr_template_render(const pr_template *template, const char *text,
	const pr_template_attribute *to, const pr_template_attribute *from, char *out);

#pragma GCC visibility pop

#endif
