/* SPDX-License-Identifier: MIT
 *
 * What every binding (lua_*.c) shares. Cores never include this file.
 * Lua 5.4 only: the rocks and the packages of both supported Prosody versions run on it.
 */
#ifndef PROSODY_RELAY_COMMON_H
#define PROSODY_RELAY_COMMON_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM != 504
#error "prosody-relay needs the headers of Lua 5.4 (Debian: liblua5.4-dev)"
#endif

/* Defines luaopen_prosody_relay_<name>, the only symbol that a shared object exports. LUAMOD_API alone is a plain extern:
 * -fvisibility=hidden would hide it. */
#define PROSODY_RELAY_MODULE(name)                                                                                   \
	__attribute__((visibility("default"))) int luaopen_prosody_relay_##name(lua_State *L);                       \
	int luaopen_prosody_relay_##name(lua_State *L)

/* A string argument, without Lua's silent conversion of numbers: a number is never a JID, a nick or a key. */
static inline const char *check_string(lua_State *L, int arg, size_t *length) {
	luaL_checktype(L, arg, LUA_TSTRING);
	return lua_tolstring(L, arg, length);
}

/* The same for an argument that may be left out. */
static inline void check_optional_string(lua_State *L, int arg) {
	if(!lua_isnoneornil(L, arg)) {
		luaL_checktype(L, arg, LUA_TSTRING);
	}
}

/* An expected failure, caused by a peer's data: returns nil and a short reason to the caller. */
static inline int push_failure(lua_State *L, const char *reason) {
	luaL_pushfail(L);
	lua_pushstring(L, reason);
	return 2;
}

#endif
