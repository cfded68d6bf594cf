/* SPDX-License-Identifier: MIT
 *
 * Binding of jid.c: prosody_relay.jid_c, reached through prosody_relay.jid, which documents the functions.
 */
#include "common.h"
#include "jid.h"

#include <string.h>

/* Localparts fit here in every form; longer strings take a Lua buffer. */
#define SHORT_MAX PR_JID_PART_MAX

typedef size_t (*transform)(const char *in, size_t length, char *out);

/* Pushes the result for a string that changes and is too long for the stack. `expansion` = most octets out for an octet in. */
static void push_long(lua_State *L, transform f, const char *in, size_t length, size_t expansion) {
	luaL_Buffer buffer;
	char *out;
	if(length > ((size_t)-1) / 2 / expansion) {
		luaL_error(L, "string too long");
	}
	out = luaL_buffinitsize(L, &buffer, length * expansion);
	luaL_pushresultsize(&buffer, f(in, length, out));
}

/* The argument: a string, or nil (returns NULL). It saves a call or two against a general check, which can be measured here. */
static const char *string_or_nil(lua_State *L, size_t *length) {
	const int type = lua_type(L, 1);
	if(type == LUA_TSTRING) {
		return lua_tolstring(L, 1, length);
	}
	if(type != LUA_TNIL) {
		luaL_checktype(L, 1, LUA_TSTRING);
	}
	return NULL;
}

/* A changed string has another length, in both directions: a string that keeps its length is returned itself (A4). */
static int Ljid_escape(lua_State *L) {
	size_t length = 0;
	const char *in = string_or_nil(L, &length);
	if(length > SHORT_MAX) {
		if(pr_jid_escape_span(in, length) < length) {
			push_long(L, pr_jid_escape, in, length, 3);
			return 1;
		}
	} else if(in) {
		char out[PR_JID_ESCAPED_MAX(SHORT_MAX)];
		const size_t escaped = pr_jid_escape(in, length, out);
		if(escaped != length) {
			lua_pushlstring(L, out, escaped);
			return 1;
		}
	}
	lua_settop(L, 1);
	return 1;
}

static int Ljid_unescape(lua_State *L) {
	size_t length = 0, span;
	const char *in = string_or_nil(L, &length);
	if(!in || (span = pr_jid_unescape_span(in, length)) == length) {
		lua_settop(L, 1);
	} else if(length > SHORT_MAX) {
		push_long(L, pr_jid_unescape, in, length, 1);
	} else {
		char out[SHORT_MAX];
		lua_pushlstring(L, out, pr_jid_unescape(in, length, out));
	}
	return 1;
}

PROSODY_RELAY_MODULE(jid_c) {
	static const luaL_Reg functions[] = {
		{"escape", Ljid_escape},
		{"unescape", Ljid_unescape},
		{NULL, NULL},
	};
	luaL_checkversion(L);
	luaL_newlib(L, functions);
	return 1;
}
