/* SPDX-License-Identifier: MIT
 *
 * template.c: any text, and stanzas made up from the input. A template must give what a simple serialiser gives with other values.
 */
#include "fuzz.h"

#include "../csrc/template.h"

static void append_escaped(string *out, const char *value, size_t length) {
	size_t i;
	for(i = 0; i < length; i++) {
		switch(value[i]) {
		case '&': append_text(out, "&amp;"); break;
		case '<': append_text(out, "&lt;"); break;
		case '>': append_text(out, "&gt;"); break;
		case '\'': append_text(out, "&apos;"); break;
		case '"': append_text(out, "&quot;"); break;
		default: append(out, value + i, 1);
		}
	}
}

/* A few octets from the input, likely to matter. */
static size_t take_value(input *in, char *value, size_t room) {
	static const char interesting[] = "'\"&<>=/ tofrm";
	size_t length = take(in) % room, i;
	for(i = 0; i < length; i++) {
		const uint8_t c = take(in);
		value[i] = c < 128 ? interesting[c % (sizeof(interesting) - 1)] : (char)c;
	}
	return length;
}

static const pr_template_attribute keep = {NULL, 0};

/* Renders to a block of exactly the announced size, and checks that it fits. */
static string render(const pr_template *t, const char *text, const pr_template_attribute *to,
	const pr_template_attribute *from) {
	string result;
	result.room = result.length = pr_template_size(t, to, from);
	result.octets = block(result.length);
	CHECK(pr_template_render(t, text, to, from, result.octets) == result.length);
	return result;
}

/* Any text: when it is taken for a stanza, keeping everything gives it back, and what is set can be found again. */
static void any_text(input *in) {
	const size_t name_length = take(in) % 8;
	const pr_template_attribute set = {"a'b", 3};
	const size_t length = in->left;
	char *const text = block(length), *const name = block(name_length);
	pr_template t, again;
	if(length) {
		memcpy(text, in->data, length);
	}
	memset(name, 'x', name_length);
	if(length > name_length) {
		memcpy(name, text + 1, name_length);
	}
	if(pr_template_parse(text, length, name, name_length, &t)) {
		string out = render(&t, text, &keep, &keep);
		CHECK(equals(&out, text, length));
		free(out.octets);
		out = render(&t, text, &set, &set);
		CHECK(pr_template_parse(out.octets, out.length, name, name_length, &again));
		CHECK(again.to.end - again.to.begin == strlen(" to='a&apos;b'") && again.from.end - again.from.begin == strlen(" from='a&apos;b'"));
		free(out.octets);
	}
	free(text);
	free(name);
}

/* A stanza of up to seven attributes; `to` and `from` are at places 1 and 2 of `order`, when they are there. */
typedef struct {
	char name[6], values[7][24], contents[48];
	size_t name_length, lengths[7], contents_length;
	unsigned attributes, to_place, from_place;
} made_up;

static void take_stanza(input *in, made_up *m) {
	size_t i;
	m->name_length = 1 + take(in) % 5;
	for(i = 0; i < m->name_length; i++) {
		m->name[i] = (char)('a' + take(in) % 26);
	}
	m->attributes = take(in) % 8;
	m->to_place = take(in) % 9; /* beyond the attributes: absent */
	m->from_place = take(in) % 9;
	for(i = 0; i < m->attributes; i++) {
		m->lengths[i] = take_value(in, m->values[i], sizeof(m->values[i]));
	}
	m->contents_length = take(in) % 2 ? take_value(in, m->contents, sizeof(m->contents)) : 0;
}

/* With other values of `to` and `from`, where they are not `keep`. */
static string serialise(const made_up *m, const pr_template_attribute *to, const pr_template_attribute *from) {
	static const char *const names[] = {"id", "ato", "too", "xmlns", "xmlns:ns1", "ns1:to", "fro"};
	string out = {NULL, 0, 0};
	unsigned i;
	append_text(&out, "<");
	append(&out, m->name, m->name_length);
	for(i = 0; i < m->attributes; i++) {
		const int is_to = i == m->to_place, is_from = !is_to && i == m->from_place;
		const pr_template_attribute *const other = is_to ? to : is_from ? from : &keep;
		append_text(&out, " ");
		append_text(&out, is_to ? "to" : is_from ? "from" : names[i]);
		append_text(&out, "='");
		append_escaped(&out, other->value ? other->value : m->values[i], other->value ? other->length : m->lengths[i]);
		append_text(&out, "'");
	}
	if(!m->contents_length) {
		append_text(&out, "/>");
		return out;
	}
	append_text(&out, ">");
	append_escaped(&out, m->contents, m->contents_length);
	append_text(&out, "</");
	append(&out, m->name, m->name_length);
	append_text(&out, ">");
	return out;
}

static void stanza(input *in) {
	made_up m;
	char to_value[24], from_value[24];
	pr_template_attribute to = {to_value, 0}, from = {from_value, 0};
	pr_template t;
	string text, wanted, actual;
	take_stanza(in, &m);
	to.length = take_value(in, to_value, sizeof(to_value));
	from.length = take_value(in, from_value, sizeof(from_value));
	text = serialise(&m, &keep, &keep);
	CHECK(pr_template_parse(text.octets, text.length, m.name, m.name_length, &t));
	CHECK((t.to.end > t.to.begin) == (m.to_place < m.attributes));
	CHECK((t.from.end > t.from.begin) == (m.from_place < m.attributes && m.from_place != m.to_place));
	if(t.to.end == t.to.begin) {
		to = keep;
	}
	if(t.from.end == t.from.begin) {
		from = keep;
	}
	wanted = serialise(&m, &to, &from);
	actual = render(&t, text.octets, &to, &from);
	CHECK(equals(&wanted, actual.octets, actual.length));
	free(text.octets);
	free(wanted.octets);
	free(actual.octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	input in = {data, size};
	if(take(&in) % 2) {
		any_text(&in);
	} else {
		stanza(&in);
	}
	return 0;
}
