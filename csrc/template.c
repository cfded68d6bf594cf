/* SPDX-License-Identifier: MIT
 *
 * The serialiser writes an attribute as a space, its name, "='", the escaped value and an apostrophe. Names and escaped values contain no
 * apostrophe. So the first "='" ends a name, and the next apostrophe ends the value.
 */
#include "template.h"
#include "xml.h"

#include <string.h>

typedef pr_template_attribute attribute;
typedef pr_template_span span;

static char *put(char *out, const char *octets, size_t length) {
	memcpy(out, octets, length);
	return out + length;
}

static int begins_with(const char *text, size_t length, const char *start, size_t start_length) {
	return length >= start_length && memcmp(text, start, start_length) == 0;
}

/* End of the attribute whose space is at text[at]; 0 when there is none. Sets *name_end. */
static size_t attribute_end(const char *text, size_t length, size_t at, size_t *name_end) {
	const char *equals = text + at + 1, *quote;
	const char *const end = text + length;
	while((equals = memchr(equals, '=', (size_t)(end - equals))) != NULL) {
		if(equals + 1 < end && equals[1] == '\'') {
			quote = memchr(equals + 2, '\'', (size_t)(end - equals - 2));
			*name_end = (size_t)(equals - text);
			return quote ? (size_t)(quote - text) + 1 : 0;
		}
		equals++;
	}
	return 0;
}

int pr_template_parse(const char *text, size_t length, const char *name, size_t name_length, pr_template *result) {
	size_t at;
	if(length < 1 || text[0] != '<' || !begins_with(text + 1, length - 1, name, name_length)) {
		return 0;
	}
	at = 1 + name_length;
	result->length = length;
	result->to.begin = result->to.end = result->from.begin = result->from.end = at;
	while(at < length && text[at] == ' ') {
		size_t name_end = 0;
		const size_t end = attribute_end(text, length, at, &name_end);
		const char *const attribute_name = text + at + 1;
		if(!end) {
			return 0;
		}
		if(name_end - at == 3 && memcmp(attribute_name, "to", 2) == 0) {
			result->to.begin = at;
			result->to.end = end;
		} else if(name_end - at == 5 && memcmp(attribute_name, "from", 4) == 0) {
			result->from.begin = at;
			result->from.end = end;
		}
		at = end;
	}
	return at < length && (text[at] == '>' || (text[at] == '/' && length - at == 2 && text[at + 1] == '>'));
}

/* A place in the text, and the attribute to write there. */
typedef struct {
	const span *place;
	const attribute *wanted;
	const char *start; /* space, name, "='" */
	size_t start_length;
} filling;

static const filling *to_filling(filling *result, const pr_template *template, const attribute *to) {
	result->place = &template->to;
	result->wanted = to;
	result->start = " to='";
	result->start_length = 5;
	return result;
}

static const filling *from_filling(filling *result, const pr_template *template, const attribute *from) {
	result->place = &template->from;
	result->wanted = from;
	result->start = " from='";
	result->start_length = 7;
	return result;
}

static size_t filled_size(const filling *f) {
	if(!f->wanted->value) {
		return f->place->end - f->place->begin;
	}
	return f->start_length + pr_xml_escaped_length(f->wanted->value, f->wanted->length) + 1;
}

static char *put_filling(char *out, const char *text, const filling *f) {
	if(!f->wanted->value) {
		return put(out, text + f->place->begin, f->place->end - f->place->begin);
	}
	out = put(out, f->start, f->start_length);
	out = pr_xml_escape(out, f->wanted->value, f->wanted->length);
	*out++ = '\'';
	return out;
}

/* An empty place comes before another one at the same position. */
static int comes_first(const span *a, const span *b) {
	return a->begin < b->begin || (a->begin == b->begin && a->end <= b->end);
}

size_t pr_template_size(const pr_template *template, const attribute *to, const attribute *from) {
	const size_t fixed = template->length - (template->to.end - template->to.begin) - (template->from.end - template->from.begin);
	filling t, f;
	return fixed + filled_size(to_filling(&t, template, to)) + filled_size(from_filling(&f, template, from));
}

size_t pr_template_render(const pr_template *template, const char *text, const attribute *to, const attribute *from,
	char *out) {
	const int to_first = comes_first(&template->to, &template->from);
	filling t, f;
	const filling *const first = to_first ? to_filling(&t, template, to) : from_filling(&f, template, from);
	const filling *const second = to_first ? from_filling(&f, template, from) : to_filling(&t, template, to);
	char *o = put(out, text, first->place->begin);
	o = put_filling(o, text, first);
	o = put(o, text + first->place->end, second->place->begin - first->place->end);
	o = put_filling(o, text, second);
	return (size_t)(put(o, text + second->place->end, template->length - second->place->end) - out);
}
