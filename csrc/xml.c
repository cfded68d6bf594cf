/* SPDX-License-Identifier: MIT */
#include "xml.h"

#include <string.h>

static const struct {
	unsigned char length;
	char entity[7];
} escapes[256] = {
	['&'] = {5, "&amp;"}, ['<'] = {4, "&lt;"}, ['>'] = {4, "&gt;"}, ['\''] = {6, "&apos;"}, ['"'] = {6, "&quot;"},
};

size_t pr_xml_escaped_length(const char *value, size_t length) {
	size_t i, total = length;
	for(i = 0; i < length; i++) {
		const size_t expanded = escapes[(unsigned char)value[i]].length;
		total += expanded ? expanded - 1 : 0;
	}
	return total;
}

char *pr_xml_escape(char *out, const char *value, size_t length) {
	size_t i;
	for(i = 0; i < length; i++) {
		const unsigned char c = (unsigned char)value[i];
		if(escapes[c].length) {
			memcpy(out, escapes[c].entity, escapes[c].length);
			out += escapes[c].length;
		} else {
			*out++ = value[i];
		}
	}
	return out;
}
