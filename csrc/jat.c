/* SPDX-License-Identifier: MIT
 *
 * Tokens of jat.h. Decoding reads every character before it decides. All mistakes after the first character have the same result. So
 * neither time nor result helps to forge a tag digit by digit.
 */
#include "jat.h"

#include <string.h>

#define MARK '@'
#define TAG_SIZE PR_SIPHASH_TAG_SIZE
#define PACKED_MAX (TAG_SIZE + PR_JAT_JID_MAX)

/* Only the six low bits of a digit carry a value: a value with these bits is no digit. */
#define NOT_A_DIGIT 0xc0u

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The sender knows the digits, so looking them up reveals nothing. The tag that they are compared with is never looked up. */
#define XX NOT_A_DIGIT
static const unsigned char value_of[256] = {
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, 62, XX, XX,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, XX, XX, XX, XX, XX, XX,
	XX,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, XX, XX, XX, XX, 63,
	XX, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
};
#undef XX

/* base64url of in[0..length); returns the digits written: ceil(length * 4 / 3). */
static size_t encode_digits(const unsigned char *in, size_t length, char *out) {
	char *o = out;
	size_t i;
	for(i = 0; i + 2 < length; i += 3) {
		*o++ = digits[in[i] >> 2];
		*o++ = digits[(in[i] & 3) << 4 | in[i + 1] >> 4];
		*o++ = digits[(in[i + 1] & 15) << 2 | in[i + 2] >> 6];
		*o++ = digits[in[i + 2] & 63];
	}
	if(i < length) {
		const int second = i + 1 < length ? in[i + 1] : 0;
		*o++ = digits[in[i] >> 2];
		*o++ = digits[(in[i] & 3) << 4 | second >> 4];
		if(i + 1 < length) {
			*o++ = digits[(second & 15) << 2];
		}
	}
	return (size_t)(o - out);
}

/* Inverse of encode_digits for length % 4 != 1; writes length * 3 / 4 octets. Returns 0 when encode_digits gives in[0..length) for them:
 * only digits, and the unused bits of the last one are zero. Otherwise returns another number. */
static unsigned decode_digits(const char *in, size_t length, unsigned char *out) {
	unsigned wrong = 0;
	size_t i;
	for(i = 0; i + 3 < length; i += 4) {
		const unsigned a = value_of[(unsigned char)in[i]], b = value_of[(unsigned char)in[i + 1]];
		const unsigned c = value_of[(unsigned char)in[i + 2]], d = value_of[(unsigned char)in[i + 3]];
		wrong |= (a | b | c | d) & NOT_A_DIGIT;
		*out++ = (unsigned char)(a << 2 | b >> 4);
		*out++ = (unsigned char)(b << 4 | c >> 2);
		*out++ = (unsigned char)(c << 6 | d);
	}
	if(i < length) {
		const unsigned a = value_of[(unsigned char)in[i]], b = value_of[(unsigned char)in[i + 1]];
		const unsigned c = i + 2 < length ? value_of[(unsigned char)in[i + 2]] : 0;
		wrong |= (a | b | c) & NOT_A_DIGIT;
		*out++ = (unsigned char)(a << 2 | b >> 4);
		if(i + 2 < length) {
			*out++ = (unsigned char)(b << 4 | c >> 2);
			wrong |= c & 3;
		} else {
			wrong |= b & 15;
		}
	}
	return wrong;
}

/* 0 when equal, in the same time for all tags. */
static unsigned tag_difference(const unsigned char *a, const unsigned char *b) {
	unsigned difference = 0;
	int i;
	for(i = 0; i < TAG_SIZE; i++) {
		difference |= (unsigned)(a[i] ^ b[i]);
	}
	return difference;
}

pr_jat_result pr_jat_encode(const unsigned char key[PR_JAT_KEY_SIZE], const char *jid, size_t length,
	char *token, size_t *token_length) {
	unsigned char packed[PACKED_MAX];
	if(length > PR_JAT_JID_MAX) {
		return PR_JAT_TOO_LONG;
	}
	memcpy(packed + TAG_SIZE, jid, length);
	pr_siphash128(key, packed + TAG_SIZE, length, packed);
	token[0] = MARK;
	*token_length = 1 + encode_digits(packed, TAG_SIZE + length, token + 1);
	return PR_JAT_OK;
}

pr_jat_result pr_jat_decode(const unsigned char key[PR_JAT_KEY_SIZE], const char *token, size_t length,
	char *jid, size_t *jid_length) {
	unsigned char packed[PACKED_MAX], tag[TAG_SIZE];
	size_t packed_length;
	unsigned wrong;
	if(length == 0 || token[0] != MARK) {
		return PR_JAT_NO_TOKEN;
	}
	token++;
	length--;
	packed_length = length / 4 * 3 + length % 4 * 3 / 4;
	if(length >= PR_JAT_TOKEN_MAX || length % 4 == 1 || packed_length < TAG_SIZE) {
		return PR_JAT_BAD_TOKEN;
	}
	wrong = decode_digits(token, length, packed);
	*jid_length = packed_length - TAG_SIZE;
	pr_siphash128(key, packed + TAG_SIZE, *jid_length, tag);
	wrong |= tag_difference(tag, packed);
	memcpy(jid, packed + TAG_SIZE, *jid_length);
	return wrong ? PR_JAT_BAD_TOKEN : PR_JAT_OK;
}
