/* SPDX-License-Identifier: MIT
 *
 * Binding of recipients.c: prosody_relay.recipients_c, reached through prosody_relay.fanout, which documents the functions.
 *
 * A list is a userdata with three user values:
 * - the strings: JID of slot n at 2n - 1, its nick at 2n
 * - the names of the links: [group] = name and [name] = group
 * - the block of the core
 * All memory is Lua's: running out of it is a Lua error. All steps that can raise one come before the core learns of a change.
 */
#include "common.h"
#include "recipients.h"
#include "siphash.h"

#include <string.h>

#define METATABLE "prosody_relay.recipients"

enum { STRINGS = 1, NAMES, BLOCK, USER_VALUES = BLOCK };

typedef struct {
	pr_recipients *core; /* in the block */
	unsigned char seed[PR_SIPHASH_KEY_SIZE]; /* secret: strangers cannot choose strings that collide */
} recipient_list;

typedef struct {
	uint32_t position, locals, count;
	pr_recipients_entry entries[1]; /* really `count` of them */
} iteration;

static recipient_list *check_list(lua_State *L, int arg) {
	return luaL_checkudata(L, arg, METATABLE);
}

static lua_Integer jid_at(uint32_t slot) {
	return (lua_Integer)slot * 2 - 1;
}

static lua_Integer nick_at(uint32_t slot) {
	return (lua_Integer)slot * 2;
}

/* Hash of the string at `arg`. */
static uint32_t hash_of(lua_State *L, const recipient_list *self, int arg) {
	unsigned char tag[PR_SIPHASH_TAG_SIZE];
	uint32_t hash;
	size_t length;
	const char *string = lua_tolstring(L, arg, &length);
	pr_siphash128(self->seed, (const unsigned char *)string, length, tag);
	memcpy(&hash, tag, sizeof(hash));
	return hash;
}

/* Whether the string at `index` of the table at `strings` is the one at `arg`. */
static int filed_is(lua_State *L, int strings, lua_Integer index, int arg) {
	int same;
	lua_rawgeti(L, strings, index);
	same = lua_rawequal(L, -1, arg);
	lua_pop(L, 1);
	return same;
}

/* Slot of the JID at `arg` with its hash; 0 when it is not there. `strings`: stack index of the strings. */
static uint32_t slot_of(lua_State *L, const recipient_list *self, int strings, int arg, uint32_t hash) {
	uint32_t slot = 0;
	do {
		slot = pr_recipients_by_jid(self->core, hash, slot);
	} while(slot && !filed_is(L, strings, jid_at(slot), arg));
	return slot;
}

/* Group whose name is at `arg`; 0 when there is none. `names`: stack index of the names. */
static uint32_t group_of(lua_State *L, int names, int arg) {
	uint32_t group;
	lua_pushvalue(L, arg);
	group = lua_rawget(L, names) == LUA_TNUMBER ? (uint32_t)lua_tointeger(L, -1) : 0;
	lua_pop(L, 1);
	return group;
}

/* Pushes the name of a slot's link, nil for a local session. */
static void push_group(lua_State *L, const recipient_list *self, int names, uint32_t slot) {
	const uint32_t group = pr_recipients_group_of(self->core, slot);
	if(group) {
		lua_rawgeti(L, names, group);
	} else {
		lua_pushnil(L);
	}
}

/* Gives the list at stack index 1 a block of these capacities. Raises an error, and changes nothing, when there is no memory. */
static void allocate(lua_State *L, recipient_list *self, uint32_t slots, uint32_t groups) {
	const size_t size = pr_recipients_size(slots, groups);
	pr_recipients *core;
	if(!size) {
		luaL_error(L, "too many recipients");
	}
	core = lua_newuserdatauv(L, size, 0);
	pr_recipients_init(core, slots, groups);
	if(self->core) {
		pr_recipients_copy(core, self->core);
	}
	lua_setiuservalue(L, 1, BLOCK);
	self->core = core;
}

static int Lrecipients_new(lua_State *L) {
	size_t length;
	const char *seed = check_string(L, 1, &length);
	recipient_list *self;
	luaL_argcheck(L, length == sizeof(self->seed), 1, "seed of 16 bytes expected");
	self = lua_newuserdatauv(L, sizeof(*self), USER_VALUES);
	self->core = NULL;
	memcpy(self->seed, seed, sizeof(self->seed));
	lua_replace(L, 1);
	lua_settop(L, 1);
	lua_newtable(L);
	lua_setiuservalue(L, 1, STRINGS);
	lua_newtable(L);
	lua_setiuservalue(L, 1, NAMES);
	allocate(L, self, 4, 0);
	luaL_setmetatable(L, METATABLE);
	return 1;
}

