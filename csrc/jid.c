/* SPDX-License-Identifier: MIT
 *
 * XEP-0106 version 1.1. Ten characters are escaped as a backslash and two lower-case hexadecimal digits. A backslash is escaped only
 * where it looks like the start of such a sequence (section "Business Rules", rule 7). So ordinary names are not changed.
 */
#include "jid.h"

#include <string.h>

enum { ORDINARY = 0, DISALLOWED = 1, BACKSLASH = 2 };

static const unsigned char class_of[256] = {
	[' '] = DISALLOWED, ['"'] = DISALLOWED, ['&'] = DISALLOWED, ['\''] = DISALLOWED, ['/'] = DISALLOWED,
	[':'] = DISALLOWED, ['<'] = DISALLOWED, ['>'] = DISALLOWED, ['@'] = DISALLOWED, ['\\'] = BACKSLASH,
};

static const char hex_digits[] = "0123456789abcdef";

/* The character of the sequence at p; 0 when the `left` octets at p do not begin with one of the ten sequences. */
static char sequence_at(const char *p, size_t left) {
	if(left < 3 || p[0] != '\\') {
		return 0;
	}
	switch(p[1]) {
	case '2':
		switch(p[2]) {
		case '0': return ' ';
		case '2': return '"';
		case '6': return '&';
		case '7': return '\'';
		case 'f': return '/';
		default: return 0;
		}
	case '3':
		switch(p[2]) {
		case 'a': return ':';
		case 'c': return '<';
		case 'e': return '>';
		default: return 0;
		}
	case '4': return p[2] == '0' ? '@' : 0;
	case '5': return p[2] == 'c' ? '\\' : 0;
	default: return 0;
	}
}

size_t pr_jid_escape_span(const char *in, size_t length) {
	size_t i;
	for(i = 0; i < length; i++) {
		const unsigned char class = class_of[(unsigned char)in[i]];
		if(class != ORDINARY && (class == DISALLOWED || sequence_at(in + i, length - i))) {
			break;
		}
	}
	return i;
}

size_t pr_jid_unescape_span(const char *in, size_t length) {
	const char *p = in;
	const char *const end = in + length;
	/* memchr of a null pointer is undefined even for length 0 */
	while(p < end && (p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
		if(sequence_at(p, (size_t)(end - p))) {
			return (size_t)(p - in);
		}
		p++;
	}
	return length;
}

size_t pr_jid_escape(const char *in, size_t length, char *out) {
	char *o = out;
	size_t i;
	for(i = 0; i < length; i++) {
		const unsigned char c = (unsigned char)in[i];
		const unsigned char class = class_of[c];
		if(class == ORDINARY || (class == BACKSLASH && !sequence_at(in + i, length - i))) {
			*o++ = in[i];
		} else {
			*o++ = '\\';
			*o++ = hex_digits[c >> 4];
			*o++ = hex_digits[c & 15];
		}
	}
	return (size_t)(o - out);
}

size_t pr_jid_unescape(const char *in, size_t length, char *out) {
	char *o = out;
	size_t i = 0;
	while(i < length) {
		const char c = in[i] == '\\' ? sequence_at(in + i, length - i) : 0;
		*o++ = c ? c : in[i];
		i += c ? 3 : 1;
	}
	return (size_t)(o - out);
}
