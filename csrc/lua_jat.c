/* SPDX-License-Identifier: MIT
 *
 * Binding of jat.c: prosody_relay.jat_c, reached through prosody_relay.jat, which documents the functions. A codec is a userdata
 * that holds the key and nothing else.
 */
#include "common.h"
#include "jat.h"

#include <string.h>

#define METATABLE "prosody_relay.jat"

typedef struct {
	unsigned char key[PR_JAT_KEY_SIZE];
} codec;

static const codec *check_codec(lua_State *L, int arg) {
	return luaL_checkudata(L, arg, METATABLE);
}

static int push_result(lua_State *L, pr_jat_result result, const char *bytes, size_t length) {
	switch(result) {
	case PR_JAT_OK: lua_pushlstring(L, bytes, length); return 1;
	case PR_JAT_TOO_LONG: return push_failure(L, "too-long");
	case PR_JAT_NO_TOKEN: return push_failure(L, "no-token");
	default: return push_failure(L, "bad-token");
	}
}

static int Ljat_new(lua_State *L) {
	size_t length;
	const char *key = check_string(L, 1, &length);
	codec *self;
	luaL_argcheck(L, length == PR_JAT_KEY_SIZE, 1, "key of 16 bytes expected");
	self = lua_newuserdatauv(L, sizeof(*self), 0);
	memcpy(self->key, key, sizeof(self->key));
	luaL_setmetatable(L, METATABLE);
	return 1;
}

static int Ljat_encode(lua_State *L) {
	const codec *self = check_codec(L, 1);
	size_t length, token_length = 0;
	const char *jid = check_string(L, 2, &length);
	char token[PR_JAT_TOKEN_MAX];
	const pr_jat_result result = pr_jat_encode(self->key, jid, length, token, &token_length);
	return push_result(L, result, token, token_length);
}

static int Ljat_decode(lua_State *L) {
	const codec *self = check_codec(L, 1);
	size_t length, jid_length = 0;
	const char *token = check_string(L, 2, &length);
	char jid[PR_JAT_JID_MAX];
	const pr_jat_result result = pr_jat_decode(self->key, token, length, jid, &jid_length);
	return push_result(L, result, jid, jid_length);
}

PROSODY_RELAY_MODULE(jat_c) {
	static const luaL_Reg functions[] = {
		{"new", Ljat_new},
		{NULL, NULL},
	};
	static const luaL_Reg methods[] = {
		{"encode", Ljat_encode},
		{"decode", Ljat_decode},
		{NULL, NULL},
	};
	luaL_checkversion(L);
	luaL_newmetatable(L, METATABLE);
	luaL_newlib(L, methods);
	lua_setfield(L, -2, "__index");
	luaL_newlib(L, functions);
	return 1;
}