static int Lrecipients_add(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	uint32_t slots, groups, slot, group = 0, jid_hash;
	int new_group = 0;
	luaL_checktype(L, 2, LUA_TSTRING);
	luaL_checktype(L, 3, LUA_TSTRING);
	check_optional_string(L, 4);
	lua_settop(L, 4);
	lua_getiuservalue(L, 1, STRINGS);
	lua_getiuservalue(L, 1, NAMES);
	jid_hash = hash_of(L, self, 2);
	if(slot_of(L, self, 5, 2, jid_hash)) {
		return push_failure(L, "exists");
	}
	if(!lua_isnil(L, 4)) {
		group = group_of(L, 6, 4);
		new_group = !group;
	}
	if(pr_recipients_is_full(self->core, new_group, &slots, &groups)) {
		allocate(L, self, slots, groups);
	}
	slot = pr_recipients_next_slot(self->core);
	lua_pushvalue(L, 2);
	lua_rawseti(L, 5, jid_at(slot));
	lua_pushvalue(L, 3);
	lua_rawseti(L, 5, nick_at(slot));
	if(new_group) {
		group = pr_recipients_next_group(self->core);
		lua_pushvalue(L, 4);
		lua_rawseti(L, 6, group);
		/* last, because this is what makes the link known */
		lua_pushvalue(L, 4);
		lua_pushinteger(L, group);
		lua_rawset(L, 6);
		pr_recipients_add_group(self->core);
	}
	pr_recipients_add(self->core, jid_hash, hash_of(L, self, 3), group);
	lua_pushboolean(L, 1);
	return 1;
}

/* Forgets the name of a group. The keys exist, so Lua allocates nothing. */
static void forget_group(lua_State *L, int names, uint32_t group) {
	lua_rawgeti(L, names, group);
	lua_pushnil(L);
	lua_rawset(L, names);
	lua_pushnil(L);
	lua_rawseti(L, names, group);
}

static int Lrecipients_remove(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	uint32_t slot, group;
	luaL_checktype(L, 2, LUA_TSTRING);
	lua_settop(L, 2);
	lua_getiuservalue(L, 1, STRINGS);
	lua_getiuservalue(L, 1, NAMES);
	slot = slot_of(L, self, 3, 2, hash_of(L, self, 2));
	if(!slot) {
		luaL_pushfail(L);
		return 1;
	}
	lua_rawgeti(L, 3, nick_at(slot));
	push_group(L, self, 4, slot);
	group = pr_recipients_remove(self->core, slot);
	if(group) {
		forget_group(L, 4, group);
	}
	lua_pushnil(L);
	lua_rawseti(L, 3, jid_at(slot));
	lua_pushnil(L);
	lua_rawseti(L, 3, nick_at(slot));
	return 2;
}

static int Lrecipients_by_nick(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	uint32_t slot = 0, hash;
	lua_Integer count = 0;
	luaL_checktype(L, 2, LUA_TSTRING);
	lua_settop(L, 2);
	lua_getiuservalue(L, 1, STRINGS);
	lua_newtable(L);
	hash = hash_of(L, self, 2);
	while((slot = pr_recipients_by_nick(self->core, hash, slot)) != 0) {
		if(filed_is(L, 3, nick_at(slot), 2)) {
			lua_rawgeti(L, 3, jid_at(slot));
			lua_rawseti(L, 4, ++count);
		}
	}
	return 1;
}

static int Lrecipients_count(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	lua_pushinteger(L, pr_recipients_count(self->core));
	return 1;
}

static int Lrecipients_count_group(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	uint32_t group = 0;
	check_optional_string(L, 2);
	lua_settop(L, 2);
	if(!lua_isnil(L, 2)) {
		lua_getiuservalue(L, 1, NAMES);
		group = group_of(L, 3, 2);
		if(!group) {
			lua_pushinteger(L, 0);
			return 1;
		}
	}
	lua_pushinteger(L, pr_recipients_group_count(self->core, group));
	return 1;
}

/* Upvalues: the list, its strings, its names, the iteration. */
static int next_recipient(lua_State *L) {
	const recipient_list *self = lua_touserdata(L, lua_upvalueindex(1));
	iteration *const it = lua_touserdata(L, lua_upvalueindex(4));
	uint32_t slot = 0;
	while(!slot && it->position < it->count) {
		slot = pr_recipients_visit(self->core, &it->entries[it->position], it->position >= it->locals);
		it->position++;
	}
	if(!slot) {
		return 0;
	}
	lua_rawgeti(L, lua_upvalueindex(2), jid_at(slot));
	lua_rawgeti(L, lua_upvalueindex(2), nick_at(slot));
	push_group(L, self, lua_upvalueindex(3), slot);
	return 3;
}

static int Lrecipients_each(lua_State *L) {
	recipient_list *self = check_list(L, 1);
	uint32_t except_group = 0;
	iteration *it;
	check_optional_string(L, 2);
	lua_settop(L, 2);
	lua_pushvalue(L, 1);
	lua_getiuservalue(L, 1, STRINGS);
	lua_getiuservalue(L, 1, NAMES);
	if(!lua_isnil(L, 2)) {
		except_group = group_of(L, 5, 2);
	}
	it = lua_newuserdatauv(L, sizeof(*it) + pr_recipients_visits(self->core) * sizeof(it->entries[0]), 0);
	it->position = 0;
	it->count = pr_recipients_snapshot(self->core, except_group, it->entries, &it->locals);
	lua_pushcclosure(L, next_recipient, 4);
	return 1;
}

PROSODY_RELAY_MODULE(recipients_c) {
	static const luaL_Reg functions[] = {
		{"new", Lrecipients_new},
		{NULL, NULL},
	};
	static const luaL_Reg methods[] = {
		{"add", Lrecipients_add},
		{"remove", Lrecipients_remove},
		{"by_nick", Lrecipients_by_nick},
		{"count", Lrecipients_count},
		{"count_group", Lrecipients_count_group},
		{"each", Lrecipients_each},
		{NULL, NULL},
	};
	luaL_checkversion(L);
	luaL_newmetatable(L, METATABLE);
	luaL_newlib(L, methods);
	lua_setfield(L, -2, "__index");
	luaL_newlib(L, functions);
	return 1;
}
