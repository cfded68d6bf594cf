/* SPDX-License-Identifier: MIT
 *
 * Written from the description in the paper: four words of state, initialised from the key and the constant
 * "somepseudorandomlygeneratedbytes"; two rounds for each word of input, four to finish each half of the tag. The code reads and writes
 * octets one by one in little-endian order. On machines with that order, compilers turn this into single loads.
 */
#include "siphash.h"

#include <stdint.h>

typedef struct {
	uint64_t a, b, c, d;
} state;

static uint64_t rotate(uint64_t x, int bits) {
	return (x << bits) | (x >> (64 - bits));
}

static uint64_t load(const unsigned char *p, size_t octets) {
	uint64_t word = 0;
	size_t i;
	for(i = 0; i < octets; i++) {
		word |= (uint64_t)p[i] << (8 * i);
	}
	return word;
}

static void store(unsigned char *p, uint64_t word) {
	int i;
	for(i = 0; i < 8; i++) {
		p[i] = (unsigned char)(word >> (8 * i));
	}
}

static void rounds(state *s, int count) {
	while(count-- > 0) {
		s->a += s->b;
		s->c += s->d;
		s->b = rotate(s->b, 13) ^ s->a;
		s->d = rotate(s->d, 16) ^ s->c;
		s->a = rotate(s->a, 32);
		s->c += s->b;
		s->a += s->d;
		s->b = rotate(s->b, 17) ^ s->c;
		s->d = rotate(s->d, 21) ^ s->a;
		s->c = rotate(s->c, 32);
	}
}

static void absorb(state *s, uint64_t word) {
	s->d ^= word;
	rounds(s, 2);
	s->a ^= word;
}

void pr_siphash128(const unsigned char key[PR_SIPHASH_KEY_SIZE], const unsigned char *in, size_t length,
	unsigned char tag[PR_SIPHASH_TAG_SIZE]) {
	const uint64_t k0 = load(key, 8);
	const uint64_t k1 = load(key + 8, 8);
	const size_t whole = length - length % 8;
	size_t i;
	state s;
	s.a = k0 ^ UINT64_C(0x736f6d6570736575);
	s.b = k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee; /* 0xee here and below: the 128-bit form */
	s.c = k0 ^ UINT64_C(0x6c7967656e657261);
	s.d = k1 ^ UINT64_C(0x7465646279746573);
	for(i = 0; i < whole; i += 8) {
		absorb(&s, load(in + i, 8));
	}
	/* the last word has the remaining octets and the length modulo 256 */
	absorb(&s, load(in + whole, length - whole) | (uint64_t)length << 56);
	s.c ^= 0xee;
	rounds(&s, 4);
	store(tag, s.a ^ s.b ^ s.c ^ s.d);
	s.b ^= 0xdd;
	rounds(&s, 4);
	store(tag + 8, s.a ^ s.b ^ s.c ^ s.d);
}
