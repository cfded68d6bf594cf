/* SPDX-License-Identifier: MIT
 *
 * lua_stanza.c and lua_template.c, which are walks over tables of Lua: fuzz/stanza.lua makes the tables of the input, and says what has to
 * come out. Lua's memory comes from malloc, so AddressSanitizer sees each octet too many there, too.
 */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

int luaopen_prosody_relay_stanza_c(lua_State *L);
int luaopen_prosody_relay_template_c(lua_State *L);

/* A state with the function of stanza.lua at index 1. */
static lua_State *new_state(void) {
	lua_State *const L = luaL_newstate();
	CHECK(L);
	luaL_openlibs(L);
	luaL_requiref(L, "prosody_relay.stanza_c", luaopen_prosody_relay_stanza_c, 0);
	luaL_requiref(L, "prosody_relay.template_c", luaopen_prosody_relay_template_c, 0);
	lua_settop(L, 0);
	if(luaL_dofile(L, "fuzz/stanza.lua")) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		abort();
	}
	return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static lua_State *L;
	if(!L) {
		L = new_state();
	}
	lua_pushvalue(L, 1);
	lua_pushlstring(L, (const char *)data, size);
	if(lua_pcall(L, 1, 0, 0)) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		abort();
	}
	return 0;
}
