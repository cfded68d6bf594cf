/* SPDX-License-Identifier: MIT
 *
 * jat.c and siphash.c: round trips, forgeries, strange tokens; the tag against SipHash written a second time, as the paper puts it.
 */
#include "fuzz.h"

#include "../csrc/jat.h"

static uint64_t word_at(const unsigned char *p) {
	uint64_t word = 0;
	int i;
	for(i = 7; i >= 0; i--) {
		word = word << 8 | p[i];
	}
	return word;
}

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void sip_round(uint64_t v[4]) {
	v[0] += v[1]; v[1] = ROTL(v[1], 13); v[1] ^= v[0]; v[0] = ROTL(v[0], 32);
	v[2] += v[3]; v[3] = ROTL(v[3], 16); v[3] ^= v[2];
	v[0] += v[3]; v[3] = ROTL(v[3], 21); v[3] ^= v[0];
	v[2] += v[1]; v[1] = ROTL(v[1], 17); v[1] ^= v[2]; v[2] = ROTL(v[2], 32);
}

/* Pads the whole message first, then takes it word by word. */
static void slow_siphash(const unsigned char *key, const unsigned char *in, size_t length, unsigned char *tag) {
	const size_t padded = length / 8 * 8 + 8;
	unsigned char *const message = block(padded);
	uint64_t v[4];
	size_t i;
	int half, r;
	memset(message, 0, padded);
	if(length) {
		memcpy(message, in, length);
	}
	message[padded - 1] = (unsigned char)(length & 255);
	memcpy(v, (const uint64_t[]){0x736f6d6570736575u, 0x646f72616e646f6du, 0x6c7967656e657261u, 0x7465646279746573u}, sizeof(v));
	for(i = 0; i < 4; i++) {
		v[i] ^= word_at(key + 8 * (i % 2));
	}
	v[1] ^= 0xee;
	for(i = 0; i < padded; i += 8) {
		v[3] ^= word_at(message + i);
		sip_round(v);
		sip_round(v);
		v[0] ^= word_at(message + i);
	}
	for(half = 0; half < 2; half++) {
		uint64_t word;
		v[half == 0 ? 2 : 1] ^= half == 0 ? 0xee : 0xdd;
		for(r = 0; r < 4; r++) {
			sip_round(v);
		}
		word = v[0] ^ v[1] ^ v[2] ^ v[3];
		for(i = 0; i < 8; i++) {
			tag[8 * (size_t)half + i] = (unsigned char)(word >> (8 * i));
		}
	}
	free(message);
}

/* Decodes to a block of exactly the promised size; returns the result and, when OK, checks that only this very token gives that JID. */
static pr_jat_result decode(const unsigned char *key, const char *token, size_t length) {
	char *const jid = block(PR_JAT_JID_MAX), *const again = block(PR_JAT_TOKEN_MAX);
	size_t jid_length = 0, again_length = 0;
	const pr_jat_result result = pr_jat_decode(key, token, length, jid, &jid_length);
	CHECK(result == PR_JAT_OK || result == PR_JAT_BAD_TOKEN
		|| (result == PR_JAT_NO_TOKEN && (length == 0 || token[0] != '@')));
	if(result == PR_JAT_OK) {
		CHECK(pr_jat_encode(key, jid, jid_length, again, &again_length) == PR_JAT_OK);
		CHECK(again_length == length && memcmp(again, token, length) == 0);
	}
	free(jid);
	free(again);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	input in = {data, size};
	unsigned char key[16], tag[16], slow_tag[16];
	unsigned place, change;
	char *jid, *token;
	size_t length, token_length = 0, i;
	for(i = 0; i < 16; i++) {
		key[i] = take(&in);
	}
	place = (unsigned)take(&in) << 8 | take(&in);
	change = take(&in);
	length = in.left;
	jid = block(length);
	if(length) {
		memcpy(jid, in.data, length);
	}

	pr_siphash128(key, (const unsigned char *)jid, length, tag);
	slow_siphash(key, (const unsigned char *)jid, length, slow_tag);
	CHECK(memcmp(tag, slow_tag, 16) == 0);

	/* the input as a token: not one of ours, unless the fuzzer has found the tag */
	decode(key, jid, length);

	token = block(PR_JAT_TOKEN_MAX + 1);
	if(pr_jat_encode(key, jid, length, token, &token_length) == PR_JAT_OK) {
		char *const exact = block(token_length);
		CHECK(length <= PR_JAT_JID_MAX && token_length <= PR_JAT_TOKEN_MAX);
		memcpy(exact, token, token_length);
		CHECK(decode(key, exact, token_length) == PR_JAT_OK);
		/* any change anywhere, a shorter one, a longer one, another key */
		exact[place % token_length] = (char)(exact[place % token_length] ^ (char)change);
		CHECK((decode(key, exact, token_length) == PR_JAT_OK) == (change == 0));
		CHECK(decode(key, token, place % token_length) != PR_JAT_OK);
		token[token_length] = (char)change;
		CHECK(decode(key, token, token_length + 1) != PR_JAT_OK);
		key[place % 16] ^= (unsigned char)(change | 1);
		CHECK(decode(key, token, token_length) == PR_JAT_BAD_TOKEN);
		free(exact);
	} else {
		CHECK(length > PR_JAT_JID_MAX);
	}
	free(jid);
	free(token);
	return 0;
}
