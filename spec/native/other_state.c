/* SPDX-License-Identifier: MIT
 *
 * For the tests only: a second Lua state in the same process, whose memory can be made to run out.
 *
 *   other_state.new() -> state      all libraries open
 *   state:run(code) -> true, result as a string; or false, message
 *   state:fail_after(n)             the n-th allocation from now and all later ones fail; nil: none does
 *   state:close()
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdlib.h>

#define METATABLE "other_state"

typedef struct {
	lua_State *L;
	int limited;
	lua_Integer left;
} other_state;

static void *allocate(void *data, void *block, size_t old_size, size_t new_size) {
	other_state *self = data;
	if(new_size == 0) {
		free(block);
		return NULL;
	}
	/* Lua counts on shrinking to succeed */
	if(self->limited && (!block || new_size > old_size) && self->left-- <= 0) {
		return NULL;
	}
	return realloc(block, new_size);
}

static other_state *check_state(lua_State *L) {
	other_state *self = luaL_checkudata(L, 1, METATABLE);
	luaL_argcheck(L, self->L, 1, "state is closed");
	return self;
}

static int Lstate_new(lua_State *L) {
	other_state *self = lua_newuserdatauv(L, sizeof(*self), 0);
	self->L = NULL;
	self->limited = 0;
	luaL_setmetatable(L, METATABLE);
	self->L = lua_newstate(allocate, self);
	if(!self->L) {
		return luaL_error(L, "no memory for another state");
	}
	luaL_openlibs(self->L);
	return 1;
}

static int Lstate_run(lua_State *L) {
	other_state *self = check_state(L);
	const char *code = luaL_checkstring(L, 2), *text;
	size_t length;
	const int failed = luaL_loadstring(self->L, code) || lua_pcall(self->L, 0, 1, 0);
	lua_pushboolean(L, !failed);
	text = lua_tolstring(self->L, -1, &length);
	lua_pushlstring(L, text ? text : "", text ? length : 0);
	lua_settop(self->L, 0);
	return 2;
}

static int Lstate_fail_after(lua_State *L) {
	other_state *self = check_state(L);
	self->limited = !lua_isnil(L, 2);
	self->left = luaL_optinteger(L, 2, 0);
	return 0;
}

static int Lstate_close(lua_State *L) {
	other_state *self = luaL_checkudata(L, 1, METATABLE);
	if(self->L) {
		self->limited = 0;
		lua_close(self->L);
		self->L = NULL;
	}
	return 0;
}

int luaopen_other_state(lua_State *L);
int luaopen_other_state(lua_State *L) {
	static const luaL_Reg functions[] = {{"new", Lstate_new}, {NULL, NULL}};
	static const luaL_Reg methods[] = {
		{"run", Lstate_run}, {"fail_after", Lstate_fail_after}, {"close", Lstate_close}, {NULL, NULL},
	};
	luaL_newmetatable(L, METATABLE);
	luaL_newlib(L, methods);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, Lstate_close);
	lua_setfield(L, -2, "__gc");
	luaL_newlib(L, functions);
	return 1;
}
