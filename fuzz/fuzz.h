/* SPDX-License-Identifier: MIT
 *
 * What the fuzz targets share (requirement A11). Buffers have exactly the size a core was promised, so that AddressSanitizer sees one octet
 * too many; checks stay on whatever NDEBUG says.
 */
#ifndef PROSODY_RELAY_FUZZ_H
#define PROSODY_RELAY_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                             \
	do {                                                                                                         \
		if(!(condition)) {                                                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                              \
			abort();                                                                                     \
		}                                                                                                    \
	} while(0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of this size, never NULL. */
static inline void *block(size_t size) {
	void *result = malloc(size ? size : 1);
	CHECK(result);
	return result;
}

/* The octets of one input, taken from its front; zero when there are none left. */
typedef struct {
	const uint8_t *data;
	size_t left;
} input;

static inline uint8_t take(input *in) {
	if(!in->left) {
		return 0;
	}
	in->left--;
	return *in->data++;
}

/* A growing string for the slow oracles. */
typedef struct {
	char *octets;
	size_t length, room;
} string;

static inline void append(string *s, const char *octets, size_t length) {
	if(s->room - s->length < length) {
		s->room = 2 * (s->length + length);
		s->octets = realloc(s->octets, s->room);
		CHECK(s->octets);
	}
	if(length) {
		memcpy(s->octets + s->length, octets, length);
	}
	s->length += length;
}

static inline void append_text(string *s, const char *text) {
	append(s, text, strlen(text));
}

static inline int equals(const string *s, const char *octets, size_t length) {
	return s->length == length && (length == 0 || memcmp(s->octets, octets, length) == 0);
}

#endif
