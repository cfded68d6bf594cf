/* SPDX-License-Identifier: MIT
 *
 * jid.c against the tables of XEP-0106 applied octet by octet.
 */
#include "fuzz.h"

#include "../csrc/jid.h"

static const struct {
	char character;
	const char *sequence;
} table[] = {
	{' ', "\\20"}, {'"', "\\22"}, {'&', "\\26"}, {'\'', "\\27"}, {'/', "\\2f"},
	{':', "\\3a"}, {'<', "\\3c"}, {'>', "\\3e"}, {'@', "\\40"}, {'\\', "\\5c"},
};

#define TABLE_SIZE (sizeof(table) / sizeof(table[0]))

/* Index of the sequence at the front of in[0..length), TABLE_SIZE when there is none. */
static size_t sequence_index(const char *in, size_t length) {
	size_t i;
	for(i = 0; i < TABLE_SIZE; i++) {
		if(length >= 3 && memcmp(in, table[i].sequence, 3) == 0) {
			break;
		}
	}
	return i;
}

static void slow_escape(string *out, const char *in, size_t length) {
	size_t i, k;
	for(i = 0; i < length; i++) {
		for(k = 0; k < TABLE_SIZE; k++) {
			if(in[i] == table[k].character && (in[i] != '\\' || sequence_index(in + i, length - i) < TABLE_SIZE)) {
				break;
			}
		}
		append(out, k < TABLE_SIZE ? table[k].sequence : in + i, k < TABLE_SIZE ? 3 : 1);
	}
}

static void slow_unescape(string *out, const char *in, size_t length) {
	size_t i = 0;
	while(i < length) {
		const size_t k = sequence_index(in + i, length - i);
		append(out, k < TABLE_SIZE ? &table[k].character : in + i, 1);
		i += k < TABLE_SIZE ? 3 : 1;
	}
}

/* The octets that come out as they went in. */
static size_t common(const char *in, size_t length, const string *out) {
	size_t i = 0;
	while(i < length && i < out->length && in[i] == out->octets[i]) {
		i++;
	}
	return i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	char *const in = block(size);
	char *const escaped = block(PR_JID_ESCAPED_MAX(size)), *const unescaped = block(size);
	string slow = {NULL, 0, 0}, slow_un = {NULL, 0, 0};
	size_t length;
	char *back;
	if(size) {
		memcpy(in, data, size);
	}

	length = pr_jid_escape(in, size, escaped);
	slow_escape(&slow, in, size);
	CHECK(equals(&slow, escaped, length));
	CHECK((pr_jid_escape_span(in, size) == size) == (length == size));
	CHECK(pr_jid_escape_span(in, size) <= common(in, size, &slow));
	CHECK(pr_jid_escape(in + pr_jid_escape_span(in, size), size - pr_jid_escape_span(in, size), escaped)
		== length - pr_jid_escape_span(in, size));

	back = block(slow.length);
	CHECK(pr_jid_unescape(slow.octets ? slow.octets : in, slow.length, back) == size);
	CHECK(size == 0 || memcmp(back, in, size) == 0);

	length = pr_jid_unescape(in, size, unescaped);
	slow_unescape(&slow_un, in, size);
	CHECK(equals(&slow_un, unescaped, length));
	CHECK((pr_jid_unescape_span(in, size) == size) == (length == size));
	CHECK(pr_jid_unescape_span(in, size) <= common(in, size, &slow_un));

	free(in);
	free(escaped);
	free(unescaped);
	free(back);
	free(slow.octets);
	free(slow_un.octets);
	return 0;
}
