/* SPDX-License-Identifier: MIT
 *
 * Binding of jid.c: prosody_relay.jid_c, reached through prosody_relay.jid, which documents the functions.
 */
#include "common.h"
#include "jid.h"

#include <string.h>

/* Localparts fit here in every form; longer strings take a Lua buffer. */
#define SHORT_MAX PROSODY_RELAY_JID_PART_MAX

typedef size_t (*transform)(const char *in, size_t length, char *out);

/* Pushes transform(in) where only in[span..length) needs work. `expansion` = octets out for an octet in, at most. */
static void push_transformed(lua_State *L, transform f, const char *in, size_t length, size_t span, size_t expansion) {
	if(length <= SHORT_MAX) {
		char out[PROSODY_RELAY_JID_ESCAPED_MAX(SHORT_MAX)];
		memcpy(out, in, span);
		lua_pushlstring(L, out, span + f(in + span, length - span, out + span));
	} else {
		luaL_Buffer buffer;
		char *out;
		if(length > ((size_t)-1) / 2 / expansion) {
			luaL_error(L, "string too long");
		}
		out = luaL_buffinitsize(L, &buffer, length * expansion);
		memcpy(out, in, span);
		luaL_pushresultsize(&buffer, span + f(in + span, length - span, out + span));
	}
}

static int Ljid_escape(lua_State *L) {
	size_t length, span;
	const char *in;
	if(lua_isnil(L, 1)) {
		lua_settop(L, 1);
		return 1;
	}
	in = check_string(L, 1, &length);
	lua_settop(L, 1);
	span = prosody_relay_jid_escape_span(in, length);
	if(span < length) {
		push_transformed(L, prosody_relay_jid_escape, in, length, span, 3);
	}
	return 1;
}

static int Ljid_unescape(lua_State *L) {
	size_t length, span;
	const char *in;
	if(lua_isnil(L, 1)) {
		lua_settop(L, 1);
		return 1;
	}
	in = check_string(L, 1, &length);
	lua_settop(L, 1);
	span = prosody_relay_jid_unescape_span(in, length);
	if(span < length) {
		push_transformed(L, prosody_relay_jid_unescape, in, length, span, 1);
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
