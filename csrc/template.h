/* SPDX-License-Identifier: MIT
 *
 * A stanza serialised once for many recipients: finds the attributes `to` and `from` of the start tag in what Prosody's own serialiser
 * wrote, and writes that text again with other values in their places. Requirement A9.
 *
 * Everything else is copied, so escaping, namespaces, prefixes and the order of attributes are Prosody's. A copy costs its length.
 */
#ifndef PROSODY_RELAY_TEMPLATE_H
#define PROSODY_RELAY_TEMPLATE_H

#include <stddef.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Some octets of the text. Empty, at the end of the element's name, for an attribute that is not there. */
typedef struct {
	size_t begin, end;
} prosody_relay_template_span;

typedef struct {
	size_t length; /* of the text */
	size_t name_length; /* of the element's name, from text[1] */
	prosody_relay_template_span to, from; /* the whole attribute: " to='...'" */
	size_t tag_end; /* where the start tag's last ">" or "/>" is */
	int empty; /* whether that is "/>" */
} prosody_relay_template;

/* What becomes of an attribute. */
typedef enum { PROSODY_RELAY_KEEP, PROSODY_RELAY_OMIT, PROSODY_RELAY_SET } prosody_relay_template_mode;

typedef struct {
	prosody_relay_template_mode mode;
	const char *value; /* for SET: not escaped yet */
	size_t length;
} prosody_relay_template_attribute;

/* Reads text[0..length), an element called name[0..name_length) as Prosody serialises it: attributes as " name='value'" without an
 * apostrophe in the value, then "/>", or ">" and contents and the end tag. Returns 0 for anything else; *result is
 * undefined then. Linear in the length of the start tag; contents are not looked at. */
int prosody_relay_template_parse(const char *text, size_t length, const char *name, size_t name_length, prosody_relay_template *result);

/* Octets that _render writes for these arguments. */
size_t prosody_relay_template_size(const prosody_relay_template *template, const prosody_relay_template_attribute *to,
	const prosody_relay_template_attribute *from, size_t extra_length);

/* Writes the text with these attributes, and extra[0..extra_length), which is XML, as the last child, to out, which has room for
 * _size octets. Returns the octets written. Values are escaped for XML. */
size_t prosody_relay_template_render(const prosody_relay_template *template, const char *text,
	const prosody_relay_template_attribute *to, const prosody_relay_template_attribute *from, const char *extra, size_t extra_length,
	char *out);

#pragma GCC visibility pop

#endif
